package messages

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// TestAttackTrickledLogin: the time for a login is absolute. Who sends it byte
// by byte gets no more of it, and no more with pings in between.
func TestAttackTrickledLogin(t *testing.T) {
	t.Parallel()
	o := rig.SiteOptions{Directives: "from first_message {\nwithin 2s\n}"}
	rig.TryEachPeerVersion(t, o, nil, func(t testing.TB, s *rig.PeerSite, version string) {
		lag := rig.MeasureLag(t)
		silent := s.Open(t, version, "/", rig.NoHeader)
		start := time.Now()
		c := s.Open(t, version, "/", rig.NoHeader)
		gone := make(chan error, 1)
		go func() { gone <- trickle(c, rig.Login(s.Issuer.Token())) }()
		heard := beforeClose(t, c, rig.CloseTimeout)
		at := time.Now()
		if len(heard) != 1 || !strings.Contains(heard[0], "auth_error") {
			t.Errorf("before the close frame came %q", heard)
		}
		// One socket was opened before start was looked at, one after.
		lag.InTime(t, "close frame", start.Add(1900*time.Millisecond), at, time.Second)
		silent.IsRefused(t, rig.CloseTimeout)
		if err := rig.Receive(t, "end of the trickle", gone, rig.Patience); err == nil {
			t.Error("all of the login could be sent")
		}
		s.LogsReason(t, "login_timeout")
		s.Unasked(t)
	})
}

// trickle sends a message byte by byte, in fragments of one, with a ping
// after each. It returns nil if all of it was taken.
func trickle(c *rig.Conn, message string) error {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	first := byte(rig.OpText)
	for i := range message {
		frame := append(rig.ClientFrame(first, []byte{message[i]}), rig.ClientFrame(0x80|rig.OpPing, nil)...)
		for _, b := range frame {
			if err := c.WriteRaw([]byte{b}); err != nil {
				return err
			}
		}
		first = rig.OpContinuation
		<-ticker.C
	}
	return nil
}

// beforeClose returns the messages before a close frame with code, which it
// does not answer.
func beforeClose(t testing.TB, c *rig.Conn, code uint16) (texts []string) {
	t.Helper()
	err := c.Within(rig.Patience, func() error {
		for {
			f, err := c.Read()
			if err != nil {
				return err
			}
			if f.Opcode != rig.OpPong {
				texts = append(texts, string(f.Payload))
			}
		}
	})
	if end, ok := errors.AsType[*rig.ClosedError](err); !ok || end.Code != code {
		t.Errorf("%v, want a close frame with %d", err, code)
	}
	return texts
}

// fragments returns a text message in fragments of n bytes, the last of which
// may be shorter.
func fragments(message string, n int) []byte {
	var all []byte
	first := byte(rig.OpText)
	for len(message) > n {
		all = append(all, rig.ClientFrame(first, []byte(message[:n]))...)
		message, first = message[n:], rig.OpContinuation
	}
	return append(all, rig.ClientFrame(0x80|first, []byte(message))...)
}

// TestFirstMessageFragmented: a login may be in fragments, with control frames
// between them and with a rune in two of them, and its frames in any pieces.
func TestFirstMessageFragmented(t *testing.T) {
	t.Parallel()
	rig.ForEachPeerVersion(t, rig.FirstMessage(), nil, func(t *testing.T, s *rig.PeerSite, version string) {
		token := s.Issuer.Token()
		message := `{"type":"auth","greeting":"Grüße, 日本","token":"` + token + `"}`
		for name, frames := range map[string][]byte{
			"one byte each": fragments(message, 1),
			"seven":         fragments(message, 7),
			"with a ping": bytes.Join([][]byte{
				rig.ClientFrame(rig.OpText, []byte(message[:50])), rig.ClientFrame(0x80|rig.OpPing, []byte("ping")),
				rig.ClientFrame(rig.OpContinuation, nil), rig.ClientFrame(0x80|rig.OpContinuation, []byte(message[50:])),
			}, nil),
		} {
			c := s.Open(t, version, "/", rig.NoHeader)
			if err := c.WriteRaw(append(frames, rig.ClientFrame(0x80|rig.OpText, []byte("next"))...)); err != nil {
				t.Fatal(err)
			}
			if name == "with a ping" {
				if f := c.MustRead(t); f.Opcode != rig.OpPong || string(f.Payload) != "ping" {
					t.Fatalf("opcode %#x with %q, want the pong", f.Opcode, f.Payload)
				}
			}
			c.Accepted(t, time.Now().Add(time.Hour))
			s.Socket(t).Hears(t, "next")
			c.Vanish()
		}
	})
}

// attackFrames are logins, some of them with a good token, that end the socket
// whatever is in them.
func attackFrames(t testing.TB, token string) []attackFrame {
	t.Helper()
	good := rig.Login(token)
	text := func(s string) []byte { return rig.ClientFrame(0x80|rig.OpText, []byte(s)) }
	return []attackFrame{
		{"binary", rig.ClientFrame(0x80|rig.OpBinary, []byte(good)), rig.CloseUnauthorized, "missing_credential", true},
		{"compressed", rig.ClientFrame(0x80|rig.RSV1|rig.OpText, rig.Deflate(t, good)), rig.CloseProtocol, "", false},
		{"reserved bit", rig.ClientFrame(0x80|0x20|rig.OpText, []byte(good)), rig.CloseProtocol, "", false},
		{"unmasked", append([]byte{0x81, 5}, "hello"...), rig.CloseProtocol, "", false},
		{"continuation of nothing", rig.ClientFrame(0x80|rig.OpContinuation, []byte(good)), rig.CloseProtocol, "", false},
		{"too big", text(rig.Login(strings.Repeat("a", 17<<10))), rig.CloseTooBig, "message_too_big", false},
		{"announced too big", rig.HugeFrame(), rig.CloseTooBig, "message_too_big", false},
		{"too big in fragments", fragments(rig.Login(strings.Repeat("a", 17<<10)), 1000), rig.CloseTooBig, "message_too_big", false},
		{"not UTF-8", text(`{"type":"auth","x":"` + "\xff" + `","token":"` + token + `"}`), rig.CloseNotUTF8, "message_not_text", false},
		{"cut inside a rune", fragments(good+"\xe6\x97", len(good)+1), rig.CloseNotUTF8, "message_not_text", false},
		{"overlong UTF-8", text(`{"type":"auth","x":"` + "\xc0\xaf" + `","token":"` + token + `"}`), rig.CloseNotUTF8, "message_not_text", false},
		{"credential twice", text(`{"type":"auth","token":"` + token + `","token":"other"}`), rig.ClosePolicy, "bad_message", false},
		{"credential twice, escaped", text(`{"type":"auth","token":"other","\u0074oken":"` + token + `"}`), rig.ClosePolicy, "bad_message", false},
		{"type twice", text(`{"type":"auth","type":"hello","token":"` + token + `"}`), rig.ClosePolicy, "bad_message", false},
		{"4097 fragments", empties(4096, good), rig.ClosePolicy, "bad_message", false},
		{"65 messages", bytes.Repeat(text(`{"type":"hello"}`), 65), rig.CloseUnauthorized, "missing_credential", true},
	}
}

type attackFrame struct {
	name   string
	frames []byte
	code   uint16
	reason string
	told   bool // by the dialect
}

// empties returns a message of n empty fragments and a last one.
func empties(n int, message string) []byte {
	all := rig.ClientFrame(rig.OpText, nil)
	all = append(all, bytes.Repeat(rig.ClientFrame(rig.OpContinuation, nil), n-1)...)
	return append(all, rig.ClientFrame(0x80|rig.OpContinuation, []byte(message))...)
}

// TestAttackLoginFrames: none of these logs in, and each ends the socket with
// its code at once. The application is never connected to.
func TestAttackLoginFrames(t *testing.T) {
	t.Parallel()
	rig.ForEachPeerVersion(t, rig.FirstMessage(), nil, func(t *testing.T, s *rig.PeerSite, version string) {
		lag := rig.MeasureLag(t)
		for _, tt := range attackFrames(t, s.Issuer.Token()) {
			t.Run(tt.name, func(t *testing.T) {
				c := s.Open(t, version, "/", rig.NoHeader)
				start := time.Now()
				go func() { _ = c.WriteRaw(tt.frames) }() // may be cut short
				if tt.told {
					c.HearsWord(t, "auth_error")
				}
				c.Broken(t, tt.code)
				lag.InTime(t, "close frame", start, time.Now(), 3*time.Second)
				if tt.reason != "" {
					s.LogsReason(t, tt.reason)
				}
				c.Vanish()
			})
		}
		s.Unasked(t)
	})
}

// TestFirstMessageInManyFragments: as many fragments as any message may have
// are a login still.
func TestFirstMessageInManyFragments(t *testing.T) {
	t.Parallel()
	s := rig.StartPeerSite(t, rig.FirstMessage(), nil)
	c := s.Open(t, rig.H1, "/", rig.NoHeader)
	if err := c.WriteRaw(empties(4095, rig.Login(s.Issuer.Token()))); err != nil {
		t.Fatal(err)
	}
	c.Accepted(t, time.Now().Add(time.Hour))
	s.Socket(t)
}

// TestAttackNestedLogin: 100 KiB of brackets are no login, cost little, and
// take nobody's stack.
func TestAttackNestedLogin(t *testing.T) {
	t.Parallel()
	o := rig.SiteOptions{Directives: "from first_message {\nmax_size 256KiB\n}"}
	s := rig.StartPeerSite(t, o, nil)
	lag := rig.MeasureLag(t)
	const depth = 100 << 10
	for name, message := range map[string]string{
		"arrays": strings.Repeat("[", depth) + strings.Repeat("]", depth),
		"objects around the token": strings.Repeat(`{"a":`, depth/5) + rig.Login(s.Issuer.Token()) +
			strings.Repeat("}", depth/5),
		"objects inside the login": `{"type":"auth","a":` + strings.Repeat(`{"a":`, depth/5) + "1" +
			strings.Repeat("}", depth/5) + "}",
		"unfinished": strings.Repeat("[", depth),
	} {
		t.Run(name, func(t *testing.T) {
			c := s.Open(t, rig.H1, "/", rig.NoHeader)
			start := time.Now()
			c.Says(t, message)
			if _, end := c.Last(t, rig.Patience); end.Code != rig.CloseUnauthorized && end.Code != rig.ClosePolicy {
				t.Errorf("%v, want 3000 or 1008", end)
			}
			lag.InTime(t, "close frame", start, time.Now(), 3*time.Second)
		})
	}
	s.Unasked(t)
	s.LogsIn(t, s.Open(t, rig.H1, "/", rig.NoHeader))
}

// TestFirstMessageGreetings: what the dialect allows before the login is kept
// for the application, and reaches it first. There is no end of room for it.
func TestFirstMessageGreetings(t *testing.T) {
	t.Parallel()
	o := rig.FirstMessage("dialect json {\nallow /type hello\n}")
	rig.ForEachPeerVersion(t, o, nil, func(t *testing.T, s *rig.PeerSite, version string) {
		c := s.Open(t, version, "/", rig.NoHeader)
		hello := func(n int) string { return fmt.Sprintf(`{"type":"hello","n":%d}`, n) }
		c.Says(t, hello(1), hello(2))
		c.Pings(t, "between")
		s.Unasked(t)
		c.Says(t, rig.Login(s.Issuer.Token()), hello(3))
		c.Accepted(t, time.Now().Add(time.Hour))
		s.Socket(t).Hears(t, hello(1), hello(2), hello(3))

		c = s.Open(t, version, "/", rig.NoHeader)
		var many []string
		for n := range 70 {
			many = append(many, hello(n))
		}
		c.Says(t, many...)
		c.Broken(t, rig.ClosePolicy)
	})
}

// TestFirstMessageClientLeaves: a client that leaves before the login is
// answered, and nothing is left of it.
func TestFirstMessageClientLeaves(t *testing.T) {
	t.Parallel()
	o := rig.SiteOptions{Directives: "from header\nfrom first_message {\nwithin 1m\n}"}
	rig.ForEachVersion(t, rig.AllVersions, o, func(t *testing.T, s *rig.Site, version string) {
		before := s.Footprint(t, version)
		c := s.Open(t, version, "/echo", rig.NoHeader)
		if err := c.Write(rig.OpClose, []byte{0x03, 0xe8}); err != nil {
			t.Fatal(err)
		}
		if f, err := c.Read(); fmt.Sprint(err) != `closed with 1000 ""` {
			t.Errorf("the answer to a close frame is %v, %v", f, err)
		}
		for range 20 {
			s.Open(t, version, "/echo", rig.NoHeader).Vanish()
		}
		s.CloseAll()
		s.NothingLeft(t, before)
	})
}
