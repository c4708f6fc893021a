//go:build !windows

package redis

import (
	"context"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/internal/pace"
)

// startReplica starts a Redis that follows another, and has caught up.
func startReplica(t testing.TB, of *server) *server {
	t.Helper()
	replica := startServer(t, "--repl-diskless-load", "swapdb")
	replica.do("REPLICAOF", "127.0.0.1", of.port)
	over := time.NewTimer(patience)
	defer over.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !strings.Contains(replica.do("INFO", "replication").(string), "master_link_status:up") {
		select {
		case <-tick.C:
		case <-over.C:
			t.Fatal("the replica does not follow")
		}
	}
	return replica
}

// lead has a relay lead elsewhere, and ends the connections that it has.
func (r *relay) lead(to string) {
	r.setCut(true)
	r.mu.Lock()
	r.target = to
	r.mu.Unlock()
	r.setCut(false)
}

// A replica takes over that lacks the last changes: positions go backwards.
// The nodes bring it up to date, and tell each other of changes as before.
func TestReplicaTakesOver(t *testing.T) {
	t.Parallel()
	primary := startServer(t)
	replica := startReplica(t, primary)
	nodes, relays := cluster(t, primary, 3)
	a, b, c := nodes[0], nodes[1], nodes[2]
	early := jti("early")
	a.revoke(early)
	b.await("early", catchUp, func() bool { return b.knows(early) })
	primary.do("WAIT", 1, 10_000)
	replica.do("REPLICAOF", "NO", "ONE") // it hears nothing from here on
	late := jtis("late", 20)
	a.revoke(late[:10]...)
	b.revoke(late[10:]...)
	c.await("late", catchUp, func() bool { return c.knows(late...) })
	for _, r := range relays {
		r.lead(replica.address())
	}
	primary.kill()
	fresh := startNode(t, replica.address())
	fresh.await("what the replica lacked", catchUp, func() bool { return fresh.knows(early) && fresh.knows(late...) })
	after := jti("after")
	c.revoke(after)
	a.unrevoke(early)
	for _, n := range append(nodes, fresh) {
		n.await("what has changed since", catchUp, func() bool { return n.knows(after) && n.knows(late...) && !n.knows(early) })
	}
}

// A node that has got to a replica is told of everything; what it cannot write
// there waits, and is an outage that shows.
func TestReadOnlyReplica(t *testing.T) {
	t.Parallel()
	primary := startServer(t)
	a := startNode(t, primary.address())
	a.awaitComplete()
	first := jti("first")
	a.revoke(first)
	replica := startReplica(t, primary)
	b := startNode(t, replica.address())
	b.awaitComplete()
	second := jti("second")
	a.revoke(second)
	b.await("both", catchUp, func() bool { return b.knows(first, second) })
	ctx, cancel := context.WithTimeout(t.Context(), pace.Scale(time.Second))
	defer cancel()
	mine := jti("mine")
	if err := b.store.Revoke(ctx, mine); err == nil || !strings.Contains(err.Error(), "READONLY") {
		t.Errorf("Revoke = %v, want what Redis says", err)
	}
	b.await("an outage", catchUp, func() bool { return len(b.told()) > 0 })
	third := jti("third")
	a.revoke(third)
	b.await("what comes during the outage", catchUp, func() bool { return b.knows(third) })
	replica.do("REPLICAOF", "NO", "ONE")
	fresh := startNode(t, replica.address())
	fresh.await("what has waited", 2*catchUp, func() bool { return fresh.knows(mine) })
	b.await("the end of the outage", catchUp, func() bool { told := b.told(); return told[len(told)-1] == nil })
}

// A Redis without memory takes nothing and forgets nothing: what is revoked
// waits.
func TestRedisWithoutMemory(t *testing.T) {
	t.Parallel()
	redis := startServer(t, "--maxmemory-policy", "noeviction")
	a, b := startNode(t, redis.address()), startNode(t, redis.address())
	a.awaitComplete()
	b.awaitComplete()
	before := jti("before")
	a.revoke(before)
	redis.do("CONFIG", "SET", "maxmemory", 1)
	ctx, cancel := context.WithTimeout(t.Context(), pace.Scale(time.Second))
	defer cancel()
	r := jti("one")
	if err := a.store.Revoke(ctx, r); err == nil || !strings.Contains(err.Error(), "OOM") {
		t.Errorf("Revoke = %v, want what Redis says", err)
	}
	a.await("an outage", catchUp, func() bool { return len(a.told()) > 0 })
	fresh := startNode(t, redis.address())
	fresh.awaitComplete() // reading needs none
	if !fresh.knows(before) {
		t.Error("what was revoked before is not told")
	}
	redis.do("CONFIG", "SET", "maxmemory", 0)
	b.await("what has waited", catchUp, func() bool { return b.knows(r) })
	a.await("the end of the outage", catchUp, func() bool { told := a.told(); return told[len(told)-1] == nil })
}

// A Redis that stands still holds up nobody for ever; how long it does shows.
// When it goes on, so does all that has waited.
func TestRedisStandsStill(t *testing.T) {
	t.Parallel()
	redis := startServer(t)
	a, b := startNode(t, redis.address()), startNode(t, redis.address())
	a.awaitComplete()
	b.awaitComplete()
	process := redis.process.Process
	if err := process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer process.Signal(syscall.SIGCONT)
	r := jti("one")
	start := time.Now()
	if err := a.store.Revoke(context.Background(), r); err == nil {
		t.Error("Revoke is certain")
	}
	a.watch.InTime(t, "the answer", start, time.Now(), maxWait+10*time.Second)
	b.await("an outage", 2*catchUp, func() bool { return len(b.told()) == 1 })
	stood := b.store.Current()
	if time.Since(stood) < replyTimeout {
		t.Errorf("current %v ago although Redis stands still", time.Since(stood))
	}
	if err := process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	b.await("what has waited", catchUp, func() bool { return b.knows(r) })
	b.await("current", catchUp, func() bool {
		signal(b.changed)
		return b.store.Current().After(stood.Add(replyTimeout))
	})
}
