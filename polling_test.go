package websocketauth

import (
	"fmt"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
)

// One identity that logs in for many made-up connections pushes out its own.
func TestPolledClientsAreBounded(t *testing.T) {
	now := time.Now()
	login := func(p *polledClients, id, subject string, until time.Time) {
		t.Helper()
		if err := p.put(polledKey{id: id}, &auth.Identity{Subject: subject, ValidUntil: until}, now); err != nil {
			t.Fatal(err)
		}
	}
	var p polledClients
	login(&p, "honest", "bob", now.Add(time.Hour))
	for i := range 3 * maxPolledOfOne {
		login(&p, fmt.Sprint("made-up-", i), "mallory", now.Add(time.Hour))
	}
	if n := len(p.known); n != maxPolledOfOne+1 {
		t.Errorf("%d are known, want %d", n, maxPolledOfOne+1)
	}
	if p.get(polledKey{id: "honest"}, now) == nil || p.get(polledKey{id: "made-up-0"}, now) != nil {
		t.Error("not the oldest of the same identity was forgotten")
	}
	for i := range 2 * maxPolled {
		login(&p, fmt.Sprint("many-", i), fmt.Sprint("user-", i), now.Add(time.Hour))
	}
	if len(p.known) > maxPolled || len(p.owned) > maxPolled {
		t.Errorf("%d of %d are known, at most %d may be", len(p.known), len(p.owned), maxPolled)
	}
}

// What has ended is forgotten whole: owners that come once and never again
// must not add up.
func TestPolledClientsForgetOwners(t *testing.T) {
	now := time.Now()
	var p polledClients
	for i := range 1000 {
		key := polledKey{id: fmt.Sprint("once-", i)}
		if err := p.put(key, &auth.Identity{Subject: fmt.Sprint("user-", i), ValidUntil: now.Add(time.Second)}, now); err != nil {
			t.Fatal(err)
		}
		if p.get(key, now.Add(time.Minute)) != nil {
			t.Fatal("a login has outlived its credential")
		}
	}
	if len(p.known) != 0 || len(p.owned) != 0 {
		t.Errorf("%d logins of %d owners are left", len(p.known), len(p.owned))
	}
	// Another identity takes over a connection whose login has ended, and it
	// counts as that one's.
	key := polledKey{id: "taken over"}
	for n, subject := range []string{"alice", "bob"} {
		at := now.Add(time.Duration(n) * time.Hour)
		if err := p.put(key, &auth.Identity{Subject: subject, ValidUntil: at.Add(time.Minute)}, at); err != nil {
			t.Fatal(err)
		}
	}
	if len(p.owned) != 1 || len(p.owned[polledOwner{subject: "bob"}]) != 1 {
		t.Errorf("owned by %v, want bob alone", p.owned)
	}
}

// Users whose tokens have no subject are told apart by their names: they do not
// push out each other.
func TestPolledClientsWithoutSubject(t *testing.T) {
	now := time.Now()
	var p polledClients
	for i := range 2 * maxPolledOfOne {
		id := &auth.Identity{Issuer: "issuer", User: fmt.Sprint("user-", i), ValidUntil: now.Add(time.Hour)}
		if err := p.put(polledKey{id: fmt.Sprint("of-", i)}, id, now); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(p.known); n != 2*maxPolledOfOne {
		t.Errorf("%d are known, want all %d", n, 2*maxPolledOfOne)
	}
}
