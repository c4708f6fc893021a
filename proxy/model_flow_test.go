package proxy

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// begun is a frame of a message: where in the message it begins, and what was
// known when its first byte was written.
type begun struct {
	at    int
	epoch int64 // odd while the socket is suspended
	late  bool  // the socket had ended
}

// sentMessage is a message that one side has sent, or is sending.
type sentMessage struct {
	data   []byte
	frames []begun
}

// flow is one direction: a side that sends numbered messages, and the other
// one, which checks what it gets of them.
type flow struct {
	m       *model
	masked  bool // to the application
	from    net.Conn
	to      *bufio.Reader
	back    *flow // the other direction
	send    *rand.Rand
	take    *rand.Rand
	n       int           // messages to send
	extra   int           // with the last of all
	longest int           // of modelSizes
	lull    time.Duration // at most, between two pieces
	stall   time.Duration // at most, between two frames that are read

	over     chan struct{} // closed when last is set
	overOnce sync.Once
	sender   chan struct{} // closed when nothing more is sent
	taker    chan struct{} // closed when nothing more is read
	closing  chan struct{} // closed when a close frame has come

	mu       sync.Mutex // guards the following
	last     []byte     // sent behind all else, then nothing
	finale   bool       // last has gone out, in whole
	sent     []*sentMessage
	controls int // sent
	got      int // whole messages
	off      int // of the message that has come in part
	inside   bool
	words    int          // the number that the next word of the gate's has at least
	signs    map[byte]int // the last of each kind
	farewell int
	closed   []byte // the payload of the close frame that came
	isClosed bool
	err      error // how the connection ended
	wrong    string
}

// modelSizes are how long messages may be, in bytes.
var modelSizes = []int{0, 1, 100, 700, 5000, 70_000}

func (f *flow) name() string {
	if f.masked {
		return "the application"
	}
	return "the client"
}

// finish has the sender send p behind the batch that it is sending, and stop.
func (f *flow) finish(p []byte) {
	f.overOnce.Do(func() {
		f.mu.Lock()
		f.last = p
		f.mu.Unlock()
		close(f.over)
	})
}

func (f *flow) isOver() bool {
	select {
	case <-f.over:
		return true
	default:
		return false
	}
}

// place is where in a batch a frame of a message begins.
type place struct {
	in, at int
	of     *sentMessage
}

// run sends everything.
func (f *flow) run() {
	defer close(f.sender)
	for sent := 0; sent < f.n && !f.isOver(); {
		var batch []byte
		var places []place
		for range 1 + f.send.IntN(8) {
			if sent == f.n {
				break
			}
			batch, places = f.message(batch, places, sent)
			sent++
		}
		over := f.isOver()
		if over {
			batch = append(batch, f.last...)
		}
		if !f.write(batch, places) {
			return
		}
		if over {
			f.ends()
			return
		}
		f.pause(f.send, f.lull)
	}
	<-f.over
	var batch []byte
	var places []place
	for i := range f.extra { // in one write with what ends the socket
		batch, places = f.message(batch, places, f.n+i)
	}
	if f.write(append(batch, f.last...), places) {
		f.ends()
	}
}

func (f *flow) ends() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.finale = true
}

// message adds message number i to a batch, in any frames.
func (f *flow) message(batch []byte, places []place, i int) ([]byte, []place) {
	size := modelSizes[min(f.send.IntN(f.longest), f.send.IntN(f.longest))]
	m := &sentMessage{data: []byte(fmt.Sprintf("#%d %s", i, strings.Repeat("€", f.send.IntN(size+1)/3)))}
	f.mu.Lock()
	f.sent = append(f.sent, m)
	f.mu.Unlock()
	rest, op := m.data, byte(1+f.send.IntN(2))
	add := func(first byte, payload []byte) {
		places = append(places, place{len(batch), len(m.data) - len(rest), m})
		batch = append(batch, rawFrame(first, f.masked, payload)...)
	}
	for f.send.IntN(3) == 0 {
		k := f.send.IntN(len(rest) + 1)
		add(op, rest[:k])
		rest, op = rest[k:], 0
		if f.send.IntN(3) == 0 {
			batch = append(batch, f.control()...)
		}
	}
	add(op|finBit, rest)
	if f.send.IntN(5) == 0 {
		batch = append(batch, f.control()...)
	}
	return batch, places
}

// control returns a numbered sign of life.
func (f *flow) control() []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.controls++
	if f.send.IntN(2) == 0 {
		return rawFrame(finPing, f.masked, fmt.Appendf(nil, "?%d", f.controls))
	}
	return rawFrame(finPong, f.masked, fmt.Appendf(nil, "~%d", f.controls))
}

// write writes a batch in pieces, and notes what was known when each frame
// began.
func (f *flow) write(batch []byte, places []place) bool {
	pieces := [][]byte{batch}
	if f.send.IntN(2) == 0 {
		pieces = fewPieces(f.send, batch)
	}
	at := 0
	for _, piece := range pieces {
		if len(piece) == 0 {
			continue
		}
		at += len(piece)
		late, epoch := f.m.ended.Load(), f.m.epoch.Load()
		f.mu.Lock()
		for len(places) > 0 && places[0].in < at {
			p := places[0]
			p.of.frames = append(p.of.frames, begun{p.at, epoch, late})
			places = places[1:]
		}
		f.mu.Unlock()
		if _, err := f.from.Write(piece); err != nil {
			return false
		}
		f.pause(f.send, f.lull)
	}
	return true
}

// fewPieces cuts p at some places, most of them where it begins or ends.
func fewPieces(r *rand.Rand, p []byte) [][]byte {
	cuts := []int{0, len(p)}
	for range r.IntN(20) {
		switch k := r.IntN(min(len(p), 40) + 1); r.IntN(3) {
		case 0:
			cuts = append(cuts, k)
		case 1:
			cuts = append(cuts, len(p)-k)
		default:
			cuts = append(cuts, r.IntN(len(p)+1))
		}
	}
	slices.Sort(cuts)
	var pieces [][]byte
	for i := range cuts[1:] {
		pieces = append(pieces, p[cuts[i]:cuts[i+1]])
	}
	return pieces
}

func (f *flow) pause(r *rand.Rand, most time.Duration) {
	if most > 0 && r.IntN(4) == 0 {
		time.Sleep(time.Duration(r.Int64N(int64(most))))
	}
}

// listen takes what comes until the connection ends.
func (f *flow) listen() {
	defer close(f.taker)
	for {
		first, masked, payload, err := readFrame(f.to)
		f.mu.Lock()
		switch {
		case err != nil:
			f.err = err
		case masked != f.masked:
			f.blame("frame %X: masked %v", first, masked)
		case f.isClosed:
			f.blame("%s after a close frame", describe(first, payload))
		default:
			f.frame(first, payload)
		}
		closed, wrong := f.isClosed, f.wrong != ""
		f.mu.Unlock()
		if err != nil {
			return
		}
		if wrong {
			f.m.rig.gate.cut()
		}
		if closed {
			f.back.finish(rawFrame(finClose, f.back.masked, payload[:min(len(payload), 2)]))
		}
		for range f.take.IntN(20) {
			runtime.Gosched()
		}
		if f.stall > 0 && f.take.IntN(10) == 0 {
			time.Sleep(time.Duration(f.take.Int64N(int64(f.stall))))
		}
	}
}

// blame notes the first thing that is wrong.
func (f *flow) blame(format string, args ...any) {
	if f.wrong == "" {
		f.wrong = fmt.Sprintf(format, args...)
	}
}

// frame judges a frame that has come.
func (f *flow) frame(first byte, payload []byte) {
	op := Opcode(first & opBits)
	switch {
	case op == OpClose:
		f.closed, f.isClosed = payload, true
		close(f.closing)
	case op.control():
		f.sign(op, payload)
	case (op == OpContinuation) != f.inside:
		f.blame("frame %s, inside a message %v", describe(first, payload[:min(len(payload), 20)]), f.inside)
	case !f.inside && first&finBit != 0 && len(payload) > 0 && payload[0] != '#':
		f.word(string(payload))
	default:
		f.part(payload, first&finBit != 0)
	}
}

// sign judges a sign of life: each comes at most once, and in order.
func (f *flow) sign(op Opcode, payload []byte) {
	var n int
	if _, err := fmt.Sscanf(string(payload[min(len(payload), 1):]), "%d", &n); err != nil || len(payload) == 8 {
		return // the gate's own ping
	}
	kind := payload[0]
	if op == OpPong && kind == '?' {
		kind = 'a' // an answer, which is the gate's
	}
	if n <= f.signs[kind] {
		f.blame("%s after number %d", describe(byte(op)|finBit, payload), f.signs[kind])
	}
	f.signs[kind] = n
}

// word judges what the gate says itself.
func (f *flow) word(s string) {
	var n int
	switch _, err := fmt.Sscanf(s, "!%d", &n); {
	case strings.HasPrefix(s, "farewell"):
		f.farewell++
	case err != nil || f.farewell > 0:
		f.blame("message %.20q", s)
	case n < f.words:
		f.blame("word %d after %d", n, f.words-1)
	default:
		f.words = n + 1
	}
}

// part judges a part of a message of the other side's.
func (f *flow) part(p []byte, last bool) {
	if f.got >= len(f.sent) {
		f.blame("message %.20q, which was not sent", p)
		return
	}
	m := f.sent[f.got]
	end := f.off + len(p)
	if end > len(m.data) || !bytes.Equal(m.data[f.off:end], p) {
		f.blame("got %.20q at %d of message %.10q", p, f.off, m.data)
		return
	}
	if f.farewell > 0 {
		f.blame("message %.10q after the farewell", m.data)
	}
	epoch := f.m.epoch.Load()
	for _, b := range m.frames {
		if b.at >= end || b.at < f.off {
			continue
		}
		if b.late {
			f.blame("message %.10q, of which the frame at %d was begun after the end", m.data, b.at)
		}
		if b.epoch%2 == 1 && b.epoch == epoch {
			f.blame("message %.10q, of which the frame at %d was begun while suspended, came meanwhile", m.data, b.at)
		}
	}
	f.off, f.inside = end, !last
	if !last {
		return
	}
	if end != len(m.data) {
		f.blame("message %.10q has %d bytes of %d", m.data, end, len(m.data))
	}
	f.got, f.off = f.got+1, 0
}

// all tells whether everything has come, words too.
func (f *flow) all(words int) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.got == f.n && f.words == words
}

// isFinale tells whether everything has been sent, to the last.
func (f *flow) isFinale() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.finale
}

// missing tells what has been sent and not got.
func (f *flow) missing() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.got == len(f.sent) {
		return ""
	}
	return fmt.Sprintf("%s got %d messages of %d, %v", f.name(), f.got, len(f.sent), f.err)
}
