package websocketauth

import (
	"container/list"
	"time"
)

const (
	// keepOwner is how long it is known whose a connection was that is not used
	// any more: longer than applications keep one that they hear nothing of.
	keepOwner = 2 * time.Minute
	// maxOwned is how many such connections are known, those used last, and
	// maxOwnedByOne how many one identity may have: with more of them it could
	// have its first forgotten.
	maxOwned      = 50000
	maxOwnedByOne = 10000
)

// ownedConn is a connection without a login by polling.
type ownedConn struct {
	conn    polledConn
	owner   polledOwner
	until   time.Time
	refusal error // of its requests, where a login has ended; else nil
}

// polledOwners know whose connections are on which nobody is logged in by
// polling: any more, or because each request has a credential of its own. The
// zero value is ready for use.
type polledOwners struct {
	known map[polledConn]*list.Element // of order
	owned map[polledOwner]int
	order list.List // *ownedConn, the one that was used least lately first
}

// of returns what is known of a connection, nil if nothing is.
func (o *polledOwners) of(conn polledConn, now time.Time) *ownedConn {
	o.expire(now)
	if element := o.known[conn]; element != nil {
		return element.Value.(*ownedConn)
	}
	return nil
}

// isFull tells whether owner has as many as it may have.
func (o *polledOwners) isFull(owner polledOwner, now time.Time) bool {
	o.expire(now)
	return o.owned[owner] >= maxOwnedByOne
}

// add notes whose a connection is.
func (o *polledOwners) add(conn polledConn, owner polledOwner, refusal error, now time.Time) {
	if o.known == nil {
		o.known, o.owned = make(map[polledConn]*list.Element), make(map[polledOwner]int)
	}
	o.forget(conn)
	o.expire(now)
	if len(o.known) >= maxOwned {
		o.forget(o.order.Front().Value.(*ownedConn).conn)
	}
	o.known[conn] = o.order.PushBack(&ownedConn{conn, owner, now.Add(keepOwner), refusal})
	o.owned[owner]++
}

// expire forgets those whose time is over.
func (o *polledOwners) expire(now time.Time) {
	for element := o.order.Front(); element != nil; element = o.order.Front() {
		oldest := element.Value.(*ownedConn)
		if now.Before(oldest.until) {
			return
		}
		o.forget(oldest.conn)
	}
}

// forget forgets one.
func (o *polledOwners) forget(conn polledConn) {
	element := o.known[conn]
	if element == nil {
		return
	}
	owner := o.order.Remove(element).(*ownedConn).owner
	delete(o.known, conn)
	if o.owned[owner]--; o.owned[owner] == 0 {
		delete(o.owned, owner)
	}
}
