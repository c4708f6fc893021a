package dialect

import "bytes"

// The connect flags, MQTT 5.0 section 3.1.2.3.
const (
	mqttReserved  = 0x01
	mqttWill      = 0x04
	mqttWillQoS   = 0x18
	mqttWillFlags = 0x38 // QoS and retain, which need a will
	mqttPassword  = 0x40
	mqttUser      = 0x80
)

// The protocol levels, MQTT 5.0 section 3.1.2.2.
const (
	mqtt31  = 3
	mqtt311 = 4
	mqtt50  = 5
)

// mqttConnectPacket is a CONNECT packet: MQTT 3.1 section 3.1, MQTT 3.1.1
// section 3.1, MQTT 5.0 section 3.1. Places are offsets in body.
type mqttConnectPacket struct {
	// body is what follows the fixed header.
	body  []byte
	level byte
	flags int
	// size and properties are where the properties' length and the properties
	// begin, tail is what follows them. All are zero before MQTT 5.0.
	size, properties, tail int
	enhanced               enhanced
	// user and password are the fields with their lengths, and their values.
	user, password mqttProperty
}

// parseMQTTConnect reads a CONNECT packet, and refuses what a server must
// refuse, so that no server behind reads it in another way. The error is
// ErrProtocol. What is returned refers to packet.
func parseMQTTConnect(packet []byte) (*mqttConnectPacket, error) {
	first, body, ok := mqttContent(packet)
	if !ok || first != mqttConnect {
		return nil, ErrProtocol
	}
	r := mqttReader{b: body}
	p := &mqttConnectPacket{body: body}
	name := string(r.text())
	p.level = r.byte()
	p.flags = r.at
	flags := r.byte()
	r.bytes(2) // keep alive
	if r.bad || !mqttVersion(name, p.level) || !mqttFlags(flags, p.level) {
		return nil, ErrProtocol
	}
	if p.level == mqtt50 {
		p.size = r.at
		n := r.number()
		p.properties, p.tail = r.at, r.at+n
		r.at = p.size
		p.enhanced = r.properties(mqttConnectProperties)
	}
	p.payload(&r, flags)
	if r.bad || r.at != len(body) {
		return nil, ErrProtocol
	}
	return p, nil
}

// payload reads the payload, section 3.1.3.
func (p *mqttConnectPacket) payload(r *mqttReader, flags byte) {
	r.text() // client identifier
	if flags&mqttWill != 0 {
		if p.level == mqtt50 {
			r.properties(mqttWillProperties)
		}
		r.text() // topic
		r.binary()
	}
	if start := r.at; flags&mqttUser != 0 {
		value := r.text()
		p.user = mqttProperty{start, r.at, value}
	}
	if start := r.at; flags&mqttPassword != 0 {
		value := r.binary()
		p.password = mqttProperty{start, r.at, value}
	}
}

// mqttVersion tells whether name and level are those of a version of MQTT.
func mqttVersion(name string, level byte) bool {
	switch level {
	case mqtt31:
		return name == "MQIsdp"
	case mqtt311, mqtt50:
		return name == "MQTT"
	default:
		return false
	}
}

// mqttFlags tells whether the connect flags go together: MQTT 3.1.1 section
// 3.1.2.3 to 3.1.2.9. Only MQTT 5.0 knows a password without a user name.
func mqttFlags(flags, level byte) bool {
	switch {
	case flags&mqttReserved != 0, flags&mqttWillQoS == mqttWillQoS:
		return false
	case flags&mqttWill == 0 && flags&mqttWillFlags != 0:
		return false
	default:
		return level == mqtt50 || flags&mqttPassword == 0 || flags&mqttUser != 0
	}
}

// mqttEdit replaces the bytes of a body from start to end.
type mqttEdit struct {
	start, end int
	with       []byte
}

// without returns the packet without some of its fields. All other bytes stay
// as they are, but for the lengths and flags that tell of those fields. Where
// the password stays, MQTT 3 demands a user name: it becomes an empty one.
func (p *mqttConnectPacket) without(user, password, method bool) []byte {
	flags := p.body[p.flags]
	var edits []mqttEdit
	if method {
		edits = p.withoutMethod()
	}
	if user && p.user.is() {
		edit := mqttEdit{start: p.user.start, end: p.user.end}
		if p.level != mqtt50 && p.password.is() && !password {
			edit.with = mqttBytes("")
		} else {
			flags &^= mqttUser
		}
		edits = append(edits, edit)
	}
	if password && p.password.is() {
		edits = append(edits, mqttEdit{start: p.password.start, end: p.password.end})
		flags &^= mqttPassword
	}
	body := splice(p.body, edits)
	body[p.flags] = flags // no edit comes before it
	return mqttPacket(mqttConnect, body)
}

// withoutMethod returns the edits that take enhanced authentication out.
func (p *mqttConnectPacket) withoutMethod() []mqttEdit {
	method, data := p.enhanced.method, p.enhanced.data
	if !method.is() {
		return nil
	}
	size := p.tail - p.properties - (method.end - method.start) - (data.end - data.start)
	edits := []mqttEdit{
		{p.size, p.properties, mqttNumber(size)},
		{start: method.start, end: method.end},
	}
	if !data.is() {
		return edits
	}
	edit := mqttEdit{start: data.start, end: data.end}
	if data.start < method.start {
		return []mqttEdit{edits[0], edit, edits[1]}
	}
	return append(edits, edit)
}

// splice returns a copy of body with edits, which are in order.
func splice(body []byte, edits []mqttEdit) []byte {
	var out bytes.Buffer
	at := 0
	for _, e := range edits {
		out.Write(body[at:e.start])
		out.Write(e.with)
		at = e.end
	}
	out.Write(body[at:])
	return out.Bytes()
}
