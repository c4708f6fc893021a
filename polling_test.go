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
