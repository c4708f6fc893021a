package dialect

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

// ActionCableConfig is how the dialect actioncable is configured.
type ActionCableConfig struct {
	// Credential are JSON pointers to a credential in the client's commands.
	// Where the protocol has JSON within a text, they lead into it:
	// /identifier/token is a parameter of the channel, /data/token is one of
	// an action. At most one credential may stand there. Default: none, the
	// credential comes with the request, as with AnyCable.
	Credential []string
	// Pass is forward or strip: whether the application sees the credential.
	// Nothing can be taken out of an identifier, by which clients know their
	// subscription again. Default: forward.
	Pass string
}

// Subprotocols of Action Cable, and of AnyCable's extension.
const (
	cableProtocol    = "actioncable-v1-json"
	cableProtocolExt = "actioncable-v1-ext-json"
)

// NewActionCable returns the dialect of Action Cable and AnyCable, in JSON.
// The protocol has no place for a credential; some applications put one into
// the commands subscribe and message. An error names the word that is wrong.
func NewActionCable(c ActionCableConfig) (Dialect, error) {
	pass, err := checkPass(c.Pass, passForward, passForward, passStrip)
	if err != nil {
		return nil, err
	}
	places, err := parsePlaces(c.Credential, nil)
	if err != nil {
		return nil, err
	}
	d := &actionCable{strip: pass == passStrip, reads: len(places) > 0}
	var outer, identifier, data []pointer
	for i, p := range places {
		switch {
		case len(p) > 1 && p[0] == "identifier" && d.strip:
			return nil, fmt.Errorf("pass strip: %s stands in the identifier, "+
				"by which clients know their subscription again: write pass forward", c.Credential[i])
		case len(p) > 1 && p[0] == "identifier":
			identifier = append(identifier, p[1:])
		case len(p) > 1 && p[0] == "data":
			data = append(data, p[1:])
		default:
			outer = append(outer, p)
		}
	}
	if len(identifier) > 0 && len(identifier) < len(places) {
		return nil, errors.New("credential: what stands in the identifier is repeated in every command, " +
			"so that no other place can hold one beside it: name either pointers into /identifier, or others")
	}
	d.login = len(outer)+len(identifier) > 0
	d.repeated = len(identifier) > 0
	d.outer = newPlaced(cableHeads, outer)
	d.identifier, d.data = newPlaced(nil, identifier), newPlaced(nil, data)
	return d, nil
}

// What tells a command or a message apart, and where.
const (
	cableCommand = iota
	cableType
	cableIdentifier
	cableData
	cableMessage
)

var cableHeads = []pointer{{"command"}, {"type"}, {"identifier"}, {"data"}, {"message"}}

// actionCable is the dialect as configured, and its only speaker's.
type actionCable struct {
	outer, identifier, data *placed

	strip bool
	reads bool // any command can carry a credential
	login bool // so can subscribe
	// repeated: every command repeats the credential of the subscription it is
	// for, so that only subscribe can bring a new one.
	repeated bool
}

func (d *actionCable) Traits() Traits {
	t := Traits{
		Login:        d.login,
		Renew:        d.reads,
		ServerFirst:  true,
		Subprotocols: []string{cableProtocol, cableProtocolExt},
	}
	if d.reads {
		t.Unread = []string{"lp"} // AnyCable's
	}
	return t
}

func (d *actionCable) Start(o Opening) Speaker {
	return &cableSpeaker{actionCable: d, extended: o.Subprotocol == cableProtocolExt}
}

// cableSpeaker follows one socket.
type cableSpeaker struct {
	*actionCable
	extended bool // AnyCable's extension is spoken
}

// Idle is false where a command may carry a credential.
func (s *cableSpeaker) Idle() bool { return !s.reads }

// Foreign implements Speaker.
func (s *cableSpeaker) Foreign(begin proxy.Message) bool { return !s.reads || foreignJSON(begin) }

// subscription is the Context of a subscribe command: its identifier as JSON.
type subscription string

// The words of the gate's own.
const (
	cablePong   = `{"command":"pong"}`
	cablePinged = `{"type":"ping","message":`
)

func (s *cableSpeaker) Client(st State, m proxy.Message) ([]Part, error) {
	switch {
	case s.reads && begunWithout(m.Data) && refusedWithout(st, m, s.Client):
		return nil, ErrProtocol
	case !s.reads && m.Binary || st == Open && !(s.reads && mayHold(m, "subscribe", "message")):
		return asWhole, nil
	}
	found, err := s.outer.findIn(m)
	command := found[cableCommand]
	if err != nil {
		if !s.reads {
			return asWhole, nil
		}
		return unread(err, command.couldBe(m.Data, "subscribe") || command.couldBe(m.Data, "message"))
	}
	carries := s.reads && (command.equals(m.Data, "subscribe") ||
		!s.repeated && command.equals(m.Data, "message") && st != Pending)
	switch {
	case carries && m.Binary:
		return inBinary(st)
	case carries:
		return s.carrier(m, found, st == Pending)
	case command.equals(m.Data, "pong") && !m.Binary:
		return clientLife(st, texts(cablePong), nil), nil
	}
	return asWhole, nil
}

// carrier takes apart a command that can carry a credential, or must.
func (s *cableSpeaker) carrier(m proxy.Message, found []span, must bool) ([]Part, error) {
	credential, err := s.read(m.Data, found)
	if err != nil {
		return nil, err
	}
	if !credential.there && !must {
		return asWhole, nil
	}
	p := Part{Kind: Login, Credential: credential.text, Whole: true}
	if found[cableIdentifier].is() {
		p.Context = subscription(found[cableIdentifier].raw(m.Data))
	}
	if s.strip && credential.there {
		p.Whole, p.Message = false, proxy.Message{Data: s.cut(m.Data, found[cableData])}
	}
	return []Part{p}, nil
}

// read returns the credential of a command, which may stand in the command
// itself, in its identifier and in its data, but only one.
func (s *cableSpeaker) read(command []byte, found []span) (carried, error) {
	credential, err := s.outer.credential(command, found)
	if err != nil {
		return carried{}, err
	}
	for _, inner := range []struct {
		at     span
		places *placed
	}{{found[cableIdentifier], s.identifier}, {found[cableData], s.data}} {
		if len(inner.places.places) == 0 || !inner.at.is() || string(inner.at.raw(command)) == "null" {
			continue
		}
		text, is := inner.at.text(command)
		if !is { // some take the object itself
			return carried{}, ErrProtocol
		}
		spans, err := inner.places.find([]byte(text))
		if errors.Is(err, errForeign) {
			continue
		}
		if err != nil {
			return carried{}, err
		}
		one, err := inner.places.credential([]byte(text), spans)
		if err != nil {
			return carried{}, err
		}
		if credential, err = credential.or(one); err != nil {
			return carried{}, err
		}
	}
	return credential, nil
}

// cut returns a copy of a command, which has been read, without its
// credential, which stands in the command or in its data.
func (s *cableSpeaker) cut(command []byte, data span) []byte {
	out := command
	if text, is := data.text(command); is && len(s.data.places) > 0 {
		inner := []byte(text)
		if spans, err := s.data.find(inner); err == nil {
			inner = s.data.cut(inner, spans)
		}
		out = bytes.Clone(command[:data.start])
		out, _ = jsontext.AppendQuote(out, inner) // it was quoted before
		out = append(out, command[data.end:]...)
	}
	found, err := s.outer.find(out)
	if err != nil {
		return nil // cannot be: it has been read
	}
	return s.outer.cut(out, found)
}

// App is asked for the greeting and for signs of life only.
func (s *cableSpeaker) App(st State, m proxy.Message) ([]Part, error) {
	if m.Binary {
		return asWhole, nil
	}
	found, err := s.outer.find(m.Data)
	switch kind := found[cableType]; {
	case err != nil:
	case kind.equals(m.Data, "welcome"):
		return []Part{{Kind: Harmless, Whole: true}}, nil
	case kind.equals(m.Data, "ping"):
		return appLife(st, texts(cablePinged+pingTime(m.Data, found[cableMessage])+"}"), texts(cablePong)), nil
	}
	return asWhole, nil
}

// pingTime returns the application's time in a ping as it stands there, or
// null if it is no number.
func pingTime(data []byte, message span) string {
	const longest = 24
	if !message.is() || message.end-message.start > longest {
		return "null"
	}
	if c := data[message.start]; c != '-' && (c < '0' || c > '9') {
		return "null"
	}
	return string(message.raw(data))
}

// Say ends a socket with a disconnect message, whose reconnect tells clients
// whether to come back; the close code means nothing to them. What it leaves
// unsaid is an end after which they come back.
func (s *cableSpeaker) Say(e Event, f Facts) Words {
	switch e {
	case Refused, Forbidden:
		return cableDisconnect("unauthorized", false)
	case Expired, Revoked:
		// AnyCable's client asks for a new token only where it is told not to
		// come back by itself; the one of Rails asks for its URL each time.
		return cableDisconnect("token_expired", !s.extended)
	case Stop:
		return cableDisconnect("server_restart", true)
	case NotRenewed:
		if id, ok := f.Context.(subscription); ok {
			return Words{Messages: texts(`{"identifier":` + string(id) + `,"type":"reject_subscription"}`)}
		}
	default:
	}
	return Words{}
}

// cableDisconnect returns the disconnect message of Action Cable.
func cableDisconnect(reason string, reconnect bool) Words {
	return Words{Messages: texts(fmt.Sprintf(`{"type":"disconnect","reason":%q,"reconnect":%t}`, reason, reconnect))}
}
