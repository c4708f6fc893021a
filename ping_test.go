package websocketauth

import (
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/zap"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

// pingRig is a socket whose client is quiet, and whose looks after it are the
// test's.
type pingRig struct {
	*socket
	app    net.Conn // as the handler behind has it
	client *websocket.Conn
}

func startPingRig(t *testing.T) *pingRig {
	t.Helper()
	rig, done := make(chan *pingRig, 1), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := &socket{
			handler: &Handler{
				logger: zap.NewNop(), state: new(handlerState),
				ping: &pinging{interval: time.Hour, timeout: time.Hour},
			},
			handshake: r, request: &request{kind: kindUpgrade},
		}
		tunnel := proxy.NewTunnel(w, r, proxy.Options{OnOpen: func(g *proxy.Gate) { s.gate = g }})
		conn, err := (&websocket.Upgrader{}).Upgrade(tunnel, tunnel.Request(), nil)
		if err != nil {
			t.Error(err)
			return
		}
		rig <- &pingRig{socket: s, app: conn.NetConn()}
		<-done
		_ = conn.Close()
		_, _, _ = tunnel.Finish(nil)
	}))
	client, _, err := websocket.DefaultDialer.DialContext(t.Context(), "ws"+server.URL[len("http"):], nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = client.Close()
		close(done)
		server.Close()
	})
	p := <-rig
	p.client = client
	return p
}

// looks looks after the client, and reports whether its socket has been ended.
func (p *pingRig) looks() (ended bool) {
	p.lookForLife()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pinger != nil {
		p.pinger.Stop()
	}
	return p.over
}

// hears has the handler behind read the client, and returns when it does.
func (p *pingRig) hears() {
	go func() {
		var b [64]byte
		for {
			if _, err := p.app.Read(b[:]); err != nil {
				return
			}
		}
	}()
	for !p.gate.Hears() {
		runtime.Gosched()
	}
}

// TestPingThatWasLate: a ping may have to wait for the end of a frame. The
// client has the whole time-out for its answer all the same.
func TestPingThatWasLate(t *testing.T) {
	t.Parallel()
	p := startPingRig(t)
	p.hears()
	write := func(b string) {
		if _, err := p.app.Write([]byte(b)); err != nil {
			t.Fatal(err)
		}
	}
	write("\x82\x04ab") // half a frame
	for n := range 3 {
		if p.looks() {
			t.Fatalf("ended at look %d, when the ping was not out", n)
		}
	}
	write("cd")
	if p.looks() {
		t.Fatal("ended as soon as the ping was out")
	}
	if !p.looks() {
		t.Error("not ended though the client had its time")
	}
}

// TestPingOfTheUnread: while the application takes nothing, nobody reads the
// client, and it is not taken for dead.
func TestPingOfTheUnread(t *testing.T) {
	t.Parallel()
	p := startPingRig(t)
	for n := range 5 {
		if p.looks() {
			t.Fatalf("ended at look %d, when nobody read the client", n)
		}
	}
	p.hears()
	if p.looks() {
		t.Fatal("ended as soon as the client was read")
	}
	if !p.looks() {
		t.Error("not ended though the client had its time")
	}
}

// TestPingOfTheDead: who answers nothing is ended at the look after the ping.
func TestPingOfTheDead(t *testing.T) {
	t.Parallel()
	p := startPingRig(t)
	p.hears()
	if p.looks() || !p.looks() {
		t.Error("not ended by the second look")
	}
}
