package integration

import (
	"bufio"
	"net"
	"net/http"
	"testing"
	"time"
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
	for _, version := range allVersions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			app := startSlowApp(t)
			o := firstMessage()
			o.env = []startOption{withEnv("APP", app.addr)}
			s := startSite(t, o)
			dialled := func(t *testing.T) *wsConn {
				t.Helper()
				c := s.open(t, version, "/", noHeader)
				s.logsIn(t, c)
				receive(t, "handshake at the application", app.asked, patience)
				c.pings(t, "?")
				return c
			}
			c := dialled(t)
			if err := c.write(opClose, []byte{0x0F, 0xA1}); err != nil {
				t.Fatal(err)
			}
			c.broken(t, 4001)
			receive(t, "the end of the application's connection", app.closed, gone)
			c = dialled(t)
			c.vanish()
			receive(t, "the end of the application's connection", app.closed, gone)
			c = dialled(t)
			c.says(t, "for the application")
			c.vanish()
			receive(t, "the end of the application's connection", app.closed, gone+patience)
		})
	}
}
