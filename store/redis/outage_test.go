//go:build !windows

package redis

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/internal/pace"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/session"
)

// catchUp is how soon a node has all after Redis has come back.
const catchUp = 5 * time.Second

// cluster starts nodes that each reach Redis through a relay of their own.
func cluster(t testing.TB, redis *server, count int) (nodes []*node, relays []*relay) {
	t.Helper()
	for range count {
		r := startRelay(t, redis.address())
		relays = append(relays, r)
		nodes = append(nodes, startNode(t, r.listener.Addr().String()))
	}
	for _, n := range nodes {
		n.awaitComplete()
	}
	return nodes, relays
}

// A node that was cut off goes on from its position, and has what it missed
// within 5 s.
func TestCutOff(t *testing.T) {
	t.Parallel()
	redis := startServer(t)
	nodes, relays := cluster(t, redis, 3)
	a, b := nodes[0], nodes[1]
	known := b.count("Known")
	relays[1].setCut(true)
	b.await("an outage", catchUp, func() bool { return len(b.told()) == 1 })
	all := jtis("missed", 700)
	a.revoke(all...)
	a.unrevoke(all[3])
	relays[1].setCut(false)
	b.await("what it missed", catchUp, func() bool {
		return b.knows(all[0:3]...) && b.knows(all[4:]...) && !b.knows(all[3])
	})
	b.await("the end of the outage", catchUp, func() bool { return len(b.told()) == 2 })
	if told := b.told(); told[0] == nil || told[1] != nil {
		t.Errorf("told of outages %v, want one and its end", told)
	}
	if got := b.count("Known"); got != known {
		t.Errorf("all was read again: Known was called %d times, want %d", got, known)
	}
	if got := b.count("Complete"); got != 1 {
		t.Errorf("Complete was called %d times", got)
	}
}

// When its position is gone a node reads everything, and learns also what is
// revoked no more.
func TestCutOffForLong(t *testing.T) {
	t.Parallel()
	redis := startServer(t)
	nodes, relays := cluster(t, redis, 2)
	a, b := nodes[0], nodes[1]
	gone, stays := jti("gone"), jti("stays")
	a.revoke(gone, stays)
	b.await("revoked", time.Second, func() bool { return b.knows(gone, stays) })
	relays[1].setCut(true)
	b.await("an outage", catchUp, func() bool { return len(b.told()) == 1 })
	a.unrevoke(gone)
	missed := jti("missed")
	a.revoke(missed)
	redis.do("XTRIM", "websocket_auth:changes", "MAXLEN", 1)
	relays[1].setCut(false)
	b.await("all", catchUp, func() bool { return b.knows(stays, missed) && !b.knows(gone) })
	if a.knows(gone) {
		t.Error("the node that was cut off has brought back what was removed")
	}
}

// A node that begins with an old snapshot does not bring back what was removed
// since, and brings what Redis lacks.
func TestOldSnapshot(t *testing.T) {
	t.Parallel()
	redis := startServer(t)
	a := startNode(t, redis.address())
	a.awaitComplete()
	removed, lacking := jti("removed"), jti("lacking")
	a.revoke(removed)
	a.unrevoke(removed)
	b := startNode(t, redis.address(), removed, lacking)
	b.awaitComplete()
	a.await("what it lacks", time.Second, func() bool { return a.knows(lacking) })
	if a.knows(removed) || b.knows(removed) {
		t.Error("what was removed is back")
	}
}

// An unrevocation that has waited does not undo what others have revoked
// meanwhile.
func TestUnrevokeThatHasWaited(t *testing.T) {
	t.Parallel()
	redis := startServer(t)
	nodes, relays := cluster(t, redis, 2)
	a, b := nodes[0], nodes[1]
	r := jti("one")
	a.revoke(r)
	b.await("revoked", time.Second, func() bool { return b.knows(r) })
	relays[1].setCut(true)
	b.await("an outage", catchUp, func() bool { return len(b.told()) == 1 })
	b.revoked.Remove(r.Key())
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if b.store.Unrevoke(ctx, r.Key()) == nil {
		t.Error("Unrevoke is certain although Redis is away")
	}
	longer := r
	longer.Until = r.Until.Add(time.Hour)
	a.revoke(longer)
	relays[1].setCut(false)
	b.await("revoked again", catchUp, func() bool { return b.knows(r) })
	last := jti("last") // when it is there, so is what came before
	b.revoke(last)
	a.await("the last", time.Second, func() bool { return a.knows(last) })
	if !a.knows(r) || !b.knows(r) {
		t.Error("a newer revocation was undone")
	}
}

// Redis is killed 20 times, in the middle of work, and comes back empty:
// nothing that any node has revoked is forgotten by any node.
func TestRedisKilled(t *testing.T) {
	t.Parallel()
	redis := startServer(t)
	nodes, _ := cluster(t, redis, 3)
	var all []session.Revocation
	var waiting sync.WaitGroup
	for round := range 20 {
		for i, n := range nodes {
			some := jtis(fmt.Sprint("r", round, "n", i, "x"), 10)
			all = append(all, some...)
			for _, r := range some {
				n.revoked.Add(r, time.Now())
				waiting.Go(func() {
					ctx, cancel := context.WithTimeout(context.Background(), time.Second)
					defer cancel()
					_ = n.store.Revoke(ctx, r) // may well be uncertain
				})
			}
		}
		redis.kill()
		redis.start()
		if round%5 == 4 {
			for _, n := range nodes {
				n.await("all", catchUp, func() bool { return n.knows(all...) })
			}
		}
	}
	waiting.Wait()
	// The nodes may know all before they have filled Redis again.
	nodes[0].await("all in Redis", 2*catchUp, func() bool {
		signal(nodes[0].changed)
		return redis.do("HLEN", "websocket_auth:revocations") == int64(len(all)+1) // and the epoch
	})
	fresh := startNode(t, redis.address())
	fresh.awaitComplete()
	if !fresh.knows(all...) {
		t.Error("a node that comes later does not know all")
	}
	for _, n := range nodes {
		if n.count("Complete") != 1 {
			t.Error("Complete was called again")
		}
	}
}

// A snapshot of Redis that is older than what the nodes know is brought up to
// date, although the stream and its epoch are there.
func TestOldData(t *testing.T) {
	t.Parallel()
	redis := startServer(t)
	a, b := startNode(t, redis.address()), startNode(t, redis.address())
	a.awaitComplete()
	b.awaitComplete()
	first, second := jti("first"), jti("second")
	a.revoke(first)
	redis.do("SAVE")
	a.revoke(second)
	b.await("both", time.Second, func() bool { return b.knows(first, second) })
	redis.kill()
	redis.start()
	if redis.do("EXISTS", "websocket_auth:revocations") != int64(1) {
		t.Fatal("the test has no old data")
	}
	a.await("the end of the outage", catchUp, func() bool { return len(a.told()) == 2 })
	fresh := startNode(t, redis.address())
	fresh.awaitComplete()
	fresh.await("both", catchUp, func() bool { return fresh.knows(first, second) })
}

// Data that goes while the connection stays is noticed, too.
func TestFlushed(t *testing.T) {
	t.Parallel()
	redis := startServer(t)
	nodes, _ := cluster(t, redis, 2)
	r := jti("one")
	nodes[0].revoke(r)
	for _, flush := range [][]any{{"FLUSHALL"}, {"DEL", "websocket_auth:revocations"}, {"DEL", "websocket_auth:changes"}} {
		known := nodes[0].count("Known")
		redis.do(flush...)
		nodes[0].await(fmt.Sprint("asked after ", flush), catchUp, func() bool { return nodes[0].count("Known") > known })
		fresh := startNode(t, redis.address())
		fresh.awaitComplete()
		fresh.await("refilled", catchUp, func() bool { return fresh.knows(r) })
		fresh.stop()
	}
}

// A node that begins when Redis has come back empty does not believe that
// nothing is revoked, as long as others may be about to say what is.
func TestEmptyRedisIsNotBelieved(t *testing.T) {
	t.Parallel()
	redis := startServer(t)
	nodes, relays := cluster(t, redis, 1)
	a := nodes[0]
	r := jti("one")
	a.revoke(r)
	relays[0].setCut(true)
	redis.do("FLUSHALL")
	s, err := New(Config{URL: "redis://" + redis.address()})
	if err != nil {
		t.Fatal(err)
	}
	fresh := follow(t, s) // with the times of the real one
	fresh.await("connected", catchUp, func() bool { return fresh.count("Known") > 0 })
	relays[0].setCut(false)
	fresh.await("complete", 2*catchUp, func() bool {
		if fresh.count("Complete") == 1 && !fresh.knows(r) {
			t.Fatal("complete without what was revoked")
		}
		return fresh.count("Complete") == 1
	})
}

func TestNeverCompleteWithoutRedis(t *testing.T) {
	t.Parallel()
	redis := startServer(t)
	redis.kill()
	n := startNode(t, redis.address())
	n.await("an outage", catchUp, func() bool { return len(n.told()) == 1 })
	over := time.NewTimer(time.Second)
	<-over.C
	if n.count("Complete") != 0 || len(n.told()) != 1 {
		t.Errorf("complete %d times, outages %v", n.count("Complete"), n.told())
	}
	redis.start()
	n.await("complete", catchUp, func() bool { return n.count("Complete") == 1 && len(n.told()) == 2 })
}

// A Redis that answers but takes nothing is an outage, and what waits is not
// lost.
func TestRedisThatTakesNothing(t *testing.T) {
	t.Parallel()
	redis := startServer(t)
	a, b := startNode(t, redis.address()), startNode(t, redis.address())
	a.awaitComplete()
	b.awaitComplete()
	redis.do("CONFIG", "SET", "min-replicas-to-write", 1)
	ctx, cancel := context.WithTimeout(t.Context(), pace.Scale(500*time.Millisecond))
	defer cancel()
	r := jti("one")
	if err := a.store.Revoke(ctx, r); err == nil || !strings.Contains(err.Error(), "NOREPLICAS") {
		t.Errorf("Revoke = %v, want what Redis says", err)
	}
	a.await("an outage", catchUp, func() bool { return len(a.told()) == 1 })
	redis.do("CONFIG", "SET", "min-replicas-to-write", 0)
	b.await("revoked", catchUp, func() bool { return b.knows(r) })
	a.await("the end of the outage", catchUp, func() bool { return len(a.told()) == 2 })
}

// Three nodes revoke and unrevoke the same few things, cut off now and then;
// in the end all know the same, and it is what lies in Redis.
func TestNodesAgree(t *testing.T) {
	t.Parallel()
	redis := startServer(t)
	nodes, relays := cluster(t, redis, 3)
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		i := random.IntN(len(nodes))
		n, r := nodes[i], jti(random.IntN(5))
		switch random.IntN(12) {
		case 0:
			relays[i].setCut(true)
		case 1, 2, 3:
			relays[i].setCut(false)
		case 4, 5, 6, 7:
			n.revoked.Add(r, time.Now())
			_, _ = n.store.queue.put(must(encode("revoke", r)))
		default:
			n.revoked.Remove(r.Key())
			_, _ = n.store.queue.put(&operation{kind: "unrevoke", field: must(fieldOf(r.Key())), done: make(chan struct{})})
		}
		if random.IntN(4) == 0 {
			<-time.NewTimer(5 * time.Millisecond).C
		}
	}
	for _, r := range relays {
		r.setCut(false)
	}
	for i, n := range nodes {
		n.await("nothing waits", 2*catchUp, func() bool {
			signal(n.changed) // a node is not told of what it has done itself
			return len(n.store.queue.next(1)) == 0
		})
		n.revoke(jti(fmt.Sprint("last", i)))
	}
	fresh := startNode(t, redis.address())
	fresh.awaitComplete()
	for _, n := range nodes {
		n.await("what the others know: "+fresh.keys(), catchUp, func() bool { return n.keys() == fresh.keys() })
	}
}
