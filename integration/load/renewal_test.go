package load

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/internal/pace"
)

// renewalLoad is traffic in both directions through sockets that are renewed
// again and again.
type renewalLoad struct {
	sockets  int
	lasts    time.Duration
	interval time.Duration // between the messages of one side of one socket
	life     time.Duration // of each token

	tokens    sync.Map // by the second they end at: what makes the token
	suspended atomic.Int64
	renewed   atomic.Int64
}

// TestRenewalUnderLoad is TestSoakRenewal with fewer sockets for a shorter
// time.
func TestRenewalUnderLoad(t *testing.T) {
	t.Parallel()
	interval, life := 25*time.Millisecond, 2500*time.Millisecond
	pace.Try(t, func(t testing.TB) {
		interval, life = 2*interval, 2*life // each time, for a machine that is too slow
		l := &renewalLoad{sockets: 100, lasts: 3 * life, interval: interval, life: life}
		l.run(t)
	})
}

// done ends the messages of one side. The number of them stands behind it.
const done = "done "

// run has both sides of each socket send numbered messages, and expects each
// number at the other side exactly once and in order. Half of the clients
// renew when they are asked to, the others once their socket is suspended.
func (l *renewalLoad) run(t testing.TB) {
	results := make(chan error, 2*l.sockets)
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		results <- l.serve(w, r)
	}))
	t.Cleanup(app.Close)
	o := rig.Renewing("")
	o.Env = []rig.StartOption{rig.WithEnv("APP", strings.TrimPrefix(app.URL, "http://"))}
	s := rig.StartSite(t, o)
	conns := rig.OpenMany(t, s, rig.H1, "/", s.Bearer(time.Now().Add(2*l.life)), l.sockets, 1)
	for n, c := range conns {
		go func() { results <- l.talk(c, s.Issuer, n%2 == 0) }()
	}
	for range 2 * l.sockets {
		if err := rig.Receive(t, "end of a side", results, l.lasts+2*rig.Patience); err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d renewals, %d suspensions", l.renewed.Load(), l.suspended.Load())
	least := int64(l.sockets) * int64(l.lasts/l.life/2)
	if l.renewed.Load() < 2*least || l.suspended.Load() < least/2 {
		t.Errorf("want at least %d renewals and %d suspensions", 2*least, least/2)
	}
}

// serve is the application's side of a socket.
func (l *renewalLoad) serve(w http.ResponseWriter, r *http.Request) error {
	u := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	conn, err := u.Upgrade(w, r, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	sent := make(chan error, 1)
	go func() {
		sent <- l.send(func(p []byte) error { return conn.WriteMessage(websocket.BinaryMessage, p) })
	}()
	var in numbers
	for !in.done {
		_, p, err := conn.ReadMessage()
		if err == nil {
			err = in.take(p)
		}
		if err != nil {
			return fmt.Errorf("application, message %d: %w", in.next, err)
		}
	}
	if err := <-sent; err != nil {
		return fmt.Errorf("application, sending: %w", err)
	}
	_, _, err = conn.ReadMessage() // the client goes when it has all
	if !websocket.IsCloseError(err, websocket.CloseNormalClosure) {
		return fmt.Errorf("application, at the end: %w", err)
	}
	return nil
}

// talk is the client's side of a socket. It renews early or late.
func (l *renewalLoad) talk(c *rig.Conn, i *rig.Issuer, early bool) error {
	sent := make(chan error, 1)
	waiting := 0 // renewals without an answer
	renew := func() error {
		waiting++
		return c.Write(rig.OpText, []byte(l.login(i)))
	}
	if err := renew(); err != nil {
		return err
	}
	go func() { sent <- l.send(func(p []byte) error { return c.Write(rig.OpBinary, p) }) }()
	var in numbers
	allOut := false
	for !in.done || !allOut || waiting > 0 {
		if in.done && !allOut {
			// Who leaves while the socket is suspended leaves what is held.
			if err := errors.Join(<-sent, renew()); err != nil {
				return fmt.Errorf("client, sending: %w", err)
			}
			allOut = true
		}
		f, err := c.Read()
		switch {
		case err != nil:
		case f.Opcode == rig.OpBinary:
			err = in.take(f.Payload)
		case bytes.HasPrefix(f.Payload, []byte(`{"type":"auth_required"`)):
			if early {
				err = renew()
			}
		case bytes.HasPrefix(f.Payload, []byte(`{"type":"auth_expired"`)):
			l.suspended.Add(1)
			err = renew()
		case bytes.HasPrefix(f.Payload, []byte(`{"type":"auth_ok"`)):
			l.renewed.Add(1)
			waiting--
		default:
			err = fmt.Errorf("opcode %#x with %.100q", f.Opcode, f.Payload)
		}
		if err != nil {
			return fmt.Errorf("client, message %d: %w", in.next, err)
		}
	}
	if err := c.Write(rig.OpClose, []byte{0x03, 0xe8}); err != nil {
		return err
	}
	for {
		_, err := c.Read()
		if end, ok := errors.AsType[*rig.ClosedError](err); ok && end.Code == 1000 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("client, at the end: %w", err)
		}
	}
}

// login returns the message with a token that lives for l.life. Tokens are
// shared: signing them is not what is tested.
func (l *renewalLoad) login(i *rig.Issuer) string {
	exp := time.Now().Add(l.life + time.Second/2).Truncate(time.Second)
	signed := sync.OnceValue(func() string { return rig.Login(i.Expiring(exp)) })
	found, _ := l.tokens.LoadOrStore(exp.Unix(), signed)
	return found.(func() string)()
}

// send sends numbered messages for the time of the test, and then how many
// they were.
func (l *renewalLoad) send(write func([]byte) error) error {
	ticker := time.NewTicker(l.interval)
	defer ticker.Stop()
	end := time.Now().Add(l.lasts)
	n := uint64(0)
	for ; time.Now().Before(end); n++ {
		if err := write(rig.Numbered(n)); err != nil {
			return err
		}
		<-ticker.C
	}
	return write(binary.BigEndian.AppendUint64([]byte(done), n))
}

// numbers checks numbered messages.
type numbers struct {
	next uint64
	done bool
}

// take takes the next message, which must be the one that follows.
func (n *numbers) take(p []byte) error {
	if count, ok := bytes.CutPrefix(p, []byte(done)); ok && len(count) == 8 {
		n.done = true
		if got := binary.BigEndian.Uint64(count); got != n.next {
			return fmt.Errorf("%d messages came of %d", n.next, got)
		}
		return nil
	}
	if !bytes.Equal(p, rig.Numbered(n.next)) {
		return fmt.Errorf("%d bytes that are another message", len(p))
	}
	n.next++
	return nil
}
