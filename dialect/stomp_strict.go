package dialect

import (
	"bytes"
	"math"
	"slices"
	"strconv"
	"strings"
)

// stompSend is the only command of a client's whose frame may have a body.
const stompSend = "SEND"

// stompCommands are what a client may send behind its login: STOMP 1.2,
// "Augmented BNF". Servers do not agree on any other spelling.
var stompCommands = []string{
	stompSend, "SUBSCRIBE", "UNSUBSCRIBE", "BEGIN", "COMMIT", "ABORT", "ACK", "NACK", "DISCONNECT",
}

// stompLogins are the commands with which a client logs in.
var stompLogins = []string{stompConnect, stompStomp}

// stompHead is what is known of the head of a client's frame. Where a frame
// ends is for the headers to say, and servers differ in what they take for one:
// some leave carriage returns out, some end the head at a line without a colon
// or of white space, some trim names, some count the first of repeated headers
// and some the last, some do not count a length that is no plain number.
type stompHead struct {
	command string
	// crlf: the lines end with a carriage return, too, as the first one has.
	crlf bool
	// cr: the last byte of the line at hand is a carriage return. last is the
	// last byte of a header's name, and named that it has ended.
	cr, named bool
	last      byte
	// sized: the frame has told its length.
	sized bool
}

// plain judges what has come of a line, without its end.
func (s *stompScanner) plain(p []byte) bool {
	for _, b := range p {
		switch {
		case s.cr: // it was inside the line
			return false
		case b == '\r':
			s.cr = true
		case s.state == stompHeader && !s.named && !s.name(b):
			return false
		}
	}
	return s.state != stompCommand || s.mayBeCommand()
}

// name judges the next byte of a header's name, or the colon behind it. A name
// begins and ends with a byte that nobody trims.
func (s *stompScanner) name(b byte) bool {
	if s.named = b == ':'; s.named || s.last == 0 {
		outer := b
		if s.named {
			outer = s.last
		}
		s.last = b
		return outer > ' ' && outer <= '~'
	}
	s.last = b
	return true
}

// mayBeCommand tells whether the line so far can be a command.
func (s *stompScanner) mayBeCommand() bool {
	if s.width > len(s.line) {
		return false
	}
	line := strings.TrimSuffix(string(s.line[:s.width]), "\r")
	for _, command := range s.commands() {
		if strings.HasPrefix(command, line) {
			return true
		}
	}
	return false
}

// commands returns those that may come.
func (s *stompScanner) commands() []string {
	if s.loggedIn {
		return stompCommands
	}
	return stompLogins
}

// plainEnd judges the line that has ended, of which line is the beginning.
func (s *stompScanner) plainEnd(line string) bool {
	crlf := s.cr
	named := s.named
	s.cr, s.named, s.last = false, false, 0
	if s.state == stompCommand {
		s.command, s.crlf = line, crlf
		return slices.Contains(s.commands(), line)
	}
	if crlf != s.crlf || line != "" && !named {
		return false
	}
	name, value, _ := strings.Cut(line, ":")
	if !strings.EqualFold(name+":", contentLength) {
		return true
	}
	again := s.sized
	s.sized = true
	return name+":" == contentLength && !again && s.plainLength(value)
}

// plainLength tells whether value is a length that all servers read, and the
// frame may have: one that is longer than an int32 is none for some.
func (s *stompScanner) plainLength(value string) bool {
	n, err := strconv.ParseInt(value, 10, 32)
	plain := err == nil && n >= 0 && n < math.MaxInt32 && strconv.FormatInt(n, 10) == value
	return plain && (n == 0 || s.command == stompSend)
}

// stompFold returns p in small letters, without white space and control
// characters: some servers leave them out, or trim them.
func stompFold(p []byte) []byte {
	out := make([]byte, 0, len(p))
	for _, b := range p {
		if b > ' ' {
			out = append(out, b)
		}
	}
	return bytes.ToLower(out)
}

// likeSTOMP tells whether m, which is no login, begins as a frame of STOMP does
// in whatever spelling, or as one within SockJS.
func likeSTOMP(m []byte) bool {
	m = bytes.TrimLeft(m, "\x00\x01\x02\x03\x04\x05\x06\x07\b\t\n\v\f\r\x0e\x0f \uFEFF")
	if len(m) > 0 && (m[0] == '[' || m[0] == '"') {
		return true
	}
	line, _, _ := bytes.Cut(m, []byte{'\n'})
	first := strings.ToUpper(string(stompFold(line)))
	for _, list := range [][]string{stompLogins, stompCommands, stompAnswers} {
		if slices.Contains(list, first) {
			return true
		}
	}
	return false
}

// stompAnswers are the commands of a server.
var stompAnswers = []string{"CONNECTED", "MESSAGE", "RECEIPT", "ERROR"}

// stompSeeker looks for a login where there may be none, as within the body of
// a frame: a server that cannot read that frame, or leaves its length out of
// account, goes on behind the next NUL, or with the next message. It finds the
// command, in whatever spelling, where a line begins with it behind either.
type stompSeeker struct {
	// at has a bit for each number of letters that may have been read.
	connect, stomp uint16
}

// begin tells that a message may begin here.
func (s *stompSeeker) begin() { s.connect, s.stomp = s.connect|1, s.stomp|1 }

// finds takes p, and tells whether a login has come with it.
func (s *stompSeeker) finds(p []byte) bool {
	for len(p) > 0 {
		if s.connect|s.stomp == 0 { // nothing can come before the next NUL
			n := bytes.IndexByte(p, 0)
			if n < 0 {
				return false
			}
			p = p[n:]
		}
		if stompStep(&s.connect, stompConnect, p[0]) || stompStep(&s.stomp, stompStomp, p[0]) {
			return true
		}
		p = p[1:]
	}
	return false
}

// stompStep takes one byte, and tells whether a line has ended that is word.
func stompStep(at *uint16, word string, b byte) bool {
	before, whole := *at, uint16(1)<<len(word)
	after := uint16(0)
	switch {
	case b == '\n' && before&whole != 0:
		return true
	case b == '\r':
		after = before
	case b <= ' ':
		after = before & (1 | whole)
	case b == 0xef || b == 0xbb || b == 0xbf: // of a byte order mark
		after = before & 1
	}
	for i := range len(word) {
		if before&(1<<i) != 0 && b&^0x20 == word[i] {
			after |= 1 << (i + 1)
		}
	}
	if b == 0 {
		after |= 1
	}
	*at = after
	return false
}
