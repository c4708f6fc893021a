package integration

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestAttackTrickledLogin: the time for a login is absolute. Who sends it byte
// by byte gets no more of it, and no more with pings in between.
func TestAttackTrickledLogin(t *testing.T) {
	t.Parallel()
	o := siteOptions{directives: "from first_message {\nwithin 2s\n}"}
	tryEachPeerVersion(t, o, nil, func(t testing.TB, s *peerSite, version string) {
		lag := measureLag(t)
		silent := s.open(t, version, "/", noHeader)
		start := time.Now()
		c := s.open(t, version, "/", noHeader)
		gone := make(chan error, 1)
		go func() { gone <- trickle(c, login(s.issuer.token())) }()
		heard := c.beforeClose(t, closeTimeout)
		at := time.Now()
		if len(heard) != 1 || !strings.Contains(heard[0], "auth_error") {
			t.Errorf("before the close frame came %q", heard)
		}
		// One socket was opened before start was looked at, one after.
		lag.inTime(t, "close frame", start.Add(1900*time.Millisecond), at, time.Second)
		silent.isRefused(t, closeTimeout)
		if err := receive(t, "end of the trickle", gone, patience); err == nil {
			t.Error("all of the login could be sent")
		}
		s.logsReason(t, "login_timeout")
		s.unasked(t)
	})
}

// trickle sends a message byte by byte, in fragments of one, with a ping
// after each. It returns nil if all of it was taken.
func trickle(c *wsConn, message string) error {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	first := byte(opText)
	for i := range message {
		frame := append(clientFrame(first, []byte{message[i]}), clientFrame(0x80|opPing, nil)...)
		for _, b := range frame {
			if err := c.writeRaw([]byte{b}); err != nil {
				return err
			}
		}
		first = opContinuation
		<-ticker.C
	}
	return nil
}

// beforeClose returns the messages before a close frame with code, which it
// does not answer.
func (c *wsConn) beforeClose(t testing.TB, code uint16) (texts []string) {
	t.Helper()
	err := c.within(patience, func() error {
		for {
			f, err := c.read()
			if err != nil {
				return err
			}
			if f.opcode != opPong {
				texts = append(texts, string(f.payload))
			}
		}
	})
	if end, ok := errors.AsType[*closed](err); !ok || end.code != code {
		t.Errorf("%v, want a close frame with %d", err, code)
	}
	return texts
}

// fragments returns a text message in fragments of n bytes, the last of which
// may be shorter.
func fragments(message string, n int) []byte {
	var all []byte
	first := byte(opText)
	for len(message) > n {
		all = append(all, clientFrame(first, []byte(message[:n]))...)
		message, first = message[n:], opContinuation
	}
	return append(all, clientFrame(0x80|first, []byte(message))...)
}

// TestFirstMessageFragmented: a login may be in fragments, with control frames
// between them and with a rune in two of them, and its frames in any pieces.
func TestFirstMessageFragmented(t *testing.T) {
	t.Parallel()
	forEachPeerVersion(t, firstMessage(), nil, func(t *testing.T, s *peerSite, version string) {
		token := s.issuer.token()
		message := `{"type":"auth","greeting":"Grüße, 日本","token":"` + token + `"}`
		for name, frames := range map[string][]byte{
			"one byte each": fragments(message, 1),
			"seven":         fragments(message, 7),
			"with a ping": bytes.Join([][]byte{
				clientFrame(opText, []byte(message[:50])), clientFrame(0x80|opPing, []byte("ping")),
				clientFrame(opContinuation, nil), clientFrame(0x80|opContinuation, []byte(message[50:])),
			}, nil),
		} {
			c := s.open(t, version, "/", noHeader)
			if err := c.writeRaw(append(frames, clientFrame(0x80|opText, []byte("next"))...)); err != nil {
				t.Fatal(err)
			}
			if name == "with a ping" {
				if f := c.mustRead(t); f.opcode != opPong || string(f.payload) != "ping" {
					t.Fatalf("opcode %#x with %q, want the pong", f.opcode, f.payload)
				}
			}
			c.accepted(t, time.Now().Add(time.Hour))
			s.socket(t).hears(t, "next")
			c.vanish()
		}
	})
}

// attackFrames are logins, some of them with a good token, that end the socket
// whatever is in them.
func attackFrames(t testing.TB, token string) []attackFrame {
	t.Helper()
	good := login(token)
	text := func(s string) []byte { return clientFrame(0x80|opText, []byte(s)) }
	return []attackFrame{
		{"binary", clientFrame(0x80|opBinary, []byte(good)), closeUnauthorized, "missing_credential", true},
		{"compressed", clientFrame(0x80|rsv1|opText, deflate(t, good)), closeProtocol, "", false},
		{"reserved bit", clientFrame(0x80|0x20|opText, []byte(good)), closeProtocol, "", false},
		{"unmasked", append([]byte{0x81, 5}, "hello"...), closeProtocol, "", false},
		{"continuation of nothing", clientFrame(0x80|opContinuation, []byte(good)), closeProtocol, "", false},
		{"too big", text(login(strings.Repeat("a", 17<<10))), closeTooBig, "message_too_big", false},
		{"announced too big", hugeFrame(), closeTooBig, "message_too_big", false},
		{"too big in fragments", fragments(login(strings.Repeat("a", 17<<10)), 1000), closeTooBig, "message_too_big", false},
		{"not UTF-8", text(`{"type":"auth","x":"` + "\xff" + `","token":"` + token + `"}`), closeNotUTF8, "message_not_text", false},
		{"cut inside a rune", fragments(good+"\xe6\x97", len(good)+1), closeNotUTF8, "message_not_text", false},
		{"overlong UTF-8", text(`{"type":"auth","x":"` + "\xc0\xaf" + `","token":"` + token + `"}`), closeNotUTF8, "message_not_text", false},
		{"credential twice", text(`{"type":"auth","token":"` + token + `","token":"other"}`), closePolicy, "bad_message", false},
		{"credential twice, escaped", text(`{"type":"auth","token":"other","\u0074oken":"` + token + `"}`), closePolicy, "bad_message", false},
		{"type twice", text(`{"type":"auth","type":"hello","token":"` + token + `"}`), closePolicy, "bad_message", false},
		{"4097 fragments", empties(4096, good), closePolicy, "bad_message", false},
		{"65 messages", bytes.Repeat(text(`{"type":"hello"}`), 65), closeUnauthorized, "missing_credential", true},
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
	all := clientFrame(opText, nil)
	all = append(all, bytes.Repeat(clientFrame(opContinuation, nil), n-1)...)
	return append(all, clientFrame(0x80|opContinuation, []byte(message))...)
}

// TestAttackLoginFrames: none of these logs in, and each ends the socket with
// its code at once. The application is never connected to.
func TestAttackLoginFrames(t *testing.T) {
	t.Parallel()
	forEachPeerVersion(t, firstMessage(), nil, func(t *testing.T, s *peerSite, version string) {
		lag := measureLag(t)
		for _, tt := range attackFrames(t, s.issuer.token()) {
			t.Run(tt.name, func(t *testing.T) {
				c := s.open(t, version, "/", noHeader)
				start := time.Now()
				go func() { _ = c.writeRaw(tt.frames) }() // may be cut short
				if tt.told {
					c.hearsWord(t, "auth_error")
				}
				c.broken(t, tt.code)
				lag.inTime(t, "close frame", start, time.Now(), 3*time.Second)
				if tt.reason != "" {
					s.logsReason(t, tt.reason)
				}
				c.vanish()
			})
		}
		s.unasked(t)
	})
}

// TestFirstMessageInManyFragments: as many fragments as any message may have
// are a login still.
func TestFirstMessageInManyFragments(t *testing.T) {
	t.Parallel()
	s := startPeerSite(t, firstMessage(), nil)
	c := s.open(t, h1, "/", noHeader)
	if err := c.writeRaw(empties(4095, login(s.issuer.token()))); err != nil {
		t.Fatal(err)
	}
	c.accepted(t, time.Now().Add(time.Hour))
	s.socket(t)
}

// TestAttackNestedLogin: 100 KiB of brackets are no login, cost little, and
// take nobody's stack.
func TestAttackNestedLogin(t *testing.T) {
	t.Parallel()
	o := siteOptions{directives: "from first_message {\nmax_size 256KiB\n}"}
	s := startPeerSite(t, o, nil)
	lag := measureLag(t)
	const depth = 100 << 10
	for name, message := range map[string]string{
		"arrays": strings.Repeat("[", depth) + strings.Repeat("]", depth),
		"objects around the token": strings.Repeat(`{"a":`, depth/5) + login(s.issuer.token()) +
			strings.Repeat("}", depth/5),
		"objects inside the login": `{"type":"auth","a":` + strings.Repeat(`{"a":`, depth/5) + "1" +
			strings.Repeat("}", depth/5) + "}",
		"unfinished": strings.Repeat("[", depth),
	} {
		t.Run(name, func(t *testing.T) {
			c := s.open(t, h1, "/", noHeader)
			start := time.Now()
			c.says(t, message)
			if _, end := c.last(t, patience); end.code != closeUnauthorized && end.code != closePolicy {
				t.Errorf("%v, want 3000 or 1008", end)
			}
			lag.inTime(t, "close frame", start, time.Now(), 3*time.Second)
		})
	}
	s.unasked(t)
	s.logsIn(t, s.open(t, h1, "/", noHeader))
}

// TestFirstMessageGreetings: what the dialect allows before the login is kept
// for the application, and reaches it first. There is no end of room for it.
func TestFirstMessageGreetings(t *testing.T) {
	t.Parallel()
	o := firstMessage("dialect json {\nallow /type hello\n}")
	forEachPeerVersion(t, o, nil, func(t *testing.T, s *peerSite, version string) {
		c := s.open(t, version, "/", noHeader)
		hello := func(n int) string { return fmt.Sprintf(`{"type":"hello","n":%d}`, n) }
		c.says(t, hello(1), hello(2))
		c.pings(t, "between")
		s.unasked(t)
		c.says(t, login(s.issuer.token()), hello(3))
		c.accepted(t, time.Now().Add(time.Hour))
		s.socket(t).hears(t, hello(1), hello(2), hello(3))

		c = s.open(t, version, "/", noHeader)
		var many []string
		for n := range 70 {
			many = append(many, hello(n))
		}
		c.says(t, many...)
		c.broken(t, closePolicy)
	})
}

// TestFirstMessageClientLeaves: a client that leaves before the login is
// answered, and nothing is left of it.
func TestFirstMessageClientLeaves(t *testing.T) {
	t.Parallel()
	o := siteOptions{directives: "from header\nfrom first_message {\nwithin 1m\n}"}
	forEachVersion(t, allVersions, o, func(t *testing.T, s *site, version string) {
		before := s.footprint(t, version)
		c := s.open(t, version, "/echo", noHeader)
		if err := c.write(opClose, []byte{0x03, 0xe8}); err != nil {
			t.Fatal(err)
		}
		if f, err := c.read(); fmt.Sprint(err) != `closed with 1000 ""` {
			t.Errorf("the answer to a close frame is %v, %v", f, err)
		}
		for range 20 {
			s.open(t, version, "/echo", noHeader).vanish()
		}
		s.closeAll()
		s.nothingLeft(t, before)
	})
}
