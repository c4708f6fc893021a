package dialect

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// The commands with which a client logs in. They mean the same.
const (
	stompConnect = "CONNECT"
	stompStomp   = "STOMP"
)

// mayConnect tells whether frame, which may not be whole, can be a login.
func mayConnect(frame []byte) bool {
	command, _, whole := bytes.Cut(frame, []byte{'\n'})
	command = bytes.TrimSuffix(command, []byte{'\r'})
	for _, login := range []string{stompConnect, stompStomp} {
		if string(command) == login || !whole && strings.HasPrefix(login, string(command)) {
			return true
		}
	}
	return false
}

// stompLogin is what is read of a login.
type stompLogin struct {
	credential string
	// rest is the frame without the headers that may carry a credential.
	rest []byte
}

// login reads a whole frame with the command CONNECT or STOMP. Servers do not
// agree on escapes in it, which STOMP 1.2 does not want in CONNECT ("Value
// Encoding"), nor on white space and control characters around the names of
// headers, nor on which of repeated headers counts: what they could read in two
// ways is refused, with ErrAmbiguous where a credential is concerned and
// ErrProtocol elsewhere.
func (d *stomp) login(frame []byte) (stompLogin, error) {
	head, ok := bytes.CutSuffix(frame, []byte{0})
	if !ok || !utf8.Valid(head) {
		return stompLogin{}, ErrProtocol
	}
	var l stompLogin
	command, at := "", 0
	for {
		n := bytes.IndexByte(head[at:], '\n')
		if n < 0 {
			return stompLogin{}, ErrProtocol
		}
		line := string(bytes.TrimSuffix(head[at:at+n], []byte{'\r'}))
		begin, end := at, at+n+1
		at = end
		if line == "" {
			l.rest = append(l.rest, frame[begin:]...)
			break
		}
		keep := true
		if command == "" {
			command = line
		} else {
			var err error
			if keep, err = d.header(&l, line); err != nil {
				return stompLogin{}, err
			}
		}
		if keep {
			l.rest = append(l.rest, frame[begin:end]...)
		}
	}
	if at != len(head) { // only SEND, MESSAGE and ERROR may have a body
		return stompLogin{}, ErrProtocol
	}
	return l, nil
}

// header reads a header line, and tells whether it carries no credential.
func (d *stomp) header(l *stompLogin, line string) (bool, error) {
	name, value, ok := strings.Cut(line, ":")
	if !ok || !stompPlainName(name) || strings.ContainsRune(line, '\r') {
		return false, ErrProtocol
	}
	if !d.names[stompName(name)] {
		return true, nil
	}
	credential := bearer(value)
	if credential == "" {
		return false, nil
	}
	if l.credential != "" || strings.ContainsRune(value, '\\') {
		return false, ErrAmbiguous
	}
	l.credential = credential
	return false, nil
}

// stompPlainName tells whether the name of a header in a login is one that all
// servers read in the same way: printable ASCII without an escape.
func stompPlainName(name string) bool {
	for _, c := range []byte(name) {
		if c < ' ' || c > '~' || c == '\\' {
			return false
		}
	}
	return strings.TrimSpace(name) != ""
}

// stompName returns what the name of a header is compared by. STOMP tells
// cases apart and some servers do not, nor do all keep the spaces of STOMP 1.0.
func stompName(name string) string { return strings.ToLower(strings.TrimSpace(name)) }
