package dialect

import (
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

// MQTTConfig configures MQTT 3.1, 3.1.1 and 5.0. The zero value takes the
// password for the credential and hands everything on as it came.
type MQTTConfig struct {
	// Credential is where CONNECT carries the credential: password (default),
	// username, or auth_data, which is the Authentication Data of MQTT 5.0.
	Credential string
	// AuthMethod is the Authentication Method of MQTT 5.0 with which clients
	// send a credential as Authentication Data, such as OAUTH2-JWT: in CONNECT
	// (instead of the field above) and, to renew it, in AUTH. Other methods
	// are the application's business. Empty means any method with Credential
	// auth_data, and none otherwise.
	AuthMethod string
	// Pass is what happens to the credential once it is good. forward
	// (default): the application gets every packet as it came, answers AUTH
	// packets, and must know AuthMethod if there is one. strip: the field is
	// taken out of CONNECT, and with AuthMethod the method and its data, too;
	// AUTH is answered here.
	Pass string
}

// Where CONNECT may carry a credential.
const (
	mqttInPassword = "password"
	mqttInUser     = "username"
	mqttInAuthData = "auth_data"
)

// mqtt is the dialect.
type mqtt struct {
	credential, method string
	strip              bool
}

// NewMQTT returns the dialect of MQTT over WebSockets: MQTT 3.1.1 section 6,
// MQTT 5.0 section 6. The error is for the operator.
//
// A leading "Bearer " is taken off the credential. A CONNECT that carries both
// Authentication Data of AuthMethod and the other configured field is
// ambiguous. With pass strip a user name stays where only the password goes;
// where only the user name goes MQTT 3 gets an empty one, because it knows no
// password without.
//
// Renewal: a client that has named AuthMethod in CONNECT sends AUTH with
// reason 0x19. Others come back with a new connection. With pass strip the
// application's CONNACK names no method, although MQTT-4.12.0-5 demands it:
// mqtt.js takes that, a stricter client needs forward.
//
// Refusals: CONNACK 5 or 0x87 before the application has answered; later, in
// MQTT 5.0 only, DISCONNECT. Where the client shall come back as it is (an
// outage, a stop, a time-out or the end of the credential before CONNACK) it
// is told nothing but the close code: mqtt.js never tries again after a
// CONNACK that refuses.
func NewMQTT(c MQTTConfig) (Dialect, error) {
	d := &mqtt{credential: c.Credential, method: c.AuthMethod}
	switch c.Credential {
	case "":
		d.credential = mqttInPassword
	case mqttInPassword, mqttInUser, mqttInAuthData:
	default:
		return nil, fmt.Errorf("credential %q is not known here: "+
			"write credential password, credential username or credential auth_data", c.Credential)
	}
	if !utf8.ValidString(c.AuthMethod) || strings.ContainsRune(c.AuthMethod, 0) || len(c.AuthMethod) > maxAuthMethod {
		return nil, fmt.Errorf("auth_method %q: write at most %d bytes of UTF-8 without NUL", c.AuthMethod, maxAuthMethod)
	}
	pass, err := checkPass(c.Pass, passForward, passForward, passStrip)
	if err != nil {
		return nil, err
	}
	d.strip = pass == passStrip
	return d, nil
}

// maxAuthMethod is the longest AuthMethod, in bytes. MQTT allows 65535; no
// method that is in use comes near.
const maxAuthMethod = 255

func (d *mqtt) Traits() Traits {
	renew := d.method != "" || d.credential == mqttInAuthData
	return Traits{Login: true, Renew: renew, Subprotocols: []string{"mqtt", "mqttv3.1"}}
}

// serves tells whether an Authentication Method is this dialect's business.
func (d *mqtt) serves(method string) bool {
	if d.method == "" {
		return method != "" && d.credential == mqttInAuthData
	}
	return method == d.method
}

func (d *mqtt) Start(Opening) Speaker {
	return &mqttSpeaker{d: d, outflow: outflow{given: &mqttScanner{}}}
}

// mqttSpeaker follows one socket. A message of the client's that ends inside a
// packet that has to be read as a whole has no part for that packet: it comes
// with the message that completes it.
type mqttSpeaker struct {
	d *mqtt
	outflow

	mu sync.Mutex // guards all that follows
	intake
	scan mqttScanner
	// kind is the first byte of the packet at hand.
	kind byte
	// seen: the first packet has been read. level is that of the protocol, 0
	// if it is not known. method is the Authentication Method that the client
	// has named, if d serves it.
	seen   bool
	level  byte
	method string
	// pings is how many pings of the gate's own the application has not
	// answered yet.
	pings int
}

// mqttAuthContext is the context of an AUTH packet.
type mqttAuthContext struct{}

func (s *mqttSpeaker) Client(st State, m proxy.Message) ([]Part, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !m.Binary {
		// MQTT 5.0 section 6: the server must close, and does.
		s.scan.state = mqttLost
	}
	s.enter(st, s.scan.border())
	c := cutting{m: m}
	for at := 0; at < len(m.Data); {
		p := s.scan.next(m.Data[at:])
		if err := s.chunk(&c, st, p, at); err != nil {
			return nil, err
		}
		at += p.n
	}
	if s.scan.state == mqttLost {
		if st == Pending && !s.seen {
			return nil, ErrProtocol
		}
		s.seen = true
		s.release(&c)
	}
	return c.done(st), nil
}

// chunk adds the chunk of c.m that begins at at, if it can be judged.
func (s *mqttSpeaker) chunk(c *cutting, st State, p chunk, at int) error {
	end := at + p.n
	data := c.m.Data[at:end]
	if p.first {
		s.kind = data[0]
		s.hold = s.wanted(st)
		s.seen = s.seen || !s.hold
	}
	if s.hold && !s.keep(c.m, data) {
		if st == Pending || s.kind == mqttAuth {
			return ErrProtocol
		}
		s.seen = true
		s.release(c)
	}
	if !s.hold {
		c.data(at, end)
		return nil
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

// wanted tells whether the packet at hand has to be read.
func (s *mqttSpeaker) wanted(st State) bool {
	switch {
	case !s.seen:
		return s.kind&0xf0 == mqttConnect
	case st == Pending:
		return false
	case s.kind == mqttAuth:
		return s.method != ""
	default:
		return s.kind == mqttPingreq && st == Suspended
	}
}

// packet judges a packet that had to be read. Whole in what it returns stands
// for the packet as it came.
func (s *mqttSpeaker) packet(st State, packet []byte) (Part, error) {
	switch s.kind {
	case mqttAuth:
		return s.auth(packet)
	case mqttPingreq:
		return s.ping(st, packet), nil
	default:
		return s.connect(st, packet)
	}
}

// connect judges the CONNECT packet. A socket that is open already has an
// identity: then the packet tells no more than how the client speaks.
func (s *mqttSpeaker) connect(st State, packet []byte) (Part, error) {
	s.seen = true
	p, err := parseMQTTConnect(packet)
	if err != nil {
		if st == Pending {
			return Part{}, err
		}
		return Part{Whole: true}, nil
	}
	s.level = p.level
	if method := string(p.enhanced.method.value); s.d.serves(method) {
		s.method = method
	}
	part := Part{Whole: true}
	if st == Pending {
		part.Kind = Login
		if part.Credential, err = s.find(p); err != nil {
			return Part{}, err
		}
	}
	if s.d.strip {
		open := st != Pending
		user, password := s.d.credential == mqttInUser && !open, s.d.credential == mqttInPassword && !open
		part.Whole = false
		part.Message = proxy.Message{Binary: true, Data: p.without(user, password, s.method != "")}
	}
	return part, nil
}

// find returns the credential in p, empty if there is none.
func (s *mqttSpeaker) find(p *mqttConnectPacket) (string, error) {
	var field, data string
	switch s.d.credential {
	case mqttInPassword:
		field = string(p.password.value)
	case mqttInUser:
		field = string(p.user.value)
	}
	if s.method != "" {
		data = string(p.enhanced.data.value)
	}
	if field != "" && data != "" {
		return "", ErrAmbiguous
	}
	return bearer(field + data), nil
}

// auth judges an AUTH packet of a client that has named a method of ours.
func (s *mqttSpeaker) auth(packet []byte) (Part, error) {
	p, err := parseMQTTAuth(packet)
	if err != nil {
		return Part{}, err
	}
	if p.method != s.method { // MQTT-4.12.0-5
		return Part{}, ErrProtocol
	}
	if p.reason != mqttReauthenticate {
		if s.d.strip { // an exchange that nobody has begun
			return Part{}, ErrProtocol
		}
		return Part{Whole: true}, nil
	}
	return Part{
		Kind: Login, Credential: bearer(p.data), Whole: !s.d.strip, Nothing: s.d.strip,
		Context: mqttAuthContext{},
	}, nil
}

// ping judges a PINGREQ that was begun while the socket is suspended: both
// sides see a sign of life within the time of their keep alive.
func (s *mqttSpeaker) ping(st State, packet []byte) Part {
	if len(packet) != 2 { // a PINGREQ has no content
		return Part{Whole: true}
	}
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

// SkipClient implements [Skipper].
func (s *mqttSpeaker) SkipClient(st State, p []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.enter(st, s.scan.border())
	for len(p) > 0 {
		c := s.scan.next(p)
		if c.first {
			s.kind = p[0]
			s.hold = s.wanted(st) && s.kind == mqttAuth
			s.seen = true
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

// Idle tells whether the protocol level is known, and with it the words for
// the end.
func (s *mqttSpeaker) Idle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen && !s.hold
}

// Foreign implements [Speaker]. What is too long is read in pieces.
func (s *mqttSpeaker) Foreign(proxy.Message) bool { return true }
