package proxy

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// controlled is a ResponseWriter that can all that one can be asked for, and
// notes what it was.
type controlled struct {
	*httptest.ResponseRecorder
	asked []string
}

func (c *controlled) ask(what string) error {
	c.asked = append(c.asked, what)
	return nil
}

func (c *controlled) FlushError() error                { return c.ask("flush") }
func (c *controlled) SetReadDeadline(time.Time) error  { return c.ask("read deadline") }
func (c *controlled) SetWriteDeadline(time.Time) error { return c.ask("write deadline") }
func (c *controlled) EnableFullDuplex() error          { return c.ask("full duplex") }
func (c *controlled) Push(string, *http.PushOptions) error {
	return c.ask("push")
}

func (c *controlled) ReadFrom(r io.Reader) (int64, error) {
	_ = c.ask("read from")
	return io.Copy(c.ResponseRecorder, r)
}

func (c *controlled) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	_ = c.ask("hijack")
	return nil, nil, nil
}

// never is a request of which no handler makes an extended CONNECT.
func never() bool { return false }

// newPlain returns a writer and what is behind it, with a header of a handler
// in front.
func newPlain(extended func() bool) (*Plain, *controlled) {
	c := &controlled{ResponseRecorder: httptest.NewRecorder()}
	c.Header().Set("X-Front", "front")
	return NewPlain(c, extended), c
}

// What answers a plain request with a tunnel is forgotten, in whatever order it
// does so, and what it writes then reaches nobody.
func TestAttackTunnelOfPlain(t *testing.T) {
	t.Parallel()
	switchTo := func(w http.ResponseWriter) {
		w.Header()["Sec-WebSocket-Accept"] = []string{exampleAccept}
		w.Header().Set("X-Front", "behind")
		w.WriteHeader(http.StatusSwitchingProtocols)
	}
	always := func() bool { return true }
	tests := []struct {
		name     string
		extended func() bool
		serve    func(w http.ResponseWriter)
	}{
		{"101", never, switchTo},
		{"101 after hints", never, func(w http.ResponseWriter) { w.WriteHeader(http.StatusEarlyHints); switchTo(w) }},
		{"101, then another status", never, func(w http.ResponseWriter) { switchTo(w); w.WriteHeader(http.StatusOK) }},
		{"hijack", never, func(w http.ResponseWriter) { _, _, _ = http.NewResponseController(w).Hijack() }},
		{"101 and hijack", never, func(w http.ResponseWriter) {
			switchTo(w)
			_, _, _ = http.NewResponseController(w).Hijack()
		}},
		{"extended CONNECT", always, func(w http.ResponseWriter) { w.WriteHeader(http.StatusOK) }},
		{"extended CONNECT, 204", always, func(w http.ResponseWriter) { w.WriteHeader(http.StatusNoContent) }},
		{"extended CONNECT that writes", always, func(w http.ResponseWriter) { _, _ = io.WriteString(w, "frames") }},
		{"extended CONNECT that flushes", always, func(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() }},
		{"extended CONNECT that copies", always, func(w http.ResponseWriter) { _, _ = io.Copy(w, strings.NewReader("frames")) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, c := newPlain(tt.extended)
			tt.serve(p)
			if _, bad := errors.AsType[*UpstreamError](p.Err()); !bad || p.Answered() {
				t.Errorf("Err = %v, answered %v", p.Err(), p.Answered())
			}
			if p.Failed() {
				after := http.NewResponseController(p)
				p.Header().Set("X-Late", "late")
				if _, err := p.Write([]byte("frames")); err == nil {
					t.Error("Write was taken")
				}
				if n, err := p.ReadFrom(strings.NewReader("frames")); n != 0 || err == nil {
					t.Error("ReadFrom was taken")
				}
				if after.Flush() == nil {
					t.Error("Flush was taken")
				}
			}
			if conn, _, err := http.NewResponseController(p).Hijack(); conn != nil || !errors.Is(err, http.ErrNotSupported) {
				t.Errorf("Hijack = %v, %v", conn, err)
			}
			if (c.Code != http.StatusOK && c.Code != http.StatusEarlyHints) || c.Body.Len() > 0 || c.Flushed || len(c.asked) > 0 {
				t.Errorf("the client was told %d %q, and asked %q", c.Code, c.Body, c.asked)
			}
			if h := c.Header(); len(h) != 1 || h.Get("X-Front") != "front" {
				t.Errorf("the header is %v, want that of before", h)
			}
		})
	}
}

// Whoever follows Unwrap gets at what is behind it.
func TestAttackUnwrapPlain(t *testing.T) {
	t.Parallel()
	p, c := newPlain(never)
	for w := http.ResponseWriter(p); w != nil; {
		if hijacker, ok := w.(http.Hijacker); ok {
			_, _, _ = hijacker.Hijack()
		}
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			break
		}
		w = wrapper.Unwrap()
	}
	if len(c.asked) > 0 {
		t.Errorf("the writer behind was asked to %q", c.asked)
	}
}

// What is no tunnel passes, with all that a ResponseWriter can do.
func TestPlainPasses(t *testing.T) {
	t.Parallel()
	control := http.NewResponseController
	tests := []struct {
		name  string
		serve func(w http.ResponseWriter) error
		asked string
	}{
		{"flush", func(w http.ResponseWriter) error { return control(w).Flush() }, "flush"},
		{"flusher", func(w http.ResponseWriter) error { w.(http.Flusher).Flush(); return nil }, "flush"},
		{"read deadline", func(w http.ResponseWriter) error { return control(w).SetReadDeadline(time.Now()) }, "read deadline"},
		{"write deadline", func(w http.ResponseWriter) error { return control(w).SetWriteDeadline(time.Now()) }, "write deadline"},
		{"full duplex", func(w http.ResponseWriter) error { return control(w).EnableFullDuplex() }, "full duplex"},
		{"push", func(w http.ResponseWriter) error { return w.(http.Pusher).Push("/style.css", nil) }, "push"},
		{"copy", func(w http.ResponseWriter) error {
			_, err := io.Copy(w, io.LimitReader(strings.NewReader("text"), 9))
			return err
		}, "read from"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, c := newPlain(never)
			if err := tt.serve(p); err != nil {
				t.Fatal(err)
			}
			if len(c.asked) != 1 || c.asked[0] != tt.asked || p.Err() != nil {
				t.Errorf("asked for %q, want %q; %v", c.asked, tt.asked, p.Err())
			}
		})
	}
	p, c := newPlain(never)
	p.Header().Set("X-Behind", "behind")
	p.WriteHeader(http.StatusTeapot)
	p.WriteHeader(http.StatusSwitchingProtocols) // too late
	if _, err := io.WriteString(p, "text"); err != nil {
		t.Fatal(err)
	}
	if c.Code != http.StatusTeapot || c.Body.String() != "text" || c.Header().Get("X-Behind") != "behind" ||
		p.Err() != nil || !p.Answered() {
		t.Errorf("answered %d %q, %v", c.Code, c.Body, p.Err())
	}
}

// A handler that cannot take the connection over may answer by itself, as it
// does over HTTP/2.
func TestPlainAnsweredAfterHijack(t *testing.T) {
	t.Parallel()
	p, c := newPlain(never)
	if _, _, err := http.NewResponseController(p).Hijack(); err == nil {
		t.Fatal("hijacked")
	}
	p.WriteHeader(http.StatusNotImplemented)
	if c.Code != http.StatusNotImplemented || p.Err() == nil || !p.Answered() || p.Failed() {
		t.Errorf("answered %d, %v", c.Code, p.Err())
	}
}

// A writer that cannot do something says so.
func TestPlainOfLittle(t *testing.T) {
	t.Parallel()
	type little struct{ http.ResponseWriter }
	p := NewPlain(little{httptest.NewRecorder()}, never)
	control := http.NewResponseController(p)
	for name, err := range map[string]error{
		"push": p.Push("/", nil), "flush": control.Flush(), "read deadline": control.SetReadDeadline(time.Now()),
		"write deadline": control.SetWriteDeadline(time.Now()), "full duplex": control.EnableFullDuplex(),
	} {
		if !errors.Is(err, http.ErrNotSupported) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n, err := p.ReadFrom(strings.NewReader("text")); n != 4 || err != nil {
		t.Errorf("ReadFrom = %d, %v", n, err)
	}
}
