package fleet

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// cable is what connects a node to Redis, and can be cut.
type cable struct {
	listener net.Listener
	to       string

	mu    sync.Mutex // guards the following
	mode  cableMode
	flows chan struct{} // closed while bytes flow
	conns map[net.Conn]bool
}

type cableMode int

const (
	whole  cableMode = iota
	cut              // connections are reset, and refused
	silent           // nothing gets through, and nobody says so
)

func newCable(t testing.TB, to string) *cable {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{listener: listener, to: to, flows: make(chan struct{}), conns: make(map[net.Conn]bool)}
	close(c.flows)
	go c.serve()
	t.Cleanup(func() {
		listener.Close()
		c.set(cut)
	})
	return c
}

// set changes what becomes of bytes and connections.
func (c *cable) set(mode cableMode) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if was := c.mode; (was == silent) != (mode == silent) {
		if mode == silent {
			c.flows = make(chan struct{})
		} else {
			close(c.flows)
		}
	}
	c.mode = mode
	if mode == cut {
		for conn := range c.conns {
			conn.Close()
		}
		clear(c.conns)
	}
}

func (c *cable) serve() {
	for {
		conn, err := c.listener.Accept()
		if err != nil {
			return
		}
		go c.connect(conn)
	}
}

// adopt notes connections to be closed by a cut.
func (c *cable) adopt(conns ...net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mode == cut {
		return false
	}
	for _, conn := range conns {
		c.conns[conn] = true
	}
	return true
}

func (c *cable) connect(from net.Conn) {
	defer from.Close()
	to, err := net.Dial("tcp", c.to)
	if err != nil {
		return
	}
	defer to.Close()
	if !c.adopt(from, to) {
		return
	}
	go func() {
		defer from.Close()
		defer to.Close()
		c.carry(to, from)
	}()
	c.carry(from, to)
}

// carry copies while bytes flow.
func (c *cable) carry(to io.Writer, from io.Reader) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		c.mu.Lock()
		flows := c.flows
		c.mu.Unlock()
		<-flows
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// fleet is Caddys that share a Redis, an issuer and an application.
type fleet struct {
	redis  *rig.RedisServer
	cables []*cable
	nodes  []*rig.Site
	more   rig.SiteOptions
	lag    *rig.Lag
	issued time.Time // when all tokens were: before any revocation
}

// options are those of node n.
func (f *fleet) options(n int, outage string) rig.SiteOptions {
	o := f.more
	o.Globals = "grace_period 5s\nwebsocket_auth {\nstore redis redis://" + f.cables[n].listener.Addr().String() +
		" {\nprefix fleet\non_outage " + outage + "\n}\n" + f.more.Globals + "\n}"
	return o
}

// startFleet starts nodes that let clients in. more.globals are lines for the
// global option websocket_auth.
func startFleet(t testing.TB, nodes int, redis *rig.RedisServer, more rig.SiteOptions) *fleet {
	t.Helper()
	f := &fleet{redis: redis, more: more, lag: rig.MeasureLag(t), issued: time.Now().Add(-time.Minute)}
	issuer, app := rig.NewIssuer(t), rig.StartApp(t)
	for n := range nodes {
		f.cables = append(f.cables, newCable(t, redis.Addr()))
		o := f.options(n, "serve")
		s := &rig.Site{Issuer: issuer, App: app}
		s.Caddy = rig.StartCaddy(t, o.Caddyfile(), rig.WithEnv("JWKS", issuer.JWKSURL()), rig.WithEnv("APP", app.Addr()),
			rig.WithEnv("ISSUER", issuer.URL))
		t.Cleanup(s.CloseAll)
		f.nodes = append(f.nodes, s)
	}
	f.await(t, rig.Patience, f.token("somebody"), http.StatusSwitchingProtocols)
	return f
}

// token returns the header of a client with a subject of its own.
func (f *fleet) token(subject string) http.Header {
	return f.nodes[0].Named(map[string]any{
		"sub": subject, "jti": "jti of " + subject, "iat": f.issued.Unix(),
	})
}

// await waits until all nodes, or these, answer a handshake with status.
func (f *fleet) await(t testing.TB, within time.Duration, header http.Header, status int, nodes ...*rig.Site) {
	t.Helper()
	if len(nodes) == 0 {
		nodes = f.nodes
	}
	start := time.Now()
	for n, s := range nodes {
		rig.Eventually(t, rig.Patience, func() string {
			if got := s.Admits(t, header); got != status {
				return fmt.Sprintf("node %d answers with status %d, want %d", n, got, status)
			}
			return ""
		})
	}
	f.lag.InTime(t, fmt.Sprintf("status %d on all nodes", status), start, time.Now(), within)
}

// answers expects this status of all nodes now, and nobody to wait for it.
func (f *fleet) answers(t testing.TB, who string, header http.Header, status int) {
	t.Helper()
	for n, s := range f.nodes {
		start := time.Now()
		s.Expects(t, fmt.Sprintf("%s at node %d", who, n), header, status)
		f.lag.InTime(t, "answer to a handshake", start, time.Now(), time.Second)
	}
}

// revoke revokes a subject on node n, and expects this status.
func (f *fleet) revoke(t testing.TB, n int, subject string, status int) {
	t.Helper()
	text := fmt.Sprintf(`{"issuer":%q,"subject":%q}`, f.nodes[0].Issuer.URL, subject)
	if got, body := f.nodes[n].Ask(t, http.MethodPost, "revocations", text, rig.JSONType); got != status {
		t.Fatalf("revoking %s on node %d: status %d, want %d: %s", subject, n, got, status, body)
	}
}

// open opens a socket of a subject on each node.
func (f *fleet) open(t testing.TB, subject string) (all []*rig.Conn) {
	t.Helper()
	for _, s := range f.nodes {
		all = append(all, s.Open(t, rig.H1, "/echo", f.token(subject)))
	}
	return all
}
