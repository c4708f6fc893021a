//go:build !windows

package redis

import (
	"context"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/internal/pace"
)

func TestAllNodesAreTold(t *testing.T) {
	t.Parallel()
	redis := startServer(t)
	a, b, c := startNode(t, redis.address()), startNode(t, redis.address()), startNode(t, redis.address())
	for _, n := range []*node{a, b, c} {
		n.awaitComplete()
	}
	start := time.Now()
	r := jti("one")
	a.revoke(r)
	for _, n := range []*node{b, c} {
		n.await("revoked", time.Second, func() bool { return n.knows(r) })
	}
	t.Logf("told after %v", time.Since(start))
	a.unrevoke(r)
	for _, n := range []*node{b, c} {
		n.await("unrevoked", time.Second, func() bool { return !n.knows(r) })
	}
	if got := a.count("Revoked") + a.count("Unrevoked"); got != 0 {
		t.Errorf("the node was told %d times of what it has done itself", got)
	}
	b.revoke(r) // counts, although it was removed
	for _, n := range []*node{a, c} {
		n.await("revoked again", time.Second, func() bool { return n.knows(r) })
	}
	if a.store.Odd()+b.store.Odd()+c.store.Odd() != 0 {
		t.Error("our own messages count as odd")
	}
}

func TestWhatLiesInRedisIsTold(t *testing.T) {
	t.Parallel()
	redis := startServer(t)
	a := startNode(t, redis.address())
	a.awaitComplete()
	all := jtis("x", 1000) // more than a page
	a.revoke(all...)
	b := startNode(t, redis.address())
	b.await("complete", 5*time.Second, func() bool {
		if b.count("Complete") == 1 && !b.knows(all...) {
			t.Fatal("complete without having been told all")
		}
		return b.count("Complete") == 1
	})
	if b.store.Current().IsZero() || time.Since(b.store.Current()) > pace.Scale(5*time.Second) {
		t.Errorf("Current = %v", b.store.Current())
	}
}

func TestRevokeWithoutRedis(t *testing.T) {
	t.Parallel()
	redis := startServer(t)
	a, b := startNode(t, redis.address()), startNode(t, redis.address())
	a.awaitComplete()
	b.awaitComplete()
	redis.kill()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	r := jti("one")
	if err := a.store.Revoke(ctx, r); err == nil {
		t.Error("Revoke is certain although Redis is away")
	}
	a.watch.InTime(t, "the answer, whose context ends after 100ms", start, time.Now(), time.Second)
	redis.start()
	b.await("revoked when Redis is back", 5*time.Second, func() bool { return b.knows(r) })
}
