package polling

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// theSession returns the only session there is.
func (s *pollSite) theSession(t *testing.T) rig.AdminSession {
	t.Helper()
	all := s.Sessions(t, "")
	if len(all) != 1 {
		t.Fatalf("sessions: %+v, want one", all)
	}
	return all[0]
}

// TestPolledSession: a login by polling is listed, found by what it is, and in
// the table of the command.
func TestPolledSession(t *testing.T) {
	t.Parallel()
	o := rig.Polled("name chat")
	s := startPollSite(t, o)
	s.logsInBy(t, "listed", s.good)
	got := s.theSession(t)
	if got.Source != "polling" || got.State != "polling" || got.Site != "chat" || got.Subject != "alice" || got.Jti != "token-1" ||
		got.Dialect != "socketio" || got.Verifier != "jwt" || got.ValidUntil == nil || time.Until(*got.ValidUntil) < 50*time.Minute {
		t.Errorf("%+v", got)
	}
	if one := s.Session(t, got.ID); one.Subject != "alice" {
		t.Errorf("by its id: %+v", one)
	}
	if found := s.Sessions(t, "subject=bob"); len(found) > 0 {
		t.Errorf("of bob: %+v", found)
	}
	table, ok := s.Command(t, "sessions", "--subject", "alice")
	if !ok || !strings.Contains(table, got.ID) || strings.Count(table, "polling") != 2 {
		t.Errorf("the command says:\n%s", table)
	}
	text, _ := json.Marshal(got)
	if strings.Contains(string(text), "listed") {
		t.Errorf("the application's id is in %s", text)
	}
	// A request knows its session.
	s.send(t.Context(), t, http.MethodPost, "/socket.io/"+rig.Polling("listed"), `42["x"]`, nil)
	if app := rig.Receive(t, "request", s.polls.got, rig.Patience); app.header.Get("X-Session") != got.ID {
		t.Errorf("the application is told of session %q", app.header.Get("X-Session"))
	}
}

// polledEnds are the ways to end a login by polling.
var polledEnds = map[string]struct {
	lines string
	// token returns what logs in; GOOD if it is nil.
	token func(*pollSite) string
	end   func(*testing.T, *pollSite, rig.SiteOptions)
	// again tells whether the same token may log in again.
	again bool
}{
	"close by id": {end: func(t *testing.T, s *pollSite, _ rig.SiteOptions) {
		s.Asks(t, http.MethodDelete, "sessions/"+s.theSession(t).ID, "", `{"sockets":1}`)
	}, again: true},
	"close by command": {end: func(t *testing.T, s *pollSite, _ rig.SiteOptions) {
		if text, ok := s.Command(t, "close", "--subject", "alice", "--code", "4001"); !ok || text != "1 session ended\n" {
			t.Errorf("the command says %q", text)
		}
	}, again: true},
	"renew": {end: func(t *testing.T, s *pollSite, _ rig.SiteOptions) {
		s.Asks(t, http.MethodPost, "renew?subject=alice", "", `{"sockets":1}`)
	}, again: true},
	"revoke": {end: func(t *testing.T, s *pollSite, _ rig.SiteOptions) {
		if _, ended := s.Revoke(t, map[string]any{"issuer": s.Issuer.URL, "jti": "token-1"}); ended != 1 {
			t.Errorf("%d sessions have ended, want 1", ended)
		}
	}},
	"recheck": {lines: "on_reload recheck", end: func(t *testing.T, s *pollSite, o rig.SiteOptions) {
		o.Directives += "\nrequire claim role admin"
		s.MustReload(t, o)
	}},
	"recheck of a key file": {lines: "on_reload recheck", end: func(t *testing.T, s *pollSite, o rig.SiteOptions) {
		o.Directives += "\nverify jwt {\nissuer https://another.example.com\n}"
		s.MustReload(t, o) // the same tokens, and another trust
	}, again: true},
	"route gone": {lines: "on_reload recheck", end: func(t *testing.T, s *pollSite, _ rig.SiteOptions) {
		if err := s.Reload(t, "http://{$SITE} {\nrespond 404\n}\n"+rig.Elsewhere); err != nil {
			t.Fatal(err)
		}
	}},
	"max_session": {lines: "max_session 2s", end: func(*testing.T, *pollSite, rig.SiteOptions) {}, again: true},
	"expiry": {
		token: func(s *pollSite) string { return s.Issuer.Expiring(rig.Soon(2 * time.Second)) },
		end:   func(*testing.T, *pollSite, rig.SiteOptions) {},
	},
	"replaced": {lines: "sessions_per_user 1 replace", end: func(t *testing.T, s *pollSite, _ rig.SiteOptions) {
		s.logsInBy(t, "another", s.good)
	}, again: true},
}

// TestPolledSessionEnds: an end cuts the polls that wait at the application,
// whether their answers have begun or not, and nobody polls, says anything or
// opens a socket until somebody has logged in again.
func TestPolledSessionEnds(t *testing.T) {
	t.Parallel()
	for name, tt := range polledEnds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := rig.Polled(tt.lines)
			s := startPollSite(t, o)
			token := s.good
			if tt.token != nil {
				token = tt.token(s)
			}
			s.logsInBy(t, "ended", token)
			waiting, answer := s.waits(t, "ended")
			speaking, begun := s.waits(t, "ended")
			speaking.say <- "half "
			for rig.Receive(t, "part of the answer", s.heard, rig.Patience) != "half " {
				// of another answer
			}
			tt.end(t, s, o)
			rig.Receive(t, "end of the poll at the application", waiting.gone, rig.Patience)
			rig.Receive(t, "end of the poll that had begun", speaking.gone, rig.Patience)
			if got := rig.Receive(t, "answer", answer, rig.Patience); got.status != http.StatusUnauthorized {
				t.Errorf("the poll that waits: %+v, want 401", got)
			}
			isCut(t, rig.Receive(t, "answer", begun, rig.Patience), "half ")
			if name != "replaced" {
				s.NoSessionLeft(t)
			}
			if name == "route gone" {
				return
			}
			s.isOut(t, "ended")
			if !tt.again {
				return
			}
			target := "/socket.io/" + rig.Polling("ended")
			if got := s.send(t.Context(), t, http.MethodPost, target, rig.LoginPacket(s.of["BOB"]), nil); got.status != http.StatusForbidden {
				t.Errorf("bob logs in on the connection: answered %d, want 403", got.status)
			}
			s.nothingGot(t, "bob")
			s.logsInBy(t, "ended", s.of["NEWER"])
			if got := s.send(t.Context(), t, http.MethodGet, target, "", nil); got.status != http.StatusOK {
				t.Errorf("after another login: %+v", got)
			}
		})
	}
}

// isOut expects that nothing of a connection gets to the application.
func (s *pollSite) isOut(t *testing.T, sid string) {
	t.Helper()
	for len(s.polls.got) > 0 {
		<-s.polls.got
	}
	target := "/socket.io/" + rig.Polling(sid)
	for method, body := range map[string]string{http.MethodGet: "", http.MethodPost: `42["event"]`} {
		if got := s.send(t.Context(), t, method, target, body, nil); got.status != http.StatusUnauthorized {
			t.Errorf("%s after the end: answered %d, want 401", method, got.status)
		}
	}
	if _, answer := s.Handshake(t, rig.H1, "/socket.io/?EIO=4&transport=websocket&sid="+sid, rig.NoHeader); answer.StatusCode != http.StatusUnauthorized {
		t.Errorf("handshake after the end: answered %s, want 401", answer.Status)
	}
	s.nothingGot(t, "after the end")
}

// TestPolledSessionDrained: a server that stops does not wait for polls.
func TestPolledSessionDrained(t *testing.T) {
	t.Parallel()
	s := startPollSite(t, rig.Polled())
	s.logsInBy(t, "stopped", s.good)
	waiting, answer := s.waits(t, "stopped")
	if err := s.Terminate(); err != nil {
		t.Fatal(err)
	}
	rig.Receive(t, "end of the poll at the application", waiting.gone, rig.Patience)
	if got := rig.Receive(t, "answer", answer, rig.Patience); got.status != http.StatusServiceUnavailable {
		t.Errorf("answered %+v, want 503", got)
	}
}

// TestPolledKeyRotation: a login is worth nothing once the key that had signed
// its token is gone.
func TestPolledKeyRotation(t *testing.T) {
	t.Parallel()
	s := startPollSite(t, rig.Polled())
	s.logsInBy(t, "rotated", s.good)
	s.Issuer.SetKeys(rig.RSAJWK(&rig.StrangerKey().PublicKey, "rsa-2"))
	// A token with the new key's id has the set fetched anew.
	fresh := rig.Sign(rig.JWT{Key: rig.StrangerKey(), Header: map[string]any{"kid": "rsa-2"}, Claims: s.Issuer.Claims(map[string]any{"sub": "bob"})})
	s.logsInBy(t, "fresh", fresh)
	s.isOut(t, "rotated")
	if got := s.theSession(t); got.Subject != "bob" {
		t.Errorf("the session is %+v", got)
	}
}

// TestAttackPolledTrust: what logs somebody in counts for as long as the
// verifiers do, by what their files and placeholders hold, under the same words.
func TestAttackPolledTrust(t *testing.T) {
	t.Parallel()
	jwk := func(key map[string]any) []byte {
		text, err := json.Marshal(key)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	const secret = "0123456789abcdef0123456789abcdef"
	own, strange := rig.RSAJWK(&rig.RSAKey().PublicKey, rig.RSAKid), rig.RSAJWK(&rig.StrangerKey().PublicKey, "other")
	for name, tt := range map[string]struct {
		verify        string
		before, after []byte
		token         func(*rig.Issuer) string
		lost          bool
	}{
		// The new file has the old key, too: it is another trust all the same.
		"key file": {"jwks_file {$FILE}", jwk(own), jwk(map[string]any{"keys": []any{own, strange}}), func(i *rig.Issuer) string { return i.Token() }, true},
		"audience in a placeholder": {
			"jwks_url {$JWKS}\naudience {file.{$FILE}}", []byte("chat"), []byte("other"),
			func(i *rig.Issuer) string { return i.Token(map[string]any{"aud": []string{"chat", "other"}}) }, true,
		},
		"secret in a placeholder": {
			"secret {file.{$FILE}}", []byte(secret), []byte("f" + secret[1:]),
			func(i *rig.Issuer) string {
				return rig.Sign(rig.JWT{Alg: "HS256", Key: []byte(secret), Claims: i.Claims()})
			}, true,
		},
		"nothing": {"jwks_file {$FILE}", jwk(own), jwk(own), func(i *rig.Issuer) string { return i.Token() }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "file")
			write := func(text []byte) {
				if err := os.WriteFile(file, text, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			write(tt.before)
			i, app := rig.NewIssuer(t), startPollApp(t)
			config := `http://{$SITE} {
	websocket_auth {
		verify jwt {
			` + tt.verify + `
			` + map[bool]string{true: "", false: "audience chat"}[strings.Contains(tt.verify, "audience")] + `
		}
		from first_message {
			within 1s
			early
		}
		dialect socketio
		http authenticate
	}
	reverse_proxy {$APP}
}`
			p := rig.StartCaddy(t, config, rig.WithEnv("APP", app.Listener.Addr().String()), rig.WithEnv("JWKS", i.JWKSURL()), rig.WithEnv("FILE", file))
			s := &pollSite{Site: &rig.Site{Caddy: p, Issuer: i}, polls: app, heard: make(hearing, 1000)}
			s.logsInBy(t, "trusted", tt.token(i))
			write(tt.after)
			if err := p.Reload(t, config); err != nil {
				t.Fatal(err)
			}
			if tt.lost {
				s.isOut(t, "trusted")
				return
			}
			if got := s.send(t.Context(), t, http.MethodPost, "/socket.io/"+rig.Polling("trusted"), `42["x"]`, nil); got.status != http.StatusOK {
				t.Errorf("although nothing has changed: %+v", got)
			}
		})
	}
}

// TestPolledTakeover: a login and the socket that takes over from it are one
// session. What ends the socket ends the login.
func TestPolledTakeover(t *testing.T) {
	t.Parallel()
	s := rig.StartSite(t, rig.Polled("sessions_per_user 1"))
	const socket = "/socket.io/?EIO=4&transport=websocket&sid="
	url := "http://" + s.Addr + "/socket.io/"
	login := func(sid string, want int) {
		t.Helper()
		if status := rig.Poll(t, http.MethodPost, url+rig.Polling(sid), rig.LoginPacket(s.Issuer.Token())); status != want {
			t.Errorf("login on %s: answered %d, want %d", sid, status, want)
		}
	}
	only := func(state string) (only rig.AdminSession) {
		t.Helper()
		rig.Eventually(t, rig.Patience, func() string { // a client may know before the gate does
			all := s.Sessions(t, "")
			if len(all) != 1 || all[0].State != state || all[0].Source != "polling" || all[0].Subject != "alice" {
				return fmt.Sprintf("sessions: %+v, want one that is %s", all, state)
			}
			only = all[0]
			return ""
		})
		return only
	}
	login("one", http.StatusOK)
	login("two", http.StatusTooManyRequests)
	only("polling")
	c := s.Open(t, rig.H1, socket+"one", rig.NoHeader)
	session := only("open")
	login("two", http.StatusTooManyRequests)
	if _, answer := s.Handshake(t, rig.H1, socket+"one", rig.NoHeader); answer.StatusCode != http.StatusTooManyRequests {
		t.Errorf("a second socket: answered %s", answer.Status)
	}
	if status := rig.Poll(t, http.MethodPost, url+rig.Polling("one"), `42["x"]`); status != http.StatusOK {
		t.Errorf("a message beside the socket: answered %d", status)
	}

	s.Asks(t, http.MethodDelete, "sessions/"+session.ID, "", `{"sockets":1}`)
	if _, end := c.Last(t, rig.Patience); end.Code == 0 {
		t.Errorf("the socket: %v", end)
	}
	if status := rig.Poll(t, http.MethodPost, url+rig.Polling("one"), `42["x"]`); status != http.StatusUnauthorized {
		t.Errorf("a message after the end of the socket: answered %d", status)
	}
	s.NoSessionLeft(t)

	// A socket that goes with its client leaves no session, and room.
	login("three", http.StatusOK)
	gone := s.Open(t, rig.H1, socket+"three", rig.NoHeader)
	only("open")
	gone.Vanish()
	s.NoSessionLeft(t)
	login("four", http.StatusOK)
}

// TestPolledTakeoverFails: a socket that comes to nothing leaves the login as it
// was.
func TestPolledTakeoverFails(t *testing.T) {
	t.Parallel()
	s := startPollSite(t, rig.Polled("sessions_per_user 1"))
	s.logsInBy(t, "probing", s.good)
	before := s.theSession(t)
	waiting, answer := s.waits(t, "probing")
	// This application opens no socket.
	if _, got := s.Handshake(t, rig.H1, "/socket.io/?EIO=4&transport=websocket&sid=probing", rig.NoHeader); got.StatusCode != http.StatusOK {
		t.Errorf("handshake: answered %s", got.Status)
	}
	if after := s.theSession(t); after.ID != before.ID || after.State != "polling" {
		t.Errorf("the session is %+v, it was %+v", after, before)
	}
	waiting.say <- "42"
	close(waiting.say)
	if got := rig.Receive(t, "answer", answer, rig.Patience); got.status != http.StatusOK || got.body != "42" {
		t.Errorf("the poll: %+v", got)
	}
}

// TestPolledClientGone: a client that gives up a poll has gone, and leaves no
// session behind that would count.
func TestPolledClientGone(t *testing.T) {
	t.Parallel()
	s := startPollSite(t, rig.Polled("sessions_per_user 1"))
	s.logsInBy(t, "gone", s.good)
	conn := s.connectRaw(t)
	fmt.Fprintf(conn, "GET /socket.io/%s&hold=1 HTTP/1.1\r\nHost: %s\r\n\r\n", rig.Polling("gone"), s.Addr)
	rig.Receive(t, "poll at the application", s.polls.held, rig.Patience)
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	s.NoSessionLeft(t)
	s.logsInBy(t, "back", s.good)
}
