package proxy

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var errReset = errors.New("stream reset")

// fakeWriter is the answer's half of an extended CONNECT, as Go's HTTP/2
// server has it: a read deadline that passes ends the body for good, a write
// deadline that passes resets the stream.
type fakeWriter struct {
	t    *testing.T
	body *io.PipeReader
	out  *io.PipeWriter

	mu       sync.Mutex // guards the following
	header   http.Header
	status   int
	returned bool
	writeAt  time.Time
}

// fakeStream returns what makes a stream: the server's end and the client's.
func fakeStream(t *testing.T) func() (a, b net.Conn) {
	t.Helper()
	return func() (a, b net.Conn) {
		w, r, client := fakeExtended(t)
		return newStreamConn(w, r), client
	}
}

func fakeExtended(t *testing.T) (*fakeWriter, *http.Request, *streamClient) {
	t.Helper()
	body, bodyWriter := io.Pipe()
	answer, answerWriter := io.Pipe()
	r := extended(2, func(r *http.Request) { r.Body, r.RemoteAddr = body, "192.0.2.1:1234" })
	w := &fakeWriter{t: t, body: body, out: answerWriter, header: http.Header{}}
	return w, r.WithContext(t.Context()), &streamClient{body: bodyWriter, answer: answer}
}

func (w *fakeWriter) used() {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.returned {
		w.t.Error("the stream is used after its handler has returned")
	}
}

func (w *fakeWriter) Header() http.Header { return w.header }

func (w *fakeWriter) WriteHeader(status int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.status = status
}

func (w *fakeWriter) Write(p []byte) (int, error) {
	w.used()
	return w.out.Write(p)
}

func (w *fakeWriter) FlushError() error { w.used(); return nil }

func (w *fakeWriter) SetReadDeadline(t time.Time) error {
	w.used()
	if !t.IsZero() && !time.Now().Before(t) {
		w.body.CloseWithError(os.ErrDeadlineExceeded)
	}
	return nil
}

func (w *fakeWriter) SetWriteDeadline(t time.Time) error {
	w.used()
	w.mu.Lock()
	w.writeAt = t
	w.mu.Unlock()
	if !t.IsZero() && !time.Now().Before(t) {
		w.out.CloseWithError(errReset)
	}
	return nil
}

// handlerReturns is what the server does then.
func (w *fakeWriter) handlerReturns() {
	w.mu.Lock()
	w.returned = true
	w.mu.Unlock()
	w.out.Close()
	w.body.CloseWithError(errReset)
}

// streamClient is the client's end of a stream.
type streamClient struct {
	net.Conn // nil: what is not here is not called
	body     *io.PipeWriter
	answer   *io.PipeReader
}

func (c *streamClient) Read(p []byte) (int, error)  { return c.answer.Read(p) }
func (c *streamClient) Write(p []byte) (int, error) { return c.body.Write(p) }

func (c *streamClient) Close() error {
	c.body.CloseWithError(errReset)
	c.answer.CloseWithError(errReset)
	return nil
}

func TestStreamReads(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, r, client := fakeExtended(t)
		c := newStreamConn(w, r)
		go io.WriteString(client, "hello")
		p := make([]byte, 3)
		if n, err := c.Read(p); err != nil || string(p[:n]) != "hel" {
			t.Errorf("read %q, %v", p[:n], err)
		}
		if n, err := c.Read(p); err != nil || string(p[:n]) != "lo" {
			t.Errorf("read %q, %v", p[:n], err)
		}
		// A deadline wakes the reader and loses nothing.
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
		took := elapsed(func() {
			if _, err := c.Read(p); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Read: %v, want the deadline", err)
			}
		})
		if took != time.Second {
			t.Errorf("woken after %v", took)
		}
		_ = c.SetReadDeadline(time.Time{})
		woken := make(chan error)
		go func() {
			_, err := c.Read(p)
			woken <- err
		}()
		synctest.Wait()
		_ = c.SetReadDeadline(past)
		if err := <-woken; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Read: %v, want the deadline", err)
		}
		go io.WriteString(client, "ok")
		_ = c.SetReadDeadline(time.Now().Add(time.Hour))
		if n, err := c.Read(p); err != nil || string(p[:n]) != "ok" {
			t.Errorf("read %q, %v", p[:n], err)
		}
		client.body.Close()
		for range 2 {
			if _, err := c.Read(p); !errors.Is(err, io.EOF) {
				t.Errorf("at the end: %v", err)
			}
		}
		if took := elapsed(func() { c.Close() }); took != 0 {
			t.Errorf("Close took %v", took)
		}
		if _, err := c.Read(p); !errors.Is(err, net.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
		if _, err := c.Write(p); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Write after Close: %v", err)
		}
		w.handlerReturns()
		if err := c.Close(); err != nil {
			t.Errorf("Close again: %v", err)
		}
	})
}

// Whoever reads when the stream is closed is woken, and the pump ends.
func TestStreamCloseWakesAll(t *testing.T) {
	t.Parallel()
	for _, unread := range []string{"", "nobody reads this"} {
		synctest.Test(t, func(t *testing.T) {
			w, r, client := fakeExtended(t)
			c := newStreamConn(w, r)
			go io.WriteString(client, unread)
			synctest.Wait()
			var reader, writer error
			go func() {
				for reader == nil {
					_, reader = c.Read(make([]byte, 1))
				}
			}()
			go func() { _, writer = io.WriteString(c, "a client that does not read") }()
			synctest.Wait()
			if took := elapsed(func() { c.Close() }); took != 0 {
				t.Errorf("Close took %v", took)
			}
			w.handlerReturns()
			synctest.Wait()
			if reader == nil || writer == nil {
				t.Errorf("reader: %v, writer: %v", reader, writer)
			}
		})
	}
}

// stuckBody ends for Close only, not for a deadline.
type stuckBody struct {
	closed chan struct{}
	once   sync.Once
	reason any // panics with it if it is not nil
}

func (b *stuckBody) Read([]byte) (int, error) {
	if b.reason != nil {
		panic(b.reason)
	}
	<-b.closed
	return 0, errReset
}

func (b *stuckBody) Close() error { b.once.Do(func() { close(b.closed) }); return nil }

func TestStreamBodyThatKnowsNoDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, r, _ := fakeExtended(t)
		r.Body = &stuckBody{closed: make(chan struct{})}
		c := newStreamConn(w, r)
		if took := elapsed(func() { c.Close() }); took != time.Second {
			t.Errorf("Close took %v, want 1s", took)
		}
	})
}

// A panic in the server's body must not end the process: it is read on a
// goroutine of ours.
func TestStreamBodyThatPanics(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, r, _ := fakeExtended(t)
		r.Body = &stuckBody{reason: "boom"}
		c := newStreamConn(w, r)
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("no error")
		}
		c.Close()
	})
}

// A write deadline bounds writes, and does nothing to a stream that is quiet
// while it passes: on HTTP/2 it would reset it.
func TestStreamWriteDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, r, client := fakeExtended(t)
		c := newStreamConn(w, r)
		_ = c.SetWriteDeadline(time.Now().Add(time.Second))
		time.Sleep(time.Hour)
		_ = c.SetWriteDeadline(time.Now().Add(time.Minute))
		go io.ReadFull(client, make([]byte, 5))
		if n, err := io.WriteString(c, "hello"); n != 5 || err != nil {
			t.Errorf("Write = %d, %v", n, err)
		}
		w.mu.Lock()
		if !w.writeAt.IsZero() {
			t.Errorf("a deadline is left standing: %v", w.writeAt)
		}
		w.mu.Unlock()
		took := elapsed(func() {
			if _, err := io.WriteString(c, "nobody reads this"); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Write: %v, want the deadline", err)
			}
		})
		if took != time.Minute {
			t.Errorf("Write took %v, want 1m", took)
		}
		c.Close()
	})
}

// A deadline that is set while something is being written counts for that.
func TestStreamWriteDeadlineDuringWrite(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, r, _ := fakeExtended(t)
		_ = w
		c := newStreamConn(w, r)
		wrote := make(chan error)
		go func() {
			_, err := io.WriteString(c, "nobody reads this")
			wrote <- err
		}()
		synctest.Wait()
		_ = c.SetWriteDeadline(time.Now().Add(5 * time.Second))
		took := elapsed(func() {
			if err := <-wrote; !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Write: %v, want the deadline", err)
			}
		})
		if took != 5*time.Second {
			t.Errorf("Write took %v, want 5s", took)
		}
		c.Close()
	})
}

func TestStreamAddresses(t *testing.T) {
	t.Parallel()
	w, r, client := fakeExtended(t)
	c := newStreamConn(w, r)
	if got := c.RemoteAddr(); got.String() != "192.0.2.1:1234" || got.Network() != "tcp" {
		t.Errorf("remote %v", got)
	}
	if got := c.LocalAddr(); got.Network() != "stream" {
		t.Errorf("local %v %v", got.Network(), got)
	}
	if got := parseAddr("@"); got.String() != "@" {
		t.Errorf("no address: %v", got)
	}
	client.Close()
	c.Close()
}
