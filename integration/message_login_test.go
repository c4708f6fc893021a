package integration

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestFirstMessageLogin: the application is not even connected to before
// anybody has logged in. It then learns in the handshake who it is, gets
// nothing of the login, and all that came behind it, once and in order.
func TestFirstMessageLogin(t *testing.T) {
	t.Parallel()
	forEachPeerVersion(t, firstMessage(), nil, func(t *testing.T, s *peerSite, version string) {
		exp := time.Now().Add(time.Hour)
		token := s.issuer.expiring(exp)
		c := s.open(t, version, "/chat?room=1", noHeader)
		c.pings(t, "before the login")
		s.unasked(t)

		c.says(t, login(token), "one", "two", "three")
		c.accepted(t, exp)
		p := s.socket(t)
		p.hears(t, "one", "two", "three")
		if user, source := p.header.Get("X-User"), p.header.Get("X-Source"); user != "alice" || source != "first_message" {
			t.Errorf("the application was told %q from %q, want alice from first_message", user, source)
		}
		if p.uri != "/chat?room=1" || strings.Contains(flatten(p.header), token[len(token)-20:]) {
			t.Errorf("the application got %s with %s", p.uri, flatten(p.header))
		}
		p.says(t, "four", "five")
		c.hears(t, "four", "five")
		c.pings(t, "after the login")
		p.pings(t, "from the application", c.answersPing)
		if n := s.app.connections.Load(); n != 1 {
			t.Errorf("%d connections to the application, want 1", n)
		}
	})
}

// TestFirstMessageEarlyBytes: what comes in one segment with the handshake is
// the first that is read (the smuggling of CVE-2025-64763).
func TestFirstMessageEarlyBytes(t *testing.T) {
	t.Parallel()
	s := startPeerSite(t, firstMessage(), nil)
	for _, good := range []bool{true, false} {
		conn := dialRaw(t, s.site.site)
		token := s.issuer.token()
		if !good {
			token = s.issuer.token(map[string]any{"exp": 1})
		}
		frames := string(clientFrame(0x80|opText, []byte(login(token)))) + maskedFrame("one") + maskedFrame("two")
		conn.send(t, upgrade(s.site.site, "/early")+frames)
		if answer := conn.response(t); answer.StatusCode != http.StatusSwitchingProtocols {
			t.Fatal(answer.Status)
		}
		c := newWSConn(conn.br, conn, func() { conn.Close() })
		if !good {
			c.isRefused(t, closeUnauthorized)
			continue
		}
		c.accepted(t, time.Now().Add(time.Hour))
		p := s.socket(t)
		p.hears(t, "one", "two")
		c.vanish()
	}
	if n := s.app.connections.Load(); n != 1 {
		t.Errorf("%d connections to the application, want one", n)
	}
}

// TestFirstMessageSubprotocol: the gate answers the first that is offered, and
// offers the application only that one. Nothing else can be answered.
func TestFirstMessageSubprotocol(t *testing.T) {
	t.Parallel()
	offer := http.Header{"Sec-Websocket-Protocol": {"chat.v2, chat.v1"}}
	forEachPeerVersion(t, firstMessage(), nil, func(t *testing.T, s *peerSite, version string) {
		c, answer := s.handshake(t, version, "/", offer)
		if c == nil || answer.Header.Get("Sec-WebSocket-Protocol") != "chat.v2" {
			t.Fatalf("%s with subprotocol %q, want chat.v2", answer.Status, answer.Header.Get("Sec-WebSocket-Protocol"))
		}
		s.logsIn(t, c)
		if got := s.socket(t).header.Get("Sec-WebSocket-Protocol"); got != "chat.v2" {
			t.Errorf("the application was offered %q", got)
		}
	})
	t.Run("other answer", func(t *testing.T) {
		t.Parallel()
		s := startPeerSite(t, firstMessage(), func(a *peerApp) { a.wrong = "chat.v1" })
		c := s.open(t, h1, "/", offer)
		s.logsIn(t, c)
		c.closes(t, closeInternal) // it would answer that again
		s.logsReason(t, "upstream_handshake")
	})
}

// TestFirstMessageNoCompression: where messages are read no extension is
// agreed, so that a compressed frame is an error.
func TestFirstMessageNoCompression(t *testing.T) {
	t.Parallel()
	header := http.Header{"Sec-Websocket-Extensions": {"permessage-deflate"}}
	o := firstMessage("from header", "on_expiry renew")
	forEachPeerVersion(t, o, nil, func(t *testing.T, s *peerSite, version string) {
		c, answer := s.handshake(t, version, "/", header)
		if c == nil || answer.Header.Get("Sec-WebSocket-Extensions") != "" {
			t.Fatalf("%s with extensions %q, want none", answer.Status, answer.Header.Get("Sec-WebSocket-Extensions"))
		}
		token := login(s.issuer.token())
		if err := c.writeRaw(clientFrame(0x80|rsv1|opText, deflate(t, token))); err != nil {
			t.Fatal(err)
		}
		c.broken(t, closeProtocol)
		s.unasked(t)

		// Nor is it with a token in the request, where only renewals are read.
		both := s.bearer(time.Now().Add(time.Hour))
		both["Sec-Websocket-Extensions"] = header["Sec-Websocket-Extensions"]
		c, answer = s.handshake(t, version, "/", both)
		if c == nil || answer.Header.Get("Sec-WebSocket-Extensions") != "" {
			t.Fatalf("%s with extensions %q, want none", answer.Status, answer.Header.Get("Sec-WebSocket-Extensions"))
		}
		if got := s.socket(t).header.Values("Sec-WebSocket-Extensions"); len(got) != 0 {
			t.Errorf("the application was offered %q", got)
		}
	})
}

// TestFirstMessageAfterOtherSources: the request is asked first. A credential
// there decides, for good or bad, and a login after it is the application's
// business.
func TestFirstMessageAfterOtherSources(t *testing.T) {
	t.Parallel()
	o := siteOptions{directives: "from header\nfrom query\nfrom subprotocol\nfrom first_message"}
	s := startPeerSite(t, o, nil)
	expired := s.issuer.token(map[string]any{"exp": 1})
	for source, open := range map[string]func(token string) (*wsConn, *http.Response){
		"header": func(token string) (*wsConn, *http.Response) {
			return s.handshake(t, h1, "/", http.Header{"Authorization": {"Bearer " + token}})
		},
		"query": func(token string) (*wsConn, *http.Response) {
			return s.handshake(t, h1, "/?access_token="+token, noHeader)
		},
		"subprotocol": func(token string) (*wsConn, *http.Response) {
			return s.handshake(t, h1, "/", http.Header{"Sec-Websocket-Protocol": {"bearer, " + token}})
		},
	} {
		if _, answer := open(expired); answer.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s, expired: %s", source, answer.Status)
		}
		c, answer := open(s.issuer.token())
		if c == nil {
			t.Fatalf("%s: %s", source, answer.Status)
		}
		p := s.socket(t)
		if got := p.header.Get("X-Source"); got != source {
			t.Errorf("source is %q, want %q", got, source)
		}
		c.says(t, "hello")
		p.hears(t, "hello")
		c.vanish()
	}
	c := s.open(t, h1, "/", noHeader)
	s.logsIn(t, c)
	if got := s.socket(t).header.Get("X-Source"); got != "first_message" {
		t.Errorf("source is %q, want first_message", got)
	}
}

// TestFirstMessageRefused: a login that is not good ends the socket with what
// the dialect says and the code of the reason, and the application never hears
// of it.
func TestFirstMessageRefused(t *testing.T) {
	t.Parallel()
	forEachPeerVersion(t, firstMessage("require scope chat:read"), nil, func(t *testing.T, s *peerSite, version string) {
		i := s.issuer
		for _, tt := range []struct {
			name, message string
			code          uint16
			reason        string
		}{
			{"expired", login(i.token(map[string]any{"exp": 1})), closeUnauthorized, "expired"},
			{"other audience", login(i.token(map[string]any{"aud": "other"})), closeUnauthorized, "wrong_audience"},
			{"no exp", login(i.token(map[string]any{"exp": absent})), closeUnauthorized, ""},
			{"stranger's", login(sign(jwt{key: strangerKey(), claims: i.claims()})), closeUnauthorized, "bad_signature"},
			{"garbage", login("garbage"), closeUnauthorized, "malformed_token"},
			{"empty", login(""), closeUnauthorized, "missing_credential"},
			{"too long", login(strings.Repeat("a", 12<<10)), closeUnauthorized, "malformed_token"},
			{"a number", `{"type":"auth","token":1}`, closeUnauthorized, "missing_credential"},
			{"no token", `{"type":"auth"}`, closeUnauthorized, "missing_credential"},
			{"no scope", login(i.token(map[string]any{"scope": "other"})), closeForbidden, "insufficient_scope"},
			{"not a login", `{"type":"hello"}`, closeUnauthorized, "missing_credential"},
			{"not JSON", "hello", closeUnauthorized, "missing_credential"},
		} {
			c := s.open(t, version, "/", noHeader)
			c.says(t, tt.message, "behind it")
			if w := c.hearsWord(t, "auth_error"); w.Reason == "" {
				t.Errorf("%s: the client is told no reason", tt.name)
			}
			if _, end := c.last(t, patience); end.code != tt.code {
				t.Errorf("%s: %v, want %d", tt.name, end, tt.code)
			}
			if tt.reason != "" {
				s.logsReason(t, tt.reason)
			}
		}
		s.unasked(t)
		s.logsIn(t, s.open(t, version, "/", noHeader))
	})
}

// TestFirstMessageUpstreamRefuses: a client that has been accepted is told
// that the application cannot be had, and the log says why.
func TestFirstMessageUpstreamRefuses(t *testing.T) {
	t.Parallel()
	forEachPeerVersion(t, firstMessage(), func(a *peerApp) { a.refuse = http.StatusForbidden },
		func(t *testing.T, s *peerSite, version string) {
			c := s.open(t, version, "/", noHeader)
			s.logsIn(t, c)
			c.closes(t, closeTryAgain)
			s.logsReason(t, "upstream_handshake")
			s.app.Close() // down altogether
			c = s.open(t, version, "/", noHeader)
			s.logsIn(t, c)
			c.closes(t, closeTryAgain)
			eventually(t, patience, func() string {
				if n := len(s.logs.entries("request refused")); n < 2 {
					return "the log does not say that the application is down"
				}
				return ""
			})
		})
}

// TestFirstMessageRejectClose: with reject close a bad credential of the
// request is refused by a close frame, and so is all else that is a proper
// handshake. One without any waits for a message.
func TestFirstMessageRejectClose(t *testing.T) {
	t.Parallel()
	o := siteOptions{directives: "from header\nfrom first_message\nreject close\norigins https://app.example.com"}
	forEachPeerVersion(t, o, nil, func(t *testing.T, s *peerSite, version string) {
		c := s.open(t, version, "/", s.bearer(time.Now().Add(-time.Minute)))
		c.isRefused(t, closeUnauthorized)
		c = s.open(t, version, "/", http.Header{"Origin": {"https://evil.example.com"}})
		c.isRefused(t, closeForbidden)
		s.unasked(t)
		c = s.open(t, version, "/", http.Header{"Origin": {"https://app.example.com"}})
		s.logsIn(t, c)
		s.socket(t)
	})
}

// TestFirstMessageEnds: the token of a message ends the socket as one of the
// request does, and nothing is left of it.
func TestFirstMessageEnds(t *testing.T) {
	t.Parallel()
	tryEachVersion(t, allVersions, firstMessage("from header"), func(t testing.TB, s *site, version string) {
		before := s.footprint(t, version)
		lag := measureLag(t)
		exp := soon(2 * time.Second)
		c := s.open(t, version, "/echo", noHeader)
		c.says(t, login(s.issuer.expiring(exp)))
		c.accepted(t, exp)
		c.says(t, "hello")
		c.hears(t, "hello")
		end := c.mustClose(t, patience)
		lag.inTime(t, "close frame", exp, time.Now(), time.Second)
		if end.code != closeUnauthorized {
			t.Errorf("%v, want 3000", end)
		}
		if end := s.app.end(t, patience); end.code != closeGoingAway {
			t.Errorf("the application's socket ended with %d (%v), want 1001", end.code, end.err)
		}
		s.closeAll()
		s.nothingLeft(t, before)
	})
}
