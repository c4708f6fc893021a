package rig

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"testing"
	"time"
)

// Says sends text messages, each as one frame, all in one piece.
func (c *Conn) Says(t testing.TB, texts ...string) {
	t.Helper()
	var all []byte
	for _, text := range texts {
		all = append(all, ClientFrame(0x80|OpText, []byte(text))...)
	}
	if err := c.WriteRaw(all); err != nil {
		t.Fatalf("the client sending %q: %v", texts, err)
	}
}

// Pings sends a ping and expects its pong next.
func (c *Conn) Pings(t testing.TB, text string) {
	t.Helper()
	if err := c.Write(OpPing, []byte(text)); err != nil {
		t.Fatalf("the client sending a ping: %v", err)
	}
	if f := c.MustRead(t); f.Opcode != OpPong || string(f.Payload) != text {
		t.Fatalf("the client got opcode %#x with %q, want a pong with %q", f.Opcode, f.Payload, text)
	}
}

// Hears expects exactly these text messages next.
func (c *Conn) Hears(t testing.TB, texts ...string) {
	t.Helper()
	for _, want := range texts {
		if f := c.MustRead(t); f.Opcode != OpText || string(f.Payload) != want {
			t.Fatalf("the client got opcode %#x with %q, want %q", f.Opcode, f.Payload, want)
		}
	}
}

// Word is what the json dialect says.
type Word struct {
	Type      string   `json:"type"`
	ExpiresIn *float64 `json:"expires_in"`
	Reason    string   `json:"reason"`
	Session   string   `json:"session"`
}

// HearsWord expects a message of the json dialect's of this type next.
func (c *Conn) HearsWord(t testing.TB, kind string) Word {
	t.Helper()
	f := c.MustRead(t)
	var w Word
	if err := json.Unmarshal(f.Payload, &w); f.Opcode != OpText || err != nil || w.Type != kind {
		t.Fatalf("the client got opcode %#x with %q, want %s", f.Opcode, f.Payload, kind)
	}
	return w
}

// Accepted expects to be told that a token is good that ends at exp.
func (c *Conn) Accepted(t testing.TB, exp time.Time) Word {
	t.Helper()
	w := c.HearsWord(t, "auth_ok")
	left := time.Until(exp).Seconds()
	if w.ExpiresIn == nil {
		t.Error("not told when the token ends")
	} else if d := math.Abs(*w.ExpiresIn - left); d > max(3, left/60) && d > Busy(3*time.Second).Seconds() {
		t.Errorf("told that the token ends in %v s, want %v", *w.ExpiresIn, time.Until(exp))
	}
	return w
}

// Last reads until the close frame, answers it and expects a clean end. It
// returns the messages before it.
func (c *Conn) Last(t testing.TB, within time.Duration) (texts []string, end *ClosedError) {
	t.Helper()
	err := c.Within(within, func() error {
		for {
			f, err := c.Read()
			if errors.As(err, &end) {
				return c.AnswerClose(end.Code)
			}
			if err != nil {
				return err
			}
			if f.Opcode == OpPong {
				continue
			}
			texts = append(texts, string(f.Payload))
		}
	})
	if err != nil {
		t.Fatalf("messages %q, close frame %v, then %v", texts, end, err)
	}
	return texts, end
}

// Closes expects a close frame with code, and before it nothing but these
// messages.
func (c *Conn) Closes(t testing.TB, code uint16, before ...string) {
	t.Helper()
	texts, end := c.Last(t, Patience)
	if end.Code != code {
		t.Errorf("%v, want %d", end, code)
	}
	if fmt.Sprint(texts) != fmt.Sprint(before) {
		t.Errorf("before the close frame came %q, want %q", texts, before)
	}
}

// Broken expects a close frame with code for a client whose frames nobody can
// read any more, so that it need not be able to answer.
func (c *Conn) Broken(t testing.TB, code uint16) {
	t.Helper()
	var end *ClosedError
	err := c.Within(Patience, func() error { _, err := c.Read(); return err })
	if !errors.As(err, &end) || end.Code != code {
		t.Errorf("%v, want a close frame with %d", err, code)
	}
}

// AnswersPing expects a ping of the application's next, and answers it.
func (c *Conn) AnswersPing(t testing.TB) {
	t.Helper()
	f := c.MustRead(t)
	if f.Opcode != OpPing {
		t.Fatalf("the client got opcode %#x with %q, want a ping", f.Opcode, f.Payload)
	}
	if err := c.Write(OpPong, f.Payload); err != nil {
		t.Fatal(err)
	}
}

// IsRefused expects the dialect's word of a refusal, and then a close frame.
func (c *Conn) IsRefused(t testing.TB, code uint16) {
	t.Helper()
	c.HearsWord(t, "auth_error")
	c.Closes(t, code)
}

// Leave closes the socket as a client should, and waits for its end.
func (c *Conn) Leave() error {
	return c.Within(Patience, func() error {
		if err := c.Write(OpClose, []byte{0x03, 0xe8}); err != nil {
			return err
		}
		_, err := io.Copy(io.Discard, c.Reader)
		return err
	})
}

// EndsRevoked expects a socket to be closed as revoked within a second of
// since, whatever it says before.
func (c *Conn) EndsRevoked(t testing.TB, who string, l *Lag, since time.Time) {
	t.Helper()
	if _, end := c.Last(t, Patience); end.Code != CloseUnauthorized || end.Reason != "revoked" {
		t.Errorf("%s: %v, want 3000 \"revoked\"", who, end)
	}
	l.InTime(t, "close frame of "+who, since, time.Now(), time.Second)
}

// Echoes sends messages of several sizes, in fragments too, and expects each
// of them back, and a pong.
func (c *Conn) Echoes(t testing.TB) {
	t.Helper()
	for _, size := range []int{0, 1, 125, 126, 65_535, 65_536, 200_000} {
		want := bytes.Repeat([]byte("x"), size)
		if err := c.Write(OpText, want); err != nil {
			t.Fatal(err)
		}
		if f := c.MustRead(t); f.Opcode != OpText || !bytes.Equal(f.Payload, want) {
			t.Fatalf("message of %d bytes came back as %d bytes with opcode %#x", size, len(f.Payload), f.Opcode)
		}
	}
	parts := [][]byte{
		ClientFrame(OpText, []byte("in ")), ClientFrame(0x80|OpPing, []byte("ping")),
		ClientFrame(OpContinuation, []byte("three ")), ClientFrame(0x80|OpContinuation, []byte("parts")),
	}
	if err := c.WriteRaw(bytes.Join(parts, nil)); err != nil {
		t.Fatal(err)
	}
	if f := c.MustRead(t); f.Opcode != OpPong || string(f.Payload) != "ping" {
		t.Errorf("pong is opcode %#x with %q", f.Opcode, f.Payload)
	}
	if f := c.MustRead(t); string(f.Payload) != "in three parts" {
		t.Errorf("fragmented message came back as %q", f.Payload)
	}
}

// MustRead returns the next frame, which must come soon.
func (c *Conn) MustRead(t testing.TB) Frame {
	t.Helper()
	var f Frame
	if err := c.Within(Patience, func() (err error) { f, err = c.Read(); return err }); err != nil {
		t.Fatalf("reading a frame: %v", err)
	}
	return f
}

// MustClose expects the close frame next, after any data, answers it, and
// expects a clean end.
func (c *Conn) MustClose(t testing.TB, within time.Duration) *ClosedError {
	t.Helper()
	var end *ClosedError
	err := c.Within(within, func() error {
		for {
			if _, err := c.Read(); errors.As(err, &end) {
				return c.AnswerClose(end.Code)
			} else if err != nil {
				return err
			}
		}
	})
	if err != nil {
		t.Fatalf("close frame %v, then %v", end, err)
	}
	return end
}
