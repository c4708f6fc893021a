package logs

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

const logsConfig = `{
	debug
	log default {` + rig.LogFilter + `	}
}
(site) {
	log {` + rig.LogFilter + `	}
	handle_errors {
		respond "{http.websocket_auth.error}"
	}
}
(auth) {
	verify jwt {$JWKS} {
		audience chat
	}
	from subprotocol
	from query access_token ticket
	from header
	from header X-Token
	from cookie session
}
http://{$SITE} {
	websocket_auth {
		import auth
	}
	reverse_proxy {$BACKEND}
	import site
}
http://{$SITE2} {
	websocket_auth {
		import auth
		reject close
	}
	reverse_proxy 127.0.0.1:1
	import site
}
http://{$SITE3} {
	websocket_auth {
		import auth
		http authenticate
	}
	reverse_proxy {$WRONG}
	import site
}`

// carriers are all ways in which a request carries a credential of logsConfig.
func carriers(path, token string) []rig.Handshake {
	list := []rig.Handshake{
		rig.Bearer(path, token),
		{Path: path + "?a=1&access_token=" + token},
		{Path: path + "?ticket=" + token},
		{Path: path + "?ACCESS_TOKEN=" + token + "&access%5ftoken=" + token},
		{Path: path, Header: http.Header{"X-Token": {token}}},
		{Path: path, Header: http.Header{"X-Token": {"Bearer " + token, token}}},
		{Path: path, Header: http.Header{"Cookie": {"session=" + token}, "Origin": {"null"}}},
		{Path: path, Header: http.Header{"Referer": {"https://app.example.com/?access_token=" + token}}},
	}
	for _, form := range rig.FormCases {
		if strings.HasPrefix(form.Name, "bare") && strings.Count(token, ".") != 2 {
			continue // nothing tells it from a subprotocol's name
		}
		list = append(list, rig.Handshake{Path: path, Subprotocols: form.Offer(token)})
	}
	return list
}

// TestNoCredentialInLogs sends credentials down every way that ends well or
// badly, and looks for them in all that Caddy writes, at debug level: the
// access log, the error log, the default log.
func TestNoCredentialInLogs(t *testing.T) {
	t.Parallel()
	i, b := rig.NewIssuer(t), rig.NewBackend(t)
	wrong := rig.NewRawBackend(t, func(r *http.Request) string { return rig.Switching(r, "Upgrade: h2c") })
	p := rig.StartCaddy(t, logsConfig, rig.WithEnv("JWKS", i.JWKSURL()), rig.WithEnv("BACKEND", b.Addr), rig.WithEnv("WRONG", wrong.Addr))
	tokens := map[string]string{
		"good":        i.Token(),
		"other app's": i.Token(map[string]any{"aud": "another"}),
		"expired":     i.Token(map[string]any{"exp": 1}),
		"stranger's":  rig.Sign(rig.JWT{Key: rig.StrangerKey(), Claims: i.Claims()}),
		"unknown key": rig.Sign(rig.JWT{Header: map[string]any{"kid": "canary-kid"}, Claims: i.Claims()}),
		"unsigned":    rig.Sign(rig.JWT{Header: map[string]any{"alg": "none"}, Claims: i.Claims(), Signature: []byte{}}),
		"no JWT":      "canary-opaque-token-0123456789",
		"odd claims":  i.Token(map[string]any{"sub": []any{"canary-claim"}}),
	}
	for name, token := range tokens {
		for n, h := range carriers("/logs", token) {
			for _, addr := range []string{p.Addr, p.Addr2, p.Addr3} {
				if conn, _, err := rig.Dial(t, addr, h); err == nil {
					_ = conn.Close()
				}
			}
			header := h.Header.Clone()
			if len(h.Subprotocols) > 0 {
				header = http.Header{"Sec-Websocket-Protocol": {strings.Join(h.Subprotocols, ", ")}}
			}
			rig.Request(t, http.MethodGet, "http://"+p.Addr3+h.Path, header)
			conn := rig.DialRaw(t, p.Addr)
			conn.Send(t, strings.Replace(rig.Upgrade(p.Addr, h.Path, lines(header)...), "Upgrade: websocket", "Upgrade: h2c, websocket", 1))
			if resp := conn.Response(t); resp.StatusCode != http.StatusBadRequest {
				t.Errorf("%s token, way %d: a list answered %s", name, n, resp.Status)
			}
			_ = conn.Close()
		}
	}
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
	log := p.Logs.String()
	for _, msg := range []string{"handled request", "request refused", "socket opened", "socket ended", "upstream roundtrip"} {
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
		}
	}
	for _, canary := range []string{"canary-claim", "canary-kid"} {
		if strings.Contains(log, canary) {
			t.Errorf("%s is in the log", canary)
		}
	}
}

// lines are the lines of a header.
func lines(h http.Header) []string {
	var all []string
	for name, values := range h {
		for _, value := range values {
			all = append(all, name+": "+value)
		}
	}
	return all
}

// The access log says who it was and how the socket ended.
func TestAccessLogFields(t *testing.T) {
	t.Parallel()
	i, b := rig.NewIssuer(t), rig.NewBackend(t)
	p := rig.StartCaddy(t, `
http://{$SITE} {
	log
	websocket_auth {$JWKS} chat {
		name "the chat"
	}
	reverse_proxy {$BACKEND} {
		header_up X-Session {http.websocket_auth.session}
	}
}`, rig.WithEnv("JWKS", i.JWKSURL()), rig.WithEnv("BACKEND", b.Addr))
	for _, tc := range []struct {
		path, end string
		token     string
		finish    func(conn *websocket.Conn)
	}{
		{"/closed", "client_closed", i.Token(), func(conn *websocket.Conn) {
			_ = conn.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(1000, ""))
			rig.CloseOf(t, conn)
		}},
		{"/gone", "client_gone", i.Token(), func(conn *websocket.Conn) { _ = conn.Close() }},
		{"/expired", "expired", i.Expiring(rig.Soon(2 * time.Second)), func(conn *websocket.Conn) {
			if got := rig.CloseOf(t, conn); got.Code != 3000 || got.Text != "token expired" {
				t.Errorf("closed with %d %q", got.Code, got.Text)
			}
		}},
		{"/broken", "client_protocol_error", i.Token(), func(conn *websocket.Conn) {
			_, _ = conn.NetConn().Write([]byte("\x81\x01x"))
			rig.CloseOf(t, conn)
		}},
	} {
		conn, _ := rig.MustDial(t, p.Addr, rig.Bearer(tc.path, tc.token))
		rig.MustEcho(t, conn, "hello")
		tc.finish(conn)
		session := b.Wait(t, tc.path).Header.Get("X-Session")
		p.WaitLog(t, `"websocket_end":"`+tc.end+`"`)
		for _, entry := range p.Logs.Entries("handled request") {
			if entry["websocket_end"] != tc.end {
				continue
			}
			if entry["user_id"] != "alice" || entry["websocket_source"] != "header" || entry["websocket_session"] != session {
				t.Errorf("%s: user_id %v, source %v, session %v; want alice, header, %s",
					tc.path, entry["user_id"], entry["websocket_source"], entry["websocket_session"], session)
			}
		}
	}
	rig.Refused(t, p.Addr, rig.Handshake{Path: "/refused"}, http.StatusUnauthorized)
	p.WaitLog(t, `"request refused"`)
	if entry := p.Logs.Entries("request refused")[0]; entry["reason"] != "missing_credential" ||
		entry["site"] != "the chat" || entry["client_ip"] != "127.0.0.1" {
		t.Errorf("the refusal's line is %v", entry)
	}
}

// A client that is refused all the time does not fill the log: some lines in a
// second, and a later one says how many were left out.
func TestLogLimit(t *testing.T) {
	t.Parallel()
	i := rig.NewIssuer(t)
	p := rig.StartCaddy(t, `
http://{$SITE} {
	websocket_auth {$JWKS} chat
	respond ok
}`, rig.WithEnv("JWKS", i.JWKSURL()))
	suppressed := func() bool {
		for _, entry := range p.Logs.Entries("request refused") {
			if n, ok := entry["suppressed"].(float64); ok && n > 0 {
				return true
			}
		}
		return false
	}
	rig.Eventually(t, rig.Patience, func() string {
		const atOnce = 100 // in one piece: a busy machine may answer few in a second
		conn := rig.DialRaw(t, p.Addr)
		conn.Send(t, strings.Repeat(rig.Upgrade(p.Addr, "/"), atOnce))
		for range atOnce {
			answer := conn.Response(t)
			if _, err := io.Copy(io.Discard, answer.Body); err != nil || answer.StatusCode != http.StatusUnauthorized {
				t.Fatal(answer.Status, err)
			}
		}
		if !suppressed() {
			return "no line says that some refusals were left out"
		}
		return ""
	})
	perSecond := make(map[string]int)
	for _, entry := range p.Logs.Entries("request refused") {
		perSecond[fmt.Sprintf("%.0f", entry["ts"].(float64)-0.5)]++
	}
	for second, n := range perSecond {
		if n > 20 { // a second's ten may be written in the next one, beside its own
			t.Errorf("%d lines in second %s", n, second)
		}
	}
}

// Without the filter the log holds tokens, and a warning says so, once.
func TestWarningWithoutFilter(t *testing.T) {
	t.Parallel()
	i, b := rig.NewIssuer(t), rig.NewBackend(t)
	p := rig.StartCaddy(t, `
http://{$SITE} {
	websocket_auth {$JWKS} chat
	reverse_proxy {$BACKEND}
}`, rig.WithEnv("JWKS", i.JWKSURL()), rig.WithEnv("BACKEND", b.Addr))
	rig.MustDial(t, p.Addr, rig.Bearer("/", i.Token()))
	warnings := func() int { return strings.Count(p.Logs.String(), "no log has the websocket_credential") }
	if warnings() > 0 {
		t.Error("warned about an Authorization header, which Caddy redacts")
	}
	for range 3 {
		rig.MustDial(t, p.Addr, rig.Handshake{Path: "/?access_token=" + i.Token()})
	}
	if n := warnings(); n != 1 {
		t.Errorf("%d warnings, want 1", n)
	}
	if n := strings.Count(p.Logs.String(), "set stream_close_delay in it"); n != 1 {
		t.Errorf("%d warnings about reverse_proxy, want 1", n)
	}
}
