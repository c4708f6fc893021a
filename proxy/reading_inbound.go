package proxy

import (
	"bytes"
	"errors"
	"io"
	"math"
	"os"
	"slices"
	"sync"
)

// readInbound is what the direction from the client needs when its messages
// are read. inbound.mu guards all but what injectMu does.
type readInbound struct {
	on    bool
	asm   assembler
	frame []byte      // a buffer for the next message that is made here
	few   [2]outgoing // where the queue begins, which is mostly short
	queue []outgoing  // may go to the application
	held  hold        // may not yet
	count int         // of messages before the login
	went  payloads    // what the application has got
	kept  int         // of the queue, what lies in no buffer of a reader
	// attended: nobody takes what is queued yet.
	attended  bool
	closeCode CloseCode // of the client's close frame that is queued
	// last: the client has ended the socket itself, behind what is queued.
	last bool
	// all: the handler takes all there is. join: so pieces may be made one.
	all, join bool
}

// maxKeptFrame is the largest such buffer that is kept for the next message.
const maxKeptFrame = 2 << 10

// outgoing is a piece of the client's direction on its way out.
type outgoing struct {
	data []byte
	// now: it goes out in whatever state.
	now bool
	// within: it begins inside a frame.
	within bool
	// closes: it is the client's close frame.
	closes bool
	// own: data is ours to append to.
	own bool
}

// read makes g read messages.
func (g *Gate) read(talk *Reading) {
	g.talk = talk
	g.reading.Store(true)
	if talk.Pending {
		g.state.Store(int32(StatePending))
	}
	in, out := &g.in.read, &g.out.read
	in.on = true
	in.asm = assembler{scan: &g.in.scan, limit: talk.Limit}
	out.asm = assembler{scan: &g.out.scan, limit: talk.HoldBytes}
	in.held = hold{messages: talk.HoldMessages, size: talk.HoldBytes}
	out.held = hold{messages: talk.HoldMessages, size: talk.HoldBytes}
	g.out.follower, _ = talk.Reader.(Follower)
	g.skipper, _ = talk.Reader.(Skipper)
	in.asm.skips, out.asm.skips = g.skipper != nil, g.skipper != nil
}

// AwaitLogin reads the client's messages until the gate is open, and reports
// whether it is: otherwise the socket has ended. It is for a gate that has
// nobody behind it yet. The client goes on being read until a handler takes it
// over.
func (g *Gate) AwaitLogin() bool {
	if !g.awaitLogin() {
		return false
	}
	g.attend()
	return true
}

func (g *Gate) awaitLogin() bool {
	in := &g.in
	in.mu.Lock()
	defer in.mu.Unlock()
	defer in.chunks.release()
	for g.State() == StatePending && !g.ending.Load() {
		if err := g.readSome(); err != nil {
			g.begin(End{Cause: g.naturalCause()})
		}
		g.keepOutgoing()
	}
	return !g.ending.Load()
}

// keepOutgoing sees to it that what waits for the application outlives the
// buffer that it was read into.
func (g *Gate) keepOutgoing() {
	r := &g.in.read
	if g.State() == StatePending {
		queue := r.queue
		r.queue, r.kept = nil, 0
		for _, o := range queue {
			if err := r.hold(o); err != nil {
				g.End(g.endFor(err, CauseClientBroke))
				return
			}
		}
		return
	}
	for i := r.kept; i < len(r.queue); i++ {
		r.queue[i].data, r.queue[i].own = bytes.Clone(r.queue[i].data), false
	}
	r.kept = len(r.queue)
}

// nextRead is next for a gate that reads messages. It returns nothing when
// the socket is being ended, or nothing has to be read any more. Where the
// handler has set a limit, what is returned is one piece, which may be longer:
// what has been let through could not be called back.
func (g *Gate) nextRead(limit int) ([]byte, error) {
	in := &g.in
	for !g.ending.Load() {
		if p := g.popOutgoing(); p != nil {
			return p, nil
		}
		if g.mayStop() {
			in.unwind()
			return nil, nil
		}
		in.read.all = limit == math.MaxInt
		if err := g.readSome(); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// readingOver tells whether reading is over and no message has been read in
// part.
func (g *Gate) readingOver() bool {
	return !g.reading.Load() && g.State() == StateOpen && g.in.read.asm.idle()
}

// mayStop tells whether, besides, nothing waits that only reading lets out.
func (g *Gate) mayStop() bool {
	in := &g.in
	if !g.readingOver() || in.scan.remaining > 0 || len(in.read.held.frames) > 0 {
		return false
	}
	in.injectMu.Lock()
	defer in.injectMu.Unlock()
	return len(in.injected) == 0
}

// readSome reads once and judges what has come. The error is for the handler
// behind.
func (g *Gate) readSome() error {
	in := &g.in
	p, err := in.take(math.MaxInt)
	if len(p) > 0 {
		if g.ending.Load() {
			in.putBack(p) // read in the moment of the end
			return nil
		}
		in.read.join = in.read.all && g.State() == StateOpen // what is held is counted
		n, bad := in.read.asm.feed(p, (*clientSink)(g))
		in.messages.Store(in.scan.messages)
		switch {
		case bad != nil:
			in.lost = losesFrames(bad)
			in.putBack(p[n:])
			in.keepWhole(bad)
			in.read.last = g.End(g.endFor(bad, CauseClientBroke))
		case n < len(p) && !in.scan.closed:
			in.putBack(p[n:])
		}
		return nil
	}
	switch {
	case g.ending.Load():
		return nil
	case err == nil:
		return nil
	case errors.Is(err, io.EOF):
		g.clientEOF()
		return io.EOF
	case errors.Is(err, os.ErrDeadlineExceeded):
		if g.tookWake() {
			return nil
		}
		return err // of the handler behind
	default:
		g.clientGone.Store(true)
		return err
	}
}

// keepWhole leaves in the queue what is whole frames, when behind them comes
// something that is not taken.
func (in *inbound) keepWhole(bad error) {
	r := &in.read
	walk, whole := r.went, 0
	for i, o := range r.queue {
		walk.each(o.data, func([]byte) {})
		if walk.left == 0 {
			whole = i + 1
		}
	}
	if _, skipped := errors.AsType[*skipError](bad); skipped && whole == 0 && r.went.left > 0 {
		in.torn = true // what is left of the frame is what is not taken
	}
	if whole > 0 || r.went.left == 0 {
		r.queue = r.queue[:whole]
	}
}

// popLast returns what goes to the application although the socket is being
// ended: what the client had sent before it ended the socket itself.
func (g *Gate) popLast() []byte {
	if r := &g.in.read; !r.last || len(r.queue) == 0 || g.State() != StateOpen {
		return nil
	}
	return g.popOutgoing()
}

// losesFrames tells whether, after err, nobody knows where a frame begins: it
// is of a frame, not of a message that has been taken.
func losesFrames(err error) bool {
	return !errors.Is(err, ErrHoldFull) && !errors.Is(err, ErrNotUTF8) && !errors.Is(err, ErrTooManyMessages)
}

// endFor returns how the socket ends because of err, which one side has
// caused.
func (g *Gate) endFor(err error, broke Cause) End {
	if broke == CauseUpstreamBroke && !errors.Is(err, ErrHoldFull) {
		return endUpstreamBroke
	}
	if skipped, ok := errors.AsType[*skipError](err); ok {
		return g.talk.Reader.Broken(skipped.error)
	}
	for _, known := range []error{
		ErrMessageTooBig, ErrTooManyFragments, ErrTooManyMessages, ErrNotUTF8, ErrHoldFull,
	} {
		if errors.Is(err, known) {
			return g.talk.Reader.Broken(err)
		}
	}
	return End{Cause: broke, Code: CloseProtocolError, Reason: err.Error()}
}

// popOutgoing returns what goes to the application next, or nil. What may not
// pass any more is held, and goes before all else when it may.
func (g *Gate) popOutgoing() []byte {
	in := &g.in
	r := &in.read
	open := g.State() == StateOpen
	if open {
		in.releaseHeld()
	}
	in.takeInjected()
	for len(r.queue) > 0 {
		next := r.queue[0]
		r.queue[0] = outgoing{}
		if r.queue = r.queue[1:]; len(r.queue) == 0 {
			r.queue = r.few[:0]
		}
		if next.own && cap(next.data) <= maxKeptFrame {
			r.frame = next.data[:0] // is out when this is called again
		}
		if open || r.went.left > 0 || next.now && r.mayStand(next.data) {
			in.closeRelayed = in.closeRelayed || next.closes
			r.went.each(next.data, func([]byte) {})
			return next.data
		}
		if err := r.hold(next); err != nil {
			g.End(g.endFor(err, CauseClientBroke))
			return nil
		}
	}
	return nil
}

// mayStand tells whether a frame may be put in where the application has got a
// part of a message, in whole frames.
func (r *readInbound) mayStand(frame []byte) bool {
	return !r.went.fragmented || Opcode(frame[0]&opBits).control()
}

// hold keeps a piece until the gate is open.
func (r *readInbound) hold(o outgoing) error {
	if o.within {
		return r.held.extend(o.data)
	}
	return r.held.add(o.data)
}

// releaseHeld queues what is held before all else.
func (in *inbound) releaseHeld() {
	r := &in.read
	if len(r.held.frames) == 0 {
		return
	}
	frames := r.held.take()
	queue := make([]outgoing, len(frames), len(frames)+len(r.queue))
	for i, frame := range frames {
		queue[i] = outgoing{data: frame}
	}
	r.queue = append(queue, r.queue...)
}

// takeInjected queues a frame of the gate's own where it may stand: one at a
// time, and behind what is held, because that may end inside a frame.
func (in *inbound) takeInjected() {
	r := &in.read
	if r.went.left > 0 || len(r.queue) > 0 {
		return
	}
	in.injectMu.Lock()
	defer in.injectMu.Unlock()
	if in.closeRelayed { // nothing follows a close frame
		in.injected = nil
		return
	}
	i := slices.IndexFunc(in.injected, r.mayStand)
	if i < 0 {
		return
	}
	r.queue = []outgoing{{data: in.injected[i], now: true}}
	if in.injected = slices.Delete(in.injected, i, i+1); len(in.injected) == 0 {
		in.injected = nil
	}
}

// enqueue adds a piece; in one with the last where they lie side by side. The
// rest of a frame stays a piece by itself, because it passes where what
// follows may not.
func (r *readInbound) enqueue(o outgoing) {
	if i := len(r.queue) - 1; r.join && i >= 0 && r.queue[i].now == o.now && (o.within || !r.queue[i].within) {
		last := &r.queue[i]
		n := len(last.data)
		if cap(last.data) > n && len(o.data) > 0 && &last.data[:n+1][n] == &o.data[0] {
			last.data = last.data[:n+len(o.data)]
			return
		}
	}
	r.queue = append(r.queue, o)
}

// enqueueMessage adds a message as a frame of its own.
func (r *readInbound) enqueueMessage(p Passage) {
	if i := len(r.queue) - 1; r.join && i >= 0 && r.queue[i].own && r.queue[i].now == p.Now {
		r.queue[i].data = appendFrame(r.queue[i].data, p.Opcode(), p.Data, true)
		return
	}
	frame := slices.Grow(r.frame, len(p.Data)+maxHeader)
	r.frame = nil
	r.queue = append(r.queue, outgoing{data: appendFrame(frame, p.Opcode(), p.Data, true), now: p.Now, own: true})
}

// unwind has the rest only watched.
func (in *inbound) unwind() {
	if _, _, head := in.read.asm.dissolve(); len(head) > 0 {
		in.putBack(head)
	}
	in.read = readInbound{}
}

// leaveReading makes of a direction that is read one that is being ended. It
// returns the rest of a frame that the application has got a part of.
func (in *inbound) leaveReading() []byte {
	r := &in.read
	var rest []byte
	if r.went.left > 0 && len(r.queue) > 0 {
		rest = r.queue[0].data
		r.went.each(rest, func([]byte) {})
	}
	if r.went.left == 0 { // what is still to come of a frame is nobody's
		in.skip, in.scan.remaining = in.scan.remaining, 0
	}
	_, left, head := r.asm.dissolve()
	in.skip += left
	in.rest = head
	in.read = readInbound{}
	return rest
}

// inboundInjected is what the gate itself has to say to the application.
type inboundInjected struct {
	injectMu sync.Mutex // guards the following
	injected [][]byte
}
