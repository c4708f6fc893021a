package logs

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// canaries are secrets, each of a flow of its own.
type canaries struct {
	*rig.Site
	backend *rig.Backend

	mu     sync.Mutex // guards the following
	tokens map[string]string
	heard  map[string]string // what clients were told, by flow
	// untouched are the flows in which a secret is where no source is, so that
	// it is the application's, and is only kept out of logs.
	untouched map[string]bool
}

// mint returns tokens that are good or bad, each the only one of its kind.
func (c *canaries) mint(flow string) map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	// A later one ends later, so that it may renew.
	exp := time.Now().Add(time.Hour + time.Duration(len(c.tokens))*time.Second)
	claims := func(changes map[string]any) map[string]any {
		return c.Issuer.Claims(map[string]any{"jti": flow, "exp": exp.Unix()}, changes)
	}
	tokens := map[string]string{
		"good":          rig.Sign(rig.JWT{Claims: claims(map[string]any{"exp": time.Now().Add(2 * time.Hour).Unix()})}),
		"expired":       rig.Sign(rig.JWT{Claims: claims(map[string]any{"exp": 1})}),
		"other app's":   rig.Sign(rig.JWT{Claims: claims(map[string]any{"aud": "another"})}),
		"stranger's":    rig.Sign(rig.JWT{Claims: claims(map[string]any{}), Key: rig.StrangerKey()}),
		"unknown key's": rig.Sign(rig.JWT{Claims: claims(map[string]any{}), Header: map[string]any{"kid": "elsewhere"}}),
		"mallory's":     rig.Sign(rig.JWT{Claims: claims(map[string]any{"sub": "mallory"})}),
		"opaque":        "opaque-secret-" + rig.Base64URL(rig.HMACSHA256([]byte("opaque"), flow)),
	}
	for kind, token := range tokens {
		c.tokens[flow+", "+kind] = token
	}
	return tokens
}

// talk opens a socket, sends messages and returns when the server has ended
// it. Request lines and messages are given as they are.
func (c *canaries) talk(t testing.TB, flow, path string, header []string, messages ...string) {
	t.Helper()
	c.talkTo(t, c.Addr, flow, path, header, messages...)
}

// talkTo is talk with another address of Caddy's.
func (c *canaries) talkTo(t testing.TB, addr, flow, path string, header []string, messages ...string) {
	t.Helper()
	conn := rig.DialRaw(t, addr)
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(rig.Patience))
	conn.Send(t, rig.Upgrade(addr, path, header...))
	answer := conn.Response(t)
	told := fmt.Sprint(answer.Status, answer.Header)
	if answer.StatusCode == http.StatusSwitchingProtocols {
		ws := rig.NewConn(conn.Reader, conn, func() { conn.Close() })
		for _, message := range messages {
			opcode := byte(rig.OpText)
			if strings.HasPrefix(message, "\x10") || strings.HasPrefix(message, "\xC0") {
				opcode = rig.OpBinary
			}
			_ = ws.Write(opcode, []byte(message)) // may have been closed
		}
		_ = ws.Write(rig.OpClose, []byte{0x03, 0xe8}) // already
		rest, _ := io.ReadAll(conn.Reader)            // a reset is an end like any other
		told += string(rest)
	} else {
		body, _ := io.ReadAll(answer.Body)
		told += string(body)
	}
	c.hear(flow, told)
}

// plain sends a request that is no handshake.
func (c *canaries) plain(t testing.TB, flow, method, path string, header http.Header, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+c.Addr+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = header
	answer, err := rig.AdminClient.Do(r)
	if err != nil {
		return // a panic behind has ended the connection
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(answer.Body)
	c.hear(flow, fmt.Sprint(answer.Status, answer.Header, string(text)))
}

// TestCanaries: each flow, good and bad, has secrets of its own. They are
// looked for in all that Caddy writes at debug level, in what the admin API and
// the metrics say, in its traces and files, in what the command line prints, in
// what clients are told, and in what applications get.
func TestCanaries(t *testing.T) {
	t.Parallel()
	b, pages, collector := rig.NewBackend(t), newSink(t), newSink(t)
	panics := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	t.Cleanup(panics.Close)
	wrong := rig.NewRawBackend(t, func(r *http.Request) string { return rig.Switching(r, "Upgrade: h2c") })
	c := &canaries{
		Site: &rig.Site{Issuer: rig.NewIssuer(t)}, backend: b, tokens: make(map[string]string), heard: make(map[string]string),
		untouched: make(map[string]bool),
	}
	t.Cleanup(c.CloseAll)
	c.Caddy = rig.StartCaddy(t, canaryConfig(), rig.WithEnv("JWKS", c.Issuer.JWKSURL()), rig.WithEnv("ISSUER", c.Issuer.URL),
		rig.WithEnv("BACKEND", b.Addr), rig.WithEnv("PANICS", panics.Listener.Addr().String()), rig.WithEnv("WRONG", wrong.Addr),
		rig.WithEnv("ERRORS", pages.Listener.Addr().String()), rig.WithEnv("SECRET", canarySecret),
		rig.WithEnv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL), rig.WithEnv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
		rig.WithEnv("OTEL_BSP_SCHEDULE_DELAY", "100"))
	var flows sync.WaitGroup
	for _, flow := range []func(testing.TB){
		c.carried, c.loggedIn, c.everyMessage, c.renewed, c.loggedOut, c.panicked,
		c.overStreams, c.failing, c.requested, c.signedWithSecret, c.shown, c.traced,
	} {
		flows.Go(func() { flow(t) })
	}
	flows.Wait()
	c.search(t, "what the admin API says", c.administered(t)+c.operated(t))
	c.search(t, "what the command line prints", c.inspected(t))
	if err := c.Reload(t, strings.ReplaceAll(canaryConfig(), "audience chat\n", "audience nobody\n")); err != nil {
		t.Error(err)
	}
	c.WaitLog(t, "socket refused by the new configuration")
	if err := c.Stop(); err != nil {
		t.Error(err)
	}
	c.happened(t)
	refused, hits := pages.got()
	traces, spans := collector.got()
	if hits == 0 || spans == 0 || !strings.Contains(traces, "canary /carried") {
		t.Errorf("%d error pages and %d traces, so the test shows nothing", hits, spans)
	}
	c.search(t, "the log", c.Logs.String())
	rig.Search(t, "what the error pages' application got", refused, c.sourced())
	c.search(t, "the traces", traces)
	c.search(t, "the files of Caddy", c.kept(t))
	for flow, heard := range c.heard {
		c.search(t, "what a client was told in the flow "+flow, heard)
	}
	for name, token := range c.sourced() {
		if slices.ContainsFunc(rig.Pieces(token), b.Received) {
			t.Errorf("the application got the secret of: %s", name)
		}
	}
}

// sourced are the secrets that are where a source is.
func (c *canaries) sourced() map[string]string {
	all := maps.Clone(c.tokens)
	maps.DeleteFunc(all, func(name, _ string) bool {
		flow, _, _ := strings.Cut(name, ", ")
		return c.untouched[flow]
	})
	return all
}

// leave has the secrets of a flow left to the applications.
func (c *canaries) leave(flow string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.untouched[flow] = true
}

// happened checks that all flows have got as far as they were to.
func (c *canaries) happened(t testing.TB) {
	t.Helper()
	for _, msg := range []string{
		"handled request", "request refused", "socket opened", "socket ended", "socket renewed", "upstream roundtrip", "event",
		"logout done", "logout refused",
	} {
		if len(c.Logs.Entries(msg)) == 0 {
			t.Errorf("the log has no line %q, so the test shows nothing", msg)
		}
	}
	log := c.Logs.String()
	for _, d := range canaryDialects {
		if !strings.Contains(log, `"dialect":"`+d.name+`"`) || len(c.backend.Seen("/"+d.name)) == 0 {
			t.Errorf("nobody has logged in with the dialect %s, so the test shows nothing", d.name)
		}
	}
	for _, path := range []string{"/carried", "/hub", "/hub/negotiate", "/cable", "/secret", "/shown", "/socket.io/", "/renewing"} {
		if len(c.backend.Seen(path)) == 0 {
			t.Errorf("nobody was let in to %s, so the test shows nothing", path)
		}
	}
}

// search expects no secret in text.
func (c *canaries) search(t testing.TB, where, text string) {
	t.Helper()
	rig.Search(t, where, text, c.tokens)
}

// carried sends tokens in requests.
func (c *canaries) carried(t testing.TB) {
	for n := range carriers("/", "x") {
		flow := fmt.Sprint("carrier ", n)
		for _, token := range c.mint(flow) {
			h := carriers("/carried", token)
			if one := h[n%len(h)]; strings.Contains(one.Path, "ACCESS_TOKEN") || one.Header.Get("Referer") != "" {
				c.leave(flow)
			}
			if n >= len(h) {
				continue // a form that is for tokens of another shape
			}
			header := lines(h[n].Header)
			if len(h[n].Subprotocols) > 0 {
				header = append(header, "Sec-WebSocket-Protocol: "+strings.Join(h[n].Subprotocols, ", "))
			}
			if bare := len(h[n].Subprotocols) == 1; bare {
				flow = "bare" // all there is to answer is what was offered
			}
			c.talk(t, flow, h[n].Path, header)
			c.plain(t, flow, http.MethodGet, h[n].Path, h[n].Header.Clone(), "")
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.heard, "bare")
}

// loggedIn sends tokens in first messages.
func (c *canaries) loggedIn(t testing.TB) {
	for _, d := range canaryDialects {
		flow := "dialect " + d.name
		for kind, token := range c.mint(flow) {
			var header []string
			if d.protocol != "" {
				header = append(header, "Sec-WebSocket-Protocol: "+d.protocol)
			}
			for _, message := range d.messages(token) {
				after := "after it"
				switch d.name { // whose streams take nothing else
				case "stomp":
					after = "SEND\ndestination:a\n\nafter it\x00"
				case "mqtt":
					after = "\xC0\x00" // a ping
				}
				c.talk(t, flow, "/"+d.name, header, message, after)
				if kind == "good" {
					c.talk(t, flow, "/"+d.name, header, message[:len(message)-10])
				}
			}
		}
	}
}

// EveryMessage sends tokens in every message.
func (c *canaries) everyMessage(t testing.TB) {
	for _, onBad := range []string{"close", "tell", "drop"} {
		flow := "every message, " + onBad
		tokens := c.mint(flow)
		for _, token := range tokens {
			c.talk(t, flow, "/every-"+onBad, nil, rig.Carrying(tokens["good"], 1), rig.Carrying(token, 2), `{"token":{"a":"`+token+`"}}`, token)
		}
	}
}

// renewed renews with tokens, by messages and over HTTP.
func (c *canaries) renewed(t testing.TB) {
	tokens, session := c.mint("renewal"), strings.Repeat("A", 26)
	for _, token := range tokens {
		c.talk(t, "renewal", "/renewing", []string{"Authorization: Bearer " + tokens["good"]}, rig.Login(token), "after it")
		c.plain(t, "renewal over HTTP", http.MethodPost, "/renewing?session="+session,
			http.Header{"Authorization": {"Bearer " + token}}, "")
	}
	c.leave("renewal by query")
	for _, token := range c.mint("renewal by query") {
		c.plain(t, "renewal over HTTP", http.MethodPost, "/renewing?session="+session+"&access_token="+token, nil, "")
	}
	// A socket that stays, for the reload, and with it a renewal that counts.
	header := http.Header{"Authorization": {"Bearer " + c.mint("renewed")["mallory's"]}}
	ws := c.Open(t, rig.H1, "/renewing", header)
	ws.Says(t, rig.Login(c.mint("renewed again")["mallory's"]))
	for _, session := range c.Sessions(t, "jti=renewed") {
		c.plain(t, "renewal over HTTP", http.MethodPost, "/renewing?session="+session.ID,
			http.Header{"Authorization": {"Bearer " + c.mint("renewed over HTTP")["mallory's"]}}, "")
	}
	go func() { // answers pings
		for {
			f, err := ws.Read()
			if err != nil || ws.Write(rig.OpPong, f.Payload) != nil {
				return
			}
		}
	}()
}

// loggedOut sends logout tokens, and tokens that are none.
func (c *canaries) loggedOut(t testing.TB) {
	tokens := c.mint("logout")
	tokens["logout"] = rig.Sign(rig.JWT{Header: map[string]any{"typ": "logout+jwt"}, Claims: c.Issuer.Claims(map[string]any{
		"aud": "chat-client", "jti": "logout", "exp": time.Now().Add(2 * time.Minute).Unix(), "sub": "nobody",
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}, "scope": rig.Absent,
	})})
	c.mu.Lock()
	c.tokens["logout, good"] = tokens["logout"]
	c.mu.Unlock()
	for _, token := range tokens {
		form := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
		c.plain(t, "logout", http.MethodPost, "/logout", form, url.Values{"logout_token": {token}}.Encode())
		c.plain(t, "logout", http.MethodPost, "/logout", form.Clone(), url.Values{"logout_token": {token, token}}.Encode())
	}
}

// panicked sends tokens where the application behind fails.
func (c *canaries) panicked(t testing.TB) {
	for _, token := range c.mint("panic") {
		c.talk(t, "panic", "/panic", []string{"Authorization: Bearer " + token})
		c.talk(t, "panic", "/panic", nil, rig.Login(token))
	}
}

// administered returns all that the admin API and the metrics say.
func (c *canaries) administered(t testing.TB) string {
	c.Revoke(t, map[string]any{"issuer": c.Issuer.URL, "subject": "carol", "reason": "canary"})
	var told strings.Builder
	for _, path := range []string{"sessions", "revocations", "lockouts", "keys"} {
		status, body := c.Ask(t, http.MethodGet, path, "", nil)
		if status != http.StatusOK {
			t.Errorf("%s: status %d", path, status)
		}
		told.WriteString(body)
	}
	if !strings.Contains(told.String(), "mallory") {
		t.Error("no socket is listed, so the test shows nothing")
	}
	told.WriteString(c.Admin(t, "/metrics") + c.Admin(t, "/config/"))
	return told.String()
}
