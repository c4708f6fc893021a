package messages

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

const messageLogsConfig = `{
	debug
	log default {` + rig.LogFilter + `	}
}
(site) {
	log {` + rig.LogFilter + `	}
	log_append refused {http.websocket_auth.error}
	log_append subject {http.websocket_auth.subject}
	reverse_proxy {$BACKEND} {
		header_up X-User {http.auth.user.id}
		header_up X-Subject {http.websocket_auth.subject}
		header_up X-Role {http.websocket_auth.claims.role}
		header_up X-Source {http.websocket_auth.source}
		header_up X-Session {http.websocket_auth.session}
		header_up X-Expires {http.websocket_auth.expires_at}
	}
	handle_errors {
		respond "{http.websocket_auth.error}"
	}
}
(auth) {
	verify jwt {$JWKS} {
		audience chat
	}
}
http://{$SITE} {
	websocket_auth {
		import auth
		from header
		from first_message
		on_expiry renew {
			path /renew
		}
	}
	import site
}
http://{$SITE2} {
	websocket_auth {
		import auth
		from every_message {
			on_bad tell
		}
	}
	import site
}
http://{$SITE3} {
	websocket_auth {
		import auth
		from first_message {
			early
		}
		on_expiry renew
		dialect json {
			pass strip
		}
	}
	import site
}`

// TestNoMessageCredentialInLogs sends credentials in messages, good and bad, and
// looks for them in all that Caddy writes at debug level, and in all that the
// application gets.
func TestNoMessageCredentialInLogs(t *testing.T) {
	t.Parallel()
	i, b := rig.NewIssuer(t), rig.NewBackend(t)
	p := rig.StartCaddy(t, messageLogsConfig, rig.WithEnv("JWKS", i.JWKSURL()), rig.WithEnv("BACKEND", b.Addr))
	tokens := map[string]string{
		"good":        i.Token(),
		"renewing":    i.Token(map[string]any{"exp": time.Now().Add(2 * time.Hour).Unix()}),
		"other app's": i.Token(map[string]any{"aud": "another"}),
		"expired":     i.Token(map[string]any{"exp": 1}),
		"stranger's":  rig.Sign(rig.JWT{Key: rig.StrangerKey(), Claims: i.Claims()}),
		"unknown key": rig.Sign(rig.JWT{Header: map[string]any{"kid": "canary-kid"}, Claims: i.Claims()}),
		"no JWT":      "canary-opaque-token-0123456789",
		"odd claims":  i.Token(map[string]any{"sub": []any{"canary-claim"}}),
		"mallory's":   i.Token(map[string]any{"sub": "mallory"}),
	}
	for _, token := range tokens {
		for _, addr := range []string{p.Addr, p.Addr2, p.Addr3} {
			for _, messages := range [][]string{
				{rig.Login(token)},
				{rig.Login(tokens["good"]), rig.Login(token), "after it"},
				{`{"type":"auth","token":"` + token + `","token":"` + token + `"}`},
				{`{"type":"auth","\u0074oken":"` + token + `"`},
				{rig.Carrying(token, 1), rig.Carrying(tokens["good"], 2)},
			} {
				converse(t, addr, messages)
			}
		}
	}
	session := strings.Repeat("A", 26)
	for _, token := range tokens {
		header := http.Header{"Authorization": {"Bearer " + token}}
		rig.Request(t, http.MethodPost, "http://"+p.Addr+"/renew?session="+session+"&access_token="+token, header)
	}
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
	log := p.Logs.String()
	for _, msg := range []string{"handled request", "request refused", "socket opened", "socket ended", "socket renewed"} {
		if len(p.Logs.Entries(msg)) == 0 {
			t.Errorf("the log has no line %q, so the test shows nothing", msg)
		}
	}
	for name, token := range tokens {
		for _, secret := range rig.Pieces(token) {
			if before, after, found := strings.Cut(log, secret); found {
				line := before[strings.LastIndexByte(before, '\n')+1:]
				t.Errorf("%s token is in the log: %s<here>%.200s", name, line, after)
				break
			}
			if b.Received(secret) {
				t.Errorf("%s token has reached the application", name)
				break
			}
		}
	}
	for _, canary := range []string{"canary-claim", "canary-kid"} {
		if strings.Contains(log, canary) {
			t.Errorf("%s is in the log", canary)
		}
	}
}

// converse sends messages on a socket of its own and leaves once all of them
// have been read.
func converse(t testing.TB, addr string, messages []string) {
	t.Helper()
	conn := rig.DialRaw(t, addr)
	defer conn.Close()
	conn.Send(t, rig.Upgrade(addr, "/logs"))
	if answer := conn.Response(t); answer.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(answer.Status)
	}
	c := rig.NewConn(conn.Reader, conn, func() { conn.Close() })
	c.Says(t, messages...)
	_ = c.Write(rig.OpPing, nil)                 // may have been closed
	_ = c.Write(rig.OpClose, []byte{0x03, 0xe8}) // already
	for {
		if _, err := c.Read(); err != nil {
			return
		}
	}
}

// TestMessagePlaceholders: who has logged in by a message is known to the
// application's handshake and to the access log, and so is why nobody has.
func TestMessagePlaceholders(t *testing.T) {
	t.Parallel()
	i, b := rig.NewIssuer(t), rig.NewBackend(t)
	p := rig.StartCaddy(t, messageLogsConfig, rig.WithEnv("JWKS", i.JWKSURL()), rig.WithEnv("BACKEND", b.Addr))
	for path, token := range map[string]string{
		"/good": i.Token(map[string]any{"role": "admin"}), "/bad": i.Token(map[string]any{"exp": 1}),
	} {
		conn := rig.DialRaw(t, p.Addr)
		conn.Send(t, rig.Upgrade(p.Addr, path, "X-User: mallory", "X-Role: root"))
		conn.Response(t)
		c := rig.NewConn(conn.Reader, conn, func() { conn.Close() })
		c.Says(t, rig.Login(token))
		if path == "/bad" {
			c.IsRefused(t, rig.CloseUnauthorized)
			continue
		}
		c.Accepted(t, time.Now().Add(time.Hour))
		c.Says(t, "hello")
		c.Hears(t, "hello")
		h := b.Wait(t, path).Header
		for name, want := range map[string]string{
			"X-User": "alice", "X-Subject": "alice", "X-Role": "admin", "X-Source": "first_message",
		} {
			if got := h.Values(name); len(got) != 1 || got[0] != want {
				t.Errorf("the application got %s %q, want %q", name, got, want)
			}
		}
		if len(h.Get("X-Session")) < 20 || h.Get("X-Expires") == "" {
			t.Errorf("the application got session %q and expiry %q", h.Get("X-Session"), h.Get("X-Expires"))
		}
		if err := c.Write(rig.OpClose, []byte{0x03, 0xe8}); err != nil {
			t.Fatal(err)
		}
	}
	rig.Eventually(t, rig.Patience, func() string {
		if len(p.Logs.Entries("handled request")) < 2 {
			return "the access log has not two lines"
		}
		return ""
	})
	for _, entry := range p.Logs.Entries("handled request") {
		good := strings.Contains(entry["request"].(map[string]any)["uri"].(string), "good")
		want := map[string]any{"user_id": "", "refused": "expired", "subject": "", "websocket_end": "expired"}
		if good {
			want = map[string]any{"user_id": "alice", "refused": "", "subject": "alice", "websocket_end": "client_closed"}
		}
		for field, value := range want {
			if entry[field] != value {
				t.Errorf("%s is %v, want %q, in %v", field, entry[field], value, entry)
			}
		}
	}
}
