package dialect

import (
	"bytes"
	"sync"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

// MQTT and STOMP are byte streams: their units, packets or frames, pay no heed
// to where a WebSocket message ends. This file has what both need for that.

// Skipper is a [Follower] that loses its place when a message passes unread,
// such as one that is too long to be read while the socket is open. It must be
// told of those, too.
type Skipper interface {
	Follower
	// SkipClient is given bytes of a message of the client's that goes on
	// unread, in order with what Client gets. An error ends the socket, as one
	// of Client does.
	SkipClient(s State, p []byte) error
	// SkipApp is given bytes of a message of the application's that is held
	// unread, in order with what App gets.
	SkipApp(p []byte)
}

// maxHeldUnit is how much of a unit that is read is kept until it is whole, in
// bytes.
const maxHeldUnit = 64 << 10

// scanner finds where the units of a byte stream end. It keeps none of them.
type scanner interface {
	// next takes the first chunk off p, which is not empty.
	next(p []byte) chunk
	// border tells whether the stream stands between two units.
	border() bool
	// clone returns a scanner that goes on from the same place.
	clone() scanner
}

// chunk is the part of one unit that lies in the bytes at hand.
type chunk struct {
	// n is its length in bytes, at least 1.
	n int
	// first: the unit begins with it. last: it ends with it.
	first, last bool
	// beat: it is a heart-beat, which is a unit of its own.
	beat bool
}

// cutting takes one message apart.
type cutting struct {
	m     proxy.Message
	parts []Part
	// from and to bound the data that is in no part yet.
	from, to int
}

// data adds the bytes from a to b, which follow those added before.
func (c *cutting) data(a, b int) {
	if c.from == c.to {
		c.from = a
	}
	c.to = b
}

// unit adds p as the part for the bytes from a to b. If it stands for the
// whole message it says so, or else it gets a copy of the bytes, unless it has
// a message of its own or none.
func (c *cutting) unit(p Part, a, b int) {
	if !p.Nothing && p.Message.Data == nil {
		p.Whole = a == 0 && b == len(c.m.Data)
		if !p.Whole {
			p.Message = proxy.Message{Binary: c.m.Binary, Data: bytes.Clone(c.m.Data[a:b])}
		}
	}
	c.add(p)
}

// add adds a part that has all it needs.
func (c *cutting) add(p Part) {
	c.flush()
	c.parts = append(c.parts, p)
}

// flush makes a part of the data so far.
func (c *cutting) flush() {
	if c.from == c.to {
		return
	}
	data := bytes.Clone(c.m.Data[c.from:c.to])
	c.from = c.to
	c.parts = append(c.parts, Part{Message: proxy.Message{Binary: c.m.Binary, Data: data}})
}

// done returns the parts. An empty message is nothing in a byte stream, so
// that it is no breach before the login.
func (c *cutting) done(s State) []Part {
	if s == Pending && len(c.m.Data) == 0 {
		return c.parts
	}
	if len(c.parts) == 0 && c.to-c.from == len(c.m.Data) {
		return []Part{{Whole: true}}
	}
	c.flush()
	return c.parts
}

// phase is what the client has shown to speak.
type phase uint8

const (
	// fresh: nothing, or the beginning of a login.
	fresh phase = iota
	// spoken: the protocol. It has sent its login, and all must be readable.
	spoken
	// foreign: something else. It has sent what no server of the protocol takes
	// for the beginning of a session.
	foreign
)

// intake is what a speaker remembers of the client's stream between two
// messages.
type intake struct {
	phase phase
	// hold: the unit at hand is kept until it is whole. held is what there is
	// of it, and binary whether any of that came in a binary message.
	hold   bool
	held   []byte
	binary bool
	// suspended is whether the last message came while the socket was, and
	// torn that the application has the beginning of a unit whose rest waits
	// since: nothing of the gate's own may stand in between.
	suspended, torn bool
}

// enter notes the state in which a message is read, before it is.
func (in *intake) enter(s State, border bool) {
	if s == Suspended && !in.suspended {
		in.torn = !border && !in.hold
	}
	in.suspended = s == Suspended
}

// turned notes that the socket has been suspended or opened since the last
// message.
func (in *intake) turned() { in.suspended = false }

// keep adds p to the held unit. False means that it is too long for that.
func (in *intake) keep(m proxy.Message, p []byte) bool {
	if len(in.held)+len(p) > maxHeldUnit {
		return false
	}
	in.held = append(in.held, p...)
	in.binary = in.binary || m.Binary
	return true
}

// take returns the held unit, and holds nothing any more.
func (in *intake) take() proxy.Message {
	m := proxy.Message{Binary: in.binary, Data: in.held}
	in.hold, in.held, in.binary = false, nil, false
	return m
}

// seeker looks for texts in a stream that comes in pieces. Servers differ in
// whether they take text messages, binary ones or both for parts of the stream,
// so that it looks into each of the three.
type seeker struct {
	// fold takes out of bytes what servers do not tell apart. texts are what is
	// looked for, as fold leaves it.
	fold  func([]byte) []byte
	texts [][]byte
	// all, text and binary are the last bytes, folded, of what has come.
	all, text, binary []byte
}

// finds takes m, and tells whether one of the texts has come with it.
func (s *seeker) finds(m proxy.Message) bool {
	folded := s.fold(m.Data)
	own := &s.text
	if m.Binary {
		own = &s.binary
	}
	// Both must be told, whatever the first one says.
	inAll, inOwn := s.extend(&s.all, folded), s.extend(own, folded)
	return inAll || inOwn
}

// extend adds p to the last bytes of a stream.
func (s *seeker) extend(last *[]byte, p []byte) bool {
	stream := append(*last, p...)
	found, keep := false, 0
	for _, text := range s.texts {
		found = found || bytes.Contains(stream, text)
		keep = max(keep, len(text)-1)
	}
	*last = bytes.Clone(stream[max(0, len(stream)-keep):])
	return found
}

// outflow follows the application's stream. The client is given what was read
// while the socket was suspended only later, or never, so that there are two
// places in the stream to know. It is safe for concurrent use.
type outflow struct {
	mu sync.Mutex
	// given is where the client is, read where App is.
	given, read scanner
	// ahead is how many bytes App has read that are still to be given.
	ahead int
	// begun: the client has been given something.
	begun bool
}

// Follow implements [Follower].
func (o *outflow) Follow(p []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.begun = o.begun || len(p) > 0
	o.ahead = max(o.ahead-len(p), 0)
	for len(p) > 0 {
		p = p[o.given.next(p).n:]
	}
}

// AtBorder implements [Follower].
func (o *outflow) AtBorder() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.given.border()
}

// SkipApp implements [Skipper].
func (o *outflow) SkipApp(p []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ahead == 0 {
		o.read = o.given.clone()
	}
	o.ahead += len(p)
	for len(p) > 0 {
		p = p[o.read.next(p).n:]
	}
}

// answered tells whether the application has said anything to the client.
func (o *outflow) answered() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.begun
}

// app takes a message of the application's apart. alive is given each unit
// that lies in the message as a whole; it tells whether that is a sign of life,
// and what the client is told instead.
func (o *outflow) app(s State, m proxy.Message, alive func(p chunk, unit []byte) (bool, []proxy.Message)) []Part {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ahead == 0 {
		o.read = o.given.clone()
	}
	c := cutting{m: m}
	for at := 0; at < len(m.Data); {
		p := o.read.next(m.Data[at:])
		end := at + p.n
		if ok, words := aliveUnit(p, m.Data[at:end], alive); ok {
			c.unit(Part{Kind: KeepAlive, ToClient: words}, at, end)
		} else {
			c.data(at, end)
			o.ahead += p.n
		}
		at = end
	}
	return c.done(s)
}

// aliveUnit asks alive, if p is a whole unit.
func aliveUnit(p chunk, unit []byte, alive func(chunk, []byte) (bool, []proxy.Message)) (bool, []proxy.Message) {
	if !p.first || !p.last {
		return false, nil
	}
	return alive(p, unit)
}
