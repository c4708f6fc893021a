package rig

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
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

// Flatten returns all of h as one text.
func Flatten(h http.Header) string {
	var b strings.Builder
	_ = h.Write(&b)
	return b.String()
}
