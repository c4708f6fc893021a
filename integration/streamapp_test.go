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

// app is an application for tests with many sockets: it notes how each ends
// and forgets the messages. The path says what it does:
//
//	/echo   sends back what comes, compressed where that is agreed
//	/flood  sends numbered messages, see [numbered], as fast as it can
//	/sink   reads and says nothing
//	/plain  answers the upgrade with 200 and opens no WebSocket
type app struct {
	*httptest.Server
	opened     atomic.Int64
	handshakes chan http.Header
	ends       chan appEnd
	plain      chan string // requests that were no handshake, as text
}

// appEnd is how a socket has ended for the application.
type appEnd struct {
	code int // of the close frame; 0 if there was none
	err  error
	at   time.Time
}

func startApp(t testing.TB) *app {
	t.Helper()
	a := &app{
		handshakes: make(chan http.Header, 20000), ends: make(chan appEnd, 20000),
		plain: make(chan string, 1000),
	}
	a.Server = httptest.NewServer(a)
	t.Cleanup(a.Server.Close)
	return a
}

// addr is what reverse_proxy is given.
func (a *app) addr() string { return strings.TrimPrefix(a.URL, "http://") }

// ServeHTTP implements http.Handler.
func (a *app) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/plain" || !websocket.IsWebSocketUpgrade(r) {
		a.plain <- r.Method + " " + r.RequestURI + "\n" + flatten(r.Header)
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
	a.opened.Add(1)
	a.handshakes <- r.Header.Clone()
	if r.URL.Path == "/flood" {
		go flood(conn)
	}
	a.ends <- a.converse(conn, r.URL.Path == "/echo")
}

// converse reads until the socket ends.
func (a *app) converse(conn *websocket.Conn, echo bool) appEnd {
	for {
		kind, p, err := conn.ReadMessage()
		if err != nil {
			end := appEnd{err: err, at: time.Now()}
			if closed, ok := errors.AsType[*websocket.CloseError](err); ok && closed.Code != websocket.CloseAbnormalClosure {
				end.code = closed.Code
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
		if conn.WriteMessage(websocket.BinaryMessage, numbered(n)) != nil {
			return
		}
	}
}

// numbered returns message n of a flood. Most are short and some so long that
// no buffer holds them, so that chunks and frames have different borders.
func numbered(n uint64) []byte {
	size := 8 + n*7919%3000
	if n%50 == 49 {
		size = 90_000
	}
	return binary.BigEndian.AppendUint64(make([]byte, 0, size), n)[:size]
}

// readFlood reads a flood to its end and returns the close frame. A message
// that is missing, damaged or too many is an error; a [*cutError] says that
// all was well until the stream ended within a message.
func readFlood(c *wsConn) (*closed, error) {
	for n := uint64(0); ; n++ {
		f, err := c.read()
		if end, ok := errors.AsType[*closed](err); ok {
			return end, nil
		}
		cut, isCut := errors.AsType[*cutError](err)
		if err != nil && !isCut {
			return nil, fmt.Errorf("message %d: %w", n, err)
		}
		want := numbered(n)
		if f.opcode != opBinary || !bytes.HasPrefix(want, f.payload) || !isCut && len(f.payload) != len(want) {
			return nil, fmt.Errorf("message %d: %d bytes that are not its first", n, len(f.payload))
		}
		if isCut {
			return nil, cut
		}
	}
}

// end returns how the next socket has ended for the application.
func (a *app) end(t testing.TB, within time.Duration) appEnd {
	t.Helper()
	return receive(t, "end of a socket at the application", a.ends, within)
}

// handshake returns the header of the next handshake that the application has
// accepted.
func (a *app) handshake(t testing.TB) http.Header {
	t.Helper()
	return receive(t, "handshake at the application", a.handshakes, patience)
}

// receive returns the next of what comes.
func receive[T any](t testing.TB, what string, from <-chan T, within time.Duration) T {
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

// eventually waits until problem returns an empty text.
func eventually(t testing.TB, within time.Duration, problem func() string) {
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

// lag is how late this machine is.
type lag struct{ watch *pace.Watch }

// measureLag measures until the test ends.
func measureLag(t testing.TB) *lag {
	t.Helper()
	return &lag{pace.Start(t)}
}

// inTime expects what happened at the moment at not before due, and at most
// within after it, give or take what the machine is late.
func (l *lag) inTime(t testing.TB, what string, due, at time.Time, within time.Duration) {
	t.Helper()
	l.watch.InTime(t, what, due, at, within)
}
