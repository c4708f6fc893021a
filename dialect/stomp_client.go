package dialect

import (
	"sync"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

// stompSpeaker follows one socket. A message of the client's that ends inside
// a login has no part for that: it comes with the message that completes it.
type stompSpeaker struct {
	d *stomp
	outflow

	mu sync.Mutex // guards all that follows
	intake
	scan stompScanner
	// kind is that of the message in which the frame at hand has begun.
	kind messageKind
	// marks looks for credentials where no frame may come, hidden for a login
	// where none may.
	marks  seeker
	hidden stompSeeker
}

// stompContext is the context of a login.
type stompContext struct{}

// messageKind is that of a message, if it is known.
type messageKind uint8

const (
	kindUnknown messageKind = iota
	kindText
	kindBinary
)

func kindOf(m proxy.Message) messageKind {
	if m.Binary {
		return kindBinary
	}
	return kindText
}

func (s *stompSpeaker) Client(st State, m proxy.Message) ([]Part, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.enter(st, s.scan.border())
	c := cutting{m: m}
	if err := s.read(&c, st); err != nil {
		return nil, err
	}
	return c.done(st), nil
}

// read takes a message apart.
func (s *stompSpeaker) read(c *cutting, st State) error {
	data := c.m.Data
	within := s.phase != foreign && !s.scan.border() && s.kind != kindUnknown
	if within && len(data) > 0 && s.kind != kindOf(c.m) {
		return ErrProtocol // some servers take one kind only
	}
	s.hidden.begin()
	for at := 0; at < len(data); {
		if s.phase == foreign {
			return s.foreign(c, st, at)
		}
		p := s.scan.next(data[at:])
		if err := s.chunk(c, st, p, at); err != nil {
			return err
		}
		at += p.n
	}
	return nil
}

// chunk adds the chunk of c.m that begins at at, if it can be judged.
func (s *stompSpeaker) chunk(c *cutting, st State, p chunk, at int) error {
	end := at + p.n
	data := c.m.Data[at:end]
	if s.phase == spoken && s.hidden.finds(data) {
		return ErrProtocol
	}
	if p.beat {
		s.beat(c, st, at, end)
		return nil
	}
	if p.first {
		s.kind, s.hold = kindOf(c.m), s.phase == fresh
	}
	if !s.hold {
		c.data(at, end)
		return s.readable()
	}
	if !s.keep(c.m, data) {
		return ErrProtocol
	}
	if !mayConnect(s.held) {
		return s.begin(c, st, at, end)
	}
	if err := s.readable(); err != nil || !p.last {
		return err
	}
	return s.login(c, st, at, end)
}

// readable returns an error if the stream is no STOMP that all servers read in
// the same way.
func (s *stompSpeaker) readable() error {
	if s.scan.state == stompLost {
		return ErrProtocol
	}
	return nil
}

// login adds the part for a login that ends the chunk from at to end. Where
// nobody has logged in it must carry a credential; on a socket that is open it
// may, and then that must be good.
func (s *stompSpeaker) login(c *cutting, st State, at, end int) error {
	frame := s.take()
	l, err := s.d.login(frame.Data)
	if err != nil {
		return err
	}
	s.phase, s.scan.loggedIn = spoken, true
	var part Part
	if st == Pending || l.credential != "" {
		part = Part{Kind: Login, Credential: l.credential, Context: stompContext{}}
	}
	switch {
	case s.d.strip:
		part.Message = proxy.Message{Binary: frame.Binary, Data: l.rest}
		c.add(part)
	case len(frame.Data) == end-at:
		c.unit(part, at, end)
	default:
		part.Message = frame
		c.add(part)
	}
	return nil
}

// begin judges first bytes that are no login, and are c.m's to its end, from at
// or from before c.m.
func (s *stompSpeaker) begin(c *cutting, st State, at, end int) error {
	s.phase = foreign
	first := s.take()
	if err := s.judge(st, first); err != nil {
		return err
	}
	if len(first.Data) == end-at {
		c.data(at, end)
	} else {
		c.add(Part{Message: first})
	}
	return nil
}

// foreign adds what c.m has from at on, on a socket that is not STOMP.
func (s *stompSpeaker) foreign(c *cutting, st State, at int) error {
	if err := s.judge(st, proxy.Message{Binary: c.m.Binary, Data: c.m.Data[at:]}); err != nil {
		return err
	}
	c.data(at, len(c.m.Data))
	return nil
}

// judge passes what is no STOMP. Servers go on in different ways after what
// they cannot read, and some begin anew with the next message: so nothing
// passes that begins as a frame does, or that has the name of a header in it
// that may carry a credential. Before the login nothing passes anyway.
func (s *stompSpeaker) judge(st State, m proxy.Message) error {
	if st == Pending {
		return nil
	}
	found := s.marks.finds(m)
	if found || likeSTOMP(m.Data) {
		return ErrProtocol
	}
	return nil
}

// SkipClient implements [Skipper]. What is too long to be read passes only
// behind the login.
func (s *stompSpeaker) SkipClient(st State, p []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(p) == 0 {
		return nil
	}
	if s.phase != spoken {
		return ErrProtocol
	}
	s.enter(st, s.scan.border())
	s.hidden.begin()
	if s.hidden.finds(p) {
		return ErrProtocol
	}
	for len(p) > 0 {
		c := s.scan.next(p)
		if c.first {
			s.kind = kindUnknown
		}
		p = p[c.n:]
	}
	return s.readable()
}

// beat adds a heart-beat of the client's. While the socket is suspended the
// application needs one of its own: STOMP 1.2, "Heart-beating".
func (s *stompSpeaker) beat(c *cutting, st State, at, end int) {
	part := Part{Kind: KeepAlive}
	switch {
	case st == Open: // it passes
		c.data(at, end)
		return
	case st == Suspended && !s.torn:
		part.ToApp = stompBeat()
	}
	c.unit(part, at, end)
}

// App answers heart-beats of the application's with one to the client, as
// [stompSpeaker.Client] does the other way round.
func (s *stompSpeaker) App(st State, m proxy.Message) ([]Part, error) {
	return s.app(st, m, func(p chunk, _ []byte) (bool, []proxy.Message) {
		if !p.beat || st != Suspended {
			return false, nil
		}
		return true, stompBeat()
	}), nil
}

// stompBeat returns a heart-beat.
func stompBeat() []proxy.Message { return []proxy.Message{proxy.Text("\n")} }

// Idle is never true: a login may come at any time on a socket that the request
// has logged in, and must not come a second time.
func (s *stompSpeaker) Idle() bool { return false }

// Foreign implements [Speaker]. What is too long is read in pieces.
func (s *stompSpeaker) Foreign(proxy.Message) bool { return true }
