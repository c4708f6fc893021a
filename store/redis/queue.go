package redis

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/session"
)

// How many operations may wait for Redis, and their size in bytes.
const (
	maxQueue      = 1 << 16
	maxQueueBytes = 64 << 20
)

// recently is how long a change may be under way between a node and the call
// that tells us of it.
const recently = 10 * time.Second

var (
	errFull  = errors.New("too many changes wait for Redis")
	errNewer = errors.New("revoked again meanwhile")
	errEnded = errors.New("the store is closed")
	errAway  = errors.New("Redis has not answered") //nolint:staticcheck // a name
)

// queue holds a node's own operations until they have come back to it through
// the stream, and by that knows which of the others' come before them. All
// methods are safe for concurrent use.
type queue struct {
	wake chan struct{} // has room for one: something waits

	mu      sync.Mutex   // guards the following
	waiting []*operation // to be sent, in this order
	bytes   int          // of what waits
	// latest has the last operation on each field, until it has come back.
	latest map[string]*operation
	number uint64
	read   position  // of the last message that was read
	told   time.Time // when the node was last told of a change
	failed error     // why what waits could not be sent; nil if it could
}

// Revoke implements [store.Store]. It waits for at most 5 s.
func (s *Store) Revoke(ctx context.Context, r session.Revocation) error {
	if err := r.Check(); err != nil {
		return err
	}
	if !r.Until.After(time.Now()) {
		return nil
	}
	o, err := encode("revoke", r)
	if err != nil {
		return err
	}
	return s.do(ctx, o)
}

// Unrevoke implements [store.Store]. It waits for at most 5 s, and does nothing
// if the revocation is newer than what this node knows.
func (s *Store) Unrevoke(ctx context.Context, key string) error {
	field, err := fieldOf(key)
	if err != nil {
		return err
	}
	return s.do(ctx, &operation{kind: "unrevoke", field: field, done: make(chan struct{})})
}

// do queues an operation and waits until it is done.
func (s *Store) do(ctx context.Context, o *operation) error {
	select {
	case <-s.ended:
		return errEnded
	default:
	}
	o, err := s.queue.put(o)
	if err != nil {
		return err
	}
	limit := time.NewTimer(maxWait)
	defer limit.Stop()
	select {
	case <-o.done:
		return o.err
	case <-ctx.Done():
		err = ctx.Err()
	case <-limit.C:
		err = errAway
	case <-s.ended:
		err = errEnded
	}
	if cause := s.queue.failure(); cause != nil {
		err = s.clean(cause)
	}
	return fmt.Errorf("not certain to be on all nodes yet: %w", err)
}

// put queues an operation and returns it, or the same one if that waits
// already.
func (q *queue) put(o *operation) (*operation, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	old := q.latest[o.field]
	if old != nil && !old.acknowledged && old.same(o) {
		return old, nil
	}
	full := len(q.waiting) >= maxQueue || old == nil && len(q.latest) >= maxQueue
	if full || q.bytes+o.size() > maxQueueBytes {
		return nil, errFull
	}
	if q.latest == nil {
		q.latest = make(map[string]*operation)
	}
	q.number++
	o.number, o.seen = q.number, q.read.String()
	// What the node was told a moment ago it may have taken in after this.
	o.crossed = time.Since(q.told) < recently
	q.latest[o.field] = o
	q.waiting = append(q.waiting, o)
	q.bytes += o.size()
	signal(q.wake)
	return o, nil
}

// size returns about how much memory an operation takes, in bytes.
func (o *operation) size() int { return len(o.field) + len(o.of) + len(o.reason) + 256 }

// same tells whether both say the same of one field.
func (o *operation) same(other *operation) bool {
	return o.kind == other.kind && o.issuedBefore == other.issuedBefore && o.until == other.until &&
		o.of == other.of && o.reason == other.reason
}

// next returns the first that wait, at most n.
func (q *queue) next(n int) []*operation {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.waiting[:min(n, len(q.waiting))])
}

// acknowledge takes in what Redis has said of an operation that waits.
func (q *queue) acknowledge(o *operation, answer string) error {
	var at position
	var refused error
	if answer == "newer" {
		refused = errNewer
	} else {
		var err error
		if at, err = parsePosition(answer); err != nil {
			return fmt.Errorf("an answer of Redis is no position: %w", err)
		}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if i := slices.Index(q.waiting, o); i >= 0 {
		q.waiting = slices.Delete(q.waiting, i, i+1)
		q.bytes -= o.size()
	}
	o.acknowledged, o.position = true, at
	if !at.after(q.read) && q.latest[o.field] == o {
		delete(q.latest, o.field)
	}
	select {
	case <-o.done: // before it was sent again
	default:
		o.err = refused
		close(o.done)
	}
	return nil
}

// again queues what is done but has not come back: with its data, Redis may
// have lost it.
func (q *queue) again() {
	q.mu.Lock()
	defer q.mu.Unlock()
	var lost []*operation
	for _, o := range q.latest {
		if o.acknowledged {
			o.acknowledged = false
			q.bytes += o.size()
			lost = append(lost, o)
		}
	}
	slices.SortFunc(lost, func(a, b *operation) int { return cmp.Compare(a.number, b.number) })
	if len(lost) > 0 {
		q.waiting = append(lost, q.waiting...)
		signal(q.wake)
	}
}

// passes tells whether the node is to be told of a message: not of its own,
// and not of what its own, which come later, undo.
func (q *queue) passes(m message, origin string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	mine := q.latest[m.field]
	switch {
	case mine == nil:
		return true
	case m.origin == origin:
		if mine.number != m.number {
			return false
		}
		delete(q.latest, m.field)
		return mine.crossed
	case mine.kind == "revoke":
		return m.kind == "revoke"
	default:
		mine.crossed = true
		return true
	}
}

// own tells whether an operation of ours on a field has not come back.
func (q *queue) own(field string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.latest[field] != nil
}

// finds notes that the node is told of what lies in a field.
func (q *queue) finds(field string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if mine := q.latest[field]; mine != nil {
		mine.crossed = true
	}
}

// tells notes that the node is told of a change.
func (q *queue) tells() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.told = time.Now()
}

// reads notes up to where the stream has been read.
func (q *queue) reads(p position) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.read = p
	for field, o := range q.latest {
		if o.acknowledged && !o.position.after(p) {
			delete(q.latest, field)
		}
	}
}

// fails notes why what waits could not be sent; nil if it could.
func (q *queue) fails(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.failed = err
}

func (q *queue) failure() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.failed
}

// signal makes sure that a channel with room for one has something in it.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
