package dialect

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

// STOMPConfig configures STOMP 1.0 to 1.2. The zero value looks at the headers
// that are in use, and takes the credential out.
type STOMPConfig struct {
	// Credential are the headers of CONNECT and STOMP frames that may carry
	// the credential, in any case. Default: Authorization, passcode,
	// access_token and token.
	Credential []string
	// Pass is what happens to the credential once it is good: forward hands
	// the frame on as it came, strip (default) cuts all headers out that
	// Credential names.
	Pass string
}

// stomp is the dialect.
type stomp struct {
	names map[string]bool
	strip bool
}

// NewSTOMP returns the dialect of STOMP over WebSockets. The error is for the
// operator.
//
// A leading "Bearer " is taken off the credential. A login in which two of the
// headers hold one is ambiguous: where clients send a passcode for the broker
// beside a token, name the token's header alone.
//
// STOMP has no word for a renewal. A refusal is an ERROR frame; the end of a
// credential is said by the close code alone, so that clients come back
// without showing an error.
func NewSTOMP(c STOMPConfig) (Dialect, error) {
	if len(c.Credential) == 0 {
		c.Credential = []string{"Authorization", "passcode", "access_token", "token"}
	}
	d := &stomp{names: make(map[string]bool, len(c.Credential))}
	for _, name := range c.Credential {
		key := stompName(name)
		switch {
		case key == "":
			return nil, errors.New("credential: the name of a header is empty: write one such as Authorization")
		case strings.ContainsAny(name, ":\r\n\\\x00"):
			return nil, fmt.Errorf("credential %q: write the name of a header, without colon, backslash or line end", name)
		case stompReserved[key]:
			return nil, fmt.Errorf("credential %q: the protocol itself uses this header: write another", name)
		case d.names[key]:
			return nil, fmt.Errorf("credential %q is given twice: names are the same in any case", name)
		}
		d.names[key] = true
	}
	pass, err := checkPass(c.Pass, passStrip, passForward, passStrip)
	if err != nil {
		return nil, err
	}
	d.strip = pass == passStrip
	return d, nil
}

// stompReserved are the headers of a login that cannot carry a credential.
var stompReserved = map[string]bool{
	"accept-version": true, "host": true, "heart-beat": true, "content-length": true, "content-type": true,
}

func (d *stomp) Traits() Traits {
	return Traits{Login: true, Subprotocols: []string{"v12.stomp", "v11.stomp", "v10.stomp"}}
}

func (d *stomp) Start(Opening) Speaker {
	return &stompSpeaker{d: d, outflow: outflow{given: &stompScanner{}}}
}

// stompSpeaker follows one socket. A message of the client's that ends inside
// a login has no part for that: it comes with the message that completes it.
type stompSpeaker struct {
	d *stomp
	outflow

	mu sync.Mutex // guards all that follows
	intake
	scan stompScanner
	// seen: the first frame has been read.
	seen bool
}

func (s *stompSpeaker) Client(st State, m proxy.Message) ([]Part, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.enter(st, s.scan.border())
	c := cutting{m: m}
	if st != Pending {
		s.release(&c)
	}
	for at := 0; at < len(m.Data); {
		p := s.scan.next(m.Data[at:])
		if err := s.chunk(&c, st, p, at); err != nil {
			return nil, err
		}
		at += p.n
	}
	return c.done(st), nil
}

// chunk adds the chunk of c.m that begins at at, if it can be judged.
func (s *stompSpeaker) chunk(c *cutting, st State, p chunk, at int) error {
	end := at + p.n
	if p.beat {
		s.beat(c, st, at, end)
		return nil
	}
	if p.first {
		s.hold = st == Pending && !s.seen && mayConnect(c.m.Data[at:end])
		s.seen = true
	}
	if !s.hold {
		c.data(at, end)
		return nil
	}
	if !s.keep(c.m, c.m.Data[at:end]) {
		return ErrProtocol
	}
	if !mayConnect(s.held) {
		s.release(c)
		return nil
	}
	if s.scan.state == stompLost {
		return ErrProtocol
	}
	if !p.last {
		return nil
	}
	frame := s.take()
	l, err := s.d.login(frame.Data)
	if err != nil {
		return err
	}
	part := Part{Kind: Login, Credential: l.credential}
	switch {
	case s.d.strip:
		part.Message = proxy.Message{Binary: frame.Binary, Data: l.rest}
		c.add(part)
	case len(frame.Data) == p.n:
		c.unit(part, at, end)
	default:
		part.Message = frame
		c.add(part)
	}
	return nil
}

// SkipClient implements [Skipper].
func (s *stompSpeaker) SkipClient(st State, p []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hold {
		return ErrProtocol
	}
	s.enter(st, s.scan.border())
	s.seen = true
	for len(p) > 0 {
		p = p[s.scan.next(p).n:]
	}
	return nil
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

// Idle is always true: no frame after the first is looked at.
func (s *stompSpeaker) Idle() bool { return true }

// stompErrors are the sentences for the ends of which a client is told.
var stompErrors = map[Event]string{
	Refused:     "the credential is missing or was refused",
	Forbidden:   "the credential does not permit this",
	Revoked:     "the credential is no longer valid",
	Timeout:     "no credential came in time",
	Unavailable: "the credential cannot be verified at present",
}

// Say says an ERROR frame where there is something that a user can act on.
func (s *stompSpeaker) Say(e Event, f Facts) Words {
	switch e { //nolint:exhaustive // the others change nothing here
	case Suspend, Renewed:
		s.mu.Lock()
		s.turned()
		s.mu.Unlock()
	}
	sentence, ok := stompErrors[e]
	if !ok {
		return Words{}
	}
	message := sentence
	if f.Reason != "" {
		message = stompEscape.Replace(f.Reason)
	}
	return Words{Messages: []proxy.Message{proxy.Text("ERROR\nmessage:" + message +
		"\ncontent-type:text/plain\ncontent-length:" + strconv.Itoa(len(sentence)) +
		"\n\n" + sentence + "\x00")}}
}

// stompEscape escapes the value of a header: STOMP 1.2, "Value Encoding". A
// NUL, for which there is no escape, is left out.
var stompEscape = strings.NewReplacer("\\", `\\`, "\r", `\r`, "\n", `\n`, ":", `\c`, "\x00", "")

// Foreign implements [Speaker]. What is too long is read in pieces.
func (s *stompSpeaker) Foreign(proxy.Message) bool { return true }
