package logs

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// sink is a server that keeps all that it is sent.
type sink struct {
	*httptest.Server
	mu   sync.Mutex // guards the following
	text strings.Builder
	hits int
}

func newSink(t testing.TB) *sink {
	t.Helper()
	s := new(sink)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.hits++
		fmt.Fprintln(&s.text, r.Method, r.Host, r.RequestURI, r.Header, string(body))
		w.Header().Set("X-Sink", "yes")
		w.WriteHeader(http.StatusOK)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *sink) got() (text string, hits int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String(), s.hits
}

// overStreams sends tokens over HTTP/2 and HTTP/3.
func (c *canaries) overStreams(t testing.TB) {
	for _, version := range []string{rig.H2, rig.H3} {
		flow := "over " + version
		for _, token := range c.mint(flow) {
			for _, h := range []rig.Handshake{
				rig.Bearer("/carried", token),
				{Path: "/carried?ticket=" + token},
				{Path: "/carried", Header: http.Header{"X-Token": {token}}},
				{Path: "/carried", Header: http.Header{"Cookie": {"session=" + token}, "Origin": {"null"}}},
			} {
				c.stream(t, flow, version, h.Path, h.Header)
			}
			protocols := http.Header{"Sec-Websocket-Protocol": {"chat.v1, bearer, " + token}}
			c.stream(t, flow, version, "/carried", protocols)
			for _, path := range []string{"/json", "/panic", "/down", "/wrong"} {
				c.stream(t, flow, version, path, nil, rig.Login(token), "after it")
			}
			for _, path := range []string{"/panic", "/down", "/wrong"} {
				c.stream(t, flow, version, path+"?access_token="+token, nil)
			}
		}
	}
}

// stream is talk over HTTP/2 or HTTP/3, on a connection of its own.
func (c *canaries) stream(t testing.TB, flow, version, path string, header http.Header, messages ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), rig.Patience)
	defer cancel()
	r, err := c.Request(ctx, version, path, header)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := c.Dial(ctx, version)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ws, answer, err := conn.Open(r)
	if err != nil {
		return // a panic behind has ended the stream
	}
	told := fmt.Sprint(answer.Status, answer.Header)
	if ws == nil {
		body, _ := io.ReadAll(answer.Body)
		told += string(body)
	} else {
		for _, message := range messages {
			_ = ws.Write(rig.OpText, []byte(message)) // may have been closed
		}
		_ = ws.Write(rig.OpClose, []byte{0x03, 0xe8}) // already
		_ = ws.Within(rig.Patience, func() error {
			rest, err := io.ReadAll(ws.Reader)
			told += string(rest)
			return err
		})
	}
	c.hear(flow, told)
}

// hear notes what a client was told.
func (c *canaries) hear(flow, told string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heard[flow] += told
}

// failing sends tokens to applications that cannot be reached, and to one whose
// handshake is wrong.
func (c *canaries) failing(t testing.TB) {
	for _, path := range []string{"/down", "/wrong"} {
		flow := "failing " + path
		for _, token := range c.mint(flow) {
			c.talk(t, flow, path, []string{"Authorization: Bearer " + token})
			c.talk(t, flow, path+"?access_token="+token, nil)
			c.talk(t, flow, path, nil, rig.Login(token), "after it")
		}
	}
}

// requested sends tokens in the requests of clients that also speak plain HTTP.
func (c *canaries) requested(t testing.TB) {
	for _, token := range c.mint("socket.io by polling") {
		const flow = "socket.io by polling"
		sid := rig.Base64URL([]byte(token))[len(token)/2:][:20]
		url := "/socket.io/" + rig.Polling("canary"+sid)
		c.plain(t, flow, http.MethodGet, "/socket.io/"+rig.Polling(""), nil, "")
		c.plain(t, flow, http.MethodPost, url, nil, rig.LoginPacket(token))
		c.plain(t, flow, http.MethodPost, url, nil, `40{"token":"`+token+`","token":"`+token+`"}`)
		c.plain(t, flow, http.MethodPost, url, nil, `40{"\u0074oken":"`+token)
		c.plain(t, flow, http.MethodGet, "/socket.io/"+rig.Polling("")+"&access_token="+token, nil, "")
		c.talk(t, flow, strings.Replace(url, "polling", "websocket", 1), nil, "2probe", rig.LoginPacket(token))
	}
	for _, token := range c.mint("signalr") {
		c.plain(t, "signalr", http.MethodPost, "/hub/negotiate?negotiateVersion=1", http.Header{"Authorization": {"Bearer " + token}}, "")
		c.plain(t, "signalr", http.MethodPost, "/hub/negotiate?access_token="+token, nil, "")
		c.talk(t, "signalr", "/hub?id=1&access_token="+token, nil, `{"protocol":"json","version":1}`+"\x1e")
	}
	for _, token := range c.mint("actioncable") {
		c.talk(t, "actioncable", "/cable?access_token="+token, []string{"Sec-WebSocket-Protocol: actioncable-v1-json"})
		c.talk(t, "actioncable", "/cable", []string{"Sec-WebSocket-Protocol: actioncable-v1-json, bearer, " + token})
	}
}

// canarySecret is the key of the tokens that are signed with one.
const canarySecret = "canary-k3y-0123456789abcdef0123456789"

// signedWithSecret sends tokens that are signed with a shared secret.
func (c *canaries) signedWithSecret(t testing.TB) {
	const flow = "secret"
	c.keep("secret, the key", canarySecret)
	claims := c.Issuer.Claims()
	for kind, key := range map[string]string{"good": canarySecret, "bad": "another-k3y-0123456789abcdef0123456789"} {
		token := rig.Sign(rig.JWT{Alg: "HS256", Key: []byte(key), Header: map[string]any{"kid": rig.Absent}, Claims: claims})
		c.keep("secret, "+kind, token)
		c.talk(t, flow, "/secret", []string{"Authorization: Bearer " + token})
		c.talk(t, flow, "/secret?access_token="+token, nil)
	}
}

// keep has a further secret looked for.
func (c *canaries) keep(name, secret string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tokens[name] = secret
}

// shown sends tokens where other directives write into logs what they see.
func (c *canaries) shown(t testing.TB) {
	for _, token := range c.mint("shown") {
		c.talk(t, "shown", "/shown?a=1&access_token="+token, nil)
		c.talk(t, "shown", "/shown", []string{"Authorization: Bearer " + token})
		c.talk(t, "shown", "/shown", []string{"Cookie: session=" + token, "Origin: http://" + c.Addr})
		c.talk(t, "shown", "/shown", []string{"Sec-WebSocket-Protocol: chat, bearer, " + token})
	}
}

// traced sends tokens through tracing, which hands on a copy of the request.
func (c *canaries) traced(t testing.TB) {
	for _, token := range c.mint("traced") {
		for _, path := range []string{"/carried", "/down", "/wrong", "/secret", "/shown"} {
			c.talkTo(t, c.Addr2, "traced", path+"?access_token="+token, nil)
			c.talkTo(t, c.Addr2, "traced", path, []string{"Authorization: Bearer " + token})
		}
		c.talkTo(t, c.Addr2, "traced", "/carried", []string{"Sec-WebSocket-Protocol: chat, bearer, " + token})
		c.talkTo(t, c.Addr2, "traced", "/json", nil, rig.Login(token), "after it")
	}
}

// inspected returns what the command line says of tokens.
func (c *canaries) inspected(t testing.TB) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "Caddyfile")
	config := "http://127.0.0.1 {\nwebsocket_auth " + c.Issuer.JWKSURL() + " chat\nrespond ok\n}\n"
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	for kind, token := range c.mint("inspected") {
		out, ok := rig.RunCaddy(t, token, "websocket-auth", "inspect", "--config", file)
		if good := kind == "good" || kind == "mallory's"; ok != good {
			t.Errorf("inspect of the token %s: %v, %s", kind, ok, out)
		}
		said.WriteString(out)
	}
	return said.String()
}

// kept returns what lies in the folders of Caddy, but for its Caddyfile.
func (c *canaries) kept(t testing.TB) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(filepath.Join(c.Home, "data"), func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		fmt.Fprintln(&all, path, string(text))
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if !strings.Contains(all.String(), "carol") {
		t.Error("no revocation is kept, so the test shows nothing")
	}
	return all.String()
}

// operated returns all that the admin API says to somebody who does all that
// can be done.
func (c *canaries) operated(t testing.TB) string {
	t.Helper()
	token := c.mint("operated")["good"]
	ws := c.Open(t, rig.H1, "/renewing", http.Header{"Authorization": {"Bearer " + token}})
	defer ws.Vanish()
	var told strings.Builder
	say := func(method, path, body string) {
		_, answer := c.Ask(t, method, path, body, nil)
		told.WriteString(answer)
	}
	var own []rig.AdminSession
	rig.Eventually(t, rig.Patience, func() string {
		if own = c.Sessions(t, "jti=operated"); len(own) == 0 {
			return "the socket is not listed"
		}
		return ""
	})
	say(http.MethodGet, "sessions/"+own[0].ID, "")
	say(http.MethodPost, "message?jti=operated", "hello")
	say(http.MethodPost, "renew?jti=operated", "")
	say(http.MethodDelete, "sessions/"+own[0].ID+"?code=nonsense", "")
	say(http.MethodDelete, "sessions/"+own[0].ID+"?code=4000&reason=canary", "")
	if !strings.Contains(told.String(), `"jti":"operated"`) {
		t.Errorf("the socket is not shown: %s", told.String())
	}
	for _, path := range []string{"/debug/vars", "/debug/pprof/goroutine?debug=2", "/debug/pprof/cmdline", "/reverse_proxy/upstreams"} {
		told.WriteString(c.Admin(t, path))
	}
	return told.String()
}
