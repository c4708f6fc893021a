package messages

import (
	"bufio"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// slowApp takes connections and reads handshakes, and answers none.
type slowApp struct {
	addr   string
	asked  chan struct{} // for each handshake
	closed chan struct{} // for each connection that has ended
}

func startSlowApp(t *testing.T) *slowApp {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	a := &slowApp{listener.Addr().String(), make(chan struct{}, 10), make(chan struct{}, 10)}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go a.serve(conn)
		}
	}()
	return a
}

func (a *slowApp) serve(conn net.Conn) {
	defer conn.Close()
	r := bufio.NewReader(conn)
	if _, err := http.ReadRequest(r); err != nil {
		return
	}
	a.asked <- struct{}{}
	_, _ = r.ReadByte() // until Caddy ends it
	a.closed <- struct{}{}
}

// TestClientWhileTheApplicationIsDialled: a client that has logged in is heard
// although the application has not answered its handshake yet: its pings are
// answered, and when it closes or goes, the application's connection ends.
func TestClientWhileTheApplicationIsDialled(t *testing.T) {
	t.Parallel()
	const gone = 10 * time.Second // at most
	for _, version := range rig.AllVersions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			app := startSlowApp(t)
			o := rig.FirstMessage()
			o.Env = []rig.StartOption{rig.WithEnv("APP", app.addr)}
			s := rig.StartSite(t, o)
			dialled := func(t *testing.T) *rig.Conn {
				t.Helper()
				c := s.Open(t, version, "/", rig.NoHeader)
				s.LogsIn(t, c)
				rig.Receive(t, "handshake at the application", app.asked, rig.Patience)
				c.Pings(t, "?")
				return c
			}
			c := dialled(t)
			if err := c.Write(rig.OpClose, []byte{0x0F, 0xA1}); err != nil {
				t.Fatal(err)
			}
			c.Broken(t, 4001)
			rig.Receive(t, "the end of the application's connection", app.closed, gone)
			c = dialled(t)
			c.Vanish()
			rig.Receive(t, "the end of the application's connection", app.closed, gone)
			c = dialled(t)
			c.Says(t, "for the application")
			c.Vanish()
			rig.Receive(t, "the end of the application's connection", app.closed, gone+rig.Patience)
		})
	}
}
