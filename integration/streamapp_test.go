package integration

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/internal/pace"
)

// App is an application for tests with many sockets: it notes how each ends
// and forgets the messages. The path says what it does:
//
//	/echo   sends back what comes, compressed where that is agreed
//	/flood  sends numbered messages, see [Numbered], as fast as it can
//	/sink   reads and says nothing
//	/plain  answers the upgrade with 200 and opens no WebSocket
type App struct {
	*httptest.Server
	Opened     atomic.Int64
	Handshakes chan http.Header
	Ends       chan AppEnd
	Plain      chan string // requests that were no handshake, as text
}

// AppEnd is how a socket has ended for the application.
type AppEnd struct {
	Code int // of the close frame; 0 if there was none
	Err  error
	At   time.Time
}

// StartApp returns a running application; it ends with the test.
func StartApp(t testing.TB) *App {
	t.Helper()
	a := &App{
		Handshakes: make(chan http.Header, 20000), Ends: make(chan AppEnd, 20000),
		Plain: make(chan string, 1000),
	}
	a.Server = httptest.NewServer(a)
	t.Cleanup(a.Server.Close)
	return a
}

// Addr is what reverse_proxy is given.
func (a *App) Addr() string { return strings.TrimPrefix(a.URL, "http://") }

// ServeHTTP implements http.Handler.
func (a *App) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/plain" || !websocket.IsWebSocketUpgrade(r) {
		a.Plain <- r.Method + " " + r.RequestURI + "\n" + Flatten(r.Header)
		fmt.Fprintf(w, "plain %s", r.Method)
		return
	}
	u := websocket.Upgrader{
		CheckOrigin:       func(*http.Request) bool { return true },
		EnableCompression: true,
		ReadBufferSize:    4096, WriteBufferSize: 4096,
	}
	// As lax as some are: who asks for no version gets this one.
	r.Header.Set("Sec-WebSocket-Version", "13")
	conn, err := u.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer conn.Close()
	a.Opened.Add(1)
	a.Handshakes <- r.Header.Clone()
	if r.URL.Path == "/flood" {
		go flood(conn)
	}
	a.Ends <- a.converse(conn, r.URL.Path == "/echo")
}

// converse reads until the socket ends.
func (a *App) converse(conn *websocket.Conn, echo bool) AppEnd {
	for {
		kind, p, err := conn.ReadMessage()
		if err != nil {
			end := AppEnd{Err: err, At: time.Now()}
			if closed, ok := errors.AsType[*websocket.CloseError](err); ok && closed.Code != websocket.CloseAbnormalClosure {
				end.Code = closed.Code
			}
			return end
		}
		if echo {
			_ = conn.WriteMessage(kind, p) // the next read says what is wrong
		}
	}
}

func flood(conn *websocket.Conn) {
	for n := uint64(0); ; n++ {
		if conn.WriteMessage(websocket.BinaryMessage, Numbered(n)) != nil {
			return
		}
	}
}

// Numbered returns message n of a flood. Most are short and some so long that
// no buffer holds them, so that chunks and frames have different borders.
func Numbered(n uint64) []byte {
	size := 8 + n*7919%3000
	if n%50 == 49 {
		size = 90_000
	}
	return binary.BigEndian.AppendUint64(make([]byte, 0, size), n)[:size]
}

// ReadFlood reads a flood to its end and returns the close frame. A message
// that is missing, damaged or too many is an error; a [*CutError] says that
// all was well until the stream ended within a message.
func ReadFlood(c *Conn) (*ClosedError, error) {
	for n := uint64(0); ; n++ {
		f, err := c.Read()
		if end, ok := errors.AsType[*ClosedError](err); ok {
			return end, nil
		}
		cut, isCut := errors.AsType[*CutError](err)
		if err != nil && !isCut {
			return nil, fmt.Errorf("message %d: %w", n, err)
		}
		want := Numbered(n)
		if f.Opcode != OpBinary || !bytes.HasPrefix(want, f.Payload) || !isCut && len(f.Payload) != len(want) {
			return nil, fmt.Errorf("message %d: %d bytes that are not its first", n, len(f.Payload))
		}
		if isCut {
			return nil, cut
		}
	}
}

// End returns how the next socket has ended for the application.
func (a *App) End(t testing.TB, within time.Duration) AppEnd {
	t.Helper()
	return Receive(t, "end of a socket at the application", a.Ends, within)
}

// Handshake returns the header of the next handshake that the application has
// accepted.
func (a *App) Handshake(t testing.TB) http.Header {
	t.Helper()
	return Receive(t, "handshake at the application", a.Handshakes, Patience)
}

// Receive returns the next of what comes.
func Receive[T any](t testing.TB, what string, from <-chan T, within time.Duration) T {
	t.Helper()
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case v := <-from:
		return v
	case <-timer.C:
		t.Fatalf("no %s within %v", what, within)
		panic("not reached")
	}
}

// Eventually waits until problem returns an empty text.
func Eventually(t testing.TB, within time.Duration, problem func() string) {
	t.Helper()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	for {
		text := problem()
		if text == "" {
			return
		}
		select {
		case <-ticker.C:
		case <-deadline.C:
			t.Fatalf("after %v: %s", within, text)
		}
	}
}

// Lag is how late this machine is.
type Lag struct{ watch *pace.Watch }

// MeasureLag measures until the test ends.
func MeasureLag(t testing.TB) *Lag {
	t.Helper()
	return &Lag{pace.Start(t)}
}

// InTime expects what happened at the moment at not before due, and at most
// within after it, give or take what the machine is late.
func (l *Lag) InTime(t testing.TB, what string, due, at time.Time, within time.Duration) {
	t.Helper()
	l.watch.InTime(t, what, due, at, within)
}
