package proxy

import (
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"unicode/utf8"
)

// maxFragments is how many frames a message may have that is read. Empty ones
// count.
const maxFragments = 4096

// What can be wrong with a message that has to be read. [Reader.Broken] says
// how each ends the socket.
var (
	// ErrMessageTooBig: it is longer than what is read.
	ErrMessageTooBig = errors.New("message is too big")
	// ErrTooManyFragments: it has more frames than any sender needs.
	ErrTooManyFragments = errors.New("message has too many fragments")
	// ErrTooManyMessages: so many came before the login.
	ErrTooManyMessages = errors.New("too many messages before the login")
	// ErrNotUTF8: a text message is no UTF-8, RFC 6455 section 8.1.
	ErrNotUTF8 = errors.New("text message is not UTF-8")
	// ErrHoldFull: more came while the socket was suspended, or before the
	// login, than is kept.
	ErrHoldFull = errors.New("more messages than are held")
)

// sink takes what an assembler has made of the bytes of one direction. What it
// is given is valid only during the call. An error ends the socket.
type sink interface {
	// control takes a whole control frame, plain and as it came.
	control(h Header, payload, raw []byte) error
	// message takes a whole message, plain and as it came.
	message(m Message, raw []byte) error
	// tooBig is asked whether a message may pass that is longer than what is
	// read, of which it is given the beginning. If it returns nil, it comes
	// through unread.
	tooBig(begin Message) error
	// unread takes a piece of a message that is not read. within: it begins
	// inside a frame. left: so much of the frame is still to come.
	unread(raw []byte, within bool, left int64)
	// skipped takes the plain payload of what is not read, piece by piece. It
	// is asked only of an assembler that skips.
	skipped(payload []byte) error
	// stopped tells whether the rest is to be left alone.
	stopped() bool
}

// assembler makes messages of the frames of one direction. It collects only
// what does not lie in one piece anyway, and never more than limit and the
// frames' headers. Not safe for concurrent use.
type assembler struct {
	scan  *scanner
	limit int64

	head    []byte // of an unfinished header
	ctl     []byte // of an unfinished control frame, with its header
	frame   Header // that is being collected
	size    int    // of its header
	left    int64  // of its payload
	raw     []byte // the message that is being collected, as it came
	payload int64  // how much of that is payload
	binary  bool
	// unread: the rest of the message that has begun is not collected.
	unread    bool
	fragments int
	// peek is how much of a message that is too long is collected before the
	// sink is asked about it; deciding says that this goes on.
	peek     int64
	deciding bool
	began    int // where its frame begins in raw
	// skips: the sink wants to see what is not read.
	skips bool
}

// scratch has buffers for plain payloads.
var scratch = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

// maxScratch is the largest buffer that goes back to the pool.
const maxScratch = 64 << 10

// feed takes p, which follows what was fed before, and returns how much of it
// was taken: less than all only with an error, after a close frame, or when
// the sink has stopped it at the end of a message.
func (a *assembler) feed(p []byte, to sink) (n int, err error) {
	for n < len(p) && !a.scan.closed && !to.stopped() {
		var k int
		switch q := p[n:]; {
		case a.scan.remaining > 0:
			k = int(min(a.scan.remaining, int64(len(q))))
			err = a.skip(q[:k], to)
			a.scan.remaining -= int64(k)
			if err == nil {
				to.unread(q[:k], true, a.scan.remaining)
			}
		case a.left > 0:
			k, err = a.collect(q, to)
		default:
			k, err = a.begin(q, to)
		}
		n += k
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// skip shows the sink a piece of a frame that is not read.
func (a *assembler) skip(p []byte, to sink) error {
	if !a.skips {
		return nil
	}
	at := a.frame.Length - a.scan.remaining
	buf := scratch.Get().(*[]byte)
	*buf = appendPlain((*buf)[:0], p, a.frame, int(at%4))
	err := to.skipped(*buf)
	giveBack(buf)
	return err
}

// begin reads a header at the start of p, or what follows a.head.
func (a *assembler) begin(p []byte, to sink) (int, error) {
	had := len(a.head)
	whole := p
	if had > 0 {
		whole = append(a.head, p[:min(len(p), maxHeader-had)]...)
	}
	h, size, err := ParseHeader(whole)
	if err != nil {
		return 0, err
	}
	if size == 0 {
		a.head = slices.Clone(whole)
		return len(whole) - had, nil
	}
	if err := a.scan.check(h); err != nil {
		return 0, err
	}
	header := whole[:size]
	a.head = nil
	k := size - had
	inPlace := had == 0 && h.Length <= int64(len(p)-size) // the frame lies in p
	if h.Op.control() {
		return a.beginControl(h, header, p, k, inPlace, to)
	}
	a.scan.fragmented = !h.Fin
	if h.Op != OpContinuation {
		a.unread, a.fragments, a.binary = false, 0, h.Op == OpBinary
	}
	if a.unread {
		a.frame, a.scan.remaining = h, h.Length
		to.unread(header, false, h.Length)
		return k, nil
	}
	if a.fragments++; a.fragments > maxFragments {
		return 0, ErrTooManyFragments
	}
	if h.Length > a.limit-a.payload {
		a.deciding, a.began = true, len(a.raw)
		a.raw = append(a.raw, header...)
		a.frame, a.left = h, h.Length
		if a.limit < 0 || a.payload >= a.peek {
			return k, a.decide(to)
		}
		return k, nil
	}
	if inPlace && h.Fin && h.Op != OpContinuation {
		whole := size + int(h.Length)
		return whole, a.deliver(h, p[size:whole], p[:whole], to)
	}
	a.raw = append(a.raw, header...)
	a.frame, a.left = h, h.Length
	if a.left == 0 {
		return k, a.endFrame(to)
	}
	return k, nil
}

func (a *assembler) beginControl(h Header, header, p []byte, k int, inPlace bool, to sink) (int, error) {
	if inPlace {
		whole := len(header) + int(h.Length)
		return whole, a.deliverControl(h, len(header), p[:whole], to)
	}
	a.ctl = slices.Clone(header)
	a.frame, a.size, a.left = h, len(header), h.Length
	if a.left == 0 {
		return k, a.endFrame(to)
	}
	return k, nil
}

// decide asks whether a message that is too long may pass unread, and lets out
// what has been collected of it.
func (a *assembler) decide(to sink) error {
	err := a.plain(func(begin []byte) error {
		err := to.tooBig(Message{Binary: a.binary, Data: begin})
		if err == nil && a.skips && len(begin) > 0 {
			err = to.skipped(begin)
		}
		return err
	})
	if err != nil {
		return err
	}
	raw, left := a.raw, a.left
	a.reset()
	a.unread, a.deciding, a.left, a.scan.remaining = true, false, 0, left
	if a.began > 0 { // whole frames
		to.unread(raw[:a.began], false, 0)
	}
	to.unread(raw[a.began:], false, left)
	return nil
}

// collect takes what p has of the frame that has begun.
func (a *assembler) collect(p []byte, to sink) (int, error) {
	k := int(min(a.left, int64(len(p))))
	if a.deciding {
		k = int(min(int64(k), a.peek-a.payload))
	}
	if a.frame.Op.control() {
		a.ctl = append(a.ctl, p[:k]...)
	} else {
		a.raw = append(a.makeRoom(k), p[:k]...)
		a.payload += int64(k)
	}
	a.left -= int64(k)
	switch {
	case a.deciding && (a.payload >= a.peek || a.left == 0):
		return k, a.decide(to)
	case a.left > 0:
		return k, nil
	}
	return k, a.endFrame(to)
}

// roomAhead is for how many times as much as has come of a message room is made.
// A header costs its sender nothing, whatever length it promises.
const roomAhead = 4

// makeRoom returns a.raw with room for k bytes and, where that needs a new
// buffer, for what else is still to come of the frame.
func (a *assembler) makeRoom(k int) []byte {
	if cap(a.raw)-len(a.raw) >= k {
		return a.raw
	}
	return slices.Grow(a.raw, int(min(a.left, roomAhead*int64(len(a.raw)+k))))
}

func (a *assembler) endFrame(to sink) error {
	if a.frame.Op.control() {
		raw := a.ctl
		a.ctl = nil
		return a.deliverControl(a.frame, a.size, raw, to)
	}
	if !a.frame.Fin {
		return nil
	}
	return a.plain(func(payload []byte) error {
		m, raw := Message{Binary: a.binary, Data: payload}, a.raw
		a.reset()
		return a.send(m, raw, to)
	})
}

// plain calls f with the payload of what has been collected. It is made plain
// only here, so that who waits for the rest of a message keeps it once.
func (a *assembler) plain(f func(payload []byte) error) error {
	buf := scratch.Get().(*[]byte)
	*buf = (*buf)[:0]
	for p := a.raw; len(p) > 0; {
		h, size, err := ParseHeader(p)
		if err != nil {
			return err // has been judged before: cannot be
		}
		p = p[size:]
		n := int(min(h.Length, int64(len(p)))) // the last may be cut off
		*buf = appendPlain(*buf, p[:n], h, 0)
		p = p[n:]
	}
	err := f(*buf)
	giveBack(buf)
	return err
}

// giveBack keeps a buffer for others, who are to find nothing in it: it may
// have held a credential.
func giveBack(buf *[]byte) {
	clear(*buf)
	if cap(*buf) <= maxScratch {
		scratch.Put(buf)
	}
}

// idle tells whether no message has been collected in part.
func (a *assembler) idle() bool { return len(a.raw) == 0 && len(a.ctl) == 0 && a.left == 0 }

// reset forgets what was collected.
func (a *assembler) reset() { a.raw, a.payload = nil, 0 }

// peekSize is how much of a message that is too long is looked at, in bytes.
// Whoever writes more white space than that in front of it does so to hide
// something.
const peekSize = 512

// deliver hands on a message that is one frame and lies in one piece.
func (a *assembler) deliver(h Header, payload, raw []byte, to sink) error {
	if !h.Masked {
		return a.send(Message{Binary: a.binary, Data: payload}, raw, to)
	}
	buf := scratch.Get().(*[]byte)
	*buf = appendPlain((*buf)[:0], payload, h, 0)
	err := a.send(Message{Binary: a.binary, Data: *buf}, raw, to)
	giveBack(buf)
	return err
}

func (a *assembler) send(m Message, raw []byte, to sink) error {
	if !m.Binary && !utf8.Valid(m.Data) {
		return ErrNotUTF8
	}
	return to.message(m, raw)
}

func (a *assembler) deliverControl(h Header, size int, raw []byte, to sink) error {
	payload := unmasked(h, raw[size:])
	if h.Op == OpClose {
		if err := checkClosePayload(payload); err != nil {
			return err
		}
		a.scan.closed = true
	}
	return to.control(h, payload, raw)
}

// dissolve gives up assembling. It returns what was collected of frames that
// have begun, and how much of the last of them is still to come; and what must
// be judged again with what follows: the start of a header, or of a control
// frame, which could be a close frame.
func (a *assembler) dissolve() (collected []byte, left int64, head []byte) {
	collected, left, head = a.raw, a.left, a.head
	if len(a.ctl) > 0 {
		left, head = 0, a.ctl
	}
	a.reset()
	a.ctl, a.head, a.left, a.deciding = nil, nil, 0, false
	return collected, left, head
}

// appendPlain appends p without the mask of the frame h. at is p's place in
// the payload, modulo 4.
func appendPlain(to, p []byte, h Header, at int) []byte {
	start := len(to)
	to = append(to, p...)
	if h.Masked {
		applyMask(to[start:], h.Mask, at)
	}
	return to
}

// applyMask masks or unmasks p in place, RFC 6455 section 5.3. at is p's place
// in the payload, modulo 4.
func applyMask(p []byte, mask [4]byte, at int) {
	key := [8]byte{
		mask[at%4], mask[(at+1)%4], mask[(at+2)%4], mask[(at+3)%4],
		mask[at%4], mask[(at+1)%4], mask[(at+2)%4], mask[(at+3)%4],
	}
	word := binary.NativeEndian.Uint64(key[:])
	for len(p) >= 8 {
		binary.NativeEndian.PutUint64(p, binary.NativeEndian.Uint64(p)^word)
		p = p[8:]
	}
	for i := range p {
		p[i] ^= key[i]
	}
}

// appendFrame appends a whole frame. Frames to a server are masked; the key
// must not be foreseen by whoever has chosen the payload, RFC 6455 section
// 10.3.
func appendFrame(to []byte, op Opcode, payload []byte, masked bool) []byte {
	var bit byte
	if masked {
		bit = maskBit
	}
	to = append(to, finBit|byte(op))
	switch n := len(payload); {
	case n < 126:
		to = append(to, bit|byte(n))
	case n <= 0xFFFF:
		to = append(to, bit|126)
		to = binary.BigEndian.AppendUint16(to, uint16(n))
	default:
		to = append(to, bit|127)
		to = binary.BigEndian.AppendUint64(to, uint64(n))
	}
	if !masked {
		return append(to, payload...)
	}
	key := newMask()
	to = append(to, key[:]...)
	start := len(to)
	to = append(to, payload...)
	applyMask(to[start:], key, 0)
	return to
}
