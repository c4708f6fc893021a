package dialect

import (
	"bytes"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

// The members of a message.
const (
	phoenixJoinRef = iota
	phoenixRef
	phoenixTopic
	phoenixEvent
	phoenixPayload
	phoenixAccessToken // within the payload
)

// Where the members stand: in arrays by their number, in objects by name.
var (
	phoenixArray  = []string{"0", "1", "2", "3", "4"}
	phoenixObject = []string{"join_ref", "ref", "topic", "event", "payload"}
)

// phoenixHeads returns the pointers to the members, and to what the event
// access_token carries.
func phoenixHeads(members []string) []pointer {
	heads := make([]pointer, 0, len(members)+1)
	for _, m := range members {
		heads = append(heads, pointer{m})
	}
	return append(heads, pointer{members[phoenixPayload], "access_token"})
}

// below returns the pointers to the same places within a member.
func below(member string, places []pointer) []pointer {
	inner := make([]pointer, 0, len(places))
	for _, p := range places {
		inner = append(inner, append(pointer{member}, p...))
	}
	return inner
}

// phoenixMessage is a message that has been read.
type phoenixMessage struct {
	data   []byte
	found  []span
	places *placed
	array  bool
}

// is tells whether the member is the text.
func (m *phoenixMessage) is(member int, text string) bool {
	return m.found[member].equals(m.data, text)
}

// couldBe tells it for a message that is ambiguous.
func (m *phoenixMessage) couldBe(member int, text string) bool {
	return m.found[member].couldBe(m.data, text)
}

// read reads a message in either form. The errors are those of finder.find.
func (d *phoenix) read(m proxy.Message) (*phoenixMessage, error) {
	msg := &phoenixMessage{data: m.Data, places: d.objects}
	if bytes.HasPrefix(bytes.TrimLeft(m.Data, " \t\r\n"), []byte("[")) {
		msg.places, msg.array = d.arrays, true
	}
	var err error
	msg.found, err = msg.places.findIn(m)
	return msg, err
}

// phoenixPush is the kind of a binary push.
const phoenixPush = 0

// phoenixPushEvent returns the event of a binary push, Phoenix.Socket.V2: a
// kind of 0, the lengths of join_ref, ref, topic and event in a byte each, these
// four, and the payload. is tells whether m is one.
func phoenixPushEvent(m proxy.Message) (event string, is bool) {
	const head = 5
	if !m.Binary || len(m.Data) < head || m.Data[0] != phoenixPush {
		return "", false
	}
	start := head + int(m.Data[1]) + int(m.Data[2]) + int(m.Data[3])
	end := start + int(m.Data[4])
	if end > len(m.Data) {
		return "", false
	}
	return string(m.Data[start:end]), true
}

// scalar returns a member as it stands there, or null where it is neither a
// text nor a number.
func (m *phoenixMessage) scalar(member int) string {
	s := m.found[member]
	if !s.is() {
		return "null"
	}
	if c := m.data[s.start]; c != '"' && c != '-' && (c < '0' || c > '9') {
		return "null"
	}
	return string(s.raw(m.data))
}

// refs returns what an answer to the message repeats.
func (m *phoenixMessage) refs() phoenixRefs {
	return phoenixRefs{
		array:   m.array,
		joinRef: m.scalar(phoenixJoinRef),
		ref:     m.scalar(phoenixRef),
		topic:   m.scalar(phoenixTopic),
	}
}

// phoenixRefs is the Context of a join: what its answer repeats, as JSON, in
// the form in which the client speaks.
type phoenixRefs struct {
	array               bool
	joinRef, ref, topic string
}

// message returns a message with the same references.
func (r phoenixRefs) message(event, payload string) string {
	if r.array {
		return `[` + r.joinRef + `,` + r.ref + `,` + r.topic + `,"` + event + `",` + payload + `]`
	}
	return `{"topic":` + r.topic + `,"event":"` + event + `","payload":` + payload + `,"ref":` + r.ref + `}`
}

// reply returns the answer to the message. response is JSON.
func (r phoenixRefs) reply(status, response string) string {
	return r.message("phx_reply", `{"status":"`+status+`","response":`+response+`}`)
}
