package integration

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// filtered is the log configuration that the docs recommend, at debug level,
// where Caddy says most.
const logFilter = `
		format filter {
			request>uri websocket_credential ticket
			request>headers>Sec-Websocket-Protocol websocket_credential openai-insecure-api-key.*
			request>headers>Referer websocket_credential
			request>headers>X-Token websocket_credential
			resp_headers>Sec-Websocket-Protocol websocket_credential openai-insecure-api-key.*
		}
`

const logsConfig = `{
	debug
	log default {` + logFilter + `	}
}
(site) {
	log {` + logFilter + `	}
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
func carriers(path, token string) []handshake {
	list := []handshake{
		bearer(path, token),
		{path: path + "?a=1&access_token=" + token},
		{path: path + "?ticket=" + token},
		{path: path + "?ACCESS_TOKEN=" + token + "&access%5ftoken=" + token},
		{path: path, header: http.Header{"X-Token": {token}}},
		{path: path, header: http.Header{"X-Token": {"Bearer " + token, token}}},
		{path: path, header: http.Header{"Cookie": {"session=" + token}, "Origin": {"null"}}},
		{path: path, header: http.Header{"Referer": {"https://app.example.com/?access_token=" + token}}},
	}
	for _, form := range formCases {
		if strings.HasPrefix(form.name, "bare") && strings.Count(token, ".") != 2 {
			continue // nothing tells it from a subprotocol's name
		}
		list = append(list, handshake{path: path, subprotocols: form.offer(token)})
	}
	return list
}

// TestNoCredentialInLogs sends credentials down every way that ends well or
// badly, and looks for them in all that Caddy writes, at debug level: the
// access log, the error log, the default log.
func TestNoCredentialInLogs(t *testing.T) {
	t.Parallel()
	i, b := newIssuer(t), newBackend(t)
	wrong := newRawBackend(t, func(r *http.Request) string { return switching(r, "Upgrade: h2c") })
	p := startCaddy(t, logsConfig, withEnv("JWKS", i.jwksURL()), withEnv("BACKEND", b.addr), withEnv("WRONG", wrong.addr))
	tokens := map[string]string{
		"good":        i.token(),
		"other app's": i.token(map[string]any{"aud": "another"}),
		"expired":     i.token(map[string]any{"exp": 1}),
		"stranger's":  sign(jwt{key: strangerKey(), claims: i.claims()}),
		"unknown key": sign(jwt{header: map[string]any{"kid": "canary-kid"}, claims: i.claims()}),
		"unsigned":    sign(jwt{header: map[string]any{"alg": "none"}, claims: i.claims(), signature: []byte{}}),
		"no JWT":      "canary-opaque-token-0123456789",
		"odd claims":  i.token(map[string]any{"sub": []any{"canary-claim"}}),
	}
	for name, token := range tokens {
		for n, h := range carriers("/logs", token) {
			for _, addr := range []string{p.site, p.site2, p.site3} {
				if conn, _, err := dial(t, addr, h); err == nil {
					_ = conn.Close()
				}
			}
			header := h.header.Clone()
			if len(h.subprotocols) > 0 {
				header = http.Header{"Sec-Websocket-Protocol": {strings.Join(h.subprotocols, ", ")}}
			}
			request(t, http.MethodGet, "http://"+p.site3+h.path, header)
			conn := dialRaw(t, p.site)
			conn.send(t, strings.Replace(upgrade(p.site, h.path, lines(header)...), "Upgrade: websocket", "Upgrade: h2c, websocket", 1))
			if resp := conn.response(t); resp.StatusCode != http.StatusBadRequest {
				t.Errorf("%s token, way %d: a list answered %s", name, n, resp.Status)
			}
			_ = conn.Close()
		}
	}
	if err := p.stop(); err != nil {
		t.Error(err)
	}
	log := p.logs.String()
	for _, msg := range []string{"handled request", "request refused", "socket opened", "socket ended", "upstream roundtrip"} {
		if len(p.logs.entries(msg)) == 0 {
			t.Errorf("the log has no line %q, so the test shows nothing", msg)
		}
	}
	for name, token := range tokens {
		for _, secret := range pieces(token) {
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

// pieces are what must be nowhere of a token: its signature and its claims, in
// clear and as URLs and the subprotocol forms encode it.
func pieces(token string) []string {
	all := []string{token, url.QueryEscape(token), escapeAll(token)}
	secret := token
	if parts := strings.Split(token, "."); len(parts) == 3 {
		all = append(all, parts[1])
		if parts[2] != "" {
			secret = parts[2]
			all = append(all, secret)
		}
	}
	for skip := range 3 { // wherever in what is encoded it begins
		encoded := b64([]byte(secret[skip:]))
		encoded = encoded[:len(encoded)-4]
		all = append(all, encoded)
		if other := strings.NewReplacer("-", "+", "_", "/").Replace(encoded); other != encoded {
			all = append(all, other)
		}
	}
	return all
}

// The access log says who it was and how the socket ended.
func TestAccessLogFields(t *testing.T) {
	t.Parallel()
	i, b := newIssuer(t), newBackend(t)
	p := startCaddy(t, `
http://{$SITE} {
	log
	websocket_auth {$JWKS} chat {
		name "the chat"
	}
	reverse_proxy {$BACKEND} {
		header_up X-Session {http.websocket_auth.session}
	}
}`, withEnv("JWKS", i.jwksURL()), withEnv("BACKEND", b.addr))
	for _, tc := range []struct {
		path, end string
		token     string
		finish    func(conn *websocket.Conn)
	}{
		{"/closed", "client_closed", i.token(), func(conn *websocket.Conn) {
			_ = conn.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(1000, ""))
			closeOf(t, conn)
		}},
		{"/gone", "client_gone", i.token(), func(conn *websocket.Conn) { _ = conn.Close() }},
		{"/expired", "expired", i.expiring(soon(2 * time.Second)), func(conn *websocket.Conn) {
			if got := closeOf(t, conn); got.Code != 3000 || got.Text != "token expired" {
				t.Errorf("closed with %d %q", got.Code, got.Text)
			}
		}},
		{"/broken", "client_protocol_error", i.token(), func(conn *websocket.Conn) {
			_, _ = conn.NetConn().Write([]byte("\x81\x01x"))
			closeOf(t, conn)
		}},
	} {
		conn, _ := mustDial(t, p.site, bearer(tc.path, tc.token))
		mustEcho(t, conn, "hello")
		tc.finish(conn)
		session := b.wait(t, tc.path).header.Get("X-Session")
		p.waitLog(t, `"websocket_end":"`+tc.end+`"`)
		for _, entry := range p.logs.entries("handled request") {
			if entry["websocket_end"] != tc.end {
				continue
			}
			if entry["user_id"] != "alice" || entry["websocket_source"] != "header" || entry["websocket_session"] != session {
				t.Errorf("%s: user_id %v, source %v, session %v; want alice, header, %s",
					tc.path, entry["user_id"], entry["websocket_source"], entry["websocket_session"], session)
			}
		}
	}
	refused(t, p.site, handshake{path: "/refused"}, http.StatusUnauthorized)
	p.waitLog(t, `"request refused"`)
	if entry := p.logs.entries("request refused")[0]; entry["reason"] != "missing_credential" ||
		entry["site"] != "the chat" || entry["client_ip"] != "127.0.0.1" {
		t.Errorf("the refusal's line is %v", entry)
	}
}

// A client that is refused all the time does not fill the log: some lines in a
// second, and a later one says how many were left out.
func TestLogLimit(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	p := startCaddy(t, `
http://{$SITE} {
	websocket_auth {$JWKS} chat
	respond ok
}`, withEnv("JWKS", i.jwksURL()))
	suppressed := func() bool {
		for _, entry := range p.logs.entries("request refused") {
			if n, ok := entry["suppressed"].(float64); ok && n > 0 {
				return true
			}
		}
		return false
	}
	count := 0
	for deadline := time.Now().Add(patience); !suppressed(); count++ {
		if time.Now().After(deadline) {
			t.Fatalf("%d refusals, and no line says that some were left out", count)
		}
		refused(t, p.site, handshake{}, http.StatusUnauthorized)
	}
	perSecond := make(map[string]int)
	for _, entry := range p.logs.entries("request refused") {
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
	i, b := newIssuer(t), newBackend(t)
	p := startCaddy(t, `
http://{$SITE} {
	websocket_auth {$JWKS} chat
	reverse_proxy {$BACKEND}
}`, withEnv("JWKS", i.jwksURL()), withEnv("BACKEND", b.addr))
	mustDial(t, p.site, bearer("/", i.token()))
	warnings := func() int { return strings.Count(p.logs.String(), "no log has the websocket_credential") }
	if warnings() > 0 {
		t.Error("warned about an Authorization header, which Caddy redacts")
	}
	for range 3 {
		mustDial(t, p.site, handshake{path: "/?access_token=" + i.token()})
	}
	if n := warnings(); n != 1 {
		t.Errorf("%d warnings, want 1", n)
	}
	if n := strings.Count(p.logs.String(), "set stream_close_delay in it"); n != 1 {
		t.Errorf("%d warnings about reverse_proxy, want 1", n)
	}
}
