package streams

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// refusal is a handshake that is refused. what changes it from a good one.
type refusal struct {
	name   string
	path   string
	header func(s *rig.Site) http.Header
	change func(r *http.Request, version string)
	status int
	// code and reason are those of reject close; code 0: it is a status then,
	// too.
	code   uint16
	reason string
	// only: the versions it is about; nil: all.
	only []string
}

// goodHeader is that of a client whom nothing refuses.
func goodHeader(s *rig.Site) http.Header {
	return http.Header{"Authorization": {"Bearer " + s.Issuer.Token(map[string]any{"role": "admin"})}}
}

func protocolIs(protocol string) func(*http.Request, string) {
	return func(r *http.Request, version string) { rig.SetProtocol(r, version, protocol) }
}

// refusals are for a site with refusing.
func refusals() []refusal {
	return []refusal{
		{
			name: "no credential", header: func(*rig.Site) http.Header { return nil },
			status: 401, code: 3000, reason: "missing_credential",
		},
		{
			name: "expired token", header: func(s *rig.Site) http.Header { return s.Bearer(time.Now().Add(-time.Minute)) },
			status: 401, code: 3000, reason: "invalid_token",
		},
		{name: "stranger's signature", header: func(s *rig.Site) http.Header {
			return http.Header{"Authorization": {"Bearer " + rig.Sign(rig.JWT{Key: rig.StrangerKey(), Claims: s.Issuer.Claims()})}}
		}, status: 401, code: 3000, reason: "invalid_token"},
		{
			name: "rule", header: func(s *rig.Site) http.Header { return s.Bearer(time.Now().Add(time.Minute)) },
			status: 403, code: 3003, reason: "forbidden",
		},
		{name: "two credentials", header: func(s *rig.Site) http.Header {
			h := goodHeader(s)
			h["Authorization"] = append(h["Authorization"], h["Authorization"]...)
			return h
		}, status: 400},
		// In HTTP/1.1 another protocol is an offer, see TestAttackOffersAreIgnored.
		{name: "h2c", header: goodHeader, change: protocolIs("h2c"), status: 400, only: rig.StreamVersions},
		{name: "another protocol", header: goodHeader, change: protocolIs("connect-udp"), status: 400, only: rig.StreamVersions},
		{
			name: "another protocol, no credential", header: func(*rig.Site) http.Header { return nil },
			change: protocolIs("websocket2"), status: 400, only: rig.StreamVersions,
		},
		// The HTTP/3 client sends no such thing.
		{name: "list", header: goodHeader, change: protocolIs("h2c, websocket"), status: 400, only: []string{rig.H1, rig.H2}},
		{
			name: "version, no credential", header: func(*rig.Site) http.Header { return nil },
			change: protocolIs("websocket/13"), status: 400, only: []string{rig.H1, rig.H2},
		},
		{
			name: "odd case, no credential", header: func(*rig.Site) http.Header { return nil },
			change: protocolIs("WebSocket"), status: 401, code: 3000, reason: "missing_credential",
		},
		{
			name: "version 8", header: goodHeader,
			change: func(r *http.Request, _ string) { r.Header.Set("Sec-WebSocket-Version", "8") }, status: 426,
		},
		// A 200 to an extended CONNECT would open the WebSocket. In HTTP/1.1 it
		// is an ordinary answer, see TestAnswerOfNoUpgrade.
		{
			name: "upstream answers 200", path: "/plain", header: goodHeader, only: rig.StreamVersions,
			status: 502, code: 1013, reason: "bad_gateway",
		},
	}
}

func (f refusal) isFor(version string) bool {
	return f.only == nil || strings.Contains(strings.Join(f.only, " "), version)
}

// send sends the handshake.
func (f refusal) send(t testing.TB, s *rig.Site, version string) (*rig.Conn, *http.Response) {
	t.Helper()
	path := f.path
	if path == "" {
		path = "/echo"
	}
	return s.Send(t, version, path, f.header(s), func(r *http.Request) {
		if f.change != nil {
			f.change(r, version)
		}
	})
}

// refusing are the directives that [refusals] is for.
const refusing = "require claim role admin"

// TestStreamRefusals: each refusal has its status, and the application hears
// nothing of it.
func TestStreamRefusals(t *testing.T) {
	t.Parallel()
	onOneSite(t, rig.AllVersions, rig.SiteOptions{Directives: refusing}, func(t *testing.T, s *rig.Site, version string) {
		opened := s.App.Opened.Load()
		for _, f := range refusals() {
			if !f.isFor(version) {
				continue
			}
			c, answer := f.send(t, s, version)
			if c != nil || answer.StatusCode != f.status {
				t.Errorf("%s: %s, want %d", f.name, answer.Status, f.status)
			}
			challenge := answer.Header.Get("WWW-Authenticate")
			if (f.status == 401) != strings.HasPrefix(challenge, "Bearer ") && f.status != 400 {
				t.Errorf("%s: WWW-Authenticate %q with %d", f.name, challenge, f.status)
			}
			if got := answer.Header.Get("Cache-Control"); got != "no-store" {
				t.Errorf("%s: Cache-Control %q, want no-store", f.name, got)
			}
		}
		if n := s.App.Opened.Load() - opened; n != 0 {
			t.Errorf("the application has had %d sockets", n)
		}
		// The same client without what is wrong gets in.
		s.Open(t, version, "/echo", goodHeader(s)).Echoes(t)
		s.App.Handshake(t)
	})
}

// TestStreamRejectClose: with reject close a proper handshake is accepted and
// closed with the code that a page can read, on every version.
func TestStreamRejectClose(t *testing.T) {
	t.Parallel()
	o := rig.SiteOptions{
		Directives: refusing + "\nreject close",
		Proxy:      "stream_close_delay 1h\ntransport http {\nkeepalive off\n}", // it would be left
	}
	onOneSite(t, rig.AllVersions, o, func(t *testing.T, s *rig.Site, version string) {
		before := s.FootprintOf(t, version, goodHeader(s))
		for _, f := range refusals() {
			if !f.isFor(version) {
				continue
			}
			c, answer := f.send(t, s, version)
			if f.code == 0 {
				if c != nil || answer.StatusCode != f.status {
					t.Errorf("%s: %s, want %d", f.name, answer.Status, f.status)
				}
				continue
			}
			if c == nil {
				t.Errorf("%s: %s, want a socket that is closed", f.name, answer.Status)
				continue
			}
			if end := c.MustClose(t, rig.Patience); end.Code != f.code || end.Reason != f.reason {
				t.Errorf("%s: %v, want %d %q", f.name, end, f.code, f.reason)
			}
		}
		s.CloseAll()
		s.NothingLeft(t, before)
	})
}

// TestErrorPageIsNoTunnel: a reverse_proxy in handle_errors sees the refused
// request. It must not open a tunnel with it, nor give the token away. The
// attack: a client without a token whose refused handshake is proxied by the
// error page has a WebSocket that nobody guards.
func TestErrorPageIsNoTunnel(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, first string }{
		{"alone", ""},
		// A handler in front that hands on a copy of the request: what is taken
		// from the copy is still in what the error page sees.
		{"behind tracing", "tracing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			errorPageIsNoTunnel(t, tt.first)
		})
	}
}

func errorPageIsNoTunnel(t *testing.T, first string) {
	t.Helper()
	o := rig.SiteOptions{
		First:      first,
		Directives: refusing,
		After:      "handle_errors {\nrewrite * /echo\nreverse_proxy {$APP}\n}",
		Env:        []rig.StartOption{rig.WithEnv("OTEL_TRACES_EXPORTER", "none")},
	}
	onOneSite(t, rig.AllVersions, o, func(t *testing.T, s *rig.Site, version string) {
		for _, f := range refusals() {
			if !f.isFor(version) {
				continue
			}
			c, answer := f.send(t, s, version)
			if c == nil {
				if answer.StatusCode == http.StatusSwitchingProtocols {
					t.Errorf("%s: 101", f.name)
				}
				continue
			}
			if version == rig.H1 {
				t.Errorf("%s: the error page has opened a WebSocket", f.name)
			}
			// The error page's own 200: its text, and the end of the stream.
			_ = c.Write(rig.OpText, []byte("let me in"))
			var text []byte
			err := c.Within(rig.Patience, func() (err error) { text, err = io.ReadAll(c.Reader); return err })
			if err != nil || string(text) != "plain GET" {
				t.Errorf("%s: got %q, %v from the error page", f.name, text, err)
			}
		}
		if n := s.App.Opened.Load(); n != 0 {
			t.Errorf("the error page has opened %d WebSockets at the application", n)
		}
		for range len(s.App.Plain) {
			seen := <-s.App.Plain
			if strings.Contains(seen, " /plain\n") {
				continue // the good handshake, before it was refused
			}
			if strings.Contains(seen, "Bearer") || strings.Contains(strings.ToLower(seen), "sec-websocket") {
				t.Errorf("the application got the refused handshake from the error page:\n%s", seen)
			}
		}
	})
}

// TestAnswerOfNoUpgrade: what an application answers that opens no WebSocket
// is an ordinary answer to a client of HTTP/1.1, and what the client sends
// then reaches nobody.
func TestAnswerOfNoUpgrade(t *testing.T) {
	t.Parallel()
	s := rig.StartSite(t, rig.SiteOptions{})
	c, answer := s.Handshake(t, rig.H1, "/plain", goodHeader(s))
	if c != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s, want the application's 200", answer.Status)
	}
	if body, _ := io.ReadAll(answer.Body); string(body) != "plain GET" {
		t.Errorf("body %q", body)
	}
}

// TestOddCaseIsAuthenticated: WebSocket in any case is one, with all that goes
// with it.
func TestOddCaseIsAuthenticated(t *testing.T) {
	t.Parallel()
	onOneSite(t, rig.AllVersions, rig.SiteOptions{}, func(t *testing.T, s *rig.Site, version string) {
		exp := rig.Soon(8 * time.Second)
		var open []*rig.Conn
		for _, protocol := range []string{"WebSocket", "WEBSOCKET", "wEbSoCkEt"} {
			c, answer := s.Send(t, version, "/echo", s.Bearer(exp), func(r *http.Request) {
				rig.SetProtocol(r, version, protocol)
			})
			if c == nil {
				t.Errorf("%s: %s", protocol, answer.Status)
				continue
			}
			if user := s.App.Handshake(t).Get("X-User"); user != "alice" {
				t.Errorf("%s: application got X-User %q", protocol, user)
			}
			open = append(open, c)
		}
		for _, c := range open {
			if end := c.MustClose(t, rig.Patience); end.Code != rig.CloseUnauthorized {
				t.Errorf("%v, want 3000", end)
			}
		}
	})
}
