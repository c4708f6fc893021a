package proxy

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// scriptConn is a connection whose peer sends pieces and then nothing more,
// and takes whatever is written.
type scriptConn struct {
	net.Conn // nil: what is not here is not called
	pieces   [][]byte

	mu      sync.Mutex // guards the following
	written bytes.Buffer
}

func (c *scriptConn) Read(p []byte) (int, error) {
	if len(c.pieces) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.pieces[0])
	if c.pieces[0] = c.pieces[0][n:]; len(c.pieces[0]) == 0 {
		c.pieces = c.pieces[1:]
	}
	return n, nil
}

func (c *scriptConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.written.Write(p)
}

func (c *scriptConn) Close() error                     { return nil }
func (c *scriptConn) SetReadDeadline(time.Time) error  { return nil }
func (c *scriptConn) SetWriteDeadline(time.Time) error { return nil }

// plainReadWriter has nothing but Read, Write and Close, so that io.Copy
// cannot use the gate's WriteTo and ReadFrom.
type plainReadWriter struct{ io.ReadWriteCloser }

// rig is a gate with a client before it, an application behind it, and
// between the two what reverse_proxy does.
type rig struct {
	t      *testing.T
	client net.Conn // the client's end
	app    net.Conn // the application's end
	gate   *Gate
	ended  chan End    // what finish says, once
	served atomic.Bool // the application was there before the end
	ctx    context.Context

	clientFrames, appFrames *bufio.Reader
}

// rigOptions say what is unusual about a rig.
type rigOptions struct {
	plain  bool                   // copy with Read and Write
	buffer int                    // of the copies, in bytes
	early  []byte                 // came with the handshake
	pair   func() (a, b net.Conn) // default: net.Pipe
	wrap   func(front net.Conn) net.Conn
	idle   bool // nothing is copied until relay is called
	stream bool // the client comes over HTTP/2 or HTTP/3
	login  bool // nothing is copied until somebody has logged in
}

func newRig(t *testing.T, o rigOptions) (r *rig, relay func()) {
	t.Helper()
	if o.pair == nil {
		o.pair = net.Pipe
	}
	back, app := o.pair()
	if o.stream {
		o.pair = fakeStream(t)
	}
	front, client := o.pair()
	if o.wrap != nil {
		front = o.wrap(front)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r = &rig{
		t: t, client: client, app: app, ctx: ctx, ended: make(chan End, 1),
		gate: newGate(front, o.early, false, cancel),
	}
	r.clientFrames, r.appFrames = bufio.NewReader(client), bufio.NewReader(app)
	var front2 io.ReadWriteCloser = r.gate
	if o.plain {
		front2 = plainReadWriter{r.gate}
	}
	started := make(chan struct{})
	relay = sync.OnceFunc(func() { close(started) })
	if !o.idle {
		relay()
	}
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		if !o.login || r.gate.AwaitLogin() {
			<-started
			r.gate.takeOver()
			r.served.Store(!r.gate.Ending())
			proxyTunnel(ctx, front2, back, o.buffer)
		} else {
			r.gate.Close()
			back.Close()
		}
		end := r.gate.finish()
		if stream, ok := front.(*streamConn); ok {
			stream.w.(*fakeWriter).handlerReturns()
		}
		r.ended <- end
	}()
	t.Cleanup(func() {
		relay()
		client.Close()
		app.Close()
		<-finished
	})
	return r, relay
}

// proxyTunnel is the tunnel of Caddy's reverse_proxy, streaming.go.
func proxyTunnel(ctx context.Context, front, back io.ReadWriteCloser, buffer int) {
	if buffer == 0 {
		buffer = 4096
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	over := make(chan struct{})
	defer close(over)
	wg.Go(func() {
		select {
		case <-ctx.Done():
		case <-over:
		}
		back.Close()
	})
	defer front.Close()
	errs := make(chan error, 2)
	direction := func(dst, src io.ReadWriteCloser) {
		if _, err := io.CopyBuffer(dst, src, make([]byte, buffer)); err != nil {
			errs <- err
			return
		}
		if half, ok := dst.(interface{ CloseWrite() error }); ok {
			errs <- half.CloseWrite()
			return
		}
		errs <- errors.New("copy done")
	}
	wg.Go(func() { direction(back, front) })
	wg.Go(func() { direction(front, back) })
	for range 2 {
		if err := <-errs; err != nil {
			return
		}
	}
}

// inAllModes runs f with a handler behind that copies with WriteTo and
// ReadFrom, and one that knows only Read and Write, for clients that come over
// a connection and over a stream of one.
func inAllModes(t *testing.T, f func(t *testing.T, o rigOptions)) {
	t.Helper()
	t.Run("WriteTo and ReadFrom", func(t *testing.T) { f(t, rigOptions{}) })
	t.Run("Read and Write", func(t *testing.T) { f(t, rigOptions{plain: true}) })
	t.Run("Read and Write, small buffer", func(t *testing.T) { f(t, rigOptions{plain: true, buffer: 5}) })
	t.Run("stream", func(t *testing.T) { f(t, rigOptions{stream: true}) })
	t.Run("stream, Read and Write", func(t *testing.T) { f(t, rigOptions{stream: true, plain: true}) })
}

// tcpPair returns the two ends of a real connection over loopback.
func tcpPair(t *testing.T) func() (a, b net.Conn) {
	t.Helper()
	return func() (a, b net.Conn) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if b, err = net.Dial("tcp", l.Addr().String()); err != nil {
			t.Fatal(err)
		}
		if a, err = l.Accept(); err != nil {
			t.Fatal(err)
		}
		return a, b
	}
}

// sends writes p to c, which must take it. It may be called on a goroutine.
func (r *rig) sends(c net.Conn, p ...[]byte) {
	r.t.Helper()
	for _, p := range p {
		if _, err := c.Write(p); err != nil {
			r.t.Errorf("sending %d bytes: %v", len(p), err)
		}
	}
}

// gets reads exactly want from c.
func (r *rig) gets(from *bufio.Reader, want []byte) {
	r.t.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(from, got); err != nil || !bytes.Equal(got, want) {
		r.t.Fatalf("got %q, %v; want %q", got[:n], err, want)
	}
}

// clientGets, appGets: the client (application) gets these bytes next.
func (r *rig) clientGets(p ...[]byte) { r.t.Helper(); r.gets(r.clientFrames, join(p...)) }
func (r *rig) appGets(p ...[]byte)    { r.t.Helper(); r.gets(r.appFrames, join(p...)) }

// clientGetsClose: the next frame is a close frame, not masked.
func (r *rig) clientGetsClose(code CloseCode, reason string) {
	r.t.Helper()
	r.clientGets(fromApp(finClose, closePayload(code, reason)))
}

// appGetsClose: the next frame is a masked close frame.
func (r *rig) appGetsClose(code CloseCode) {
	r.t.Helper()
	first, masked, payload, err := readFrame(r.appFrames)
	if err != nil || first != finClose || !masked || string(payload) != closePayload(code, "") {
		r.t.Fatalf("the application got %X (masked %v) with %X, %v; want close %d", first, masked, payload, err, code)
	}
}

// nothingMore: the peer's connection ends and brings nothing before.
func (r *rig) nothingMore(who string, from *bufio.Reader) {
	r.t.Helper()
	rest, err := io.ReadAll(from)
	if len(rest) > 0 || err != nil {
		r.t.Fatalf("the %s still got %q, %v", who, rest, err)
	}
}

func (r *rig) clientGone() { r.t.Helper(); r.nothingMore("client", r.clientFrames) }
func (r *rig) appGone()    { r.t.Helper(); r.nothingMore("application", r.appFrames) }

// end returns how the socket has ended.
func (r *rig) end() End {
	r.t.Helper()
	select {
	case e := <-r.ended:
		return e
	case <-time.After(2 * time.Minute):
		r.t.Fatal("the socket did not end")
	}
	return End{}
}

func (r *rig) endsWith(c Cause) {
	r.t.Helper()
	if e := r.end(); e.Cause != c {
		r.t.Errorf("ended with cause %q, want %q", e.Cause, c)
	}
}

// readFrame reads one frame and takes the mask off.
func readFrame(r *bufio.Reader) (first byte, masked bool, payload []byte, err error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, false, nil, err
	}
	size, extra := uint64(head[1]&127), 0
	switch size {
	case 126:
		extra = 2
	case 127:
		extra = 8
	}
	if extra > 0 {
		var length [8]byte
		if _, err := io.ReadFull(r, length[8-extra:]); err != nil {
			return 0, false, nil, err
		}
		size = binary.BigEndian.Uint64(length[:])
	}
	masked = head[1]&0x80 != 0
	var key [4]byte
	if masked {
		if _, err := io.ReadFull(r, key[:]); err != nil {
			return 0, false, nil, err
		}
	}
	payload = make([]byte, size)
	_, err = io.ReadFull(r, payload)
	for i := range payload {
		payload[i] ^= key[i%4]
	}
	return head[0], masked, payload, err
}

// expired is how the tests end a socket.
var expired = End{Cause: "expired", Code: CloseUnauthorized, Reason: "token expired"}

// answerClose is a client's answer to it.
var answerClose = fromClient(finClose, closePayload(CloseUnauthorized, ""))

// elapsed runs f and returns how long it took: nothing, in a bubble, unless
// something was waited for.
func elapsed(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start)
}

// inOneBubble runs f on a clock of its own.
func inOneBubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}
