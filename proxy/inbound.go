package proxy

import (
	"errors"
	"io"
	"math"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// inbound is the direction from the client to the application. The handler
// behind pulls it, through Read or WriteTo.
type inbound struct {
	mu     sync.Mutex  // held by whoever reads the client; guards all
	chunks chunkReader // what is relayed lies in its buffer
	spare  chunkReader // reads while that is in use
	scan   scanner
	calls  int  // of next: whether the handler behind gets on
	busy   bool // what next has returned is being written
	torn   bool // the application will not get the rest of its frame
	// closeRelayed: the application has got the client's close frame.
	closeRelayed bool
	early        []byte // has been read, not judged yet: came with the handshake, say
	rest         []byte // judged only in part: an unfinished header or close frame
	ready        []byte // may pass, and waits for the next Read
	told         bool   // the application has been sent our close frame
	lost         bool   // nobody can tell any more where a frame begins
	over         bool   // nothing more of the client's is awaited
	skip         int64  // of the client's next bytes, which are nobody's

	bytes, messages atomic.Int64 // of the client's

	read readInbound // of a gate that reads messages
	inboundInjected
}

// WriteTo relays to w, the application's connection, until the socket ends.
func (g *Gate) WriteTo(w io.Writer) (total int64, err error) {
	in := &g.in
	in.mu.Lock()
	defer in.leave()
	for {
		p, err := g.next(math.MaxInt)
		if len(p) > 0 {
			n, werr := in.writeTo(w, p)
			total += int64(n)
			if werr != nil {
				g.upstreamGone.Store(true)
				return total, werr
			}
		}
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// leave gives the buffer back, and the lock.
func (in *inbound) leave() {
	defer in.mu.Unlock()
	in.chunks.release()
}

// writeTo writes without the lock, so that the client can be read meanwhile. A
// panic of w finds the lock as it was.
func (in *inbound) writeTo(w io.Writer, p []byte) (int, error) {
	in.busy = true
	in.mu.Unlock()
	defer func() {
		in.mu.Lock()
		in.busy = false
	}()
	return w.Write(p)
}

// Read is for handlers that do not copy with WriteTo. No more is judged at a
// time than is read: what has been let through could not be called back.
func (g *Gate) Read(b []byte) (n int, err error) {
	in := &g.in
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(b) == 0 {
		return 0, nil
	}
	if len(in.ready) == 0 {
		in.ready, err = g.next(len(b))
	}
	n = copy(b, in.ready)
	in.ready = in.ready[n:]
	if len(in.ready) == 0 {
		in.ready = nil
		if len(in.read.queue) == 0 { // which lies in the same buffer
			in.chunks.release()
		}
	}
	if n > 0 {
		return n, nil
	}
	return 0, err
}

// next returns bytes that may go to the application, valid until the next
// call: at most limit of them, unless what was kept back comes with them.
// While the socket is open it blocks for the client's; once it is being ended,
// it returns the rest of a frame that has begun, then our close frame, then
// waits for both sides to be done and returns errEnded.
func (g *Gate) next(limit int) ([]byte, error) {
	in := &g.in
	in.calls++
	if in.read.on {
		if p, err := g.nextRead(limit); p != nil || err != nil {
			return p, err
		}
	}
	for !g.ending.Load() {
		p, err := in.take(limit)
		if len(p) > 0 && g.ending.Load() {
			in.putBack(p) // read in the moment of the end
			break
		}
		if p = g.judgeInbound(p); len(p) > 0 {
			return p, nil
		}
		switch {
		case err == nil || g.ending.Load():
		case errors.Is(err, io.EOF):
			g.clientEOF()
			return nil, io.EOF
		case errors.Is(err, os.ErrDeadlineExceeded):
			if g.tookWake() {
				continue
			}
			return nil, err // of the handler behind
		default:
			g.clientGone.Store(true)
			return nil, err
		}
	}
	return g.nextEnding()
}

// take returns the next bytes of the client, behind what is left to judge: at
// most limit of them, but always one more than was left. A quiet socket waits
// in here, and Go halves a stack only where less than a quarter of it is used:
// so the frames from WriteTo down are small, and what needs more room is done
// elsewhere.
func (in *inbound) take(limit int) ([]byte, error) {
	limit = max(limit, len(in.rest)+1)
	if len(in.early) > 0 {
		return in.takeEarly(limit), nil
	}
	chunks := &in.chunks
	if in.busy {
		chunks = &in.spare
	}
	p, err := chunks.read(in.rest)
	if len(p) > 0 {
		in.bytes.Add(int64(len(p) - len(in.rest)))
		in.rest = in.rest[:0]
	}
	if len(p) > limit {
		in.putBack(p[limit:])
		p = p[:limit]
	}
	return p, err
}

// takeEarly is take for what has been read before.
func (in *inbound) takeEarly(limit int) []byte {
	k := min(len(in.early), limit-len(in.rest))
	p := in.early[:k:k]
	if len(in.rest) > 0 {
		p = slices.Concat(in.rest, p)
	}
	in.early, in.rest = in.early[k:], in.rest[:0]
	return p
}

// putBack has p taken again, before all else.
func (in *inbound) putBack(p []byte) { in.early = slices.Concat(p, in.early) }

// judgeInbound returns what of p may pass and keeps the rest. A broken frame
// ends the socket.
func (g *Gate) judgeInbound(p []byte) []byte {
	in := &g.in
	if in.scan.closed {
		return nil // nothing follows a close frame
	}
	n, err := in.scan.scan(p)
	switch {
	case err != nil:
		in.lost = true
		g.End(End{Cause: CauseClientBroke, Code: CloseProtocolError, Reason: err.Error()})
	case in.scan.closed:
		in.closeRelayed = true
		g.sawClose(CauseClientClosed)
	case n < len(p):
		in.rest = append(in.rest[:0], p[n:]...)
	}
	in.messages.Store(in.scan.messages)
	return p[:n]
}

// clientEOF notes that the client sends nothing more. The application is told
// by the handler behind; it may answer, but not for long.
func (g *Gate) clientEOF() {
	g.in.over = true
	g.clientGone.Store(true)
	g.startGrace()
}

// nextEnding is next for a socket that is being ended.
func (g *Gate) nextEnding() ([]byte, error) {
	in := &g.in
	if in.read.on {
		if p := g.popLast(); p != nil {
			return p, nil
		}
		if p := in.leaveReading(); p != nil {
			return p, nil
		}
	}
	end, deadline := g.ended()
	frame := end.upstreamFrame()
	if frame == nil || in.torn {
		return nil, errEnded
	}
	for !in.scan.atBorder() && !in.over {
		p, err := g.takeUntil(deadline)
		if k := min(in.scan.remaining, int64(len(p))); k > 0 {
			_, _ = in.scan.scan(p[:k]) // inside a frame there is nothing to judge
			in.putBack(p[k:])
			return p[:k], nil
		}
		if err != nil {
			in.over = true
		}
	}
	if !in.told {
		in.told = true
		if in.scan.atBorder() && !in.closeRelayed {
			return frame, nil
		}
	}
	g.drainClient()
	g.awaitUpstream(deadline)
	return nil, errEnded
}

// takeUntil is take with the deadline of the closing.
func (g *Gate) takeUntil(deadline time.Time) ([]byte, error) {
	for {
		_ = g.conn.SetReadDeadline(deadline)
		p, err := g.in.take(math.MaxInt)
		if len(p) == 0 && errors.Is(err, os.ErrDeadlineExceeded) && time.Now().Before(deadline) {
			continue // End's own deadline, set to wake us, came after ours
		}
		return p, err
	}
}

// drainClient reads and throws away until the client has answered our close
// frame, is gone, or the time is over, and then ends its connection: a
// browser waits for that, and for nothing else. The caller holds in.mu.
func (g *Gate) drainClient() {
	in := &g.in
	if in.read.on {
		in.torn = in.leaveReading() != nil || in.torn
	}
	_, deadline := g.ended()
	for !in.over && !in.lost && !in.scan.closed {
		p, err := g.takeUntil(deadline)
		g.discard(p)
		if err != nil {
			in.over = true
		}
	}
	if in.lost && !in.over && !g.stream {
		g.drainUnseen(deadline)
	}
	in.over = true
	in.release()
	if !g.stream && g.awaitCloseOut(deadline) {
		_ = g.conn.Close()
	}
}

// release gives back the buffers that nobody uses.
func (in *inbound) release() {
	in.spare.release()
	if !in.busy {
		in.ready = nil
		in.chunks.release()
	}
}

// drainStalled reads the client while its socket is being ended and the
// handler behind does not: the application may not take what the client has
// sent, and the client's answer to our close frame lies behind that. It looks
// again until the closing is over. calls is what it saw the last time.
func (g *Gate) drainStalled(calls int) {
	in := &g.in
	if !in.mu.TryLock() {
		g.watchStall(calls) // it is being read
		return
	}
	defer in.mu.Unlock()
	if in.calls != calls {
		g.watchStall(in.calls)
		return
	}
	if in.read.on {
		in.torn = in.leaveReading() != nil
	}
	in.torn = in.torn || !in.scan.atBorder() || len(in.ready) > 0 // which is dropped
	g.drainClient()
	if g.stream {
		g.cancel() // only its handler's return ends the stream
	}
}

func (g *Gate) watchStall(calls int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.watchStallLocked(calls)
}

func (g *Gate) watchStallLocked(calls int) {
	if !g.finished {
		g.stall = time.AfterFunc(stallGrace, func() { g.guarded(func() { g.drainStalled(calls) }) })
	}
}

// discard looks in what is thrown away for the client's close frame.
func (g *Gate) discard(p []byte) {
	in := &g.in
	if k := min(in.skip, int64(len(p))); k > 0 {
		in.skip -= k
		p = p[k:]
	}
	n, err := in.scan.scan(p)
	if err != nil {
		in.lost = true
	} else if !in.scan.closed {
		in.rest = append(in.rest[:0], p[n:]...)
	}
}

// drainUnseen reads and throws away what a client sends in which no answer
// can be found, until it ends its connection. It may be waiting for us to end
// ours, so that half is closed first.
func (g *Gate) drainUnseen(deadline time.Time) {
	half, ok := g.conn.(interface{ CloseWrite() error })
	if ok && g.awaitCloseOut(deadline) {
		_ = half.CloseWrite()
	}
	for {
		if _, err := g.takeUntil(deadline); err != nil {
			return
		}
	}
}

// awaitUpstream waits until the application has answered the close frame or
// is gone, so that closing its connection cannot destroy the frame.
func (g *Gate) awaitUpstream(deadline time.Time) {
	wait := time.Until(deadline)
	if g.stream {
		wait = min(wait, upstreamGrace)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-g.out.upstreamDone:
	case <-g.released:
	case <-timer.C:
	}
}
