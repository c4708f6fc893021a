package messages

import (
	"strings"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// TestEveryMessage: the first message logs in, each goes on without its token,
// and what the application says passes as it is.
func TestEveryMessage(t *testing.T) {
	t.Parallel()
	rig.ForEachPeerVersion(t, rig.EveryMessage("close"), nil, func(t *testing.T, s *rig.PeerSite, version string) {
		exp := time.Now().Add(time.Hour)
		token := s.Issuer.Expiring(exp)
		c := s.Open(t, version, "/", rig.NoHeader)
		c.Pings(t, "before")
		s.Unasked(t)
		var all []string
		for n := range 100 {
			all = append(all, rig.Carrying(token, n))
		}
		c.Says(t, all...)
		c.Accepted(t, exp)
		p := s.Socket(t)
		for n := range 100 {
			p.HearsNumber(t, n)
		}
		if user, source := p.Header.Get("X-User"), p.Header.Get("X-Source"); user != "alice" || source != "every_message" {
			t.Errorf("the application was told %q from %q", user, source)
		}
		c.Says(t, `{"n":100,"type":"chat","\u0074oken":"`+token+`"}`)
		if got := rig.Receive(t, "message at the application", p.Got, rig.Patience); strings.Contains(got, token[:20]) {
			t.Errorf("the application got a token: %s", got)
		}
		p.Says(t, `{"token":"the application's own"}`)
		c.Hears(t, `{"token":"the application's own"}`)
	})
}

// badMessages are what must not pass where each message has its token.
func badMessages(i *rig.Issuer) map[string]string {
	return map[string]string{
		"no token":      `{"type":"chat","n":0}`,
		"empty token":   rig.Carrying("", 0),
		"no JSON":       "chat",
		"garbage":       rig.Carrying("garbage", 0),
		"expired":       rig.Carrying(i.Token(map[string]any{"exp": 1}), 0),
		"stranger's":    rig.Carrying(rig.Sign(rig.JWT{Key: rig.StrangerKey(), Claims: i.Claims()}), 0),
		"other subject": rig.Carrying(i.Token(map[string]any{"sub": "mallory"}), 0),
		"other issuer":  rig.Carrying(i.Token(map[string]any{"iss": "https://other.example.com"}), 0),
		"other sid":     rig.Carrying(i.Token(map[string]any{"sid": "other"}), 0),
	}
}

// TestAttackEveryMessage: a message without a good token of the socket's own
// never reaches the application, and becomes what is configured.
func TestAttackEveryMessage(t *testing.T) {
	t.Parallel()
	for _, onBad := range []string{"drop", "tell", "close"} {
		t.Run(onBad, func(t *testing.T) {
			t.Parallel()
			s := rig.StartPeerSite(t, rig.EveryMessage(onBad), nil)
			token := s.Issuer.Token(map[string]any{"sid": "own"})
			for name, message := range badMessages(s.Issuer) {
				c := s.Open(t, rig.H1, "/", rig.NoHeader)
				c.Says(t, rig.Carrying(token, 1))
				c.Accepted(t, time.Now().Add(time.Hour))
				p := s.Socket(t)
				p.HearsNumber(t, 1)
				c.Says(t, message, rig.Carrying(token, 2))
				if onBad != "drop" {
					c.HearsWord(t, "auth_error")
				}
				if onBad == "close" {
					want := uint16(rig.CloseUnauthorized)
					if strings.HasPrefix(name, "other") {
						want = rig.CloseForbidden
					}
					c.Closes(t, want)
					p.Ends(t, rig.CloseGoingAway)
					continue
				}
				p.HearsNumber(t, 2)
				c.Pings(t, "alive") // and nothing more was said
				c.Vanish()
			}
			s.LogsReason(t, "missing_credential")
		})
	}
}

// TestAttackEveryMessageFrames: what cannot be read for sure ends the socket,
// whatever on_bad says.
func TestAttackEveryMessageFrames(t *testing.T) {
	t.Parallel()
	s := rig.StartPeerSite(t, rig.EveryMessage("drop"), nil)
	token := s.Issuer.Token()
	for name, tt := range map[string]struct {
		frames []byte
		code   uint16
	}{
		"credential twice": {rig.ClientFrame(0x80|rig.OpText, []byte(`{"token":"`+token+`","token":"x"}`)), rig.ClosePolicy},
		"compressed":       {rig.ClientFrame(0x80|rig.RSV1|rig.OpText, rig.Deflate(t, rig.Carrying(token, 2))), rig.CloseProtocol},
		"not UTF-8":        {rig.ClientFrame(0x80|rig.OpText, []byte(rig.Carrying(token, 2)+"\xff")), rig.CloseNotUTF8},
		"too big":          {rig.HugeFrame(), rig.CloseTooBig},
		"4097 fragments":   {empties(4096, rig.Carrying(token, 2)), rig.ClosePolicy},
	} {
		c := s.Open(t, rig.H1, "/", rig.NoHeader)
		c.Says(t, rig.Carrying(token, 1))
		c.Accepted(t, time.Now().Add(time.Hour))
		p := s.Socket(t)
		p.HearsNumber(t, 1)
		if err := c.WriteRaw(tt.frames); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		c.Broken(t, tt.code)
		c.Vanish()
		for text := range p.Got {
			t.Errorf("%s: the application got %.50q", name, text)
		}
	}
}

// TestEveryMessageBinary: a binary message can carry no JSON, and so no token.
func TestEveryMessageBinary(t *testing.T) {
	t.Parallel()
	s := rig.StartPeerSite(t, rig.EveryMessage("tell"), nil)
	token := s.Issuer.Token()
	c := s.Open(t, rig.H1, "/", rig.NoHeader)
	c.Says(t, rig.Carrying(token, 1))
	c.Accepted(t, time.Now().Add(time.Hour))
	p := s.Socket(t)
	p.HearsNumber(t, 1)
	if err := c.Write(rig.OpBinary, []byte(rig.Carrying(token, 2))); err != nil {
		t.Fatal(err)
	}
	c.HearsWord(t, "auth_error")
	c.Says(t, rig.Carrying(token, 3))
	p.HearsNumber(t, 3)
}

// TestEveryMessageExtends: the newest token that the client has sent is the one
// that counts. An older one that is still good counts for its message alone.
func TestEveryMessageExtends(t *testing.T) {
	t.Parallel()
	rig.TryEachPeerVersion(t, rig.EveryMessage("tell"), nil, func(t testing.TB, s *rig.PeerSite, version string) {
		lag := rig.MeasureLag(t)
		first := rig.Soon(2 * time.Second)
		second := rig.LaterThan(first, 2*time.Second)
		c := s.Open(t, version, "/", rig.NoHeader)
		c.Says(t, rig.Carrying(s.Issuer.Expiring(first), 1), rig.Carrying(s.Issuer.Expiring(second), 2), rig.Carrying(s.Issuer.Expiring(first), 3))
		c.Accepted(t, first)
		p := s.Socket(t)
		for n := range 3 {
			p.HearsNumber(t, n+1)
		}
		timer := time.NewTimer(time.Until(first) + 100*time.Millisecond)
		defer timer.Stop()
		<-timer.C
		c.Says(t, rig.Carrying(s.Issuer.Expiring(first), 4), rig.Carrying(s.Issuer.Expiring(second), 5))
		c.HearsWord(t, "auth_error")
		p.HearsNumber(t, 5)
		end := c.MustClose(t, rig.Patience)
		lag.InTime(t, "end", second, time.Now(), time.Second)
		if end.Code != rig.CloseUnauthorized {
			t.Errorf("%v, want 3000", end)
		}
		p.Ends(t, rig.CloseGoingAway)
	})
}

// TestEveryMessageRenews: where a socket may be renewed, any message with a
// newer token does it.
func TestEveryMessageRenews(t *testing.T) {
	t.Parallel()
	o := rig.EveryMessage("tell", "on_expiry renew {\nwarn 0s\n}", "dialect json {\nexpired `{\"type\":\"auth_expired\"}`\n}")
	rig.ForEachPeerVersion(t, o, nil, func(t *testing.T, s *rig.PeerSite, version string) {
		exp := rig.Soon(4 * time.Second)
		old := s.Issuer.Expiring(exp)
		c := s.Open(t, version, "/", rig.NoHeader)
		c.Says(t, rig.Carrying(old, 1))
		c.Accepted(t, exp)
		p := s.Socket(t)
		p.HearsNumber(t, 1)
		c.HearsWord(t, "auth_expired")
		p.Says(t, "held")
		c.Says(t, rig.Carrying(old, 2))
		c.HearsWord(t, "auth_error")
		p.Nothing(t)
		c.Says(t, rig.Carrying(s.Issuer.Token(), 3))
		c.Hears(t, "held")
		p.HearsNumber(t, 3)
	})
}
