package websocketauth

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
)

// countingVerifier vouches for what begins with "good", each time with an
// identity of its own, as one that remembers nothing.
type countingVerifier struct{ asked *atomic.Int64 }

func (v countingVerifier) Verify(_ context.Context, credential string, _ time.Time) (*auth.Identity, error) {
	v.asked.Add(1)
	if credential[:4] != "good" {
		return nil, auth.Refuse(auth.ReasonSignature, "no good")
	}
	return &auth.Identity{Subject: "alice", ValidUntil: time.Now().Add(time.Hour)}, nil
}

// TestAttackGuessOnOpenSocket: while an address is locked out, the credential of
// an open socket goes on counting with each message, also if nobody remembers
// it. Another one is not looked at: not even the time that takes may tell
// whether it is good.
func TestAttackGuessOnOpenSocket(t *testing.T) {
	t.Parallel()
	const ip = "203.0.113.77"
	var asked atomic.Int64
	h := &Handler{
		every: new(everyMessage), app: &App{Lockout: new(Lockout)},
		verifiers: []namedVerifier{{Verifier: countingVerifier{&asked}, name: "counting"}},
	}
	s := &socket{
		handler: h, request: &request{clientIP: ip},
		handshake: httptest.NewRequest(http.MethodGet, "/", nil),
		identity:  &auth.Identity{Subject: "alice"},
	}
	c := &conversation{s: s}
	presents := func(credential string, want auth.Reason) {
		t.Helper()
		if _, err := c.verify(credential); (err == nil) != (want == "") || err != nil && reasonOf(err) != want {
			t.Errorf("%s: %v, want reason %q", credential, err, want)
		}
	}
	presents("good token", "")
	lockouts.Lock(ip, time.Now().Add(time.Hour))
	defer lockouts.Forget(ip, time.Now())
	presents("good token", "")
	before := asked.Load()
	presents("good guess", reasonLockout)
	presents("bad guess", reasonLockout)
	if n := asked.Load() - before; n != 0 {
		t.Errorf("%d guesses were verified", n)
	}
	presents("good token", "")
}
