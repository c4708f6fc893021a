package dialect

import (
	"bytes"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

// Poller is a dialect whose clients may log in by a plain HTTP request, before
// they open a socket or instead.
type Poller interface {
	// Polls tells whether requests to path, as it is written in them, are
	// those of the transport and nothing else of the application's.
	Polls(path string) bool
	// PollingLogin looks for a credential in the body of a POST request. It
	// returns the credential and what is to be sent on in the body's place,
	// which is the body itself if found is false. The errors are
	// [ErrAmbiguous] and [ErrProtocol]; the request must be refused then.
	PollingLogin(body []byte) (credential string, forward []byte, found bool, err error)
}

// Polls compares exactly: servers take what else begins like this for their
// own, or for another part of the application, each in its way.
func (d *socketIO) Polls(path string) bool { return path == d.path }

// PollingLogin reads a payload of Engine.IO 4: packets with 0x1e between them,
// binary ones as b and base64. It may hold several CONNECT packets, of
// different namespaces, but not of different credentials. What is no such
// payload, as those of Engine.IO 3 and of JSONP, is ErrProtocol.
func (d *socketIO) PollingLogin(body []byte) (credential string, forward []byte, found bool, err error) {
	if len(body) == 0 {
		return "", body, false, nil
	}
	var all carried
	packets := bytes.Split(body, []byte{recordEnd})
	for i, packet := range packets {
		switch packetOf(packet) {
		case packetOther:
			continue
		case packetConnect:
		default:
			return "", nil, false, ErrProtocol
		}
		c, err := d.readConnect(packet)
		switch {
		case err != nil:
			return "", nil, false, err
		case !c.there:
			continue
		}
		if all, err = all.or(c.carried); err != nil {
			return "", nil, false, err
		}
		packets[i] = c.rest
	}
	if !all.there || !d.strip {
		return all.text, body, all.there, nil
	}
	return all.text, bytes.Join(packets, []byte{recordEnd}), true, nil
}

// connectPacket is a CONNECT packet, Socket.IO protocol 5.
type connectPacket struct {
	carried
	namespace namespace
	rest      []byte // a copy of the packet, without the credential
}

// packetKind is what a packet is.
type packetKind int

const (
	// packetForeign is none of Engine.IO's: no server takes it for one.
	packetForeign packetKind = iota
	// packetOther is one of the protocol's that carries no credential.
	packetOther
	// packetConnect is a CONNECT packet.
	packetConnect
	// packetBad is one that the protocol does not have, and that some servers
	// take for another.
	packetBad
)

// packetOf tells what a text packet of a client's is. Engine.IO has the types 1
// to 6, all but the message, 4, without data, and b for base64; Socket.IO has 0
// to 6 behind a 4. Servers read more: Python's int() takes the digits of all
// scripts, JavaScript's Number() takes nothing at all, and white space, for 0.
func packetOf(packet []byte) packetKind {
	switch string(packet[:min(len(packet), len(engineProbe)+1)]) {
	case engineClose, enginePing, enginePong, engineProbe, engineProbeOK, engineUpgrade, engineNoop:
		return packetOther
	}
	switch first, n := utf8.DecodeRune(packet); {
	case first == '4':
		return messageOf(packet[n:])
	case first == 'b':
		return packetOther
	case unicode.IsNumber(first):
		return packetBad
	default:
		return packetForeign
	}
}

// messageOf is packetOf for what stands behind the 4.
func messageOf(message []byte) packetKind {
	switch {
	case len(message) == 0:
		return packetBad
	case message[0] == '0':
		return packetConnect
	case message[0] >= '1' && message[0] <= '6':
		return packetOther
	default:
		return packetBad
	}
}

// couldConnect tells whether a message that is no packetConnect could be one to
// some server, or hold one. Servers of Java's take white space off, go by the
// lower half of a type's byte, so that D0 is 40, read the lengths that
// Engine.IO 3 has in front of packets, take several packets out of one message,
// and do the same with binary messages. If m is not whole, anything may follow it.
func couldConnect(m proxy.Message, whole bool) bool {
	if connectsLoosely(m.Data, m.Binary, whole) {
		return true
	}
	for rest := m.Data; ; {
		// Only to the next border, so that many packets cost no more than few.
		packet, behind, more := bytes.Cut(rest, []byte{recordEnd})
		if !m.Binary && connectsInText(packet) || connectsLoosely(packet, m.Binary, whole || more) {
			return true
		}
		if !more {
			return false
		}
		rest = behind
	}
}

// connectsInText tells whether a packet of a text message, which a server takes
// white space off, is a CONNECT packet or none of the protocol.
func connectsInText(packet []byte) bool {
	kind := packetOf(trimJSONSpace(packet))
	return kind == packetConnect || kind == packetBad
}

// connectsLoosely tells whether a packet is a CONNECT packet with a namespace or
// an object to some server. Attachments are binary and may hold any bytes, so
// that in them only what could hold a credential counts.
func connectsLoosely(packet []byte, binary, whole bool) bool {
	trimmed := trimJSONSpace(packet)
	for _, p := range [][]byte{packet, trimmed, behindLength(packet), behindLength(trimmed)} {
		if len(p) <= len(socketIOConnect) || p[0]&0xf != 4 || p[1]&0xf != 0 {
			continue
		}
		rest := p[len(socketIOConnect):]
		if !binary && (rest[0] == '/' || rest[0] == '{') || binary && couldAuthenticate(rest, whole) {
			return true
		}
	}
	return false
}

// couldAuthenticate tells whether what stands behind the type of a CONNECT packet
// in a binary message has a namespace with a query, or what could be JSON.
func couldAuthenticate(rest []byte, whole bool) bool {
	if rest[0] == '/' {
		n := bytes.IndexAny(rest, "?,")
		switch {
		case n < 0:
			return !whole // the name may have no end yet
		case rest[n] == '?':
			return utf8.Valid(rest[:n])
		}
		rest = rest[n+1:]
	}
	return beginsLikeJSON(rest) && couldBeJSON(rest, whole)
}

// maxLengthHead is how long what stands for the length of a packet is at most.
const maxLengthHead = 10

// behindLength returns what follows the length that Engine.IO 3 has in front of
// a packet, in text or binary; nothing if there is none.
func behindLength(p []byte) []byte {
	head := p[:min(len(p), maxLengthHead)]
	if i := bytes.IndexAny(head, ":?"); i > 0 && (p[0] == 0 || p[0] >= '0' && p[0] <= '9') {
		return p[i+1:]
	}
	if i := bytes.IndexByte(head, 0xff); i > 0 && p[0] <= 1 {
		return p[i+1:]
	}
	return nil
}

// readConnect reads a packetConnect. What real clients never send is an error,
// because servers read it in various ways: their parser skips digits and white
// space in front of the object, for instance.
func (d *socketIO) readConnect(packet []byte) (c connectPacket, err error) {
	object := packet[len(socketIOConnect):]
	if len(object) > 0 && object[0] == '/' {
		name, rest, _ := bytes.Cut(object, []byte{','})
		c.namespace, object = namespace(name), rest
	}
	if c.carried, err = d.inQuery(c.namespace); err != nil {
		return c, err
	}
	if len(object) == 0 {
		return c, nil
	}
	if object[0] != '{' {
		return c, ErrProtocol
	}
	found, err := d.auth.find(object)
	if err != nil {
		return c, err
	}
	inside, err := d.auth.credential(object, found)
	if err != nil {
		return c, err
	}
	if c.carried, err = c.or(inside); err != nil {
		return c, err
	}
	head := packet[:len(packet)-len(object)]
	c.rest = append(bytes.Clone(head), d.auth.cut(object, found)...)
	return c, nil
}

// inQuery returns the credential in the query of a namespace, which servers take
// for the auth of a client of Engine.IO 3.
func (d *socketIO) inQuery(ns namespace) (c carried, err error) {
	_, query, is := strings.Cut(string(ns), "?")
	if !is {
		return c, nil
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return c, ErrProtocol
	}
	for name, texts := range values {
		if !slices.ContainsFunc(d.names, func(step string) bool { return couldName(name, step) }) {
			continue
		}
		if d.strip || len(texts) > 1 || !slices.Contains(d.names, name) {
			return c, ErrProtocol
		}
		if c, err = c.or(carried{text: bearer(texts[0]), there: true}); err != nil {
			return c, err
		}
	}
	return c, nil
}

// couldName tells whether a server may find the parameter of a query under the
// name step, of which what stands in brackets is a part to some.
func couldName(name, step string) bool {
	name, _, _ = strings.Cut(name, "[")
	return sameLetters([]byte(strings.TrimSpace(name)), step)
}
