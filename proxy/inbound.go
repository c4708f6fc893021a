package proxy

import (
	"errors"
	"io"
	"math"
	"os"
	"slices"
	"sync"
	"time"
)

// inbound is the direction from the client to the application. The handler
// behind pulls it, through Read or WriteTo.
type inbound struct {
	mu     sync.Mutex // held by whoever reads the client; guards all
	chunks chunkReader
	scan   scanner
	early  []byte // has been read, not judged yet: came with the handshake, say
	rest   []byte // judged only in part: an unfinished header or close frame
	ready  []byte // may pass, and waits for the next Read
	told   bool   // the application has been sent our close frame
	over   bool   // nothing more of the client's is awaited
}

// WriteTo relays to w, the application's connection, until the socket ends.
func (g *Gate) WriteTo(w io.Writer) (total int64, err error) {
	g.in.mu.Lock()
	defer g.in.mu.Unlock()
	defer g.in.chunks.release()
	for {
		p, err := g.next(math.MaxInt)
		if len(p) > 0 {
			n, werr := w.Write(p)
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
		in.chunks.release()
	}
	if n > 0 {
		return n, nil
	}
	return 0, err
}

// next returns bytes that may go to the application, valid until the next
// call: at most limit of them, unless what was kept back comes with them. While the socket is open it blocks for the client's; once it is being
// ended, it returns the rest of a frame that has begun, then our close frame,
// then waits for both sides to be done and returns errEnded.
func (g *Gate) next(limit int) ([]byte, error) {
	in := &g.in
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
			return nil, err // of the handler behind
		default:
			g.clientGone.Store(true)
			return nil, err
		}
	}
	return g.nextEnding()
}

// take returns the next bytes of the client, behind what is left to judge: at
// most limit of them, but always one more than was left.
func (in *inbound) take(limit int) ([]byte, error) {
	limit = max(limit, len(in.rest)+1)
	if len(in.early) > 0 {
		k := min(len(in.early), limit-len(in.rest))
		p := in.early[:k:k]
		if len(in.rest) > 0 {
			p = slices.Concat(in.rest, p)
		}
		in.early, in.rest = in.early[k:], in.rest[:0]
		return p, nil
	}
	p, err := in.chunks.read(in.rest)
	if len(p) > 0 {
		in.rest = in.rest[:0]
	}
	if len(p) > limit {
		in.putBack(p[limit:])
		p = p[:limit]
	}
	return p, err
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
		g.End(End{Cause: CauseClientBroke, Code: CloseProtocolError, Reason: err.Error()})
	case in.scan.closed:
		g.sawClose(CauseClientClosed)
	case n < len(p):
		in.rest = append(in.rest[:0], p[n:]...)
	}
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
	end, deadline := g.ended()
	frame := end.upstreamFrame()
	if frame == nil {
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
		if in.scan.atBorder() && !in.scan.closed {
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
	_, deadline := g.ended()
	for !in.over && !in.scan.closed {
		p, err := g.takeUntil(deadline)
		g.discard(p)
		if err != nil {
			in.over = true
		}
	}
	in.over = true
	in.chunks.release()
	if !g.stream && g.awaitCloseOut(deadline) {
		_ = g.conn.Close()
	}
}

// discard looks in what is thrown away for the client's close frame.
func (g *Gate) discard(p []byte) {
	in := &g.in
	n, err := in.scan.scan(p)
	if err != nil {
		in.over = true // no frame will be found in this any more
	} else if !in.scan.closed {
		in.rest = append(in.rest[:0], p[n:]...)
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
