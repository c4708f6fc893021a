package proxy

import (
	"bytes"
	"time"
)

// State says what passes through a gate.
type State int32

// The states of a gate.
const (
	// StateOpen: messages pass in both directions.
	StateOpen State = iota
	// StatePending: nobody has logged in; messages are read and held.
	StatePending
	// StateSuspended: messages are read and held until [Gate.Resume].
	StateSuspended
)

// maxPendingMessages is how many messages of the client's are read before the
// login.
const maxPendingMessages = 64

// Reader judges the messages of a gate that has to look into them. Client and
// App are called one at a time each, but may be at the same time as the other.
// The message is valid only during the call. They may call the methods of the
// gate that say so.
type Reader interface {
	// Client judges a message of the client's.
	Client(m Message) Verdict
	// App judges a message of the application's. It is asked only while the
	// gate is not open.
	App(m Message) Verdict
	// Foreign tells whether a message of the client's that begins so may pass
	// unread, because it is too long to be read. A [Skipper], which sees it in
	// pieces then, is asked before any of it is there.
	Foreign(begin Message) bool
	// Broken says how the socket ends that cannot be read on: for one of the
	// errors of this package.
	Broken(err error) End
}

// Follower is a Reader that wants to see all bytes of the application's
// messages that go to the client, because only it knows where words of the
// gate's own may stand between them.
type Follower interface {
	Reader
	// Follow is given the payload that goes to the client, in order.
	Follow(p []byte)
	// AtBorder tells whether words of the gate's own may follow it.
	AtBorder() bool
}

// Skipper is a Follower that loses its place when a message passes unread. So
// it sees those, too, in order with the others.
type Skipper interface {
	Follower
	// SkipClient is given payload of the client's that nobody has judged. An
	// error ends the socket, as [Reader.Broken] says.
	SkipClient(p []byte) error
	// SkipApp is given payload of the application's that is held unread.
	SkipApp(p []byte)
}

// Verdict is what becomes of a message. The zero value is that it goes
// nowhere.
type Verdict struct {
	// Whole: it goes on as it came, byte by byte.
	Whole bool
	// Now: it does so in whatever state; otherwise it is held until the gate
	// is open.
	Now bool
	// Instead goes on where Whole is not set.
	Instead []Passage
	// Ends: the reader has ended the socket because of this message. It goes
	// nowhere; what the client had sent before it goes on.
	Ends bool
}

// Passage is a message that goes on in another's place.
type Passage struct {
	Message
	// Now: it does so in whatever state.
	Now bool
}

// Reading makes a gate look into the messages. Compression must not be
// agreed.
type Reading struct {
	Reader Reader
	// Pending: nobody has logged in yet.
	Pending bool
	// Limit is the longest message of the client's that is read, in bytes. A
	// longer one ends the socket, unless somebody has logged in and it is
	// foreign.
	Limit int64
	// OpenLimit takes the place of Limit after the login, if it is larger.
	OpenLimit int64
	// Strict: no message is foreign.
	Strict bool
	// HoldMessages and HoldBytes bound what is held, in each direction.
	HoldMessages int
	HoldBytes    int64
}

// hold keeps in order what may not pass yet, as frames.
type hold struct {
	frames   [][]byte
	bytes    int64
	messages int // at most
	size     int64
}

// add keeps a copy of raw.
func (h *hold) add(raw []byte) error {
	if len(h.frames) >= h.messages || h.bytes+int64(len(raw)) > h.size {
		return ErrHoldFull
	}
	h.frames = append(h.frames, bytes.Clone(raw))
	h.bytes += int64(len(raw))
	return nil
}

// extend adds to the last that was kept.
func (h *hold) extend(raw []byte) error {
	last := len(h.frames) - 1
	if last < 0 {
		return h.add(raw)
	}
	if h.bytes+int64(len(raw)) > h.size {
		return ErrHoldFull
	}
	h.frames[last] = append(h.frames[last], raw...)
	h.bytes += int64(len(raw))
	return nil
}

// next returns what has been kept longest, and keeps it no longer.
func (h *hold) next() []byte {
	frame := h.frames[0]
	h.frames[0] = nil
	h.bytes -= int64(len(frame))
	if h.frames = h.frames[1:]; len(h.frames) == 0 {
		h.frames = nil
	}
	return frame
}

// take returns what was kept, and keeps nothing.
func (h *hold) take() [][]byte {
	frames := h.frames
	h.frames, h.bytes = nil, 0
	return frames
}

// State returns what passes.
func (g *Gate) State() State { return State(g.state.Load()) }

// StopReading lets all messages pass unread from the next one on. The gate
// must be open. A [Reader] may call it.
func (g *Gate) StopReading() { g.reading.Store(false) }

// Suspend holds the messages of both directions from the next frame on. It
// reports whether the gate was open.
func (g *Gate) Suspend() bool {
	return g.talk != nil && g.reading.Load() && g.state.CompareAndSwap(int32(StateOpen), int32(StateSuspended))
}

// Resume opens the gate unless it is until already, sends the client what is
// to be said, and then all that was held. It may have to wait for a client
// that does not read. A [Reader] may call it when it judges the client's
// message, not the application's.
func (g *Gate) Resume(until time.Time, say ...Message) {
	o := &g.out
	o.mu.Lock()
	if !time.Now().Round(0).Before(until) {
		o.mu.Unlock()
		return
	}
	g.state.Store(int32(StateOpen))
	g.sayLocked(say)
	o.releaseHeld(g)
	o.mu.Unlock()
	if g.ending.Load() {
		g.sendClose()
	}
	g.Flush()
	g.wakeReader() // for what is held of the client's
}

// Say sends the client messages of the gate's own as soon as none of the
// application's is in the way. It may have to wait for a client that does not
// read. A [Reader] may call it.
func (g *Gate) Say(say ...Message) {
	g.Queue(say...)
	g.Flush()
}

// Queue is Say without the sending: [Gate.Flush] does it, or whoever writes
// next. It never waits.
func (g *Gate) Queue(say ...Message) {
	if len(say) == 0 {
		return
	}
	g.out.saysMu.Lock()
	waiting := 0
	for _, frame := range g.out.says {
		waiting += len(frame)
	}
	full := len(g.out.says)+len(say) > maxSays || waiting > maxSaysBytes
	if !full {
		for _, m := range say {
			g.out.says = append(g.out.says, appendFrame(nil, m.Opcode(), m.Data, false))
		}
	}
	g.out.saysMu.Unlock()
	g.out.unsaid.Store(true)
	if full { // it does not read what it is told
		g.End(End{Cause: CauseClientStalled, Code: CloseTryAgainLater})
	}
}

// SayToApp sends the application messages of the gate's own. A [Reader] may
// call it.
func (g *Gate) SayToApp(say ...Message) {
	for _, m := range say {
		g.inject(appendFrame(nil, m.Opcode(), m.Data, true))
	}
}

// pong answers a ping. Only the newest has to be answered, RFC 6455 section
// 5.5.3.
func (g *Gate) pong(payload []byte) {
	o := &g.out
	o.saysMu.Lock()
	o.pong = appendFrame(nil, OpPong, payload, false)
	o.saysMu.Unlock()
	o.unsaid.Store(true)
	g.Flush()
}

// Flush sends what is to be said unless somebody is writing: whoever
// writes does it after.
func (g *Gate) Flush() {
	for g.out.unsaid.Load() && g.out.mu.TryLock() {
		_ = g.flushSaysLocked()
		g.out.mu.Unlock()
		if g.ending.Load() {
			g.sendClose()
		}
	}
}

// flushSaysLocked sends what is to be said as far as it may stand here. The
// caller holds the write lock.
func (g *Gate) flushSaysLocked() error {
	o := &g.out
	o.unsaid.Store(false)
	o.waits = true
	if !o.frameBorder() || o.scan.closed || g.ending.Load() {
		return nil
	}
	o.saysMu.Lock()
	pong, ping := o.pong, o.ping
	o.pong, o.ping = nil, nil
	var says [][]byte
	if o.messageBorder() {
		says, o.says = o.says, nil
	}
	o.waits = len(o.says) > 0
	o.saysMu.Unlock()
	for _, frame := range [][]byte{pong, ping} {
		if err := g.writeClient(frame); err != nil {
			return err
		}
	}
	for _, frame := range says {
		if err := g.writeClient(frame); err != nil {
			return err
		}
	}
	return nil
}

// sayLocked sends messages at once, or as soon as they may stand. The caller
// holds the write lock.
func (g *Gate) sayLocked(say []Message) {
	o := &g.out
	o.saysMu.Lock()
	for _, m := range say {
		o.says = append(o.says, appendFrame(nil, m.Opcode(), m.Data, false))
	}
	o.saysMu.Unlock()
	_ = g.flushSaysLocked()
}

const (
	// maxSays is how many words of the gate's own may wait for a client, and
	// maxSaysBytes how long they may be before one more is too many: words can
	// repeat what the client has said.
	maxSays      = 256
	maxSaysBytes = 4 << 20
	// maxInjected is how many may wait for the application. More are dropped:
	// they are signs of life.
	maxInjected = 64
)

// inject has a frame of ours sent to the application.
func (g *Gate) inject(frame []byte) {
	in := &g.in
	in.injectMu.Lock()
	room := len(in.injected) < maxInjected
	if room {
		in.injected = append(in.injected, frame)
	}
	in.injectMu.Unlock()
	if room {
		g.wakeReader()
	}
}

// wakeReader has whoever waits for the client look around.
func (g *Gate) wakeReader() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.ending.Load() {
		g.woken = true
		_ = g.conn.SetReadDeadline(past)
	}
}

// tookWake tells whether a read has timed out only because of wakeReader, and
// puts the deadline back that was there before.
func (g *Gate) tookWake() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ending.Load() {
		return true // there is something to see
	}
	if !g.woken {
		return false
	}
	g.woken = false
	_ = g.conn.SetReadDeadline(g.readDeadline)
	return true
}
