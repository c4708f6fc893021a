package dialect

import (
	"bytes"
	"strconv"
	"strings"
)

// stompScanner finds the ends of STOMP frames, and the heart-beats between
// them: STOMP 1.2, "STOMP Frames", "Body", "Heart-beating". The end of line
// that may follow a frame counts as a heart-beat. The zero value stands before
// the first frame.
type stompScanner struct {
	state stompState
	// line is the beginning of the header line at hand, width how long that is
	// so far.
	line  [maxLengthLine]byte
	width int
	// left is how many bytes of the body remain; negative if no header has
	// told its length, so that it ends with the first NUL.
	left int
	// client: the stream is the client's, and lost as soon as servers could
	// read it in two ways. loggedIn: it has had its login, and has no other.
	client, loggedIn bool
	stompHead
}

// stompState is what the next byte of a stream belongs to.
type stompState uint8

const (
	stompGap stompState = iota // between frames
	stompCommand
	stompHeader
	stompCounted // a body of known length
	stompEnd     // the NUL after it
	stompText    // a body that ends with NUL
	// stompLost: the stream is not STOMP, and no border is to be found any
	// more.
	stompLost
)

const (
	contentLength = "content-length:"
	// maxLengthLine is how much of a header line is kept, in bytes: enough for
	// a length with some space around it.
	maxLengthLine = 64
)

func (s *stompScanner) border() bool { return s.state == stompGap }

func (s *stompScanner) clone() scanner {
	c := *s
	return &c
}

func (s *stompScanner) next(p []byte) chunk {
	first := s.border()
	if first {
		if n := len(p) - len(bytes.TrimLeft(p, "\r\n")); n > 0 {
			return chunk{n: n, first: true, last: true, beat: true}
		}
		s.state, s.left, s.stompHead = stompCommand, -1, stompHead{}
	}
	n := 0
	for n < len(p) {
		n += s.step(p[n:])
		if s.border() {
			return chunk{n: n, first: first, last: true}
		}
	}
	return chunk{n: n, first: first}
}

// step takes the bytes off p that belong to one thing, and returns their
// number.
func (s *stompScanner) step(p []byte) int {
	switch s.state {
	case stompCommand, stompHeader:
		return s.head(p)
	case stompCounted:
		n := min(s.left, len(p))
		if s.left -= n; s.left == 0 {
			s.state = stompEnd
		}
		return n
	case stompEnd:
		if s.state = stompLost; p[0] == 0 {
			s.state = stompGap
		}
		return 1
	case stompText:
		n := bytes.IndexByte(p, 0)
		if n < 0 {
			return len(p)
		}
		s.state = stompGap
		return n + 1
	default:
		return len(p)
	}
}

// head takes the command or a header line, or what there is of it.
func (s *stompScanner) head(p []byte) int {
	n := bytes.IndexByte(p, '\n')
	line := p
	if n >= 0 {
		line = p[:n]
	}
	if bytes.IndexByte(line, 0) >= 0 { // some end the frame there, some do not
		s.state = stompLost
		return len(p)
	}
	if s.width < len(s.line) {
		copy(s.line[s.width:], line)
	}
	s.width += len(line)
	if s.client && !s.plain(line) {
		s.state = stompLost
		return len(p)
	}
	if n < 0 {
		return len(p)
	}
	s.endLine()
	s.width = 0
	return n + 1
}

// endLine judges the line that has ended.
func (s *stompScanner) endLine() {
	line := strings.TrimSuffix(string(s.line[:min(s.width, len(s.line))]), "\r")
	switch {
	case s.client && !s.plainEnd(line):
		s.state = stompLost
	case s.state == stompCommand:
		s.state = stompHeader
	case line == "":
		s.body()
	case s.left < 0: // of repeated headers the first counts
		s.length(line)
	}
}

// length takes the length of the body from a header line, if it tells that.
func (s *stompScanner) length(line string) {
	value, ok := strings.CutPrefix(line, contentLength)
	if !ok {
		return
	}
	n, err := strconv.ParseUint(strings.Trim(value, " \t"), 10, strconv.IntSize-1)
	if err != nil || s.width > len(s.line) {
		s.state = stompLost
		return
	}
	s.left = int(n)
}

// body begins the body.
func (s *stompScanner) body() {
	switch {
	case s.client && s.command != stompSend: // no other may have one
		s.state = stompEnd
	case s.left < 0:
		s.state = stompText
	case s.left == 0:
		s.state = stompEnd
	default:
		s.state = stompCounted
	}
}
