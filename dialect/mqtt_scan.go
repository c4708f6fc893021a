package dialect

// The types of control packets, with the flags that belong to them: MQTT 5.0
// section 2.1.2, 2.1.3. mqttKind is the type without flags.
const (
	mqttKind = 0xf0

	mqttConnect     = 0x10
	mqttConnack     = 0x20
	mqttPublish     = 0x30 // with flags of its own
	mqttPuback      = 0x40
	mqttPubrec      = 0x50
	mqttPubrel      = 0x62
	mqttPubcomp     = 0x70
	mqttSubscribe   = 0x82
	mqttUnsubscribe = 0xa2
	mqttPingreq     = 0xc0
	mqttPingresp    = 0xd0
	mqttDisconnect  = 0xe0
	mqttAuth        = 0xf0
)

const (
	// mqttQoS are the flags of PUBLISH that hold the quality of service. Both
	// together are none: MQTT-3.3.1-4.
	mqttQoS = 0x06
	// mqttDup is the flag of a packet that is sent again. MQTT 3.1 section 2.1
	// also has it in those with a flag of their own.
	mqttDup = 0x08
)

// mqttMayBegin tells whether a client may send a packet, behind CONNECT, that
// begins with this byte. Those of the other direction, and flags that are
// reserved, are read in different ways.
func mqttMayBegin(first, level byte) bool {
	switch first {
	case mqttPuback, mqttPubrec, mqttPubrel, mqttPubcomp, mqttSubscribe, mqttUnsubscribe, mqttPingreq, mqttDisconnect:
		return true
	case mqttPubrel | mqttDup, mqttSubscribe | mqttDup, mqttUnsubscribe | mqttDup:
		return level == mqtt31
	case mqttAuth:
		return level == mqtt50
	default:
		return first&mqttKind == mqttPublish && first&mqttQoS != mqttQoS
	}
}

// mqttMaySize tells whether so many bytes may follow the fixed header. A server
// that knows the length of a packet by its type need not look at the length.
func mqttMaySize(first, level byte, size int) bool {
	switch first & mqttKind {
	case mqttPingreq & mqttKind:
		return size == 0
	case mqttDisconnect & mqttKind:
		return size == 0 || level == mqtt50
	case mqttPuback & mqttKind, mqttPubrec & mqttKind, mqttPubrel & mqttKind, mqttPubcomp & mqttKind:
		return size == 2 || level == mqtt50 && size > 2
	default:
		return true
	}
}

// mqttNames are what every CONNECT has in it, in small letters: the name of the
// protocol with its length in front, MQTT 5.0 section 3.1.2.1.
var mqttNames = [][]byte{[]byte("\x00\x04mqtt"), []byte("\x00\x06mqisdp")}

// mqttScanner finds the ends of MQTT control packets: MQTT 3.1.1 section 2.2,
// MQTT 5.0 section 2.1. The zero value stands before the first packet.
type mqttScanner struct {
	state mqttState
	// shift is how many bits of the remaining length have been read, left how
	// many bytes of the packet remain, total how many its length has told.
	shift, left, total int
	// padded: the length was not as short as it can be.
	padded bool
}

// mqttState is what the next byte of a stream is.
type mqttState uint8

const (
	mqttType mqttState = iota
	mqttLength
	mqttBody
	// mqttLost: the stream is not MQTT, and no border is to be found any more.
	mqttLost
)

// maxLengthShift is where the fourth and last byte of a remaining length
// begins, in bits.
const maxLengthShift = 21

func (s *mqttScanner) border() bool { return s.state == mqttType }

// size returns the remaining length of the packet at hand, or of the one that
// has just ended. False means that it is not known yet.
func (s *mqttScanner) size() (int, bool) {
	return s.total, s.state == mqttBody || s.state == mqttType
}

func (s *mqttScanner) clone() scanner {
	c := *s
	return &c
}

func (s *mqttScanner) next(p []byte) chunk {
	first := s.border()
	n := 0
	for n < len(p) {
		n += s.step(p[n:])
		if s.border() {
			return chunk{n: n, first: first, last: true}
		}
	}
	return chunk{n: n, first: first}
}

// step takes the bytes off p that are of one kind, and returns their number.
func (s *mqttScanner) step(p []byte) int {
	switch s.state {
	case mqttType:
		s.state, s.shift, s.left = mqttLength, 0, 0
		return 1
	case mqttLength:
		s.length(p[0])
		return 1
	case mqttBody:
		n := min(s.left, len(p))
		if s.left -= n; s.left == 0 {
			s.state = mqttType
		}
		return n
	default:
		return len(p)
	}
}

// length takes a byte of the remaining length.
func (s *mqttScanner) length(b byte) {
	s.left |= int(b&0x7f) << s.shift
	s.total, s.padded = s.left, b == 0 && s.shift > 0
	switch {
	case b&0x80 != 0 && s.shift == maxLengthShift:
		s.state = mqttLost
	case b&0x80 != 0:
		s.shift += 7
	case s.left == 0:
		s.state = mqttType
	default:
		s.state = mqttBody
	}
}
