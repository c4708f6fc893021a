package rig

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/internal/pace"
)

// PeerApp is an application whose sockets a test holds in its hands: it sends
// what the test says, and hands over all that it gets.
type PeerApp struct {
	*httptest.Server
	Connections atomic.Int64 // TCP connections that were made to it
	Sockets     chan *Peer

	Greeting string // what it says first; empty for nothing
	Refuse   int    // the status with which it refuses handshakes; 0 for none
	Wrong    string // the subprotocol it answers although it was not offered
}

// Peer is the application's end of one socket.
type Peer struct {
	*websocket.Conn
	Header http.Header // of the handshake
	URI    string
	Got    chan string // the messages; closed at the end
	Pongs  chan string
	end    error // why the socket has ended; to be read when got is closed

	writing sync.Mutex // held for the time of one message
}

// StartPeerApp runs an application that is changed by change.
func StartPeerApp(t testing.TB, change func(*PeerApp)) *PeerApp {
	t.Helper()
	a := &PeerApp{Sockets: make(chan *Peer, 2000)}
	if change != nil {
		change(a)
	}
	a.Server = httptest.NewUnstartedServer(a)
	a.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			a.Connections.Add(1)
		}
	}
	a.Start()
	t.Cleanup(a.Close)
	return a
}

// ServeHTTP implements http.Handler.
func (a *PeerApp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if a.Refuse != 0 {
		w.WriteHeader(a.Refuse)
		return
	}
	u := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }, EnableCompression: true}
	header := http.Header{}
	if offered := websocket.Subprotocols(r); len(offered) > 0 {
		header.Set("Sec-WebSocket-Protocol", offered[0])
	}
	if a.Wrong != "" {
		header.Set("Sec-WebSocket-Protocol", a.Wrong)
	}
	conn, err := u.Upgrade(w, r, header)
	if err != nil {
		return
	}
	defer conn.Close()
	p := &Peer{
		Conn: conn, Header: r.Header.Clone(), URI: r.RequestURI,
		Got: make(chan string, 5000), Pongs: make(chan string, 100),
	}
	conn.SetPongHandler(func(text string) error { p.Pongs <- text; return nil })
	if a.Greeting != "" {
		_ = p.Send(a.Greeting) // reading says what is wrong
	}
	a.Sockets <- p
	p.listen()
}

// listen hands over what comes until the socket ends.
func (p *Peer) listen() {
	defer close(p.Got)
	for {
		_, message, err := p.ReadMessage()
		if err != nil {
			p.end = err
			return
		}
		p.Got <- string(message)
	}
}

// Send sends a text message and returns what went wrong.
func (p *Peer) Send(text string) error {
	p.writing.Lock()
	defer p.writing.Unlock()
	return p.WriteMessage(websocket.TextMessage, []byte(text))
}

// Says sends text messages.
func (p *Peer) Says(t testing.TB, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if err := p.Send(text); err != nil {
			t.Fatalf("the application sending %q: %v", text, err)
		}
	}
}

// Hears expects exactly these messages next.
func (p *Peer) Hears(t testing.TB, texts ...string) {
	t.Helper()
	for _, want := range texts {
		if got := Receive(t, "message at the application", p.Got, Patience); got != want {
			t.Fatalf("the application got %q, want %q", got, want)
		}
	}
}

// Ends expects that nothing more comes, and a close frame with code.
func (p *Peer) Ends(t testing.TB, code int) {
	t.Helper()
	if text := Receive(t, "end of a socket at the application", p.Got, Patience); text != "" {
		t.Errorf("the application got %q before the end", text)
	}
	if !websocket.IsCloseError(p.end, code) {
		t.Errorf("the application's socket ended with %v, want %d", p.end, code)
	}
}

// Pings sends a ping, has somebody answer it unless the gate does, and expects
// the pong.
func (p *Peer) Pings(t testing.TB, text string, answer func(testing.TB)) {
	t.Helper()
	if err := p.WriteControl(websocket.PingMessage, []byte(text), time.Now().Add(Patience)); err != nil {
		t.Fatalf("the application sending a ping: %v", err)
	}
	if answer != nil {
		answer(t)
	}
	if got := Receive(t, "pong at the application", p.Pongs, Patience); got != text {
		t.Fatalf("the application got a pong with %q, want %q", got, text)
	}
}

// PeerSite is a site in front of a PeerApp.
type PeerSite struct {
	*Site
	App *PeerApp
}

// StartPeerSite is StartSite with a PeerApp, which is changed by change.
func StartPeerSite(t testing.TB, o SiteOptions, change func(*PeerApp)) *PeerSite {
	t.Helper()
	app := StartPeerApp(t, change)
	o.Env = append(o.Env, WithEnv("APP", app.Addr()))
	return &PeerSite{StartSite(t, o), app}
}

// Addr is what reverse_proxy is given.
func (a *PeerApp) Addr() string { return strings.TrimPrefix(a.URL, "http://") }

// Socket returns the next socket that the application has accepted.
func (s *PeerSite) Socket(t testing.TB) *Peer {
	t.Helper()
	return Receive(t, "handshake at the application", s.App.Sockets, Patience)
}

// Unasked expects that nobody has connected to the application.
func (s *PeerSite) Unasked(t testing.TB) {
	t.Helper()
	if n := s.App.Connections.Load(); n != 0 {
		t.Fatalf("the application got %d connections before the login", n)
	}
}

// ForEachPeerVersion runs f for each version on a site of its own.
func ForEachPeerVersion(t *testing.T, o SiteOptions, change func(*PeerApp), f func(t *testing.T, s *PeerSite, version string)) {
	t.Helper()
	for _, version := range AllVersions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			f(t, StartPeerSite(t, o, change), version)
		})
	}
}

// TryEachPeerVersion is ForEachPeerVersion for what is about time: f may be
// tried again, on another site.
func TryEachPeerVersion(t *testing.T, o SiteOptions, change func(*PeerApp), f func(t testing.TB, s *PeerSite, version string)) {
	t.Helper()
	for _, version := range AllVersions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			pace.Try(t, func(t testing.TB) { f(t, StartPeerSite(t, o, change), version) })
		})
	}
}

// HearsNumber expects the message of carrying next, without the token.
func (p *Peer) HearsNumber(t testing.TB, n int) {
	t.Helper()
	want := fmt.Sprintf(`{"type":"chat","n":%d}`, n)
	got := Receive(t, "message at the application", p.Got, Patience)
	if strings.ReplaceAll(got, " ", "") != want {
		t.Fatalf("the application got %q, want %s", got, want)
	}
}

// Suspended opens a socket whose token ends soon, and returns when it is
// suspended.
func (s *PeerSite) Suspended(t testing.TB, version string) (*Conn, *Peer) {
	t.Helper()
	c := s.Open(t, version, "/", s.Bearer(Soon(2*time.Second)))
	p := s.Socket(t)
	c.HearsWord(t, "auth_expired")
	return c, p
}

// Nothing expects that nothing has come to the application of what was sent
// before a ping that has been answered.
func (p *Peer) Nothing(t testing.TB) {
	t.Helper()
	select {
	case text := <-p.Got:
		t.Errorf("the application got %q", text)
	default:
	}
}

// StartPeerSiteOf starts a site from a whole Caddyfile, in which {$JWKS},
// {$ISSUER} and {$APP} are the provider and the application, and {$STRANGER} is a
// file with the key of another provider, under the same id.
func StartPeerSiteOf(t testing.TB, caddyfile string) *PeerSite {
	t.Helper()
	app := StartPeerApp(t, nil)
	s := &PeerSite{&Site{Issuer: NewIssuer(t)}, app}
	stranger := filepath.Join(t.TempDir(), "stranger.json")
	jwk, err := json.Marshal(RSAJWK(&StrangerKey().PublicKey, "rsa-1"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(stranger, jwk, 0o600); err != nil {
		t.Fatal(err)
	}
	s.Caddy = StartCaddy(t, caddyfile, WithEnv("JWKS", s.Issuer.JWKSURL()), WithEnv("APP", app.Addr()),
		WithEnv("ISSUER", s.Issuer.URL), WithEnv("STRANGER", stranger))
	t.Cleanup(s.CloseAll)
	return s
}
