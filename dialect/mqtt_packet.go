package dialect

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"
)

// mqttReader reads the fields of one packet in their order. After the first
// that is not there, or not as it must be, bad is set and all others are
// empty.
type mqttReader struct {
	b   []byte
	at  int
	bad bool
}

// bytes returns the next n bytes.
func (r *mqttReader) bytes(n int) []byte {
	if r.bad || n > len(r.b)-r.at {
		r.bad = true
		return nil
	}
	r.at += n
	return r.b[r.at-n : r.at]
}

// byte returns the next byte.
func (r *mqttReader) byte() byte {
	if b := r.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

// binary returns binary data, MQTT 5.0 section 1.5.6.
func (r *mqttReader) binary() []byte {
	size := r.bytes(2)
	if r.bad {
		return nil
	}
	return r.bytes(int(binary.BigEndian.Uint16(size)))
}

// text returns a UTF-8 encoded string, MQTT 5.0 section 1.5.4: without U+0000,
// without surrogates.
func (r *mqttReader) text() []byte {
	b := r.binary()
	if !utf8.Valid(b) || bytes.IndexByte(b, 0) >= 0 {
		r.bad = true
		return nil
	}
	return b
}

// number returns a variable byte integer, MQTT 5.0 section 1.5.5, which must
// be as short as it can.
func (r *mqttReader) number() int {
	n := 0
	for shift := 0; shift <= maxLengthShift; shift += 7 {
		b := r.byte()
		n |= int(b&0x7f) << shift
		if b&0x80 == 0 {
			r.bad = r.bad || b == 0 && shift > 0
			return n
		}
	}
	r.bad = true
	return 0
}

// mqttBytes is the inverse of binary.
func mqttBytes[T []byte | string](b T) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
}

// mqttNumber is the inverse of number.
func mqttNumber(n int) []byte {
	var out []byte
	for {
		b := byte(n & 0x7f)
		if n >>= 7; n == 0 {
			return append(out, b)
		}
		out = append(out, b|0x80)
	}
}

// mqttPacket returns a packet with its fixed header.
func mqttPacket(first byte, body []byte) []byte {
	return append(append([]byte{first}, mqttNumber(len(body))...), body...)
}

// mqttContent returns a packet's type with its flags, and what follows the
// fixed header. False means that the remaining length is not as short as it
// can be, or not what there is.
func mqttContent(packet []byte) (first byte, body []byte, ok bool) {
	r := mqttReader{b: packet}
	first = r.byte()
	if n := r.number(); r.bad || n != len(packet)-r.at {
		return 0, nil, false
	}
	return first, packet[r.at:], true
}

// The properties that are looked at: MQTT 5.0 section 2.2.2.2.
const (
	mqttAuthMethod   = 0x15
	mqttAuthData     = 0x16
	mqttUserProperty = 0x26
)

// mqttField is how a property's value is encoded.
type mqttField uint8

const (
	mqttOne mqttField = iota + 1
	mqttTwo
	mqttFour
	mqttText
	mqttBinary
	mqttPair
)

// mqttProperties are the properties that a packet, or a will, may have.
type mqttProperties map[byte]mqttField

// Which they are: MQTT 5.0 section 3.1.2.11, 3.1.3.2, 3.15.2.2.
var (
	mqttConnectProperties = mqttProperties{
		0x11: mqttFour, 0x17: mqttOne, 0x19: mqttOne, 0x21: mqttTwo, 0x22: mqttTwo, 0x27: mqttFour,
		mqttAuthMethod: mqttText, mqttAuthData: mqttBinary, mqttUserProperty: mqttPair,
	}
	mqttWillProperties = mqttProperties{
		0x01: mqttOne, 0x02: mqttFour, 0x03: mqttText, 0x08: mqttText, 0x09: mqttBinary, 0x18: mqttFour,
		mqttUserProperty: mqttPair,
	}
	mqttAuthProperties = mqttProperties{
		0x1f: mqttText, mqttAuthMethod: mqttText, mqttAuthData: mqttBinary, mqttUserProperty: mqttPair,
	}
)

// mqttProperty is one property, and where in the packet's body it lies.
type mqttProperty struct {
	start, end int
	value      []byte
}

// is tells whether the property was there.
func (p mqttProperty) is() bool { return p.end > 0 }

// enhanced is what properties say about enhanced authentication, MQTT 5.0
// section 4.12.
type enhanced struct{ method, data mqttProperty }

// properties reads a list of properties, with the length in front. Only user
// properties may be there twice, and data only with a method.
func (r *mqttReader) properties(known mqttProperties) enhanced {
	var e enhanced
	size := r.number()
	end := r.at + size
	if end > len(r.b) {
		r.bad = true
	}
	seen := uint64(0)
	for !r.bad && r.at < end {
		start := r.at
		id := r.byte()
		value := r.field(known[id])
		if id != mqttUserProperty && seen&(1<<id) != 0 {
			r.bad = true
		}
		seen |= 1 << id
		switch id {
		case mqttAuthMethod:
			e.method = mqttProperty{start, r.at, value}
		case mqttAuthData:
			e.data = mqttProperty{start, r.at, value}
		}
	}
	if r.at != end || e.data.is() && !e.method.is() {
		r.bad = true
	}
	return e
}

// field reads a value.
func (r *mqttReader) field(kind mqttField) []byte {
	switch kind {
	case mqttOne:
		return r.bytes(1)
	case mqttTwo:
		return r.bytes(2)
	case mqttFour:
		return r.bytes(4)
	case mqttText:
		return r.text()
	case mqttBinary:
		return r.binary()
	case mqttPair:
		r.text()
		return r.text()
	default:
		r.bad = true
		return nil
	}
}

// mqttAuthPacket is an AUTH packet, MQTT 5.0 section 3.15.
type mqttAuthPacket struct {
	reason       byte
	method, data string
}

// The reason codes of an AUTH packet of the client's: it answers the server, or
// renews its credential. MQTT 5.0 section 3.15.2.1.
const (
	mqttContinue       = 0x18
	mqttReauthenticate = 0x19
)

// parseMQTTAuth reads an AUTH packet. The error is ErrProtocol.
func parseMQTTAuth(packet []byte) (mqttAuthPacket, error) {
	first, body, ok := mqttContent(packet)
	if !ok || first != mqttAuth {
		return mqttAuthPacket{}, ErrProtocol
	}
	if len(body) == 0 {
		return mqttAuthPacket{}, nil // success, and no properties
	}
	r := mqttReader{b: body}
	reason := r.byte()
	e := r.properties(mqttAuthProperties)
	if r.bad || r.at != len(body) {
		return mqttAuthPacket{}, ErrProtocol
	}
	return mqttAuthPacket{reason, string(e.method.value), string(e.data.value)}, nil
}
