package websocketauth

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/session"
)

// A token is revoked in the very moment in which a socket becomes its owner's.
// Either the socket is refused or it is ended, whichever comes first: a check
// before the registration would leave a live one.
func TestAttackRevokeInTheMomentOfIdentifying(t *testing.T) {
	const tries = 60_000
	refused, ended := 0, 0
	handshake := httptest.NewRequest(http.MethodGet, "/", nil)
	for n := range tries {
		id := &auth.Identity{Issuer: "moment", Subject: "alice", TokenID: fmt.Sprint(n)}
		s := &socket{handler: &Handler{}, request: &request{}, handshake: handshake}
		s.session = session.Session{ID: fmt.Sprint("moment", n), Socket: s, Close: func() {}}
		if !sockets.Add(&s.session) {
			t.Fatal("nothing can be added")
		}
		var (
			err   error
			both  sync.WaitGroup
			there atomic.Int32
		)
		// meet returns in both goroutines at the same moment, but for a handicap
		// of some nanoseconds that moves from try to try.
		meet := func(handicap int) {
			for there.Add(1); there.Load() < 2; {
				runtime.Gosched()
			}
			for range handicap {
				there.Load()
			}
		}
		both.Go(func() {
			meet(max(n%2000-1000, 0))
			err = s.identify(id)
		})
		both.Go(func() {
			meet(max(1000-n%2000, 0))
			apply(session.Revocation{Issuer: id.Issuer, TokenID: id.TokenID, Until: time.Now().Add(time.Minute)})
		})
		both.Wait()
		switch over := s.isOver(); {
		case err != nil:
			refused++
		case over:
			ended++
		default:
			t.Fatalf("try %d has left a live socket", n)
		}
		sockets.Remove(&s.session)
		revocations.Remove(session.Revocation{Issuer: id.Issuer, TokenID: id.TokenID}.Key())
	}
	if refused == 0 || ended == 0 {
		t.Errorf("%d were refused and %d ended: always the same comes first, so the test shows nothing", refused, ended)
	}
}
