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
			s := startSite(t, polled())
			claims := map[string]any{
				"sub": "alice", "jti": "polled", "sid": "polled", "iat": time.Now().Add(-time.Minute).Unix(),
			}
			token := s.issuer.token(claims)
			url := "http://" + s.site + "/socket.io/" + polling("revoked")
			if status := poll(t, http.MethodPost, url, loginPacket(token)); status != http.StatusOK {
				t.Fatalf("login: answered %d", status)
			}
			if status := poll(t, http.MethodGet, url, ""); status != http.StatusOK {
				t.Fatalf("after the login: answered %d", status)
			}
			socket := "/socket.io/?EIO=4&transport=websocket&sid=revoked"
			open := s.open(t, h1, socket, noHeader)
			for len(s.app.plain) > 0 {
				<-s.app.plain
			}

			lag, start := measureLag(t), time.Now()
			_, ended := s.revoke(t, map[string]any{"issuer": s.issuer.URL, kind: claims[map[string]string{
				"subject": "sub", "jti": "jti", "sid": "sid",
			}[kind]]})
			if ended != 1 {
				t.Errorf("%d sockets have ended, want 1", ended)
			}
			if _, end := open.last(t, patience); end.code != closeUnauthorized {
				t.Errorf("the socket: %v, want 3000", end)
			}
			lag.inTime(t, "end of the socket", start, time.Now(), time.Second)
			for what, status := range map[string]int{
				"poll":          poll(t, http.MethodGet, url, ""),
				"message":       poll(t, http.MethodPost, url, `42["event"]`),
				"another login": poll(t, http.MethodPost, url, loginPacket(token)),
			} {
				if status != http.StatusUnauthorized {
					t.Errorf("%s: answered %d, want 401", what, status)
				}
			}
			if _, answer := s.handshake(t, h1, socket, noHeader); answer.StatusCode != http.StatusUnauthorized {
				t.Errorf("handshake: answered %s, want 401", answer.Status)
			}
			if n := len(s.app.plain); n != 0 {
				t.Errorf("the application was asked: %s", <-s.app.plain)
			}
		})
	}
}

// TestRevocationPolledLate: a socket that waits for a login, which then comes
// by polling, is not opened by one that is revoked meanwhile.
func TestRevocationPolledLate(t *testing.T) {
	t.Parallel()
	s := startSite(t, polled())
	url := "http://" + s.site + "/socket.io/" + polling("late")
	c := s.open(t, h1, "/socket.io/?EIO=4&transport=websocket&sid=late", noHeader)
	if status := poll(t, http.MethodPost, url, loginPacket(s.issuer.token())); status != http.StatusOK {
		t.Fatalf("login: answered %d", status)
	}
	s.revoke(t, map[string]any{"issuer": s.issuer.URL, "jti": "token-1"})
	c.says(t, `42["event"]`)
	if _, end := c.last(t, patience); end.code != closeUnauthorized {
		t.Errorf("%v, want 3000", end)
	}
	s.noSessionLeft(t)
}
