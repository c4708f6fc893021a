package integration

import (
	"encoding/binary"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
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
}

// appEnd is how a socket has ended for the application.
type appEnd struct {
	code int // of the close frame; 0 if there was none
	err  error
	at   time.Time
}

func startApp(t *testing.T) *app {
	t.Helper()
	a := &app{handshakes: make(chan http.Header, 20000), ends: make(chan appEnd, 20000)}
	a.Server = httptest.NewServer(a)
	t.Cleanup(a.Server.Close)
	return a
}

// addr is what reverse_proxy is given.
func (a *app) addr() string { return strings.TrimPrefix(a.URL, "http://") }

// ServeHTTP implements http.Handler.
func (a *app) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/plain" || !websocket.IsWebSocketUpgrade(r) {
		fmt.Fprintf(w, "plain %s", r.Method)
		return
	}
	u := websocket.Upgrader{
		CheckOrigin:       func(*http.Request) bool { return true },
		EnableCompression: true,
		ReadBufferSize:    4096, WriteBufferSize: 4096,
	}
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
			if closed, ok := err.(*websocket.CloseError); ok && closed.Code != websocket.CloseAbnormalClosure {
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
// that is missing, damaged or too many is an error.
func readFlood(c *wsConn) (*closed, error) {
	for n := uint64(0); ; n++ {
		f, err := c.read()
		if end, ok := err.(*closed); ok {
			return end, nil
		}
		if err != nil {
			return nil, fmt.Errorf("message %d: %w", n, err)
		}
		if want := numbered(n); !f.fin || f.opcode != opBinary || string(f.payload) != string(want) {
			return nil, fmt.Errorf("message %d is %d bytes of another message", n, len(f.payload))
		}
	}
}

// end returns how the next socket has ended for the application.
func (a *app) end(t *testing.T, within time.Duration) appEnd {
	t.Helper()
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case end := <-a.ends:
		return end
	case <-timer.C:
		t.Fatalf("no end of a socket at the application within %v", within)
	}
	return appEnd{}
}

// handshake returns the header of the next handshake that the application has
// accepted.
func (a *app) handshake(t *testing.T) http.Header {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case h := <-a.handshakes:
		return h
	case <-timer.C:
		t.Fatal("no handshake at the application")
	}
	return nil
}

// eventually waits until problem returns an empty text.
func eventually(t *testing.T, within time.Duration, problem func() string) {
	t.Helper()
	ticker := time.NewTicker(50 * time.Millisecond)
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
