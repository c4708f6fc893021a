package integration

import (
	"net/http"
	"testing"
	"time"
)

// TestRevocationPolled: who has logged in by polling and is revoked then gets
// and sends nothing more, and no socket: neither one that comes instead of the
// polling nor one whose handshake came before the login.
func TestRevocationPolled(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"subject", "jti", "sid"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := StartSite(t, Polled())
			claims := map[string]any{
				"sub": "alice", "jti": "polled", "sid": "polled", "iat": time.Now().Add(-time.Minute).Unix(),
			}
			token := s.Issuer.Token(claims)
			url := "http://" + s.Addr + "/socket.io/" + Polling("revoked")
			if status := Poll(t, http.MethodPost, url, LoginPacket(token)); status != http.StatusOK {
				t.Fatalf("login: answered %d", status)
			}
			if status := Poll(t, http.MethodGet, url, ""); status != http.StatusOK {
				t.Fatalf("after the login: answered %d", status)
			}
			socket := "/socket.io/?EIO=4&transport=websocket&sid=revoked"
			open := s.Open(t, H1, socket, NoHeader)
			for len(s.App.Plain) > 0 {
				<-s.App.Plain
			}

			lag, start := MeasureLag(t), time.Now()
			_, ended := s.Revoke(t, map[string]any{"issuer": s.Issuer.URL, kind: claims[map[string]string{
				"subject": "sub", "jti": "jti", "sid": "sid",
			}[kind]]})
			if ended != 1 {
				t.Errorf("%d sockets have ended, want 1", ended)
			}
			if _, end := open.Last(t, Patience); end.Code != CloseUnauthorized {
				t.Errorf("the socket: %v, want 3000", end)
			}
			lag.InTime(t, "end of the socket", start, time.Now(), time.Second)
			for what, status := range map[string]int{
				"poll":          Poll(t, http.MethodGet, url, ""),
				"message":       Poll(t, http.MethodPost, url, `42["event"]`),
				"another login": Poll(t, http.MethodPost, url, LoginPacket(token)),
			} {
				if status != http.StatusUnauthorized {
					t.Errorf("%s: answered %d, want 401", what, status)
				}
			}
			if _, answer := s.Handshake(t, H1, socket, NoHeader); answer.StatusCode != http.StatusUnauthorized {
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
	s := StartSite(t, Polled())
	url := "http://" + s.Addr + "/socket.io/" + Polling("late")
	c := s.Open(t, H1, "/socket.io/?EIO=4&transport=websocket&sid=late", NoHeader)
	if status := Poll(t, http.MethodPost, url, LoginPacket(s.Issuer.Token())); status != http.StatusOK {
		t.Fatalf("login: answered %d", status)
	}
	s.Revoke(t, map[string]any{"issuer": s.Issuer.URL, "jti": "token-1"})
	c.Says(t, `42["event"]`)
	if _, end := c.Last(t, Patience); end.Code != CloseUnauthorized {
		t.Errorf("%v, want 3000", end)
	}
	s.NoSessionLeft(t)
}
