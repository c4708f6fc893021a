package revocation

import (
	"net/http"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// TestRevocationPolled: who has logged in by polling and is revoked then gets
// and sends nothing more, and no socket: neither one that comes instead of the
// polling nor one whose handshake came before the login.
func TestRevocationPolled(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"subject", "jti", "sid"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := rig.StartSite(t, rig.Polled())
			claims := map[string]any{
				"sub": "alice", "jti": "polled", "sid": "polled", "iat": time.Now().Add(-time.Minute).Unix(),
			}
			token := s.Issuer.Token(claims)
			url := "http://" + s.Addr + "/socket.io/" + rig.Polling("revoked")
			if status := rig.Poll(t, http.MethodPost, url, rig.LoginPacket(token)); status != http.StatusOK {
				t.Fatalf("login: answered %d", status)
			}
			if status := rig.Poll(t, http.MethodGet, url, ""); status != http.StatusOK {
				t.Fatalf("after the login: answered %d", status)
			}
			socket := "/socket.io/?EIO=4&transport=websocket&sid=revoked"
			open := s.Open(t, rig.H1, socket, rig.NoHeader)
			for len(s.App.Plain) > 0 {
				<-s.App.Plain
			}

			lag, start := rig.MeasureLag(t), time.Now()
			_, ended := s.Revoke(t, map[string]any{"issuer": s.Issuer.URL, kind: claims[map[string]string{
				"subject": "sub", "jti": "jti", "sid": "sid",
			}[kind]]})
			if ended != 1 {
				t.Errorf("%d sockets have ended, want 1", ended)
			}
			if _, end := open.Last(t, rig.Patience); end.Code != rig.CloseUnauthorized {
				t.Errorf("the socket: %v, want 3000", end)
			}
			lag.InTime(t, "end of the socket", start, time.Now(), time.Second)
			for what, status := range map[string]int{
				"poll":          rig.Poll(t, http.MethodGet, url, ""),
				"message":       rig.Poll(t, http.MethodPost, url, `42["event"]`),
				"another login": rig.Poll(t, http.MethodPost, url, rig.LoginPacket(token)),
			} {
				if status != http.StatusUnauthorized {
					t.Errorf("%s: answered %d, want 401", what, status)
				}
			}
			if _, answer := s.Handshake(t, rig.H1, socket, rig.NoHeader); answer.StatusCode != http.StatusUnauthorized {
				t.Errorf("handshake: answered %s, want 401", answer.Status)
			}
			if n := len(s.App.Plain); n != 0 {
				t.Errorf("the application was asked: %s", <-s.App.Plain)
			}
		})
	}
}

// TestRevocationPolledLate: a socket that waits for a login, which then comes
// by polling, is not opened by one that is revoked meanwhile.
func TestRevocationPolledLate(t *testing.T) {
	t.Parallel()
	s := rig.StartSite(t, rig.Polled())
	url := "http://" + s.Addr + "/socket.io/" + rig.Polling("late")
	c := s.Open(t, rig.H1, "/socket.io/?EIO=4&transport=websocket&sid=late", rig.NoHeader)
	if status := rig.Poll(t, http.MethodPost, url, rig.LoginPacket(s.Issuer.Token())); status != http.StatusOK {
		t.Fatalf("login: answered %d", status)
	}
	s.Revoke(t, map[string]any{"issuer": s.Issuer.URL, "jti": "token-1"})
	c.Says(t, `42["event"]`)
	if _, end := c.Last(t, rig.Patience); end.Code != rig.CloseUnauthorized {
		t.Errorf("%v, want 3000", end)
	}
	s.NoSessionLeft(t)
}
