package messages

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// TestFirstMessageLogin: the application is not even connected to before
// anybody has logged in. It then learns in the handshake who it is, gets
// nothing of the login, and all that came behind it, once and in order.
func TestFirstMessageLogin(t *testing.T) {
	t.Parallel()
	rig.ForEachPeerVersion(t, rig.FirstMessage(), nil, func(t *testing.T, s *rig.PeerSite, version string) {
		exp := time.Now().Add(time.Hour)
		token := s.Issuer.Expiring(exp)
		c := s.Open(t, version, "/chat?room=1", rig.NoHeader)
		c.Pings(t, "before the login")
		s.Unasked(t)

		c.Says(t, rig.Login(token), "one", "two", "three")
		c.Accepted(t, exp)
		p := s.Socket(t)
		p.Hears(t, "one", "two", "three")
		if user, source := p.Header.Get("X-User"), p.Header.Get("X-Source"); user != "alice" || source != "first_message" {
			t.Errorf("the application was told %q from %q, want alice from first_message", user, source)
		}
		if p.URI != "/chat?room=1" || strings.Contains(rig.Flatten(p.Header), token[len(token)-20:]) {
			t.Errorf("the application got %s with %s", p.URI, rig.Flatten(p.Header))
		}
		p.Says(t, "four", "five")
		c.Hears(t, "four", "five")
		c.Pings(t, "after the login")
		p.Pings(t, "from the application", c.AnswersPing)
		if n := s.App.Connections.Load(); n != 1 {
			t.Errorf("%d connections to the application, want 1", n)
		}
	})
}

// TestMessagesBeforeARefusedOne: whole messages that come in the same write as one
// that ends the socket reach the application, once that has opened it.
func TestMessagesBeforeARefusedOne(t *testing.T) {
	t.Parallel()
	rig.ForEachPeerVersion(t, rig.FirstMessage(), nil, func(t *testing.T, s *rig.PeerSite, version string) {
		c := s.Open(t, version, "/chat", rig.NoHeader)
		exp := time.Now().Add(time.Hour)
		c.Says(t, rig.Login(s.Issuer.Expiring(exp)))
		c.Accepted(t, exp)
		p := s.Socket(t)
		c.Says(t, "zero")
		p.Hears(t, "zero")
		c.Says(t, "one", "two", `{"type":"auth","token":"x","token":"y"}`, "three")
		p.Hears(t, "one", "two")
		p.Ends(t, 1001)
		c.Broken(t, rig.ClosePolicy)
	})
}

// TestFirstMessageEarlyBytes: what comes in one segment with the handshake is
// the first that is read (the smuggling of CVE-2025-64763).
func TestFirstMessageEarlyBytes(t *testing.T) {
	t.Parallel()
	s := rig.StartPeerSite(t, rig.FirstMessage(), nil)
	for _, good := range []bool{true, false} {
		conn := rig.DialRaw(t, s.Addr)
		token := s.Issuer.Token()
		if !good {
			token = s.Issuer.Token(map[string]any{"exp": 1})
		}
		frames := string(rig.ClientFrame(0x80|rig.OpText, []byte(rig.Login(token)))) + rig.MaskedFrame("one") + rig.MaskedFrame("two")
		conn.Send(t, rig.Upgrade(s.Addr, "/early")+frames)
		if answer := conn.Response(t); answer.StatusCode != http.StatusSwitchingProtocols {
			t.Fatal(answer.Status)
		}
		c := rig.NewConn(conn.Reader, conn, func() { conn.Close() })
		if !good {
			c.IsRefused(t, rig.CloseUnauthorized)
			continue
		}
		c.Accepted(t, time.Now().Add(time.Hour))
		p := s.Socket(t)
		p.Hears(t, "one", "two")
		c.Vanish()
	}
	if n := s.App.Connections.Load(); n != 1 {
		t.Errorf("%d connections to the application, want one", n)
	}
}

// TestFirstMessageSubprotocol: the gate answers the first that is offered, and
// offers the application only that one. Nothing else can be answered.
func TestFirstMessageSubprotocol(t *testing.T) {
	t.Parallel()
	offer := http.Header{"Sec-Websocket-Protocol": {"chat.v2, chat.v1"}}
	rig.ForEachPeerVersion(t, rig.FirstMessage(), nil, func(t *testing.T, s *rig.PeerSite, version string) {
		c, answer := s.Handshake(t, version, "/", offer)
		if c == nil || answer.Header.Get("Sec-WebSocket-Protocol") != "chat.v2" {
			t.Fatalf("%s with subprotocol %q, want chat.v2", answer.Status, answer.Header.Get("Sec-WebSocket-Protocol"))
		}
		s.LogsIn(t, c)
		if got := s.Socket(t).Header.Get("Sec-WebSocket-Protocol"); got != "chat.v2" {
			t.Errorf("the application was offered %q", got)
		}
	})
	t.Run("other answer", func(t *testing.T) {
		t.Parallel()
		s := rig.StartPeerSite(t, rig.FirstMessage(), func(a *rig.PeerApp) { a.Wrong = "chat.v1" })
		c := s.Open(t, rig.H1, "/", offer)
		s.LogsIn(t, c)
		c.Closes(t, rig.CloseInternal) // it would answer that again
		s.LogsReason(t, "upstream_handshake")
	})
}

// TestFirstMessageNoCompression: where messages are read no extension is
// agreed, so that a compressed frame is an error.
func TestFirstMessageNoCompression(t *testing.T) {
	t.Parallel()
	header := http.Header{"Sec-Websocket-Extensions": {"permessage-deflate"}}
	o := rig.FirstMessage("from header", "on_expiry renew")
	rig.ForEachPeerVersion(t, o, nil, func(t *testing.T, s *rig.PeerSite, version string) {
		c, answer := s.Handshake(t, version, "/", header)
		if c == nil || answer.Header.Get("Sec-WebSocket-Extensions") != "" {
			t.Fatalf("%s with extensions %q, want none", answer.Status, answer.Header.Get("Sec-WebSocket-Extensions"))
		}
		token := rig.Login(s.Issuer.Token())
		if err := c.WriteRaw(rig.ClientFrame(0x80|rig.RSV1|rig.OpText, rig.Deflate(t, token))); err != nil {
			t.Fatal(err)
		}
		c.Broken(t, rig.CloseProtocol)
		s.Unasked(t)

		// Nor is it with a token in the request, where only renewals are read.
		both := s.Bearer(time.Now().Add(time.Hour))
		both["Sec-Websocket-Extensions"] = header["Sec-Websocket-Extensions"]
		c, answer = s.Handshake(t, version, "/", both)
		if c == nil || answer.Header.Get("Sec-WebSocket-Extensions") != "" {
			t.Fatalf("%s with extensions %q, want none", answer.Status, answer.Header.Get("Sec-WebSocket-Extensions"))
		}
		if got := s.Socket(t).Header.Values("Sec-WebSocket-Extensions"); len(got) != 0 {
			t.Errorf("the application was offered %q", got)
		}
	})
}

// TestFirstMessageAfterOtherSources: the request is asked first. A credential
// there decides, for good or bad, and a login after it is the application's
// business.
func TestFirstMessageAfterOtherSources(t *testing.T) {
	t.Parallel()
	o := rig.SiteOptions{Directives: "from header\nfrom query\nfrom subprotocol\nfrom first_message"}
	s := rig.StartPeerSite(t, o, nil)
	expired := s.Issuer.Token(map[string]any{"exp": 1})
	for source, open := range map[string]func(token string) (*rig.Conn, *http.Response){
		"header": func(token string) (*rig.Conn, *http.Response) {
			return s.Handshake(t, rig.H1, "/", http.Header{"Authorization": {"Bearer " + token}})
		},
		"query": func(token string) (*rig.Conn, *http.Response) {
			return s.Handshake(t, rig.H1, "/?access_token="+token, rig.NoHeader)
		},
		"subprotocol": func(token string) (*rig.Conn, *http.Response) {
			return s.Handshake(t, rig.H1, "/", http.Header{"Sec-Websocket-Protocol": {"bearer, " + token}})
		},
	} {
		if _, answer := open(expired); answer.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s, expired: %s", source, answer.Status)
		}
		c, answer := open(s.Issuer.Token())
		if c == nil {
			t.Fatalf("%s: %s", source, answer.Status)
		}
		p := s.Socket(t)
		if got := p.Header.Get("X-Source"); got != source {
			t.Errorf("source is %q, want %q", got, source)
		}
		c.Says(t, "hello")
		p.Hears(t, "hello")
		c.Vanish()
	}
	c := s.Open(t, rig.H1, "/", rig.NoHeader)
	s.LogsIn(t, c)
	if got := s.Socket(t).Header.Get("X-Source"); got != "first_message" {
		t.Errorf("source is %q, want first_message", got)
	}
}

// TestFirstMessageRefused: a login that is not good ends the socket with what
// the dialect says and the code of the reason, and the application never hears
// of it.
func TestFirstMessageRefused(t *testing.T) {
	t.Parallel()
	rig.ForEachPeerVersion(t, rig.FirstMessage("require scope chat:read"), nil, func(t *testing.T, s *rig.PeerSite, version string) {
		i := s.Issuer
		for _, tt := range []struct {
			name, message string
			code          uint16
			reason        string
		}{
			{"expired", rig.Login(i.Token(map[string]any{"exp": 1})), rig.CloseUnauthorized, "expired"},
			{"other audience", rig.Login(i.Token(map[string]any{"aud": "other"})), rig.CloseUnauthorized, "wrong_audience"},
			{"no exp", rig.Login(i.Token(map[string]any{"exp": rig.Absent})), rig.CloseUnauthorized, ""},
			{"stranger's", rig.Login(rig.Sign(rig.JWT{Key: rig.StrangerKey(), Claims: i.Claims()})), rig.CloseUnauthorized, "bad_signature"},
			{"garbage", rig.Login("garbage"), rig.CloseUnauthorized, "malformed_token"},
			{"empty", rig.Login(""), rig.CloseUnauthorized, "missing_credential"},
			{"too long", rig.Login(strings.Repeat("a", 12<<10)), rig.CloseUnauthorized, "malformed_token"},
			{"a number", `{"type":"auth","token":1}`, rig.CloseUnauthorized, "missing_credential"},
			{"no token", `{"type":"auth"}`, rig.CloseUnauthorized, "missing_credential"},
			{"no scope", rig.Login(i.Token(map[string]any{"scope": "other"})), rig.CloseForbidden, "insufficient_scope"},
			{"not a login", `{"type":"hello"}`, rig.CloseUnauthorized, "missing_credential"},
			{"not JSON", "hello", rig.CloseUnauthorized, "missing_credential"},
		} {
			c := s.Open(t, version, "/", rig.NoHeader)
			c.Says(t, tt.message, "behind it")
			if w := c.HearsWord(t, "auth_error"); w.Reason == "" {
				t.Errorf("%s: the client is told no reason", tt.name)
			}
			if _, end := c.Last(t, rig.Patience); end.Code != tt.code {
				t.Errorf("%s: %v, want %d", tt.name, end, tt.code)
			}
			if tt.reason != "" {
				s.LogsReason(t, tt.reason)
			}
		}
		s.Unasked(t)
		s.LogsIn(t, s.Open(t, version, "/", rig.NoHeader))
	})
}

// TestFirstMessageUpstreamRefuses: a client that has been accepted is told
// that the application cannot be had, and the log says why.
func TestFirstMessageUpstreamRefuses(t *testing.T) {
	t.Parallel()
	rig.ForEachPeerVersion(t, rig.FirstMessage(), func(a *rig.PeerApp) { a.Refuse = http.StatusForbidden },
		func(t *testing.T, s *rig.PeerSite, version string) {
			c := s.Open(t, version, "/", rig.NoHeader)
			s.LogsIn(t, c)
			c.Closes(t, rig.CloseTryAgain)
			s.LogsReason(t, "upstream_handshake")
			s.App.Close() // down altogether
			c = s.Open(t, version, "/", rig.NoHeader)
			s.LogsIn(t, c)
			c.Closes(t, rig.CloseTryAgain)
			rig.Eventually(t, rig.Patience, func() string {
				if n := len(s.Logs.Entries("request refused")); n < 2 {
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
	o := rig.SiteOptions{Directives: "from header\nfrom first_message\nreject close\norigins https://app.example.com"}
	rig.ForEachPeerVersion(t, o, nil, func(t *testing.T, s *rig.PeerSite, version string) {
		c := s.Open(t, version, "/", s.Bearer(time.Now().Add(-time.Minute)))
		c.IsRefused(t, rig.CloseUnauthorized)
		c = s.Open(t, version, "/", http.Header{"Origin": {"https://evil.example.com"}})
		c.IsRefused(t, rig.CloseForbidden)
		s.Unasked(t)
		c = s.Open(t, version, "/", http.Header{"Origin": {"https://app.example.com"}})
		s.LogsIn(t, c)
		s.Socket(t)
	})
}

// TestFirstMessageEnds: the token of a message ends the socket as one of the
// request does, and nothing is left of it.
func TestFirstMessageEnds(t *testing.T) {
	t.Parallel()
	rig.TryEachVersion(t, rig.AllVersions, rig.FirstMessage("from header"), func(t testing.TB, s *rig.Site, version string) {
		before := s.Footprint(t, version)
		lag := rig.MeasureLag(t)
		exp := rig.Soon(2 * time.Second)
		c := s.Open(t, version, "/echo", rig.NoHeader)
		c.Says(t, rig.Login(s.Issuer.Expiring(exp)))
		c.Accepted(t, exp)
		c.Says(t, "hello")
		c.Hears(t, "hello")
		end := c.MustClose(t, rig.Patience)
		lag.InTime(t, "close frame", exp, time.Now(), time.Second)
		if end.Code != rig.CloseUnauthorized {
			t.Errorf("%v, want 3000", end)
		}
		if end := s.App.End(t, rig.Patience); end.Code != rig.CloseGoingAway {
			t.Errorf("the application's socket ended with %d (%v), want 1001", end.Code, end.Err)
		}
		s.CloseAll()
		s.NothingLeft(t, before)
	})
}
