package dialect

import (
	"sync"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

// mqttSpeaker follows one socket. A message of the client's that ends inside a
// packet that has to be read as a whole has no part for that packet: it comes
// with the message that completes it.
type mqttSpeaker struct {
	d *mqtt
	outflow

	mu sync.Mutex // guards all that follows
	intake
	scan mqttScanner
	// kind is the first byte of the packet at hand. sized: its length has been
	// judged.
	kind  byte
	sized bool
	// level is that of the protocol, 0 if it is not known. method is the
	// Authentication Method that CONNECT has named, empty if it has none.
	// serves: it is d's business.
	level  byte
	method string
	serves bool
	// pings is how many pings of the gate's own the application has not
	// answered yet.
	pings int
	// names looks for a CONNECT where none may come.
	names seeker
}

// mqttConnectContext is the context of a CONNECT packet, mqttAuthContext that
// of an AUTH packet.
type (
	mqttConnectContext struct{}
	mqttAuthContext    struct{}
)

func (s *mqttSpeaker) Client(st State, m proxy.Message) ([]Part, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.enter(st, s.scan.border())
	c := cutting{m: m}
	if err := s.read(&c, st); err != nil {
		return nil, err
	}
	return c.done(st), nil
}

// read takes a message apart. MQTT is in binary messages: a server must close
// at any other (MQTT 5.0 section 6), but some take a text for a part of the
// stream, and some leave it out. So no text passes once there is a stream.
func (s *mqttSpeaker) read(c *cutting, st State) error {
	data := c.m.Data
	if len(data) == 0 {
		return nil
	}
	if s.phase == fresh && !s.hold {
		if err := s.begin(st, c.m); err != nil {
			return err
		}
	}
	switch {
	case s.phase == foreign:
		return s.foreign(c, st)
	case !c.m.Binary:
		return ErrProtocol
	}
	for at := 0; at < len(data); {
		p := s.scan.next(data[at:])
		if err := s.chunk(c, st, p, at); err != nil {
			return err
		}
		at += p.n
	}
	return nil
}

// begin judges the first bytes. A session begins with CONNECT, and a server
// must close at anything else: MQTT-3.1.0-1.
func (s *mqttSpeaker) begin(st State, first proxy.Message) error {
	switch {
	case first.Data[0]&mqttKind == mqttConnect: // chunk reads on
	case st == Pending && !first.Binary:
		return ErrProtocol
	default:
		s.phase = foreign
	}
	return nil
}

// foreign passes what is no MQTT. That no server will read a CONNECT behind it
// is not left to the servers: it would have to have the protocol's name in it.
// Before the login nothing passes anyway.
func (s *mqttSpeaker) foreign(c *cutting, st State) error {
	if st != Pending && s.names.finds(c.m) {
		return ErrProtocol
	}
	c.data(0, len(c.m.Data))
	return nil
}

// chunk adds the chunk of c.m that begins at at, if it can be judged.
func (s *mqttSpeaker) chunk(c *cutting, st State, p chunk, at int) error {
	end := at + p.n
	data := c.m.Data[at:end]
	if err := s.header(st, p, data); err != nil {
		return err
	}
	if !s.hold {
		c.data(at, end)
		return nil
	}
	if !s.keep(c.m, data) {
		return ErrProtocol
	}
	if !p.last {
		return nil
	}
	packet := s.take()
	part, err := s.packet(st, packet.Data)
	if err != nil {
		return err
	}
	switch {
	case part.Whole && len(packet.Data) == p.n:
		part.Whole = false
		c.unit(part, at, end)
	case part.Whole:
		part.Whole, part.Message = false, packet
		c.add(part)
	default:
		c.add(part)
	}
	return nil
}

// header judges what a chunk has of the fixed header.
func (s *mqttSpeaker) header(st State, p chunk, data []byte) error {
	if p.first {
		s.kind, s.sized = data[0], false
		if !s.mayBegin() {
			return ErrProtocol
		}
		s.hold = s.wanted(st)
	}
	size, known := s.scan.size()
	if s.scan.state == mqttLost || known && !s.sized && !s.maySize(size) {
		return ErrProtocol
	}
	s.sized = known
	return nil
}

// mayBegin tells whether a packet of this kind may begin here.
func (s *mqttSpeaker) mayBegin() bool {
	if s.phase == fresh {
		return s.kind == mqttConnect
	}
	return mqttMayBegin(s.kind, s.level)
}

// maySize tells whether the packet at hand may be as long as it says.
func (s *mqttSpeaker) maySize(size int) bool {
	return !s.scan.padded && (s.phase == fresh || mqttMaySize(s.kind, s.level, size))
}

// wanted tells whether the packet at hand has to be read.
func (s *mqttSpeaker) wanted(st State) bool {
	return s.kind == mqttConnect || s.kind == mqttAuth || s.kind == mqttPingreq && st == Suspended
}

// packet judges a packet that had to be read. Whole in what it returns stands
// for the packet as it came.
func (s *mqttSpeaker) packet(st State, packet []byte) (Part, error) {
	switch s.kind {
	case mqttAuth:
		return s.auth(packet)
	case mqttPingreq:
		return s.ping(st), nil
	default:
		return s.connect(st, packet)
	}
}

// connect judges the CONNECT packet. Where nobody has logged in it must carry a
// credential; on a socket that is open it may, and then that must be good.
func (s *mqttSpeaker) connect(st State, packet []byte) (Part, error) {
	p, err := parseMQTTConnect(packet)
	if err != nil {
		return Part{}, err
	}
	s.phase, s.level = spoken, p.level
	if s.method, s.serves, err = s.d.methodOf(p); err != nil {
		return Part{}, err
	}
	credential, err := s.find(p)
	if err != nil {
		return Part{}, err
	}
	part := Part{Whole: true}
	if st == Pending || credential != "" {
		part.Kind, part.Credential, part.Context = Login, bearer(credential), mqttConnectContext{}
	}
	if s.d.strip {
		user, password := s.d.credential == mqttInUser, s.d.credential == mqttInPassword
		part.Whole = false
		part.Message = proxy.Message{Binary: true, Data: p.without(user, password, s.serves)}
	}
	return part, nil
}

// find returns the credential in p as it stands there, empty if there is none.
func (s *mqttSpeaker) find(p *mqttConnectPacket) (string, error) {
	var field, data string
	switch s.d.credential {
	case mqttInPassword:
		field = string(p.password.value)
	case mqttInUser:
		field = string(p.user.value)
	}
	if s.serves {
		data = string(p.enhanced.data.value)
	}
	if field != "" && data != "" {
		return "", ErrAmbiguous
	}
	return field + data, nil
}

// auth judges an AUTH packet. Only a client that has named a method in CONNECT
// may send one, and only with that method: MQTT-4.12.0-5, MQTT-4.12.0-7. All
// data of a method of ours is a credential, whoever has asked for it.
func (s *mqttSpeaker) auth(packet []byte) (Part, error) {
	p, err := parseMQTTAuth(packet)
	if err != nil {
		return Part{}, err
	}
	renews := p.reason == mqttReauthenticate
	switch {
	case s.method == "" || p.method != s.method || !renews && p.reason != mqttContinue:
		return Part{}, ErrProtocol
	case !s.serves:
		return Part{Whole: true}, nil
	case !renews && s.d.strip: // an exchange that nobody has begun
		return Part{}, ErrProtocol
	case !renews && p.data == "":
		return Part{Whole: true}, nil
	}
	return Part{
		Kind: Login, Credential: bearer(p.data), Whole: !s.d.strip, Nothing: s.d.strip,
		Context: mqttAuthContext{},
	}, nil
}

// ping judges a PINGREQ that was begun while the socket is suspended: both
// sides see a sign of life within the time of their keep alive.
func (s *mqttSpeaker) ping(st State) Part {
	part := Part{Kind: KeepAlive, Whole: true}
	if st != Suspended {
		return part
	}
	part.ToClient = mqttMessages(mqttPingresp, 0)
	if !s.torn {
		s.pings++
		part.ToApp = mqttMessages(mqttPingreq, 0)
	}
	return part
}

// SkipClient implements [Skipper]. What is too long to be read passes only
// behind CONNECT, and has nothing in it that has to be read.
func (s *mqttSpeaker) SkipClient(st State, p []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(p) == 0 {
		return nil
	}
	if s.phase != spoken {
		return ErrProtocol
	}
	s.enter(st, s.scan.border())
	for len(p) > 0 {
		c := s.scan.next(p)
		if err := s.header(Open, c, p[:c.n]); err != nil {
			return err
		}
		if s.hold { // a credential that nobody would look at
			return ErrProtocol
		}
		p = p[c.n:]
	}
	return nil
}

// App answers nothing to a PINGRESP that the gate has asked for. One that the
// client asked for before goes to the client.
func (s *mqttSpeaker) App(st State, m proxy.Message) ([]Part, error) {
	if !m.Binary {
		return []Part{{Whole: true}}, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.app(st, m, func(_ chunk, unit []byte) (bool, []proxy.Message) {
		if unit[0] != mqttPingresp || st != Suspended {
			return false, nil
		}
		if s.pings > 0 {
			s.pings--
			return true, nil
		}
		return true, mqttMessages(mqttPingresp, 0)
	}), nil
}

// Idle is never true: a login may come at any time on a socket that the
// request has logged in, and AUTH after it.
func (s *mqttSpeaker) Idle() bool { return false }

// Foreign implements [Speaker]. What is too long is read in pieces, if it is
// binary: servers that take no text would lose their place by one of another
// length than the gate.
func (s *mqttSpeaker) Foreign(begin proxy.Message) bool { return begin.Binary }
