//go:build !windows

package redis

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/session"
)

// panickyNode panics when it is told of a revocation, as often as is left.
type panickyNode struct {
	*node
	left int
}

func (n *panickyNode) Revoked(all []session.Revocation) {
	if n.left > 0 {
		n.left--
		panic("in the node")
	}
	n.node.Revoked(all)
}

// A node that panics is served again from the beginning: it learns what it was
// told when it panicked, hears that Redis is there, and can still revoke.
func TestNodePanics(t *testing.T) {
	t.Parallel()
	redis := startServer(t)
	other := startNode(t, redis.address())
	other.awaitComplete()
	other.revoke(jti("first"))
	s := must(New(Config{URL: "redis://" + redis.address()}))
	s.settle = 200 * time.Millisecond
	n := &panickyNode{node: newNode(t, s), left: 3}
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	go func() {
		defer close(n.returned)
		for ctx.Err() == nil {
			func() {
				defer func() {
					if recover() != nil {
						n.Outage(errors.New("panic"))
					}
				}()
				s.Follow(ctx, n)
			}()
		}
	}()
	t.Cleanup(n.stop)
	n.await("the first", catchUp, func() bool { return n.knows(jti("first")) && n.count("Complete") > 0 })
	told := n.told()
	if len(told) != 4 || told[0] == nil || told[3] != nil {
		t.Errorf("told of outages %v, want three and their end", told)
	}
	other.revoke(jti("second"))
	n.await("the second", catchUp, func() bool { return n.knows(jti("second")) })
	n.revoke(jti("third"))
	other.await("the third", catchUp, func() bool { return other.knows(jti("third")) })
	n.stop()
	if err := s.Revoke(t.Context(), jti("late")); !errors.Is(err, errEnded) {
		t.Errorf("Revoke of a store that has ended: %v", err)
	}
}

// What sends must not end the process.
func TestSendingPanics(t *testing.T) {
	t.Parallel()
	s := must(New(Config{URL: "redis://127.0.0.1"}))
	w := &writer{store: s} // without a client
	s.queue.latest = make(map[string]*operation)
	_ = must(s.queue.put(must(encode("revoke", jti("one")))))
	if err := guarded(t.Context(), w.sendQueue); err == nil {
		t.Error("no error of a panic")
	}
	if len(s.queue.next(1)) != 1 {
		t.Error("what could not be sent is lost")
	}
}

// When the node has learned something by other means, Redis gets it, but for
// what was removed meanwhile, which the node is told.
func TestRefill(t *testing.T) {
	t.Parallel()
	redis := startServer(t)
	a, b := startNode(t, redis.address()), startNode(t, redis.address())
	a.awaitComplete()
	b.awaitComplete()
	removed, lacking := jti("removed"), jti("lacking")
	b.revoke(removed)
	b.unrevoke(removed)
	a.await("nothing of what was removed", catchUp, func() bool { return !a.knows(removed) && a.count("Unrevoked") > 0 })
	a.revoked.Add(removed, time.Now())
	a.revoked.Add(lacking, time.Now())
	a.store.Refill()
	b.await("what Redis lacks", catchUp, func() bool { return b.knows(lacking) })
	a.await("what was removed", catchUp, func() bool { return !a.knows(removed) })
	if b.knows(removed) || !a.knows(lacking) {
		t.Error("what was removed is back, or what is new is gone")
	}
}

// That all is to be brought back again is not forgotten while Redis is away.
func TestRefillDuringOutage(t *testing.T) {
	t.Parallel()
	redis := startServer(t)
	nodes, relays := cluster(t, redis, 2)
	a, b := nodes[0], nodes[1]
	relays[0].setCut(true)
	a.await("an outage", catchUp, func() bool { return len(a.told()) == 1 })
	lacking := jti("lacking")
	a.revoked.Add(lacking, time.Now())
	a.store.Refill()
	a.await("a vain attempt", catchUp, func() bool {
		signal(a.changed)
		return !a.store.refill.Load()
	})
	relays[0].setCut(false)
	b.await("what Redis lacks", 2*catchUp, func() bool { return b.knows(lacking) })
}
