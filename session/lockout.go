package session

import (
	"container/list"
	"slices"
	"strings"
	"sync"
	"time"
)

// LockoutRule says when an address is locked out.
type LockoutRule struct {
	// Failures within Window lock an address out for Duration.
	Failures         int
	Window, Duration time.Duration
}

// IsZero tells whether nobody is ever locked out.
func (r LockoutRule) IsZero() bool { return r.Failures <= 0 }

// maxLockoutAddresses is how many addresses are remembered. Beyond it the one
// whose last failure is longest ago is forgotten; one that was locked out only
// when half of them were, or else failures of others would let it in.
const maxLockoutAddresses = 1 << 16

// Lockouts count the failures of client addresses. The zero value is ready for
// use; its methods are safe for concurrent use.
type Lockouts struct {
	mu        sync.Mutex // guards the following
	addresses map[string]*list.Element
	recent    list.List // of *failures, that were not locked out; the newest last
	locked    list.List // of those that were
}

// failures are those of an address.
type failures struct {
	address string
	count   int
	from    time.Time // when the window began
	until   time.Time // locked out; zero if it is not
	in      *list.List
}

// Lockout is an address that is locked out.
type Lockout struct {
	Address string
	Until   time.Time
}

// Fail counts n failures of an address, and reports whether that has locked it
// out now.
func (l *Lockouts) Fail(address string, n int, rule LockoutRule, now time.Time) (locked bool) {
	if rule.IsZero() {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.touchLocked(address)
	switch {
	case now.Before(f.until):
		return false
	case f.count == 0, !now.Before(f.from.Add(rule.Window)), !f.until.IsZero():
		f.count, f.from = 0, now
		l.setUntilLocked(f, time.Time{})
	}
	f.count += n
	if f.count < rule.Failures {
		return false
	}
	l.setUntilLocked(f, now.Add(rule.Duration))
	return true
}

// Lock locks an address out until a moment, because another node has.
func (l *Lockouts) Lock(address string, until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f := l.touchLocked(address); until.After(f.until) {
		l.setUntilLocked(f, until)
	}
}

// setUntilLocked notes until when f, which is the newest, is locked out.
func (l *Lockouts) setUntilLocked(f *failures, until time.Time) {
	f.until = until
	in := &l.recent
	if !until.IsZero() {
		in = &l.locked
	}
	if f.in != in {
		f.in.Remove(l.addresses[f.address])
		f.in, l.addresses[f.address] = in, in.PushBack(f)
	}
}

// touchLocked returns what is known of an address, as the newest.
func (l *Lockouts) touchLocked(address string) *failures {
	if l.addresses == nil {
		l.addresses = make(map[string]*list.Element)
	}
	if e := l.addresses[address]; e != nil {
		f := e.Value.(*failures)
		f.in.MoveToBack(e)
		return f
	}
	if len(l.addresses) >= maxLockoutAddresses {
		full := &l.recent
		if l.locked.Len() > maxLockoutAddresses/2 {
			full = &l.locked
		}
		oldest := full.Remove(full.Front()).(*failures)
		delete(l.addresses, oldest.address)
	}
	f := &failures{address: address, in: &l.recent}
	l.addresses[address] = l.recent.PushBack(f)
	return f
}

// Until returns until when an address is locked out; zero if it is not.
func (l *Lockouts) Until(address string, now time.Time) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.addresses[address]; e != nil {
		if f := e.Value.(*failures); now.Before(f.until) {
			return f.until
		}
	}
	return time.Time{}
}

// Forget lets an address in again, and forgets its failures. It reports
// whether it was locked out.
func (l *Lockouts) Forget(address string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.addresses[address]
	if e == nil {
		return false
	}
	f := e.Value.(*failures)
	f.in.Remove(e)
	delete(l.addresses, address)
	return now.Before(f.until)
}

// All returns who is locked out at now, in a steady order.
func (l *Lockouts) All(now time.Time) []Lockout {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []Lockout
	for address, e := range l.addresses {
		if f := e.Value.(*failures); now.Before(f.until) {
			all = append(all, Lockout{address, f.until})
		}
	}
	slices.SortFunc(all, func(a, b Lockout) int { return strings.Compare(a.Address, b.Address) })
	return all
}

// LockedOut returns how many addresses are locked out at now.
func (l *Lockouts) LockedOut(now time.Time) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.addresses {
		if now.Before(e.Value.(*failures).until) {
			n++
		}
	}
	return n
}

// Len returns how many addresses are remembered.
func (l *Lockouts) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.addresses)
}
