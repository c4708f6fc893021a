package websocketauth

import (
	"container/list"
	"time"
)

const (
	// keepEnded is how long it is known who had logged in on a connection: longer
	// than applications keep one that they hear nothing of.
	keepEnded = 5 * time.Minute
	// maxEnded is how many such connections are known, the youngest, and
	// maxEndedOfOne how many one identity may have: with more of them it could
	// have its first forgotten.
	maxEnded      = 50000
	maxEndedOfOne = 10000
)

// endedLogin is a login by polling that has ended.
type endedLogin struct {
	key     polledKey
	owner   polledOwner
	until   time.Time
	refusal error // of requests that come meanwhile
}

// endedLogins are the logins that have ended a while ago. The zero value is
// ready for use.
type endedLogins struct {
	known map[polledKey]*list.Element // of order
	owned map[polledOwner]int
	order list.List // *endedLogin, the oldest first
}

// of returns the login that has ended on a connection, nil if there was none.
func (e *endedLogins) of(key polledKey, now time.Time) *endedLogin {
	e.expire(now)
	if element := e.known[key]; element != nil {
		return element.Value.(*endedLogin)
	}
	return nil
}

// isFull tells whether owner has as many as it may have.
func (e *endedLogins) isFull(owner polledOwner, now time.Time) bool {
	e.expire(now)
	return e.owned[owner] >= maxEndedOfOne
}

// add notes an end.
func (e *endedLogins) add(ended *endedLogin, now time.Time) {
	if e.known == nil {
		e.known, e.owned = make(map[polledKey]*list.Element), make(map[polledOwner]int)
	}
	e.forget(ended.key)
	e.expire(now)
	if len(e.known) >= maxEnded {
		e.forget(e.order.Front().Value.(*endedLogin).key)
	}
	ended.until = now.Add(keepEnded)
	e.known[ended.key] = e.order.PushBack(ended)
	e.owned[ended.owner]++
}

// expire forgets those whose time is over.
func (e *endedLogins) expire(now time.Time) {
	for element := e.order.Front(); element != nil; element = e.order.Front() {
		oldest := element.Value.(*endedLogin)
		if now.Before(oldest.until) {
			return
		}
		e.forget(oldest.key)
	}
}

// forget forgets one.
func (e *endedLogins) forget(key polledKey) {
	element := e.known[key]
	if element == nil {
		return
	}
	owner := e.order.Remove(element).(*endedLogin).owner
	delete(e.known, key)
	if e.owned[owner]--; e.owned[owner] == 0 {
		delete(e.owned, owner)
	}
}
