//go:build !windows

package redis

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/session"
)

// put queues an operation on one field.
func put(t testing.TB, q *queue, kind string) *operation {
	t.Helper()
	o, err := q.put(&operation{kind: kind, field: "jti:i:a", done: make(chan struct{})})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func newQueue() *queue { return &queue{wake: make(chan struct{}, 1)} }

func from(origin, kind string, number uint64) message {
	return message{kind: kind, origin: origin, number: number, field: "jti:i:a"}
}

// Messages that come before an operation of ours has come back lie before it
// in the stream: what ours undoes, the node is not told.
func TestQueuePasses(t *testing.T) {
	t.Parallel()
	q := newQueue()
	if !q.passes(from("other", "revoke", 1), "us") || !q.passes(from("other", "unrevoke", 2), "us") {
		t.Error("the node is not told of others")
	}
	first := put(t, q, "revoke")
	if q.passes(from("other", "unrevoke", 3), "us") {
		t.Error("told of an unrevocation that our revocation comes after: what is revoked passes until then")
	}
	if !q.passes(from("other", "revoke", 4), "us") {
		t.Error("not told of a revocation that may be longer than ours")
	}
	if q.passes(from("us", "revoke", first.number), "us") {
		t.Error("told of our own")
	}
	if !q.passes(from("other", "unrevoke", 5), "us") {
		t.Error("not told of an unrevocation that comes after ours")
	}

	second := put(t, q, "unrevoke")
	third := put(t, q, "revoke")
	if q.passes(from("us", "unrevoke", second.number), "us") {
		t.Error("told of our own unrevocation that we have taken back")
	}
	if q.passes(from("us", "revoke", third.number), "us") || len(q.latest) != 0 {
		t.Error("told of our own, or waiting for it for ever")
	}

	fourth := put(t, q, "unrevoke")
	if !q.passes(from("other", "revoke", 6), "us") {
		t.Error("not told of a revocation: if ours is refused it counts")
	}
	if !q.passes(from("us", "unrevoke", fourth.number), "us") {
		t.Error("not told of our own unrevocation although told of a revocation before")
	}
}

// What the node was told a moment before its own change it may take in after
// it; then it is told of its own, too.
func TestQueueCrossing(t *testing.T) {
	t.Parallel()
	q := newQueue()
	q.tells()
	o := put(t, q, "revoke")
	if !q.passes(from("us", "revoke", o.number), "us") {
		t.Error("not told of our own after another change")
	}
}

// What Redis has acknowledged but not told is sent again after a loss, in
// order, and before what is newer.
func TestLostBeforeItCameBack(t *testing.T) {
	t.Parallel()
	q := newQueue()
	var all []*operation
	for _, field := range []string{"a", "b", "c", "d"} {
		all = append(all, must(q.put(&operation{kind: "revoke", field: field, done: make(chan struct{})})))
	}
	for i, o := range all[:3] {
		if err := q.acknowledge(o, position{ms: uint64(10 + i)}.String()); err != nil {
			t.Fatal(err)
		}
		<-o.done
	}
	q.reads(position{ms: 10}) // has come back
	q.again()
	if got := q.next(10); !slices.Equal(got, all[1:]) {
		t.Errorf("%d operations are sent again, want the three that have not come back", len(got))
	}
	for i, o := range all[1:] {
		if err := q.acknowledge(o, position{ms: uint64(20 + i)}.String()); err != nil {
			t.Fatal(err)
		}
	}
	q.reads(position{ms: 30})
	if q.again(); len(q.next(10)) != 0 || len(q.latest) != 0 || q.bytes != 0 {
		t.Errorf("%d wait, %d have not come back, %d bytes", len(q.next(10)), len(q.latest), q.bytes)
	}
}

func TestAcknowledge(t *testing.T) {
	t.Parallel()
	q := newQueue()
	o := put(t, q, "unrevoke")
	if q.acknowledge(o, "nonsense") == nil || len(q.next(1)) != 1 {
		t.Error("nonsense acknowledges")
	}
	if err := q.acknowledge(o, "newer"); err != nil {
		t.Fatal(err)
	}
	if <-o.done; !errors.Is(o.err, errNewer) || len(q.latest) != 0 {
		t.Errorf("refused: %v", o.err)
	}
}

// send applies operations as they come, past the queue.
func send(t testing.TB, n *node, operations ...*operation) []string {
	t.Helper()
	answers, err := n.store.apply(t.Context(), clientOf(t, n.store), operations)
	if err != nil {
		t.Fatal(err)
	}
	return answers
}

// Whoever comes first, both of two revocations of a subject count.
func TestMerge(t *testing.T) {
	t.Parallel()
	redis := startServer(t)
	a, b := startNode(t, redis.address()), startNode(t, redis.address())
	a.awaitComplete()
	b.awaitComplete()
	now := time.Now().Truncate(time.Millisecond)
	var want []session.Revocation
	for _, name := range []string{"u0", "u1"} {
		late := subject(name, now, now.Add(time.Hour))
		late.Reason = "stolen"
		long := subject(name, now.Add(-time.Minute), now.Add(2*time.Hour))
		if name == "u0" {
			a.revoke(late)
			b.revoke(long)
		} else {
			a.revoke(long)
			b.revoke(late)
		}
		long.IssuedBefore, long.Reason = late.IssuedBefore, late.Reason
		want = append(want, long)
	}
	// Any time is more than a time.
	some := session.Revocation{TokenID: "t", IssuedBefore: now, Until: now.Add(time.Hour)}
	every := session.Revocation{TokenID: "t", Until: now.Add(time.Minute)}
	a.revoke(some)
	b.revoke(every, some)
	fresh := startNode(t, redis.address())
	fresh.awaitComplete()
	some.IssuedBefore = time.Time{}
	if got := fresh.revoked.All(now); !slices.Equal(got, append([]session.Revocation{some}, want...)) {
		t.Errorf("became %v, want %v and %v", got, some, want)
	}
}

// An operation whose answer was lost is sent again, but not done again: it
// would undo what came after it.
func TestOnce(t *testing.T) {
	t.Parallel()
	redis := startServer(t)
	a, b := startNode(t, redis.address()), startNode(t, redis.address())
	a.awaitComplete()
	b.awaitComplete()
	r := jti("one")
	revoke := must(encode("revoke", r))
	revoke.number = 1
	unrevoke := &operation{kind: "unrevoke", field: revoke.field, number: 1 << 40, seen: "9999999999999-0"}
	send(t, a, revoke)
	send(t, b, unrevoke)
	send(t, a, revoke)
	if fresh := startNode(t, redis.address()); true {
		fresh.awaitComplete()
		if fresh.knows(r) {
			t.Error("a revocation was done twice")
		}
	}
	b.revoke(r)
	send(t, b, unrevoke)
	fresh := startNode(t, redis.address())
	fresh.awaitComplete()
	if !fresh.knows(r) {
		t.Error("an unrevocation was done twice")
	}
}

// What is removed and revoked again in one go is never let through in between,
// and of several revocations all count.
func TestTogether(t *testing.T) {
	t.Parallel()
	s := must(New(Config{URL: "redis://127.0.0.1"}))
	n := &node{t: t, store: s, changed: make(chan struct{}, 1), calls: make(map[string]int)}
	f := &follower{store: s, node: n}
	long, short := jti("a"), jti("a")
	long.Until = long.Until.Add(time.Hour)
	at := uint64(0)
	tells := func(kind string, r session.Revocation) entry {
		at++
		o := must(encode("revoke", r))
		value := `{"version":1,"until":` + o.until + `,"of":` + o.of + `}`
		return entry{position{ms: at}, []string{"kind", kind, "origin", "x", "op", "1", "key", o.field, "value", value}}
	}
	f.take([]entry{tells("revoke", long), tells("revoke", short)})
	if got := n.revoked.All(time.Now()); len(got) != 1 || got[0].Until.Before(long.Until) {
		t.Errorf("knows %v, want until %v", got, long.Until)
	}
	f.take([]entry{tells("unrevoke", long), tells("revoke", short)})
	if n.count("Unrevoked") != 0 || !n.knows(short) {
		t.Error("let through in between")
	}
	f.take([]entry{tells("revoke", short), tells("unrevoke", long)})
	if n.knows(short) {
		t.Error("what was removed last counts")
	}
}
