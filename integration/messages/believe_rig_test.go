package messages

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// believeApp is an application that says nothing and keeps all that it gets,
// by the row of a table that its sockets and requests name in their query.
type believeApp struct {
	*httptest.Server
	mu   sync.Mutex
	rows map[string]*believeRow
}

// believeRow is what the application gets of one client.
type believeRow struct {
	connected chan struct{} // closed when session is set
	session   string
	got       chan []byte // messages, and bodies of requests; closed at the end
}

func startBelieveApp(t *testing.T) *believeApp {
	t.Helper()
	a := &believeApp{rows: make(map[string]*believeRow)}
	a.Server = httptest.NewServer(a)
	t.Cleanup(a.Close)
	return a
}

// row returns the row with this name, which nobody else uses.
func (a *believeApp) row(name string) *believeRow {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := a.rows[name]
	if r == nil {
		r = &believeRow{connected: make(chan struct{}), got: make(chan []byte, 100)}
		a.rows[name] = r
	}
	return r
}

// ServeHTTP implements http.Handler.
func (a *believeApp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	row := a.row(r.URL.Query().Get("row"))
	if !websocket.IsWebSocketUpgrade(r) {
		body := new(bytes.Buffer)
		_, _ = body.ReadFrom(r.Body)
		row.got <- body.Bytes()
		return
	}
	u := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	conn, err := u.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer conn.Close()
	defer close(row.got)
	row.session = r.Header.Get("X-Session")
	close(row.connected)
	for {
		_, message, err := conn.ReadMessage()
		if err != nil {
			return
		}
		row.got <- message
	}
}

// believeSite is one Caddy with a route for each way in which a dialect may be
// configured.
type believeSite struct {
	*rig.Site
	app *believeApp

	mu sync.Mutex // guards n
	n  int        // rows so far
}

// startBelieveSite runs the routes.
func startBelieveSite(t *testing.T, routes []believeRoute) *believeSite {
	t.Helper()
	s := &believeSite{Site: &rig.Site{Issuer: rig.NewIssuer(t)}, app: startBelieveApp(t)}
	t.Cleanup(s.CloseAll)
	s.Caddy = rig.StartCaddy(t, believeCaddyfile(routes), rig.WithEnv("JWKS", s.Issuer.JWKSURL()),
		rig.WithEnv("APP", strings.TrimPrefix(s.app.URL, "http://")))
	t.Cleanup(s.CloseAll) // before Caddy stops, which waits for HTTP/3
	return s
}

// believeRoute is a way in which a dialect is configured.
type believeRoute struct {
	name    string // of the route, and the folder of its paths
	sources string // lines
	lines   string // further ones, into websocket_auth
}

// believeCaddyfile returns a Caddyfile with the routes, over all versions of
// HTTP.
func believeCaddyfile(routes []believeRoute) string {
	var b strings.Builder
	b.WriteString("{\n}\n(routes) {\n")
	for _, r := range routes {
		fmt.Fprintf(&b, "handle /%[1]s/* {\nwebsocket_auth {\nname %[1]s\nverify jwt {$JWKS} {\naudience chat\n}\n"+
			"%[2]s\n%[3]s\npending 10000 10000\n}\nreverse_proxy {$APP} {\n"+
			"header_up X-Session {http.websocket_auth.session}\nstream_close_delay 1h\n}\n}\n",
			r.name, r.sources, strings.ReplaceAll(r.lines, "{route}", r.name))
	}
	b.WriteString("}\nhttp://{$SITE} {\nimport routes\n}\nhttps://{$TLS} {\ntls {$CERT} {$KEY}\nimport routes\n}\n")
	return b.String()
}

// believer is a client of one row.
type believer struct {
	*rig.Conn
	name  string
	row   *believeRow
	pongs chan string
	end   chan uint16 // the code of the close frame, 0 without one
}

// newRow returns the name of a row that nobody has used.
func (s *believeSite) newRow() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n++
	return fmt.Sprintf("row-%d", s.n)
}

// believer opens a socket for a row of its own. path may have a query, to
// which the name of the row is added.
func (s *believeSite) believer(t *testing.T, version, path string, header http.Header) *believer {
	t.Helper()
	return s.believerOf(t, s.newRow(), version, path, header)
}

// believerOf is believer for a row that has a name.
func (s *believeSite) believerOf(t *testing.T, name, version, path string, header http.Header) *believer {
	t.Helper()
	mark := "?"
	if strings.Contains(path, "?") {
		mark = "&"
	}
	b := &believer{name: name, row: s.app.row(name), pongs: make(chan string, 10), end: make(chan uint16, 1)}
	b.Conn = s.Open(t, version, path+mark+"row="+name, header)
	go func() {
		for {
			f, err := b.Read()
			if f.Opcode == rig.OpPong && err == nil {
				b.pongs <- string(f.Payload)
			}
			if end, ok := errors.AsType[*rig.ClosedError](err); ok {
				_ = b.AnswerClose(end.Code)
				b.end <- end.Code
				return
			}
			if err != nil {
				b.end <- 0
				return
			}
		}
	}()
	return b
}

// connected waits until the application has the socket.
func (b *believer) connected(t *testing.T) {
	t.Helper()
	select {
	case <-b.row.connected:
	case <-time.After(rig.Patience):
		t.Fatal("the application is not connected to")
	}
}

// sends writes frames. What the other side does about them is to be seen.
func (b *believer) sends(frames []byte) { _ = b.WriteRaw(frames) }

// settles sends frames and waits until they have been looked at: the gate
// answers a ping behind them, or the socket ends.
func (b *believer) settles(t *testing.T, frames []byte) {
	t.Helper()
	b.sends(append(bytes.Clone(frames), rig.ClientFrame(0x80|rig.OpPing, []byte("settled"))...))
	timer := time.NewTimer(3 * rig.Patience)
	defer timer.Stop()
	for {
		select {
		case text := <-b.pongs:
			if text == "settled" {
				return
			}
		case code := <-b.end:
			b.end <- code
			return
		case <-timer.C:
			t.Fatal("the gate answers no ping")
		}
	}
}

// outcome is what became of messages.
type outcome struct {
	arrived [][]byte // at the application, without the marker
	lives   bool     // the marker has arrived
	code    uint16   // otherwise the close code
}

// outcome sends a marker, and tells what came to the application before it, or
// before the end of the socket.
func (b *believer) outcome(t *testing.T, marker []byte, frames []byte) (o outcome) {
	t.Helper()
	b.sends(frames)
	timer := time.NewTimer(3 * rig.Patience)
	defer timer.Stop()
	got, ended := b.row.got, b.end
	for {
		select {
		case m, ok := <-got:
			switch {
			case !ok:
				got = nil
			case bytes.Equal(m, marker):
				o.lives = true
				return o
			default:
				o.arrived = append(o.arrived, m)
			}
		case o.code = <-ended:
			ended = nil
			select {
			case <-b.row.connected:
			default: // and so nothing can have arrived
				return o
			}
		case <-timer.C:
			t.Fatalf("neither a marker nor an end, after %.300q", o.arrived)
		}
		if got == nil && ended == nil {
			return o
		}
	}
}

// holds tells whether text has arrived, in one message or across several.
func (o outcome) holds(text string) bool {
	return bytes.Contains(bytes.Join(o.arrived, nil), []byte(text))
}

// renews gives a socket a new credential over HTTP, and reports whether it was
// there to take it.
func (s *believeSite) renews(t *testing.T, route string, b *believer, token string) bool {
	t.Helper()
	url := "http://" + s.Addr + "/" + route + "/renew?session=" + b.row.session
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := rig.AdminClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusNotFound {
		t.Fatalf("the renewal is answered %s", resp.Status)
	}
	return resp.StatusCode == http.StatusOK
}

// suspends has the credentials of a subject's sockets be over.
func (s *believeSite) suspends(t *testing.T, subject string, sockets int) {
	t.Helper()
	status, text := s.Ask(t, http.MethodPost, "renew?subject="+subject, "", nil)
	if want := fmt.Sprintf(`{"sockets":%d}`, sockets); status != http.StatusOK || strings.TrimSpace(text) != want {
		t.Fatalf("suspending: %d %s, want %s", status, text, want)
	}
}
