package streams

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// TestEarlyDataIsRefused: a handshake in TLS early data is answered with 425,
// RFC 8470. The attack: whoever has seen early data on the wire can send it
// again, to any server that has the ticket keys.
func TestEarlyDataIsRefused(t *testing.T) {
	t.Parallel()
	s := rig.StartSite(t, rig.SiteOptions{})
	cache := newTicketCache()
	config := rig.ClientTLS(http3.NextProtoH3)
	config.ClientSessionCache = cache
	ctx, cancel := context.WithTimeout(t.Context(), rig.Patience)
	defer cancel()

	// The first connection gets a ticket, and shows that the token is good.
	first, err := quic.DialAddr(ctx, s.TLSAddr, config, nil)
	if err != nil {
		t.Fatal(err)
	}
	c, answer, err := openH3(ctx, newH3Conn(first), s)
	if err != nil || c == nil {
		t.Fatal(answer, err)
	}
	select {
	case <-cache.stored:
	case <-ctx.Done():
		t.Fatal("the server gives no ticket")
	}
	_ = first.CloseWithError(0, "")
	s.App.Handshake(t)
	opened := s.App.Opened.Load()

	// The second one keeps back what ends the TLS handshake, so that the server
	// has to decide in early data.
	relay := newHandshakeRelay(t, s.TLSAddr)
	early, err := quic.DialAddrEarly(ctx, relay.addr(), config, nil)
	if err != nil {
		t.Fatal(err)
	}
	conn := newH3Conn(early)
	c, answer, err = openH3(ctx, conn, s)
	if err != nil {
		t.Fatal(err)
	}
	if c != nil || answer.StatusCode != http.StatusTooEarly {
		t.Errorf("%s, want 425", answer.Status)
	}
	if got := s.App.Opened.Load() - opened; got != 0 {
		t.Errorf("the application has had %d sockets out of early data", got)
	}
	relay.release()
	select {
	case <-early.HandshakeComplete():
	case <-ctx.Done():
		t.Fatal("the handshake does not end")
	}
	if !early.ConnectionState().Used0RTT {
		t.Fatal("the server has not taken the early data: nothing was tested")
	}
	// "Send again": the same request is good now.
	if c, answer, err := openH3(ctx, conn, s); err != nil || c == nil {
		t.Errorf("after the handshake: %v, %v", answer, err)
	}
	// Caddy waits for its clients when it stops: it must know that they are gone.
	_ = early.CloseWithError(0, "")
	s.NoneRuns(t, rig.OfConnections)
}

// newH3Conn does not wait for the TLS handshake, nor for the server's settings.
func newH3Conn(conn *quic.Conn) rig.H3Conn {
	return rig.H3Conn{Conn: conn, Client: new(http3.Transport).NewClientConn(conn)}
}

// padding makes a request need packets of its own.
const padding = 3000

func openH3(ctx context.Context, conn rig.H3Conn, s *rig.Site) (*rig.Conn, *http.Response, error) {
	r, err := s.Request(ctx, rig.H3, "/echo", s.Bearer(time.Now().Add(time.Hour)))
	if err != nil {
		return nil, nil, err
	}
	r.Header.Set("X-Padding", strings.Repeat("p", padding))
	return conn.Open(r)
}

// ticketCache tells when it has a ticket.
type ticketCache struct {
	tls.ClientSessionCache
	once   sync.Once
	stored chan struct{}
}

func newTicketCache() *ticketCache {
	return &ticketCache{ClientSessionCache: tls.NewLRUClientSessionCache(8), stored: make(chan struct{})}
}

// Put implements tls.ClientSessionCache.
func (c *ticketCache) Put(key string, state *tls.ClientSessionState) {
	c.ClientSessionCache.Put(key, state)
	if state != nil {
		c.once.Do(func() { close(c.stored) })
	}
}

// handshakeRelay passes datagrams between one client and a server. It keeps
// back what the server says until the client's request is on its way, so that
// it is in early data; and those in which the client ends the TLS handshake
// until it is released.
type handshakeRelay struct {
	front, back net.PacketConn
	server      net.Addr

	mu       sync.Mutex // guards the following
	client   net.Addr
	released bool
	held     [][]byte // from the client
	early    int      // bytes from the client before anything from the server
	answers  [][]byte // from the server, meanwhile
}

func newHandshakeRelay(t testing.TB, server string) *handshakeRelay {
	t.Helper()
	_, port, err := net.SplitHostPort(server)
	if err != nil {
		t.Fatal(err)
	}
	addr, err := net.ResolveUDPAddr("udp4", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	r := &handshakeRelay{server: addr}
	for _, conn := range []*net.PacketConn{&r.front, &r.back} {
		if *conn, err = net.ListenPacket("udp4", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { (*conn).Close() })
	}
	go r.up()
	go r.down()
	return r
}

func (r *handshakeRelay) addr() string { return r.front.LocalAddr().String() }

// up passes the client's datagrams on.
func (r *handshakeRelay) up() {
	buf := make([]byte, 64<<10)
	for {
		n, client, err := r.front.ReadFrom(buf)
		if err != nil {
			return
		}
		r.mu.Lock()
		r.client = client
		p := append([]byte(nil), buf[:n]...)
		if !r.released && hasHandshakePacket(p) {
			r.held = append(r.held, p)
		} else {
			_, _ = r.back.WriteTo(p, r.server)
			r.early += n
		}
		for r.early > padding+1200 && len(r.answers) > 0 {
			_, _ = r.front.WriteTo(r.answers[0], r.client)
			r.answers = r.answers[1:]
		}
		r.mu.Unlock()
	}
}

// down passes the server's datagrams on.
func (r *handshakeRelay) down() {
	buf := make([]byte, 64<<10)
	for {
		n, _, err := r.back.ReadFrom(buf)
		if err != nil {
			return
		}
		r.mu.Lock()
		if r.early > padding+1200 {
			_, _ = r.front.WriteTo(buf[:n], r.client)
		} else {
			r.answers = append(r.answers, append([]byte(nil), buf[:n]...))
		}
		r.mu.Unlock()
	}
}

// release passes on what was kept back.
func (r *handshakeRelay) release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.released = true
	for _, p := range r.held {
		_, _ = r.back.WriteTo(p, r.server)
	}
}

// hasHandshakePacket tells whether there is a Handshake packet among those of
// a datagram, RFC 9000 section 17.2. Packets of the short form are taken for
// one: they come after it.
func hasHandshakePacket(p []byte) bool {
	for len(p) > 0 {
		const long, kindHandshake = 0x80, 2
		if p[0]&long == 0 || p[0]>>4&3 == kindHandshake {
			return true
		}
		n := packetLength(p)
		if n <= 0 || n > len(p) {
			return false
		}
		p = p[n:]
	}
	return false
}

// packetLength returns the length of an Initial or 0-RTT packet, or 0.
func packetLength(p []byte) int {
	const kindInitial = 0
	kind := p[0] >> 4 & 3
	i := 5
	for range 2 { // the two connection ids
		if i >= len(p) {
			return 0
		}
		i += 1 + int(p[i])
	}
	fields := 1
	if kind == kindInitial {
		fields = 2 // the token's length comes before the packet's
	}
	for field := range fields {
		if i >= len(p) {
			return 0
		}
		size := 1 << (p[i] >> 6)
		if i+size > len(p) {
			return 0
		}
		value := int(p[i] & 0x3f)
		for _, b := range p[i+1 : i+size] {
			value = value<<8 | int(b)
		}
		i += size + value
		if field == fields-1 {
			return i
		}
	}
	return 0
}
