package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// everyMessage are the lines of a site where each message has its token.
func everyMessage(onBad string, lines ...string) siteOptions {
	return siteOptions{
		directives: "from every_message {\non_bad " + onBad + "\n}\n" + strings.Join(lines, "\n"),
	}
}

// carrying returns a message that carries a token.
func carrying(token string, n int) string {
	return fmt.Sprintf(`{"type":"chat", "token":"%s", "n":%d}`, token, n)
}

// hearsNumber expects the message of carrying next, without the token.
func (p *peer) hearsNumber(t testing.TB, n int) {
	t.Helper()
	want := fmt.Sprintf(`{"type":"chat","n":%d}`, n)
	got := receive(t, "message at the application", p.got, patience)
	if strings.ReplaceAll(got, " ", "") != want {
		t.Fatalf("the application got %q, want %s", got, want)
	}
}

// TestEveryMessage: the first message logs in, each goes on without its token,
// and what the application says passes as it is.
func TestEveryMessage(t *testing.T) {
	t.Parallel()
	forEachPeerVersion(t, everyMessage("close"), nil, func(t *testing.T, s *peerSite, version string) {
		exp := time.Now().Add(time.Hour)
		token := s.issuer.expiring(exp)
		c := s.open(t, version, "/", noHeader)
		c.pings(t, "before")
		s.unasked(t)
		var all []string
		for n := range 100 {
			all = append(all, carrying(token, n))
		}
		c.says(t, all...)
		c.accepted(t, exp)
		p := s.socket(t)
		for n := range 100 {
			p.hearsNumber(t, n)
		}
		if user, source := p.header.Get("X-User"), p.header.Get("X-Source"); user != "alice" || source != "every_message" {
			t.Errorf("the application was told %q from %q", user, source)
		}
		c.says(t, `{"n":100,"type":"chat","\u0074oken":"`+token+`"}`)
		if got := receive(t, "message at the application", p.got, patience); strings.Contains(got, token[:20]) {
			t.Errorf("the application got a token: %s", got)
		}
		p.says(t, `{"token":"the application's own"}`)
		c.hears(t, `{"token":"the application's own"}`)
	})
}

// badMessages are what must not pass where each message has its token.
func badMessages(i *issuer) map[string]string {
	return map[string]string{
		"no token":      `{"type":"chat","n":0}`,
		"empty token":   carrying("", 0),
		"no JSON":       "chat",
		"garbage":       carrying("garbage", 0),
		"expired":       carrying(i.token(map[string]any{"exp": 1}), 0),
		"stranger's":    carrying(sign(jwt{key: strangerKey(), claims: i.claims()}), 0),
		"other subject": carrying(i.token(map[string]any{"sub": "mallory"}), 0),
		"other issuer":  carrying(i.token(map[string]any{"iss": "https://other.example.com"}), 0),
		"other sid":     carrying(i.token(map[string]any{"sid": "other"}), 0),
	}
}

// TestAttackEveryMessage: a message without a good token of the socket's own
// never reaches the application, and becomes what is configured.
func TestAttackEveryMessage(t *testing.T) {
	t.Parallel()
	for _, onBad := range []string{"drop", "tell", "close"} {
		t.Run(onBad, func(t *testing.T) {
			t.Parallel()
			s := startPeerSite(t, everyMessage(onBad), nil)
			token := s.issuer.token(map[string]any{"sid": "own"})
			for name, message := range badMessages(s.issuer) {
				c := s.open(t, h1, "/", noHeader)
				c.says(t, carrying(token, 1))
				c.accepted(t, time.Now().Add(time.Hour))
				p := s.socket(t)
				p.hearsNumber(t, 1)
				c.says(t, message, carrying(token, 2))
				if onBad != "drop" {
					c.hearsWord(t, "auth_error")
				}
				if onBad == "close" {
					want := uint16(closeUnauthorized)
					if strings.HasPrefix(name, "other") {
						want = closeForbidden
					}
					c.closes(t, want)
					p.ends(t, closeGoingAway)
					continue
				}
				p.hearsNumber(t, 2)
				c.pings(t, "alive") // and nothing more was said
				c.vanish()
			}
			s.logsReason(t, "missing_credential")
		})
	}
}

// TestAttackEveryMessageFrames: what cannot be read for sure ends the socket,
// whatever on_bad says.
func TestAttackEveryMessageFrames(t *testing.T) {
	t.Parallel()
	s := startPeerSite(t, everyMessage("drop"), nil)
	token := s.issuer.token()
	for name, tt := range map[string]struct {
		frames []byte
		code   uint16
	}{
		"credential twice": {clientFrame(0x80|opText, []byte(`{"token":"`+token+`","token":"x"}`)), closePolicy},
		"compressed":       {clientFrame(0x80|rsv1|opText, deflate(t, carrying(token, 2))), closeProtocol},
		"not UTF-8":        {clientFrame(0x80|opText, []byte(carrying(token, 2)+"\xff")), closeNotUTF8},
		"too big":          {hugeFrame(), closeTooBig},
		"4097 fragments":   {empties(4096, carrying(token, 2)), closePolicy},
	} {
		c := s.open(t, h1, "/", noHeader)
		c.says(t, carrying(token, 1))
		c.accepted(t, time.Now().Add(time.Hour))
		p := s.socket(t)
		p.hearsNumber(t, 1)
		if err := c.writeRaw(tt.frames); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		c.broken(t, tt.code)
		c.vanish()
		for text := range p.got {
			t.Errorf("%s: the application got %.50q", name, text)
		}
	}
}

// TestEveryMessageBinary: a binary message can carry no JSON, and so no token.
func TestEveryMessageBinary(t *testing.T) {
	t.Parallel()
	s := startPeerSite(t, everyMessage("tell"), nil)
	token := s.issuer.token()
	c := s.open(t, h1, "/", noHeader)
	c.says(t, carrying(token, 1))
	c.accepted(t, time.Now().Add(time.Hour))
	p := s.socket(t)
	p.hearsNumber(t, 1)
	if err := c.write(opBinary, []byte(carrying(token, 2))); err != nil {
		t.Fatal(err)
	}
	c.hearsWord(t, "auth_error")
	c.says(t, carrying(token, 3))
	p.hearsNumber(t, 3)
}

// TestEveryMessageExtends: the newest token that the client has sent is the one
// that counts. An older one that is still good counts for its message alone.
func TestEveryMessageExtends(t *testing.T) {
	t.Parallel()
	tryEachPeerVersion(t, everyMessage("tell"), nil, func(t testing.TB, s *peerSite, version string) {
		lag := measureLag(t)
		first := soon(2 * time.Second)
		second := laterThan(first, 2*time.Second)
		c := s.open(t, version, "/", noHeader)
		c.says(t, carrying(s.issuer.expiring(first), 1), carrying(s.issuer.expiring(second), 2), carrying(s.issuer.expiring(first), 3))
		c.accepted(t, first)
		p := s.socket(t)
		for n := range 3 {
			p.hearsNumber(t, n+1)
		}
		timer := time.NewTimer(time.Until(first) + 100*time.Millisecond)
		defer timer.Stop()
		<-timer.C
		c.says(t, carrying(s.issuer.expiring(first), 4), carrying(s.issuer.expiring(second), 5))
		c.hearsWord(t, "auth_error")
		p.hearsNumber(t, 5)
		end := c.mustClose(t, patience)
		lag.inTime(t, "end", second, time.Now(), time.Second)
		if end.code != closeUnauthorized {
			t.Errorf("%v, want 3000", end)
		}
		p.ends(t, closeGoingAway)
	})
}

// TestEveryMessageRenews: where a socket may be renewed, any message with a
// newer token does it.
func TestEveryMessageRenews(t *testing.T) {
	t.Parallel()
	o := everyMessage("tell", "on_expiry renew {\nwarn 0s\n}", "dialect json {\nexpired `{\"type\":\"auth_expired\"}`\n}")
	forEachPeerVersion(t, o, nil, func(t *testing.T, s *peerSite, version string) {
		exp := soon(4 * time.Second)
		old := s.issuer.expiring(exp)
		c := s.open(t, version, "/", noHeader)
		c.says(t, carrying(old, 1))
		c.accepted(t, exp)
		p := s.socket(t)
		p.hearsNumber(t, 1)
		c.hearsWord(t, "auth_expired")
		p.says(t, "held")
		c.says(t, carrying(old, 2))
		c.hearsWord(t, "auth_error")
		p.nothing(t)
		c.says(t, carrying(s.issuer.token(), 3))
		c.hears(t, "held")
		p.hearsNumber(t, 3)
	})
}
