package integration

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

const logoutConfig = `
http://{$SITE} {
	websocket_logout /logout {
		issuer {$ISSUER}
		audience chat-client
	}
	websocket_auth {
		verify jwt {
			issuer {$ISSUER} {$OTHER}
			audience chat
		}
	}
	reverse_proxy {$APP} {
		stream_close_delay 1m
	}
}
`

// logoutSite is a Caddy with a provider that may log users out of it, and
// another one that may not.
type logoutSite struct {
	*caddyProc
	idp, other *issuer
	sent       int
}

func startLogoutSite(t *testing.T) *logoutSite {
	t.Helper()
	s := &logoutSite{idp: newIssuer(t), other: newIssuer(t)}
	app := newBackend(t)
	s.caddyProc = startCaddy(t, logoutConfig,
		withEnv("ISSUER", s.idp.URL), withEnv("OTHER", s.other.URL), withEnv("APP", app.addr))
	return s
}

// logoutToken returns a logout token of a provider's.
func (s *logoutSite) logoutToken(from *issuer, about map[string]any) string {
	s.sent++
	return sign(jwt{header: map[string]any{"typ": "logout+jwt"}, claims: from.claims(map[string]any{
		"aud": "chat-client", "jti": fmt.Sprint("logout-", s.sent), "exp": time.Now().Add(2 * time.Minute).Unix(),
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
		"scope":  absent, "sub": absent,
	}, about)})
}

// logout sends a token as the provider does and returns the status.
func (s *logoutSite) logout(t *testing.T, token string) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	form := strings.NewReader(url.Values{"logout_token": {token}}.Encode())
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.site+"/logout", form)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("Cache-Control %q", resp.Header.Get("Cache-Control"))
	}
	return resp.StatusCode
}

// socket opens one with a token, and shows that it lives.
func (s *logoutSite) socket(t *testing.T, token string) *websocket.Conn {
	t.Helper()
	conn, _ := mustDial(t, s.site, bearer("/", token))
	mustEcho(t, conn, "before")
	return conn
}

// wantEnded: the socket gets code 3000, and its token opens no new one.
func (s *logoutSite) wantEnded(t *testing.T, conn *websocket.Conn, token string) {
	t.Helper()
	if end := closeOf(t, conn); end.Code != 3000 {
		t.Errorf("closed with %v, want 3000", end)
	}
	refused(t, s.site, bearer("/", token), http.StatusUnauthorized)
}

// TestLogoutEndsSession: a logout that names a session ends the sockets of
// that one, of that issuer, and no others. Its token counts once.
func TestLogoutEndsSession(t *testing.T) {
	t.Parallel()
	s := startLogoutSite(t)
	first := s.idp.token(map[string]any{"sid": "s1"})
	second := s.idp.token(map[string]any{"sid": "s2"})
	foreign := s.other.token(map[string]any{"sid": "s1"})
	a, b, c := s.socket(t, first), s.socket(t, second), s.socket(t, foreign)
	token := s.logoutToken(s.idp, map[string]any{"sid": "s1", "sub": "alice"})
	if status := s.logout(t, token); status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	s.wantEnded(t, a, first)
	mustEcho(t, b, "another session")
	mustEcho(t, c, "another issuer")
	if status := s.logout(t, token); status != http.StatusBadRequest {
		t.Errorf("the same token again: status %d", status)
	}
	if status := s.logout(t, s.logoutToken(s.idp, map[string]any{"sid": "unknown"})); status != http.StatusOK {
		t.Errorf("a session without sockets: status %d", status)
	}
	if status := s.logout(t, s.logoutToken(s.other, map[string]any{"sid": "s2"})); status != http.StatusBadRequest {
		t.Errorf("a provider that may not: status %d", status)
	}
	mustEcho(t, b, "still")
}

// TestLogoutEndsSubject: a logout that names a user alone ends all that the
// user has been given so far, and who logs in again comes in again.
func TestLogoutEndsSubject(t *testing.T) {
	t.Parallel()
	s := startLogoutSite(t)
	alice := s.idp.token(map[string]any{"sid": "s1"})
	bob := s.idp.token(map[string]any{"sub": "bob"})
	foreign := s.other.token()
	a, b, c := s.socket(t, alice), s.socket(t, bob), s.socket(t, foreign)
	if status := s.logout(t, s.logoutToken(s.idp, map[string]any{"sub": "alice"})); status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	s.wantEnded(t, a, alice)
	mustEcho(t, b, "another user")
	mustEcho(t, c, "another issuer's user")
	// Issued in a later second, as clocks may be ahead.
	later := s.idp.token(map[string]any{"iat": time.Now().Add(5 * time.Second).Unix()})
	s.socket(t, later)
}

// TestAttackLogoutByOwnToken: with the access token of their own socket, nobody
// can log its user out.
func TestAttackLogoutByOwnToken(t *testing.T) {
	t.Parallel()
	s := startLogoutSite(t)
	token := s.idp.token(map[string]any{"aud": []string{"chat", "chat-client"}, "sid": "s1"})
	conn := s.socket(t, token)
	if status := s.logout(t, token); status != http.StatusBadRequest {
		t.Errorf("status %d, want 400", status)
	}
	mustEcho(t, conn, "after")
	s.socket(t, token)
}
