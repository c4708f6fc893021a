//go:build !windows

package redis

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/internal/pace"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/session"
)

// patience is how long a test waits for an event before it gives up. It is no
// measure of speed: the machine may be busy.
const patience = time.Minute

// node is what a process knows, as the host would keep it.
type node struct {
	t         testing.TB
	watch     *pace.Watch
	store     *Store
	cancel    context.CancelFunc
	returned  chan struct{}
	revoked   session.Revocations
	lockouts  session.Lockouts
	changed   chan struct{} // has room for one
	mu        sync.Mutex    // guards the following
	calls     map[string]int
	outages   []error
	busy      bool
	lastTold  []session.Revocation
	forgetful bool // Known returns nothing
}

// startNode starts a node that follows Redis at an address.
func startNode(t testing.TB, address string, known ...session.Revocation) *node {
	t.Helper()
	return startNodeWith(t, Config{URL: "redis://" + address}, known...)
}

func startNodeWith(t testing.TB, config Config, known ...session.Revocation) *node {
	t.Helper()
	s, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	s.settle = 200 * time.Millisecond
	return follow(t, s, known...)
}

func newNode(t testing.TB, s *Store) *node {
	return &node{t: t, watch: pace.Start(t), store: s, changed: make(chan struct{}, 1), calls: make(map[string]int), returned: make(chan struct{})}
}

func follow(t testing.TB, s *Store, known ...session.Revocation) *node {
	t.Helper()
	n := newNode(t, s)
	for _, r := range known {
		n.revoked.Add(r, time.Now())
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	go func() {
		defer close(n.returned)
		s.Follow(ctx, n)
	}()
	t.Cleanup(n.stop)
	return n
}

// stop ends the node, as quickly as a process should.
func (n *node) stop() {
	start := time.Now()
	n.cancel()
	select {
	case <-n.returned:
		n.watch.InTime(n.t, "the end of Follow", start, time.Now(), 500*time.Millisecond)
	case <-time.After(patience):
		n.t.Error("Follow does not return when its context ends")
	}
}

// enter counts a call and sees that it is the only one.
func (n *node) enter(name string) func() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.busy {
		n.t.Errorf("%s is called during another call", name)
	}
	n.busy = true
	n.calls[name]++
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.busy = false
		signal(n.changed)
	}
}

func (n *node) Revoked(all []session.Revocation) {
	defer n.enter("Revoked")()
	n.mu.Lock()
	n.lastTold = all
	n.mu.Unlock()
	for _, r := range all {
		if err := r.Check(); err != nil {
			n.t.Errorf("told of %+v: %v", r, err)
		}
		n.revoked.Add(r, time.Now())
	}
}

func (n *node) Unrevoked(key string) {
	defer n.enter("Unrevoked")()
	n.revoked.Remove(key)
}

func (n *node) LockedOut(address string, until time.Time) {
	defer n.enter("LockedOut")()
	n.lockouts.Lock(address, until)
}

func (n *node) Released(address string) {
	defer n.enter("Released")()
	n.lockouts.Forget(address, time.Now())
}

func (n *node) Complete() { n.enter("Complete")() }

func (n *node) Known() []session.Revocation {
	defer n.enter("Known")()
	if n.forgetful {
		return nil
	}
	return n.revoked.All(time.Now())
}

func (n *node) Outage(err error) {
	defer n.enter("Outage")()
	n.mu.Lock()
	n.outages = append(n.outages, err)
	n.mu.Unlock()
}

// count returns how often a method was called.
func (n *node) count(name string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.calls[name]
}

// told returns all outages and their ends.
func (n *node) told() []error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.outages)
}

// await waits until the node is as it should be, and expects that within a
// time, give or take what the machine is late.
func (n *node) await(what string, within time.Duration, is func() bool) {
	n.t.Helper()
	start := time.Now()
	over := time.NewTimer(patience)
	defer over.Stop()
	for !is() {
		select {
		case <-n.changed:
		case <-over.C:
			n.t.Fatalf("not within %v: %s; outages %v, knows %s", patience, what, n.told(), n.keys())
		}
	}
	n.watch.InTime(n.t, what, start, time.Now(), within)
}

func (n *node) awaitComplete() {
	n.t.Helper()
	n.await("complete", 10*time.Second, func() bool { return n.count("Complete") == 1 })
}

// knows tells whether all of these are revoked at the node.
func (n *node) knows(all ...session.Revocation) bool {
	for _, r := range all {
		if !n.meets(r) {
			return false
		}
	}
	return true
}

func (n *node) meets(r session.Revocation) bool {
	_, found := n.revoked.Find(session.Identity{
		Issuer: r.Issuer, Subject: r.Subject, TokenID: r.TokenID, SessionID: r.SessionID, IssuedAt: r.IssuedBefore,
	}, time.Now())
	return found
}

// keys returns what is revoked at the node, as text.
func (n *node) keys() string {
	var keys []string
	for _, r := range n.revoked.All(time.Now()) {
		keys = append(keys, strings.ReplaceAll(r.Key(), "\x00", ":"))
	}
	if len(keys) > 20 {
		return fmt.Sprintf("%d revocations", len(keys))
	}
	return strings.Join(keys, " ")
}

// revoke does what the host does: here first, then everywhere.
func (n *node) revoke(all ...session.Revocation) {
	n.t.Helper()
	var done sync.WaitGroup
	for _, r := range all {
		n.revoked.Add(r, time.Now())
		done.Go(func() {
			if err := n.store.Revoke(context.Background(), r); err != nil {
				n.t.Errorf("Revoke: %v", err)
			}
		})
	}
	done.Wait()
}

func (n *node) unrevoke(r session.Revocation) {
	n.t.Helper()
	n.revoked.Remove(r.Key())
	if err := n.store.Unrevoke(context.Background(), r.Key()); err != nil {
		n.t.Errorf("Unrevoke: %v", err)
	}
}

// jti returns a revocation of a token.
func jti(id any) session.Revocation {
	return session.Revocation{Issuer: "https://id.example", TokenID: fmt.Sprint(id), Until: time.Now().Add(time.Hour)}
}

// jtis returns many, whose ids begin alike.
func jtis(prefix string, n int) []session.Revocation {
	all := make([]session.Revocation, n)
	for i := range all {
		all[i] = jti(fmt.Sprint(prefix, i))
	}
	return all
}

// subject returns a revocation of a subject.
func subject(name string, issuedBefore, until time.Time) session.Revocation {
	return session.Revocation{Issuer: "https://id.example", Subject: name, IssuedBefore: issuedBefore, Until: until}
}

// clientOf returns a client of its own for the Redis of a store.
func clientOf(t testing.TB, s *Store) *redis.Client {
	t.Helper()
	client := redis.NewClient(s.options)
	t.Cleanup(func() { client.Close() })
	return client
}
