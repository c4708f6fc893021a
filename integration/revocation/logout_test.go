package revocation

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// logoutConfig returns a Caddyfile with more lines in its directives.
func logoutConfig(logout, auth string) string {
	return `
http://{$SITE} {
	websocket_logout /logout {
		issuer {$ISSUER}
		audience chat-client
		` + logout + `
	}
	websocket_auth {
		verify jwt {
			issuer {$ISSUER} {$OTHER}
			audience chat
		}
		` + auth + `
	}
	reverse_proxy {$APP} {
		stream_close_delay 1m
	}
}
`
}

// logoutSite is a Caddy with a provider that may log users out of it, and
// another one that may not.
type logoutSite struct {
	*rig.Caddy
	idp, other *rig.Issuer
	sent       int
}

func startLogoutSite(t testing.TB) *logoutSite { return startLogoutSiteOf(t, logoutConfig("", "")) }

func startLogoutSiteOf(t testing.TB, caddyfile string) *logoutSite {
	t.Helper()
	s := &logoutSite{idp: rig.NewIssuer(t), other: rig.NewIssuer(t)}
	app := rig.NewBackend(t)
	s.Caddy = rig.StartCaddy(t, caddyfile,
		rig.WithEnv("ISSUER", s.idp.URL), rig.WithEnv("OTHER", s.other.URL), rig.WithEnv("APP", app.Addr))
	return s
}

// logoutToken returns a logout token of a provider's.
func (s *logoutSite) logoutToken(from *rig.Issuer, about map[string]any) string {
	s.sent++
	return rig.LogoutTokenOf(from, map[string]any{"jti": fmt.Sprint("logout-", s.sent)}, about)
}

// socket opens one with a token, and shows that it lives.
func (s *logoutSite) socket(t testing.TB, token string) *websocket.Conn {
	t.Helper()
	conn, _ := rig.MustDial(t, s.Addr, rig.Bearer("/", token))
	rig.MustEcho(t, conn, "before")
	return conn
}

// wantEnded: the socket gets code 3000, and its token opens no new one.
func (s *logoutSite) wantEnded(t testing.TB, conn *websocket.Conn, token string) {
	t.Helper()
	if end := rig.CloseOf(t, conn); end.Code != 3000 {
		t.Errorf("closed with %v, want 3000", end)
	}
	rig.Refused(t, s.Addr, rig.Bearer("/", token), http.StatusUnauthorized)
}

// TestLogoutEndsSession: a logout that names a session ends the sockets of
// that one, of that issuer, and no others. Its token counts once.
func TestLogoutEndsSession(t *testing.T) {
	t.Parallel()
	s := startLogoutSite(t)
	first := s.idp.Token(map[string]any{"sid": "s1"})
	second := s.idp.Token(map[string]any{"sid": "s2"})
	foreign := s.other.Token(map[string]any{"sid": "s1"})
	a, b, c := s.socket(t, first), s.socket(t, second), s.socket(t, foreign)
	token := s.logoutToken(s.idp, map[string]any{"sid": "s1", "sub": "alice"})
	if status := s.Logout(t, token); status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	s.wantEnded(t, a, first)
	rig.MustEcho(t, b, "another session")
	rig.MustEcho(t, c, "another issuer")
	if status := s.Logout(t, token); status != http.StatusBadRequest {
		t.Errorf("the same token again: status %d", status)
	}
	if status := s.Logout(t, s.logoutToken(s.idp, map[string]any{"sid": "unknown"})); status != http.StatusOK {
		t.Errorf("a session without sockets: status %d", status)
	}
	if status := s.Logout(t, s.logoutToken(s.other, map[string]any{"sid": "s2"})); status != http.StatusBadRequest {
		t.Errorf("a provider that may not: status %d", status)
	}
	rig.MustEcho(t, b, "still")
}

// TestLogoutEndsSubject: a logout that names a user alone ends all that the
// user has been given so far, and who logs in again comes in again.
func TestLogoutEndsSubject(t *testing.T) {
	t.Parallel()
	s := startLogoutSite(t)
	alice := s.idp.Token(map[string]any{"sid": "s1"})
	bob := s.idp.Token(map[string]any{"sub": "bob"})
	foreign := s.other.Token()
	a, b, c := s.socket(t, alice), s.socket(t, bob), s.socket(t, foreign)
	if status := s.Logout(t, s.logoutToken(s.idp, map[string]any{"sub": "alice"})); status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	s.wantEnded(t, a, alice)
	rig.MustEcho(t, b, "another user")
	rig.MustEcho(t, c, "another issuer's user")
	// Issued in a later second, as clocks may be ahead.
	later := s.idp.Token(map[string]any{"iat": time.Now().Add(5 * time.Second).Unix()})
	s.socket(t, later)
}

// TestAttackLogoutByOwnToken: with the access token of their own socket, nobody
// can log its user out.
func TestAttackLogoutByOwnToken(t *testing.T) {
	t.Parallel()
	s := startLogoutSite(t)
	token := s.idp.Token(map[string]any{"aud": []string{"chat", "chat-client"}, "sid": "s1"})
	conn := s.socket(t, token)
	if status := s.Logout(t, token); status != http.StatusBadRequest {
		t.Errorf("status %d, want 400", status)
	}
	rig.MustEcho(t, conn, "after")
	s.socket(t, token)
}

// TestLogoutWithoutSessionsInTokens: where access tokens have no sid, a logout
// that names a session ends nothing, and the log says so; with all_sessions it
// ends all of the user's, and who logs in again comes in again.
func TestLogoutWithoutSessionsInTokens(t *testing.T) {
	t.Parallel()
	start := func(lines string) (*logoutSite, *websocket.Conn, string) {
		s := startLogoutSiteOf(t, logoutConfig(lines, ""))
		token := s.idp.Token(map[string]any{"sid": rig.Absent})
		conn := s.socket(t, token)
		if status := s.Logout(t, s.logoutToken(s.idp, map[string]any{"sid": "s1", "sub": "alice"})); status != http.StatusOK {
			t.Fatalf("status %d", status)
		}
		return s, conn, token
	}
	s, conn, _ := start("")
	rig.MustEcho(t, conn, "after")
	rig.Eventually(t, rig.Patience, func() string {
		if !strings.Contains(s.Logs.String(), "set all_sessions") {
			return "no warning"
		}
		return ""
	})
	s, conn, token := start("all_sessions")
	s.wantEnded(t, conn, token)
	s.socket(t, s.idp.Token(map[string]any{"sid": rig.Absent, "iat": time.Now().Add(5 * time.Second).Unix()}))
}

// TestLogoutReachesPolling: who has logged in by polling is logged out as
// others are.
func TestLogoutReachesPolling(t *testing.T) {
	t.Parallel()
	s := startLogoutSiteOf(t, logoutConfig("", "from first_message {\nearly\n}\ndialect socketio\nhttp authenticate"))
	url := "http://" + s.Addr + "/socket.io/" + rig.Polling("here")
	login := rig.LoginPacket(s.idp.Token(map[string]any{"sid": "s1"}))
	if status := rig.Poll(t, http.MethodPost, url, login); status == http.StatusUnauthorized {
		t.Fatalf("login: answered %d", status)
	}
	if status := rig.Poll(t, http.MethodPost, url, "2"); status == http.StatusUnauthorized {
		t.Fatalf("after the login: answered %d", status)
	}
	if status := s.Logout(t, s.logoutToken(s.idp, map[string]any{"sid": "s1"})); status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	for name, request := range map[string][2]string{
		"a message": {http.MethodPost, "2"}, "a poll": {http.MethodGet, ""}, "a login with the same token": {http.MethodPost, login},
	} {
		if status := rig.Poll(t, request[0], url, request[1]); status != http.StatusUnauthorized {
			t.Errorf("%s after the logout: answered %d, want 401", name, status)
		}
	}
}
