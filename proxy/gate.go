package proxy

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// closeTimeout is how long the closing of a socket may take: the rest of
	// a frame that has begun, the close frame, the client's answer to it.
	closeTimeout = 5 * time.Second
	// halfCloseGrace is how long one side may stand when the other is gone.
	halfCloseGrace = 10 * time.Second
	// writeTimeout is how long a client may leave a write waiting. It is
	// renewed only when half of it is over, so the bound is 30 s to 60 s.
	writeTimeout = 60 * time.Second
	// upstreamGrace is how long a stream of HTTP/2 or HTTP/3, which ends only
	// when the handler returns, is kept for the application's close frame
	// after the client is done.
	upstreamGrace = 500 * time.Millisecond
	// stallGrace is how long the handler behind may leave a client unread
	// whose socket is being ended.
	stallGrace = 500 * time.Millisecond
)

// past is a deadline that wakes whoever waits.
var past = time.Unix(1, 0)

// Gate is a client's side of a WebSocket: the one place where frames may pass
// or not. The handler behind it uses it as the client's connection. While the
// socket is open, both directions are watched and not a byte is changed; after
// [Gate.End] no further message passes.
//
// Its methods are safe for concurrent use, with one reader and one writer at
// a time, as with any net.Conn.
type Gate struct {
	conn net.Conn
	// cancel ends the request that the handler behind serves. It is the
	// lever that moves reverse_proxy when it waits for the application.
	cancel context.CancelFunc
	// stream: the client came over HTTP/2 or HTTP/3.
	stream bool

	in  inbound
	out outbound

	// talk is how messages are read; nil if they never are. reading is
	// whether they still are, and state what passes.
	talk    *Reading
	skipper Skipper // of talk; nil if it is none
	reading atomic.Bool
	state   atomic.Int32

	// ending is set once, under mu, after end and deadline are.
	ending atomic.Bool

	mu         sync.Mutex  // guards the following, and the deadlines of conn
	attendance *attendance // nil unless the client is read for nobody
	end        End
	deadline   time.Time   // when the closing must be over
	cutter     *time.Timer // ends what has not ended by then
	grace      *time.Timer // ends what one side has left standing
	stall      *time.Timer // sees whether the client is read
	finished   bool        // no timer is to be set any more
	// handlerReadDeadline: the handler behind has set a read deadline.
	handlerReadDeadline bool
	readDeadline        time.Time // which one is set
	woken               bool      // another is set, to wake the reader

	firstClose   atomic.Pointer[Cause] // whose close frame came first
	closes       atomic.Int32          // how many sides have sent theirs
	clientGone   atomic.Bool
	upstreamGone atomic.Bool

	released    chan struct{} // closed when the handler behind has closed the gate
	releaseOnce sync.Once
}

// newGate returns the gate in front of conn. early are bytes of the client
// that were read together with its handshake; deflate tells whether
// permessage-deflate was agreed.
func newGate(conn net.Conn, early []byte, deflate bool, cancel context.CancelFunc) *Gate {
	g := &Gate{conn: conn, cancel: cancel, released: make(chan struct{})}
	_, g.stream = conn.(*streamConn)
	g.in.early = early
	g.in.bytes.Store(int64(len(early)))
	g.in.chunks.r = conn
	g.in.chunks.setDeadline = g.setOwnReadDeadline
	g.in.spare.r = conn
	g.in.scan = scanner{fromClient: true, deflate: deflate}
	g.out.scan = scanner{deflate: deflate}
	g.out.closeOut = make(chan struct{})
	g.out.upstreamDone = make(chan struct{})
	return g
}

// End ends the socket: no message begins to pass in either direction, both
// sides get a close frame at the next frame border, and after at most five
// seconds both connections are gone. It does not wait for that. It reports
// whether it was this call that ended the socket; later ones change nothing.
func (g *Gate) End(e End) bool {
	if !g.begin(e) {
		return false
	}
	go g.guarded(g.sendClose) // takes as long as the client lets it
	return true
}

// begin is End without the close frame to the client.
func (g *Gate) begin(e End) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ending.Load() {
		return false
	}
	g.end = e
	g.deadline = time.Now().Add(closeTimeout)
	g.cutter = time.AfterFunc(closeTimeout, g.cut)
	if e.Code != CloseNone {
		g.watchStallLocked(-1)
	}
	g.ending.Store(true)
	if g.attendance != nil { // the application is still being asked
		close(g.attendance.over)
		g.cancel()
	}
	_ = g.conn.SetWriteDeadline(g.deadline)
	_ = g.conn.SetReadDeadline(past) // wakes the reader
	return true
}

// cut ends both connections, whatever state they are in.
func (g *Gate) cut() {
	g.cancel()
	_ = g.conn.Close()
}

// ended returns how the socket is being ended and until when.
func (g *Gate) ended() (End, time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.end, g.deadline
}

// guarded runs f on a goroutine of ours, where a panic would end the process:
// it ends this socket instead.
func (g *Gate) guarded(f func()) {
	defer func() {
		if recover() != nil {
			g.cut()
		}
	}()
	f()
}

// sawClose notes whose close frame came first. When both have passed, the
// application should end its connection; it is not waited for without end.
func (g *Gate) sawClose(c Cause) {
	g.firstClose.CompareAndSwap(nil, &c)
	if g.closes.Add(1) == 2 {
		g.startGrace()
	}
}

// startGrace bounds how long the socket may stand although one side is gone.
func (g *Gate) startGrace() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.grace != nil {
		return
	}
	g.grace = time.AfterFunc(halfCloseGrace, func() {
		g.begin(End{Cause: g.naturalCause()})
		g.cut()
	})
}

// naturalCause tells why a socket ended that nobody has ended through End.
func (g *Gate) naturalCause() Cause {
	switch first := g.firstClose.Load(); {
	case first != nil:
		return *first
	case g.clientGone.Load():
		return CauseClientGone
	case g.upstreamGone.Load():
		return CauseUpstreamGone
	default:
		return CauseProxyClosed
	}
}

// Close tells the gate that the handler behind has done with the socket. It
// does not wait: a close frame that is on its way still gets there, and the
// connection ends when the handler that made the gate returns. reverse_proxy
// closes its sockets one after another, under a lock.
func (g *Gate) Close() error {
	g.begin(End{Cause: g.naturalCause()})
	g.releaseOnce.Do(func() { close(g.released) })
	return nil
}

// finish waits until the handler behind has done with the socket, then for
// the client's answer to a close frame, and ends the connection. No reset can
// destroy a close frame on its way: what the client has sent is read first.
func (g *Gate) finish() End {
	<-g.released
	g.out.mu.Lock()
	g.sendCloseLocked()
	g.out.mu.Unlock()
	g.in.mu.Lock()
	if g.out.closing.Load() {
		g.drainClient()
	}
	g.in.release()
	g.in.mu.Unlock()
	_ = g.conn.Close()
	g.cancel()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.finished = true
	for _, timer := range []*time.Timer{g.cutter, g.grace, g.stall} {
		if timer != nil {
			timer.Stop()
		}
	}
	return g.end
}

// LocalAddr returns the server's address.
func (g *Gate) LocalAddr() net.Addr { return g.conn.LocalAddr() }

// RemoteAddr returns the client's address.
func (g *Gate) RemoteAddr() net.Addr { return g.conn.RemoteAddr() }

// SetDeadline sets both deadlines of the handler behind.
func (g *Gate) SetDeadline(t time.Time) error {
	if err := g.SetReadDeadline(t); err != nil {
		return err
	}
	return g.SetWriteDeadline(t)
}

// SetReadDeadline sets the read deadline of the handler behind. Once the
// socket is being ended the deadlines are the gate's.
func (g *Gate) SetReadDeadline(t time.Time) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ending.Load() {
		return nil
	}
	g.handlerReadDeadline = !t.IsZero()
	return g.setReadDeadlineLocked(t)
}

// setReadDeadlineLocked sets a deadline that does not take back the waking of
// the reader.
func (g *Gate) setReadDeadlineLocked(t time.Time) error {
	g.readDeadline = t
	if g.woken {
		return nil
	}
	return g.conn.SetReadDeadline(t)
}

// setOwnReadDeadline sets a read deadline of the gate's, and reports whether
// the deadline is the gate's to set.
func (g *Gate) setOwnReadDeadline(t time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ending.Load() || g.handlerReadDeadline {
		return false
	}
	return g.setReadDeadlineLocked(t) == nil
}

// SetWriteDeadline sets the write deadline of the handler behind, which then
// stands instead of the gate's own. A zero t puts that back.
func (g *Gate) SetWriteDeadline(t time.Time) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ending.Load() {
		return nil
	}
	g.out.handlerDeadline.Store(!t.IsZero())
	if t.IsZero() {
		t = time.Now().Add(writeTimeout)
	}
	return g.conn.SetWriteDeadline(t)
}
