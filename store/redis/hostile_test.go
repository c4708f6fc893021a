//go:build !windows

package redis

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/internal/pace"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/session"
)

// Duplicate, reordered, old, malformed and huge values and messages do nothing
// but count as odd; what is good among them has effect.
func TestHostileData(t *testing.T) {
	t.Parallel()
	pace.Try(t, hostileData)
}

func hostileData(t testing.TB) {
	redis := startServer(t)
	n := startNode(t, redis.address())
	n.awaitComplete()
	stays := jti("stays")
	n.revoke(stays)
	huge := strings.Repeat("x", 10<<20)
	before := n.store.Odd()
	add := func(fields ...any) {
		redis.do(append([]any{"XADD", "websocket_auth:changes", "*"}, fields...)...)
	}
	for _, fields := range badMessages {
		if len(fields)%2 == 0 {
			var all []any
			for _, text := range fields {
				all = append(all, text)
			}
			add(all...)
		}
	}
	for _, text := range badValues {
		add("kind", "revoke", "op", "1", "key", "jti:i:bad", "value", text)
		redis.do("HSET", "websocket_auth:revocations", fmt.Sprint("jti:i:bad", len(text)), text)
	}
	add("kind", "revoke", "op", "1", "key", "jti:i:bad", "value", huge)
	add("kind", huge)
	redis.do("HSET", "websocket_auth:revocations", "jti:i:huge", huge, "odd", "value", huge[:1<<20], "x")
	redis.do("HSET", "websocket_auth:lockouts", "192.0.2.1", "x", "192.0.2.2", huge, "192.0.2.3", 1)
	good := `{"version":1,"until":4000000000000,"of":{"issuer":"i","jti":"good"}}`
	short := `{"version":1,"until":3900000000000,"of":{"issuer":"i","jti":"good"}}`
	past := `{"version":1,"until":1000000000000,"of":{"issuer":"i","jti":"past"}}`
	for range 3 {
		add("kind", "revoke", "op", "1", "key", "jti:i:past", "value", past)
		add("kind", "lockout", "address", "192.0.2.9", "until", "1000000000000")
		add("kind", "revoke", "op", "1", "key", "jti:i:good", "value", good)
	}
	add("kind", "revoke", "op", "1", "key", "jti:i:good", "value", short)
	last := jti("last")
	n.revoke(last)
	other := startNode(t, redis.address())
	other.awaitComplete()
	other.await("the last", catchUp, func() bool { return other.knows(last, stays) })
	n.await("its own", catchUp, func() bool {
		signal(n.changed)
		return n.store.queue.latestIs(0)
	})
	all := n.revoked.All(time.Now())
	isGood := func(r session.Revocation) bool {
		return r.TokenID == "good" && r.Until.UnixMilli() == 4_000_000_000_000
	}
	if len(all) != 3 || !n.knows(stays, last) || !slices.ContainsFunc(all, isGood) {
		t.Errorf("knows %s: %v", n.keys(), all)
	}
	if len(n.lockouts.All(time.Now())) != 0 || len(other.lockouts.All(time.Now())) != 0 {
		t.Error("an address is locked out")
	}
	if got := n.store.Odd() - before; got < uint64(len(badValues)) {
		t.Errorf("%d are odd of what was %d bad values and messages", got, len(badValues))
	}
	if other.store.Odd() < uint64(len(badValues)/2) {
		t.Errorf("Odd = %d after reading %d bad values", other.store.Odd(), len(badValues))
	}
	if got := len(n.told()) + len(other.told()); got != 0 {
		t.Errorf("%d outages, want none", got)
	}
	// What is in the way of our own is written over.
	redis.do("HSET", "websocket_auth:revocations", "jti::way", huge)
	way := jti("way")
	way.Issuer = ""
	n.revoke(way)
	if v, err := decode(fmt.Sprint(redis.do("HGET", "websocket_auth:revocations", "jti::way"))); err != nil || v.Of.TokenID != "way" {
		t.Errorf("what is in the way stays: %v", err)
	}
}

// latestIs tells whether as many operations are still to come back.
func (q *queue) latestIs(n int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.latest) == n
}

// Values and messages of 10 MiB are not brought here to be looked at.
func TestHugeDataIsNotFetched(t *testing.T) { pace.Try(t, hugeDataIsNotFetched) }

func hugeDataIsNotFetched(t testing.TB) {
	redis := startServer(t)
	nodes, relays := cluster(t, redis, 1)
	n := nodes[0]
	relays[0].setCut(true)
	n.await("an outage", catchUp, func() bool { return len(n.told()) == 1 })
	huge := strings.Repeat("x", 10<<20)
	for i := range 5 {
		redis.do("XADD", "websocket_auth:changes", "*", "kind", "revoke", "op", "1", "key", "jti:i:a", "value", huge)
		redis.do("HSET", "websocket_auth:revocations", fmt.Sprint("jti:i:", i), huge)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	relays[0].setCut(false)
	n.await("all are odd", catchUp, func() bool {
		signal(n.changed)
		return n.store.Odd() == 5
	})
	fresh := startNode(t, redis.address())
	fresh.awaitComplete()
	runtime.ReadMemStats(&after)
	if took := (after.TotalAlloc - before.TotalAlloc) >> 20; took > 10 {
		t.Errorf("reading them took %d MiB", took)
	}
	if fresh.store.Odd() != 5 {
		t.Errorf("Odd = %d, want 5", fresh.store.Odd())
	}
}

func TestKeysOfAnotherType(t *testing.T) {
	t.Parallel()
	redis := startServer(t)
	redis.do("SET", "websocket_auth:revocations", "x")
	n := startNode(t, redis.address())
	n.await("an outage", catchUp, func() bool { return len(n.told()) == 1 })
	if n.count("Complete") != 0 {
		t.Error("complete")
	}
	redis.do("DEL", "websocket_auth:revocations")
	n.await("complete", catchUp, func() bool { return n.count("Complete") == 1 })
}
