//go:build !windows

package redis

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/session"
)

func (n *node) lockedOut(address string) bool {
	return !n.lockouts.Until(address, time.Now()).IsZero()
}

// Failures count on all nodes together, and all are told.
func TestLockout(t *testing.T) {
	t.Parallel()
	redis := startServer(t)
	nodes, _ := cluster(t, redis, 3)
	rule := session.LockoutRule{Failures: 10, Window: time.Minute, Duration: time.Minute}
	const address, other = "192.0.2.1", "2001:db8::/64"
	for _, n := range nodes {
		n.store.Fail(address, 3, rule)
		n.store.Fail(other, 3, rule)
	}
	awaitCount := func(address string, want string) {
		t.Helper()
		nodes[0].await("counted", catchUp, func() bool {
			signal(nodes[0].changed)
			return redis.do("GET", "websocket_auth:failures:"+address) == want
		})
	}
	awaitCount(address, "9")
	awaitCount(other, "9")
	if nodes[0].lockedOut(address) {
		t.Error("locked out after 9 failures of 10")
	}
	nodes[1].store.Fail(address, 1, rule)
	for _, n := range nodes {
		n.await("locked out", time.Second, func() bool { return n.lockedOut(address) })
		until := n.lockouts.Until(address, time.Now())
		if left := time.Until(until); left > time.Minute || left < 50*time.Second {
			t.Errorf("locked out for %v, want a minute", left)
		}
		if n.lockedOut(other) {
			t.Error("another address is locked out")
		}
	}
	fresh := startNode(t, redis.address())
	fresh.await("complete", catchUp, func() bool { return fresh.count("Complete") == 1 && fresh.lockedOut(address) })
	nodes[2].store.Release(address)
	for _, n := range append(nodes, fresh) {
		n.await("released", time.Second, func() bool { return !n.lockedOut(address) })
	}
	nodes[0].store.Fail(address, 9, rule) // counts from the beginning
	awaitCount(address, "9")
}

// Failures are forgotten when their window is over.
func TestLockoutWindow(t *testing.T) {
	t.Parallel()
	redis := startServer(t)
	n := startNode(t, redis.address())
	n.awaitComplete()
	rule := session.LockoutRule{Failures: 2, Window: time.Second, Duration: time.Minute}
	for range 3 {
		n.store.Fail("192.0.2.1", 1, rule)
		for _, want := range []any{int64(1), int64(0)} {
			n.await(fmt.Sprint("counters: ", want), catchUp, func() bool {
				signal(n.changed)
				return redis.do("EXISTS", "websocket_auth:failures:192.0.2.1") == want
			})
		}
	}
	if n.count("LockedOut") != 0 {
		t.Error("locked out by failures of different windows")
	}
}

// A million failing addresses take bounded memory here and bounded work there.
func TestFlood(t *testing.T) {
	t.Parallel()
	redis := startServer(t)
	n := startNode(t, redis.address())
	n.awaitComplete()
	rule := session.LockoutRule{Failures: 100, Window: time.Minute, Duration: time.Minute}
	start := time.Now()
	for i := range 1_000_000 {
		n.store.Fail("2001:db8:"+strconv.Itoa(i), 1, rule)
	}
	n.store.Fail("192.0.2.1", 100, session.LockoutRule{Failures: 100, Window: time.Minute, Duration: time.Minute})
	ticks := int(time.Since(start)/tick) + 2
	n.store.failures.mu.Lock()
	waiting := len(n.store.failures.failing)
	n.store.failures.mu.Unlock()
	if waiting > maxFailing {
		t.Errorf("%d addresses wait", waiting)
	}
	n.await("sent", catchUp, func() bool {
		signal(n.changed)
		n.store.failures.mu.Lock()
		defer n.store.failures.mu.Unlock()
		return len(n.store.failures.failing) == 0
	})
	var calls string
	n.await("counted", catchUp, func() bool { // sent is not yet counted
		signal(n.changed)
		_, calls, _ = strings.Cut(fmt.Sprint(redis.do("INFO", "commandstats")), "cmdstat_incrby:calls=")
		calls, _, _ = strings.Cut(calls, ",")
		return calls != ""
	})
	if count, err := strconv.Atoi(calls); err != nil || count > ticks*maxFailing {
		t.Errorf("%q counters were raised in %d ticks, want at most %d: %v", calls, ticks, ticks*maxFailing, err)
	}
}

// Failures while Redis is away are forgotten, releases are not.
func TestLockoutsWithoutRedis(t *testing.T) {
	t.Parallel()
	redis := startServer(t)
	nodes, relays := cluster(t, redis, 2)
	a, b := nodes[0], nodes[1]
	rule := session.LockoutRule{Failures: 1, Window: time.Minute, Duration: time.Minute}
	a.store.Fail("192.0.2.1", 1, rule)
	b.await("locked out", time.Second, func() bool { return b.lockedOut("192.0.2.1") })
	relays[0].setCut(true)
	a.await("an outage", catchUp, func() bool { return len(a.told()) == 1 })
	a.store.Release("192.0.2.1")
	a.store.Fail("192.0.2.2", 1, rule)
	a.await("the failure could not be sent", catchUp, func() bool {
		signal(a.changed)
		return a.store.queue.failure() != nil
	})
	relays[0].setCut(false)
	b.await("released", catchUp, func() bool { return !b.lockedOut("192.0.2.1") })
	if b.lockedOut("192.0.2.2") {
		t.Error("an old failure has locked out")
	}
}

func TestFailuresThatAreNone(t *testing.T) {
	t.Parallel()
	s := must(New(Config{URL: "redis://127.0.0.1"}))
	rule := session.LockoutRule{Failures: 5, Window: time.Minute, Duration: time.Minute}
	s.Fail("192.0.2.1", 0, rule)
	s.Fail("192.0.2.1", -3, rule)
	s.Fail("192.0.2.1", 1, session.LockoutRule{})
	s.Fail("192.0.2.1", 1, session.LockoutRule{Failures: 5, Duration: time.Minute})
	s.Fail("", 1, rule)
	s.Fail(strings.Repeat("x", 1000), 1, rule)
	s.Release("")
	if failed, released := s.failures.take(); len(failed)+len(released) != 0 {
		t.Errorf("%v, %v are to be sent", failed, released)
	}
	s.Fail("192.0.2.1", 1, rule)
	s.Fail("192.0.2.2", 1, rule)
	s.Release("192.0.2.1")
	if failed, released := s.failures.take(); len(failed) != 1 || failed["192.0.2.2"].n != 1 || !released["192.0.2.1"] {
		t.Errorf("%v, %v are to be sent, want one each", failed, released)
	}
	for range 10 {
		s.Fail("192.0.2.1", 1<<62, rule)
	}
	if failed, _ := s.failures.take(); failed["192.0.2.1"].n != 5 {
		t.Errorf("%v are to be sent, want as many as lock out", failed)
	}
}
