package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Close codes beside those of the load tests, by number.
const (
	closeProtocol  = 1002
	closeNotUTF8   = 1007
	closePolicy    = 1008
	closeTooBig    = 1009
	closeForbidden = 3003
	closeTimeout   = 3008
)

// firstMessage are the lines of a site whose sockets log in by their first
// message, with more lines.
func firstMessage(lines ...string) siteOptions {
	return siteOptions{directives: "from first_message\n" + strings.Join(lines, "\n")}
}

// login is the message of the json dialect's that carries a token.
func login(token string) string { return `{"type":"auth","token":"` + token + `"}` }

// says sends text messages, each as one frame, all in one piece.
func (c *wsConn) says(t testing.TB, texts ...string) {
	t.Helper()
	var all []byte
	for _, text := range texts {
		all = append(all, clientFrame(0x80|opText, []byte(text))...)
	}
	if err := c.writeRaw(all); err != nil {
		t.Fatalf("the client sending %q: %v", texts, err)
	}
}

// pings sends a ping and expects its pong next.
func (c *wsConn) pings(t testing.TB, text string) {
	t.Helper()
	if err := c.write(opPing, []byte(text)); err != nil {
		t.Fatalf("the client sending a ping: %v", err)
	}
	if f := c.mustRead(t); f.opcode != opPong || string(f.payload) != text {
		t.Fatalf("the client got opcode %#x with %q, want a pong with %q", f.opcode, f.payload, text)
	}
}

// hears expects exactly these text messages next.
func (c *wsConn) hears(t testing.TB, texts ...string) {
	t.Helper()
	for _, want := range texts {
		if f := c.mustRead(t); f.opcode != opText || string(f.payload) != want {
			t.Fatalf("the client got opcode %#x with %q, want %q", f.opcode, f.payload, want)
		}
	}
}

// word is what the json dialect says.
type word struct {
	Type      string   `json:"type"`
	ExpiresIn *float64 `json:"expires_in"`
	Reason    string   `json:"reason"`
	Session   string   `json:"session"`
}

// hearsWord expects a message of the json dialect's of this type next.
func (c *wsConn) hearsWord(t testing.TB, kind string) word {
	t.Helper()
	f := c.mustRead(t)
	var w word
	if err := json.Unmarshal(f.payload, &w); f.opcode != opText || err != nil || w.Type != kind {
		t.Fatalf("the client got opcode %#x with %q, want %s", f.opcode, f.payload, kind)
	}
	return w
}

// accepted expects to be told that a token is good that ends at exp.
func (c *wsConn) accepted(t testing.TB, exp time.Time) word {
	t.Helper()
	w := c.hearsWord(t, "auth_ok")
	left := time.Until(exp).Seconds()
	if w.ExpiresIn == nil {
		t.Error("not told when the token ends")
	} else if d := math.Abs(*w.ExpiresIn - left); d > max(3, left/60) && d > busy(3*time.Second).Seconds() {
		t.Errorf("told that the token ends in %v s, want %v", *w.ExpiresIn, time.Until(exp))
	}
	return w
}

// logsIn logs in with a token that ends in an hour.
func (s *site) logsIn(t testing.TB, c *wsConn) {
	t.Helper()
	exp := time.Now().Add(time.Hour)
	c.says(t, login(s.issuer.expiring(exp)))
	c.accepted(t, exp)
}

// last reads until the close frame, answers it and expects a clean end. It
// returns the messages before it.
func (c *wsConn) last(t testing.TB, within time.Duration) (texts []string, end *closed) {
	t.Helper()
	err := c.within(within, func() error {
		for {
			f, err := c.read()
			if errors.As(err, &end) {
				return c.answerClose(end.code)
			}
			if err != nil {
				return err
			}
			if f.opcode == opPong {
				continue
			}
			texts = append(texts, string(f.payload))
		}
	})
	if err != nil {
		t.Fatalf("messages %q, close frame %v, then %v", texts, end, err)
	}
	return texts, end
}

// closes expects a close frame with code, and before it nothing but these
// messages.
func (c *wsConn) closes(t testing.TB, code uint16, before ...string) {
	t.Helper()
	texts, end := c.last(t, patience)
	if end.code != code {
		t.Errorf("%v, want %d", end, code)
	}
	if fmt.Sprint(texts) != fmt.Sprint(before) {
		t.Errorf("before the close frame came %q, want %q", texts, before)
	}
}

// broken expects a close frame with code for a client whose frames nobody can
// read any more, so that it need not be able to answer.
func (c *wsConn) broken(t testing.TB, code uint16) {
	t.Helper()
	var end *closed
	err := c.within(patience, func() error { _, err := c.read(); return err })
	if !errors.As(err, &end) || end.code != code {
		t.Errorf("%v, want a close frame with %d", err, code)
	}
}

// answersPing expects a ping of the application's next, and answers it.
func (c *wsConn) answersPing(t testing.TB) {
	t.Helper()
	f := c.mustRead(t)
	if f.opcode != opPing {
		t.Fatalf("the client got opcode %#x with %q, want a ping", f.opcode, f.payload)
	}
	if err := c.write(opPong, f.payload); err != nil {
		t.Fatal(err)
	}
}

// isRefused expects the dialect's word of a refusal, and then a close frame.
func (c *wsConn) isRefused(t testing.TB, code uint16) {
	t.Helper()
	c.hearsWord(t, "auth_error")
	c.closes(t, code)
}

// logsReason waits for a line in the log that refuses for this reason.
func (s *site) logsReason(t testing.TB, reason string) map[string]any {
	t.Helper()
	var found map[string]any
	eventually(t, patience, func() string {
		for _, entry := range s.logs.entries("request refused") {
			if entry["reason"] == reason {
				found = entry
				return ""
			}
		}
		return fmt.Sprintf("no line says %q: %v", reason, s.logs.entries("request refused"))
	})
	return found
}

// noHeader is for clients that have nothing to say in the handshake.
var noHeader http.Header
