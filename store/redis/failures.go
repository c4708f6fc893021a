package redis

import (
	"sync"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/session"
)

// tick is for how long failures are gathered before they are sent.
const tick = 100 * time.Millisecond

// maxFailing is how many addresses may fail, and how many be released, in a
// tick. Of more the node counts its own alone.
const maxFailing = 512

// failing is what an address has done since the last tick.
type failing struct {
	n    int
	rule session.LockoutRule
}

// failures are those that have not been sent. Its methods are safe for
// concurrent use.
type failures struct {
	wake chan struct{} // has room for one: something is to be sent

	mu       sync.Mutex // guards the following
	failing  map[string]failing
	released map[string]bool
}

// Fail implements [store.Store]. At most 512 addresses fail in 100 ms; further
// ones are not told to the others.
func (s *Store) Fail(address string, n int, rule session.LockoutRule) {
	if n <= 0 || rule.IsZero() || rule.Window <= 0 || rule.Duration <= 0 || !validAddress(address) {
		return
	}
	f := &s.failures
	f.mu.Lock()
	defer f.mu.Unlock()
	known, ok := f.failing[address]
	if !ok && len(f.failing) >= maxFailing {
		return
	}
	if f.failing == nil {
		f.failing = make(map[string]failing)
	}
	// More than locks out counts no more.
	f.failing[address] = failing{n: known.n + min(n, rule.Failures-min(known.n, rule.Failures)), rule: rule}
	signal(f.wake)
}

// Release implements [store.Store]. It is forgotten if 512 others wait.
func (s *Store) Release(address string) {
	if !validAddress(address) {
		return
	}
	f := &s.failures
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.failing, address)
	if len(f.released) >= maxFailing {
		return
	}
	if f.released == nil {
		f.released = make(map[string]bool)
	}
	f.released[address] = true
	signal(f.wake)
}

// take returns what is to be sent, and forgets it.
func (f *failures) take() (failed map[string]failing, released map[string]bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	failed, released = f.failing, f.released
	f.failing, f.released = nil, nil
	return failed, released
}

// putBack keeps releases that could not be sent.
func (f *failures) putBack(released map[string]bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.released == nil {
		f.released = make(map[string]bool)
	}
	for address := range released {
		if len(f.released) < maxFailing {
			f.released[address] = true
		}
	}
}
