package session

import (
	"container/list"
	"sync"
)

// Pending bounds the sockets in which nobody has logged in. When there are too
// many, the oldest goes: of the same address when that one has too many, else
// of the address that has most, so that one which opens many cannot push out
// those that open few. The zero value is ready for use; its methods are safe
// for concurrent use.
type Pending struct {
	mu    sync.Mutex // guards the following
	total int
	// addresses have their sockets, the oldest first.
	addresses map[string]*list.List
}

// pendingSocket is one that waits.
type pendingSocket struct {
	evict func()
	gone  bool
}

// Add counts a socket from address. total and perAddress are the limits, one
// at least; for the sake of the new one an older may be evicted, by a call of
// its evict, which must not wait. done ends the counting; more than once does
// no harm.
func (p *Pending) Add(address string, total, perAddress int, evict func()) (done func()) {
	s := &pendingSocket{evict: evict}
	p.mu.Lock()
	if p.addresses == nil {
		p.addresses = make(map[string]*list.List)
	}
	var evicted []*pendingSocket
	if own := p.addresses[address]; own != nil && own.Len() >= perAddress {
		evicted = append(evicted, p.removeLocked(address, own.Front()))
	}
	if p.total >= total {
		most := p.mostLocked()
		evicted = append(evicted, p.removeLocked(most, p.addresses[most].Front()))
	}
	own := p.addresses[address]
	if own == nil {
		own = list.New()
		p.addresses[address] = own
	}
	element := own.PushBack(s)
	p.total++
	p.mu.Unlock()
	for _, old := range evicted {
		old.evict()
	}
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if !s.gone {
			p.removeLocked(address, element)
		}
	}
}

// Len returns how many sockets wait.
func (p *Pending) Len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.total
}

// removeLocked takes an element out.
func (p *Pending) removeLocked(address string, element *list.Element) *pendingSocket {
	own := p.addresses[address]
	s := own.Remove(element).(*pendingSocket)
	s.gone = true
	p.total--
	if own.Len() == 0 {
		delete(p.addresses, address)
	}
	return s
}

// mostLocked returns the address that has most sockets. There are only as many
// addresses as sockets may wait.
func (p *Pending) mostLocked() (address string) {
	most := 0
	for a, own := range p.addresses {
		if own.Len() > most {
			address, most = a, own.Len()
		}
	}
	return address
}
