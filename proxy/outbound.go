package proxy

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// outbound is the direction from the application to the client. The handler
// behind pushes it, through ReadFrom or Write.
type outbound struct {
	mu       sync.Mutex // the write lock: held while something is written
	scan     scanner
	rest     []byte    // an unfinished header or close frame
	deadline time.Time // the write deadline that is set, if it is ours
	dropping bool      // what begins after the end goes to nobody
	skip     int64     // of the next bytes, which are nobody's
	lost     bool      // nobody can tell any more where a frame begins
	broken   error     // of a write that may have been cut short in a frame

	// relaying: ReadFrom runs, so that a Write is a frame of the proxy's own.
	// relayed: it has run, perhaps to an end within a frame, so that a close
	// frame is the proxy's, too.
	relaying, relayed atomic.Bool
	// handlerDeadline: the handler behind has set a write deadline.
	handlerDeadline atomic.Bool

	closing   atomic.Bool   // a close frame has gone out, ours or a relayed one
	closeOut  chan struct{} // closed when none of ours is to be awaited
	closeOnce sync.Once

	bytes, messages atomic.Int64 // to the client

	upstreamDone chan struct{} // closed when the application is done
	doneOnce     sync.Once

	read     readOutbound // of a gate that reads messages
	follower Follower     // nil if nobody follows
	follows  payloads
	waits    bool        // something is to be said, as soon as it may stand
	unsaid   atomic.Bool // whoever holds mu may not have seen all that is to be said
	saysMu   sync.Mutex  // guards the following
	says     [][]byte    // the gate's own words for the client, as frames
	ping     []byte      // the newest of the gate's own that has not gone out
	pong     []byte      // the answer to its newest ping
}

// ReadFrom relays from r, the application's connection, until it ends.
func (g *Gate) ReadFrom(r io.Reader) (total int64, err error) {
	g.out.mu.Lock() // a Write that has begun ends before
	g.out.relaying.Store(true)
	g.out.relayed.Store(true)
	g.out.mu.Unlock() // from here on what is left to judge is ours alone
	defer g.out.relaying.Store(false)
	defer g.noteUpstreamDone()
	chunks := chunkReader{r: r}
	defer chunks.release()
	for {
		p, err := chunks.read(g.out.rest)
		if len(p) > 0 {
			total += int64(len(p) - len(g.out.rest))
			if werr := g.relay(p); werr != nil {
				return total, werr
			}
		}
		if err != nil {
			g.upstreamGone.Store(true)
			if errors.Is(err, io.EOF) {
				return total, nil
			}
			return total, err
		}
	}
}

// Write is for handlers that do not copy with ReadFrom. While one does, what
// is written is a frame that the proxy itself puts in: its close frame.
func (g *Gate) Write(p []byte) (int, error) {
	if g.isOfProxy(p) {
		return g.writeOfProxy(p)
	}
	g.out.mu.Lock()
	if g.isOfProxy(p) { // ReadFrom has begun meanwhile
		g.out.mu.Unlock()
		return g.writeOfProxy(p)
	}
	whole := p
	if len(g.out.rest) > 0 {
		whole = append(slices.Clip(g.out.rest), p...)
	}
	err := g.relayLocked(whole)
	g.out.mu.Unlock()
	if g.ending.Load() {
		g.sendClose()
	}
	g.Flush()
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// isOfProxy tells whether p, which is to be written, is the proxy's own.
func (g *Gate) isOfProxy(p []byte) bool {
	return g.out.relaying.Load() || g.out.relayed.Load() && isCloseFrame(p)
}

// writeOfProxy takes the close frame that reverse_proxy writes at a reload for
// what it means, so that it goes out at a frame border and nobody waits.
func (g *Gate) writeOfProxy(p []byte) (int, error) {
	h, size, err := ParseHeader(p)
	if err != nil || size == 0 || h.Op != OpClose || h.Masked || size+int(h.Length) != len(p) ||
		checkClosePayload(p[size:]) != nil {
		return 0, errors.New("not a close frame")
	}
	code := CloseGoingAway
	if h.Length >= 2 {
		code = CloseCode(binary.BigEndian.Uint16(p[size:]))
	}
	if g.begin(End{Cause: CauseProxyClosed, Code: code}) {
		go g.guarded(g.sendClose)
	}
	return len(p), nil
}

// isCloseFrame tells whether p is one close frame and nothing else.
func isCloseFrame(p []byte) bool {
	h, size, err := ParseHeader(p)
	return err == nil && size > 0 && h.Op == OpClose && size+int(h.Length) == len(p)
}

// relay passes on what the application has sent; p begins with what was left
// to judge.
func (g *Gate) relay(p []byte) error {
	g.out.mu.Lock()
	err := g.relayLocked(p)
	g.out.mu.Unlock()
	if g.ending.Load() {
		g.sendClose()
	}
	g.Flush()
	return err
}

func (g *Gate) relayLocked(p []byte) error {
	o := &g.out
	o.rest = o.rest[:0]
	if len(o.read.head) > 0 {
		p = append(o.read.head, p...)
		o.read.head = nil
	}
	if g.ending.Load() || o.scan.closed {
		return g.relayEnding(p)
	}
	if o.read.on || g.State() != StateOpen {
		return g.relayRead(p)
	}
	n, bad := o.scan.scan(p)
	switch {
	case o.scan.closed:
		g.sawClose(CauseUpstreamClosed)
	case bad == nil:
		o.rest = append(o.rest, p[n:]...)
	}
	if err := g.passToClient(p[:n]); err != nil {
		return err
	}
	if o.scan.closed {
		o.closing.Store(true)
		g.noteUpstreamDone()
	}
	if bad != nil {
		g.begin(endUpstreamBroke)
		o.lost = true
	}
	o.messages.Store(o.scan.messages)
	if g.talk != nil || o.waits || o.unsaid.Load() {
		return g.flushSaysLocked()
	}
	return nil
}

// relayEnding finishes the frame that has begun, lets our close frame follow
// it, and then only watches for the application's own.
func (g *Gate) relayEnding(p []byte) error {
	o := &g.out
	if o.read.on {
		p = o.leaveReading(p)
	}
	if k := min(o.skip, int64(len(p))); k > 0 {
		o.skip -= k
		p = p[k:]
	}
	if k := min(o.scan.remaining, int64(len(p))); k > 0 && !o.dropping {
		_, _ = o.scan.scan(p[:k]) // inside a frame there is nothing to judge
		if err := g.passToClient(p[:k]); err != nil {
			return err
		}
		p = p[k:]
	}
	if !o.dropping && o.scan.atBorder() {
		o.dropping, o.read.cut = true, o.scan.fragmented
	}
	g.sendCloseLocked()
	if o.lost {
		return nil
	}
	n, bad := o.scan.scan(p)
	switch {
	case bad != nil:
		o.lost = true // its end is awaited, and no frame any more
	case o.scan.closed:
		g.noteUpstreamDone()
	default:
		o.rest = append(o.rest, p[n:]...)
	}
	return nil
}

// writeClient writes to the client, bounded in time.
func (g *Gate) writeClient(p []byte) error {
	if len(p) == 0 || g.out.broken != nil {
		return g.out.broken
	}
	g.boundWrite()
	n, err := g.conn.Write(p)
	g.out.bytes.Add(int64(n))
	g.out.broken = err
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded) && !g.out.handlerDeadline.Load():
		g.begin(End{Cause: CauseClientStalled})
	default:
		g.clientGone.Store(true)
	}
	return err
}

// boundWrite renews the write deadline when half of it is over: doing so for
// each write would cost more than watching the frames does.
func (g *Gate) boundWrite() {
	o := &g.out
	now := time.Now()
	if o.deadline.Sub(now) > writeTimeout/2 || o.handlerDeadline.Load() {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.ending.Load() {
		o.deadline = now.Add(writeTimeout)
		_ = g.conn.SetWriteDeadline(o.deadline)
	}
}

// sendClose sends our close frame unless somebody is writing: whoever writes
// calls it again after. The order of the two sides makes sure of that: ending
// is set before the lock is tried, and looked at after it is let go.
func (g *Gate) sendClose() {
	if g.out.mu.TryLock() {
		g.sendCloseLocked()
		g.out.mu.Unlock()
	}
}

// sendCloseLocked sends our close frame if a frame may be put in here. The
// caller holds the write lock.
func (g *Gate) sendCloseLocked() {
	o := &g.out
	end, _ := g.ended()
	switch {
	case o.closing.Load() || end.Code == CloseNone || o.broken != nil:
	case !o.frameBorder():
		return
	default:
		frames := closeFrame(end.Code, end.Reason, false)
		if len(end.Farewell) > 0 && o.messageBorder() {
			frames = append(farewell(end.Farewell), frames...)
		}
		_, o.broken = g.conn.Write(frames)
		o.closing.Store(o.broken == nil) // last: whoever sees it ends the connection
	}
	o.closeOnce.Do(func() { close(o.closeOut) })
}

// awaitCloseOut waits until our close frame is out and tells whether one is.
func (g *Gate) awaitCloseOut(deadline time.Time) bool {
	if g.out.closing.Load() {
		return true
	}
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case <-g.out.closeOut:
	case <-timer.C:
	}
	return g.out.closing.Load()
}

// noteUpstreamDone notes that nothing of the application's is awaited.
func (g *Gate) noteUpstreamDone() {
	g.out.doneOnce.Do(func() { close(g.out.upstreamDone) })
}
