package dialect

// The types of control packets that are looked at, with the flags that
// belong to them: MQTT 5.0 section 2.1.2, 2.1.3.
const (
	mqttConnect    = 0x10
	mqttConnack    = 0x20
	mqttPingreq    = 0xc0
	mqttPingresp   = 0xd0
	mqttDisconnect = 0xe0
	mqttAuth       = 0xf0
)

// mqttScanner finds the ends of MQTT control packets: MQTT 3.1.1 section 2.2,
// MQTT 5.0 section 2.1. The zero value stands before the first packet.
type mqttScanner struct {
	state mqttState
	// shift is how many bits of the remaining length have been read, left how
	// many bytes of the packet remain.
	shift, left int
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
