package websocketauth

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
)

// TestLoginInOutage: a store that has gone away between the handshake and the
// login by a message lets nobody in, where on_outage is refuse. It takes
// nothing from a socket that is open.
func TestLoginInOutage(t *testing.T) {
	read := newSnapshot()
	read.state.Store(snapshotRead)
	asSaved(t, read)
	f := &fleet{store: &scriptedStore{name: "redis:a"}}
	f.complete.Store(true)
	app := &App{held: new(atomic.Pointer[fleet])}
	app.held.Store(f)
	s := &socket{
		handler: &Handler{
			every: new(everyMessage), // of which the time is not measured
			app:   app, verifiers: []namedVerifier{{Verifier: countingVerifier{new(atomic.Int64)}, name: "counting"}},
		},
		request: new(request), handshake: httptest.NewRequest(http.MethodGet, "/", nil),
	}
	c := &conversation{s: s}
	for _, tc := range []struct {
		name              string
		away, alone, open bool
		want              auth.Reason
	}{
		{"the store is there", false, false, false, ""},
		{"away, and refused", true, false, false, reasonUnavailable},
		{"away, and served", true, true, false, ""},
		{"away, and open", true, false, true, ""},
	} {
		f.away.Store(tc.away)
		app.servesAlone = tc.alone
		s.identity = nil
		if tc.open {
			s.identity = &auth.Identity{Subject: "alice"}
		}
		if _, err := c.verify("good token"); (err == nil) != (tc.want == "") || err != nil && reasonOf(err) != tc.want {
			t.Errorf("%s: %v, want reason %q", tc.name, err, tc.want)
		}
	}
}
