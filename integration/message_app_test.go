package integration

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/internal/pace"
)

// peerApp is an application whose sockets a test holds in its hands: it sends
// what the test says, and hands over all that it gets.
type peerApp struct {
	*httptest.Server
	connections atomic.Int64 // TCP connections that were made to it
	sockets     chan *peer

	greeting string // what it says first; empty for nothing
	refuse   int    // the status with which it refuses handshakes; 0 for none
	wrong    string // the subprotocol it answers although it was not offered
}

// peer is the application's end of one socket.
type peer struct {
	*websocket.Conn
	header http.Header // of the handshake
	uri    string
	got    chan string // the messages; closed at the end
	pongs  chan string
	end    error // why the socket has ended; to be read when got is closed

	writing sync.Mutex // held for the time of one message
}

// startPeerApp runs an application that is changed by change.
func startPeerApp(t testing.TB, change func(*peerApp)) *peerApp {
	t.Helper()
	a := &peerApp{sockets: make(chan *peer, 2000)}
	if change != nil {
		change(a)
	}
	a.Server = httptest.NewUnstartedServer(a)
	a.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			a.connections.Add(1)
		}
	}
	a.Start()
	t.Cleanup(a.Close)
	return a
}

// ServeHTTP implements http.Handler.
func (a *peerApp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if a.refuse != 0 {
		w.WriteHeader(a.refuse)
		return
	}
	u := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }, EnableCompression: true}
	header := http.Header{}
	if offered := websocket.Subprotocols(r); len(offered) > 0 {
		header.Set("Sec-WebSocket-Protocol", offered[0])
	}
	if a.wrong != "" {
		header.Set("Sec-WebSocket-Protocol", a.wrong)
	}
	conn, err := u.Upgrade(w, r, header)
	if err != nil {
		return
	}
	defer conn.Close()
	p := &peer{
		Conn: conn, header: r.Header.Clone(), uri: r.RequestURI,
		got: make(chan string, 5000), pongs: make(chan string, 100),
	}
	conn.SetPongHandler(func(text string) error { p.pongs <- text; return nil })
	if a.greeting != "" {
		_ = p.send(a.greeting) // reading says what is wrong
	}
	a.sockets <- p
	p.listen()
}

// listen hands over what comes until the socket ends.
func (p *peer) listen() {
	defer close(p.got)
	for {
		_, message, err := p.ReadMessage()
		if err != nil {
			p.end = err
			return
		}
		p.got <- string(message)
	}
}

func (p *peer) send(text string) error {
	p.writing.Lock()
	defer p.writing.Unlock()
	return p.WriteMessage(websocket.TextMessage, []byte(text))
}

// says sends text messages.
func (p *peer) says(t testing.TB, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if err := p.send(text); err != nil {
			t.Fatalf("the application sending %q: %v", text, err)
		}
	}
}

// hears expects exactly these messages next.
func (p *peer) hears(t testing.TB, texts ...string) {
	t.Helper()
	for _, want := range texts {
		if got := receive(t, "message at the application", p.got, patience); got != want {
			t.Fatalf("the application got %q, want %q", got, want)
		}
	}
}

// ends expects that nothing more comes, and a close frame with code.
func (p *peer) ends(t testing.TB, code int) {
	t.Helper()
	if text := receive(t, "end of a socket at the application", p.got, patience); text != "" {
		t.Errorf("the application got %q before the end", text)
	}
	if !websocket.IsCloseError(p.end, code) {
		t.Errorf("the application's socket ended with %v, want %d", p.end, code)
	}
}

// pings sends a ping, has somebody answer it unless the gate does, and expects
// the pong.
func (p *peer) pings(t testing.TB, text string, answer func(testing.TB)) {
	t.Helper()
	if err := p.WriteControl(websocket.PingMessage, []byte(text), time.Now().Add(patience)); err != nil {
		t.Fatalf("the application sending a ping: %v", err)
	}
	if answer != nil {
		answer(t)
	}
	if got := receive(t, "pong at the application", p.pongs, patience); got != text {
		t.Fatalf("the application got a pong with %q, want %q", got, text)
	}
}

// peerSite is a site in front of a peerApp.
type peerSite struct {
	*site
	app *peerApp
}

// startPeerSite is startSite with a peerApp, which is changed by change.
func startPeerSite(t testing.TB, o siteOptions, change func(*peerApp)) *peerSite {
	t.Helper()
	app := startPeerApp(t, change)
	o.env = append(o.env, withEnv("APP", app.addr()))
	return &peerSite{startSite(t, o), app}
}

// addr is what reverse_proxy is given.
func (a *peerApp) addr() string { return strings.TrimPrefix(a.URL, "http://") }

// socket returns the next socket that the application has accepted.
func (s *peerSite) socket(t testing.TB) *peer {
	t.Helper()
	return receive(t, "handshake at the application", s.app.sockets, patience)
}

// unasked expects that nobody has connected to the application.
func (s *peerSite) unasked(t testing.TB) {
	t.Helper()
	if n := s.app.connections.Load(); n != 0 {
		t.Fatalf("the application got %d connections before the login", n)
	}
}

// forEachPeerVersion runs f for each version on a site of its own.
func forEachPeerVersion(t *testing.T, o siteOptions, change func(*peerApp), f func(t *testing.T, s *peerSite, version string)) {
	t.Helper()
	for _, version := range allVersions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			f(t, startPeerSite(t, o, change), version)
		})
	}
}

// tryEachPeerVersion is forEachPeerVersion for what is about time: f may be
// tried again, on another site.
func tryEachPeerVersion(t *testing.T, o siteOptions, change func(*peerApp), f func(t testing.TB, s *peerSite, version string)) {
	t.Helper()
	for _, version := range allVersions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			pace.Try(t, func(t testing.TB) { f(t, startPeerSite(t, o, change), version) })
		})
	}
}
