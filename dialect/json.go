package dialect

import (
	"bytes"
	"errors"
	"slices"
	"strings"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

// jsonDialect is a configured JSON protocol.
type jsonDialect struct {
	prefix, separator string

	client *finder // of rules and allow
	size   int     // how much it finds
	rules  []*rule // a renewal's if it has one of its own, and that of a login
	allow  []condition

	app      *finder
	allowOut []condition

	greeting, accepted, renewed, refused, prompt, expired, suspended *template
	answers                                                          bool // one of them wants values of the message
	codes                                                            map[Event]proxy.CloseCode
}

// Traits implements Dialect.
func (d *jsonDialect) Traits() Traits { return Traits{Login: true, Every: true, Renew: true} }

// Start implements Dialect.
func (d *jsonDialect) Start(o Opening) Speaker {
	return &jsonSpeaker{d: d, every: o.Every, found: make([]span, d.size)}
}

// jsonSpeaker keeps nothing of what was said.
type jsonSpeaker struct {
	// one and found are for Client alone, and made once: messages come often.
	one   [1]Part
	found []span
	cut   []byte

	d     *jsonDialect
	every bool
}

// Client implements Speaker. A binary message carries no credential of its own:
// one that could to somebody is refused.
func (s *jsonSpeaker) Client(st State, m proxy.Message) ([]Part, error) {
	switch {
	case m.Binary && s.every:
		return []Part{{Kind: Login, Whole: true}}, nil
	case (s.d.prefix+s.d.separator != "" || begunWithout(m.Data)) && refusedWithout(st, m, s.Client):
		return nil, ErrProtocol
	case !s.every && st != Pending && !s.d.mayCarry(m):
		return asWhole, nil
	case s.d.separator == "":
		p, err := s.record(st, m)
		if err != nil {
			return nil, err
		}
		s.one[0] = p
		return s.one[:], nil
	}
	return s.d.records(m, func(record []byte) (Part, error) {
		p, err := s.record(st, proxy.Message{Binary: m.Binary, Data: record})
		if p.Kind == Login {
			st = Open // as far as the records behind it matter
		}
		return p, err
	})
}

// App implements Speaker.
func (s *jsonSpeaker) App(st State, m proxy.Message) ([]Part, error) {
	if st != Pending || m.Binary || len(s.d.allowOut) == 0 {
		return asWhole, nil
	}
	return s.d.records(m, func(record []byte) (Part, error) {
		body, _, _, _ := s.d.body(record)
		found := make([]span, len(s.d.allowOut))
		if s.d.app.find(body, found) == nil && anyHolds(s.d.allowOut, body, found) {
			return Part{Kind: Harmless, Whole: true}, nil
		}
		return Part{Whole: true}, nil
	})
}

// Idle implements Speaker. Any message may carry a credential.
func (s *jsonSpeaker) Idle() bool { return false }

// Foreign implements Speaker. What records there are behind the first one its
// beginning does not tell.
func (s *jsonSpeaker) Foreign(begin proxy.Message) bool {
	if s.d.separator != "" {
		return false
	}
	body, _, _, ok := s.d.body(begin.Data)
	if !ok && begin.Binary && s.d.couldBegin(bytes.ToValidUTF8(body, nil)) {
		return false
	}
	if !ok {
		return len(trimJSONSpace(body)) > 0 && !s.d.couldBegin(body)
	}
	return foreignJSON(proxy.Message{Binary: begin.Binary, Data: body})
}

// Say implements Speaker.
func (s *jsonSpeaker) Say(e Event, f Facts) Words {
	message, _ := f.Context.([]byte)
	var t *template
	switch e {
	case Opened:
		t = s.d.greeting
	case Accepted:
		t = s.d.accepted
	case Renewed:
		t = s.d.renewed
	case Prompt:
		t = s.d.prompt
	case Suspend:
		t = s.d.suspended
	case Expired:
		t = s.d.expired
	case NotRenewed, Refused, Forbidden, Revoked, Timeout, Unavailable:
		t = s.d.refused
	default: // silence
	}
	return Words{Messages: t.say(f, message, s.d.separator), Code: s.d.codes[e]}
}

// records has each record of a message read by read, which tells with Whole
// that the record goes on as it came. Data records beside each other are one
// part.
func (d *jsonDialect) records(m proxy.Message, read func(record []byte) (Part, error)) ([]Part, error) {
	if d.separator == "" {
		p, err := read(m.Data)
		if err != nil {
			return nil, err
		}
		return []Part{p}, nil
	}
	var parts []Part
	rest := bytes.Clone(m.Data)
	from := 0 // where the last part's data begin
	for at := 0; at < len(rest) || at == 0; {
		end := len(rest)
		if i := bytes.Index(rest[at:], []byte(d.separator)); i >= 0 {
			end = at + i + len(d.separator)
		}
		p, err := read(rest[at:end])
		if err != nil {
			return nil, err
		}
		last := len(parts) - 1
		switch {
		case p.Kind == Data && last >= 0 && parts[last].Kind == Data:
			parts[last].Message.Data = rest[from:end:end]
		default:
			if p.Whole {
				p.Whole, p.Message.Data = false, rest[at:end:end]
			}
			parts, from = append(parts, p), at
		}
		at = max(end, 1)
	}
	if len(parts) == 1 && parts[0].Kind == Data {
		return asWhole, nil
	}
	return parts, nil
}

// body returns the JSON text of a record, and what stands around it. ok tells
// whether the prefix stands in front of it.
func (d *jsonDialect) body(record []byte) (body, head, tail []byte, ok bool) {
	body = bytes.TrimSuffix(record, []byte(d.separator))
	tail = record[len(body):]
	if !bytes.HasPrefix(body, []byte(d.prefix)) {
		return body, nil, tail, false
	}
	return body[len(d.prefix):], record[:len(d.prefix)], tail, true
}

// couldBegin tells whether an application that is not strict may find the
// prefix at the beginning of a body that does not have it there.
func (d *jsonDialect) couldBegin(body []byte) bool {
	prefix := strings.TrimSpace(d.prefix)
	return prefix != "" && bytes.HasPrefix(trimJSONSpace(body), []byte(prefix))
}

// mayCarry tells, at almost no cost, whether a message can carry a credential.
func (d *jsonDialect) mayCarry(m proxy.Message) bool {
	for _, r := range d.rules {
		if r.possible(m.Data) {
			return true
		}
	}
	return writesOtherwise(m)
}

// rules are those that may be meant in a state, in the order they are tried.
func (s *jsonSpeaker) rules(st State) []*rule {
	if st == Pending {
		return s.d.rules[len(s.d.rules)-1:]
	}
	return s.d.rules
}

// record reads one record of the client's.
func (s *jsonSpeaker) record(st State, m proxy.Message) (Part, error) {
	body, _, _, prefixed := s.d.body(m.Data)
	found := s.found
	err := s.d.client.findIn(proxy.Message{Binary: m.Binary, Data: body}, found)
	unread := err != nil && !errors.Is(err, ErrAmbiguous)
	switch {
	case unread && s.every:
		return Part{Kind: Login, Whole: true}, nil // without a credential
	case !prefixed && s.d.couldBegin(body):
		return Part{}, ErrProtocol
	case unread && prefixed && !errors.Is(err, errForeign):
		return Part{}, err
	case unread:
		return Part{Whole: true}, nil
	case prefixed:
		r, err := s.meant(st, err, body, found)
		switch {
		case err != nil:
			return Part{}, err
		case r != nil && m.Binary && st != Pending:
			return Part{}, ErrProtocol
		case r != nil && !m.Binary:
			return s.credential(r, m.Data, found), nil
		}
	}
	return s.other(st, m, body, err), nil
}

// other is the part of a record that carries no credential. err is that of
// reading it.
func (s *jsonSpeaker) other(st State, m proxy.Message, body []byte, err error) Part {
	switch {
	case err == nil && st == Pending && !m.Binary && anyHolds(s.d.allow, body, s.found):
		return Part{Kind: Harmless, Whole: true}
	case s.every:
		return Part{Kind: Login, Whole: true, Context: s.context(err, body)}
	}
	return Part{Whole: true}
}

// meant returns the rule that a record, which was read with err, is one of, nil
// if it is one of none. The error is ErrAmbiguous if it is one of a rule's for
// some only of those who read it.
func (s *jsonSpeaker) meant(st State, err error, body []byte, found []span) (*rule, error) {
	if s.every {
		r := s.d.rules[len(s.d.rules)-1]
		if !found[r.credential].is() {
			return nil, nil //nolint:nilnil // see above
		}
		return r, err
	}
	for _, r := range s.rules(st) {
		switch {
		case err != nil && r.couldHold(body, found):
			return nil, err
		case err != nil:
		case r.holds(body, found):
			return r, nil
		case r.couldBeMeant(body, found):
			return nil, ErrAmbiguous
		}
	}
	return nil, nil //nolint:nilnil // see above
}

// credential is the part of a record that carries one, or should.
func (s *jsonSpeaker) credential(r *rule, record []byte, found []span) Part {
	body, head, tail, _ := s.d.body(record)
	at := found[r.credential]
	text, _ := at.text(body)
	p := Part{Kind: Login, Credential: bearer(text), Context: s.context(nil, body)}
	switch {
	case s.every || r.pass == passStrip && at.is():
		data := s.room(len(record) - (at.cutEnd - at.cutStart))
		data = append(append(data, head...), body[:at.cutStart]...)
		p.Message.Data = append(append(data, body[at.cutEnd:]...), tail...)
	case r.pass == passConsume:
		p.Nothing = true
	default:
		p.Whole = true
	}
	return p
}

// room returns a buffer for a message of n bytes: the last one's, where a
// message has only one part.
func (s *jsonSpeaker) room(n int) []byte {
	if s.d.separator != "" || n > maxKept {
		return make([]byte, 0, n)
	}
	s.cut = slices.Grow(s.cut[:0], n)
	return s.cut
}

// maxKept is the largest buffer that a speaker keeps.
const maxKept = 2 << 10

// context keeps the message for an answer, if one wants values of it.
func (s *jsonSpeaker) context(err error, body []byte) any {
	if err != nil || !s.d.answers {
		return nil
	}
	return bytes.Clone(body)
}
