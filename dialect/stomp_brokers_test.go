package dialect

import (
	"bytes"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

// stompBrokers read STOMP as some servers do, each in the ways in which it goes
// beyond the specification.
func stompBrokers(names []string) map[string]broker {
	b := stompReader{}
	for _, name := range names {
		b[strings.ToLower(name)] = true
	}
	return map[string]broker{
		"one that begins anew with the next message": b.resuming,
		"one that leaves carriage returns out":       b.bare,
		"one that takes each message for a frame":    b.framed,
		"one that looks at some letters only":        b.lettered,
		"one that splits at NUL":                     func(m []proxy.Message) []string { return b.split(joined(m)) },
		"one that splits each message at NUL": func(m []proxy.Message) (found []string) {
			for _, message := range m {
				found = append(found, b.split(message.Data)...)
			}
			return found
		},
	}
}

// stompReader knows the names of headers that carry a credential, in small
// letters.
type stompReader map[string]bool

// take returns the credential in a header.
func (b stompReader) take(name, value string) []string {
	if b[strings.ToLower(strings.TrimSpace(name))] {
		return []string{value}
	}
	return nil
}

// errFrame is what a broker says of a frame that it cannot read.
var errFrame = errors.New("no frame")

// resuming is how Spring reads: text and binary are one stream, and after a
// frame that cannot be read it goes on with the next message.
func (b stompReader) resuming(messages []proxy.Message) (found []string) {
	var buffer []byte
	for _, m := range messages {
		buffer = append(buffer, m.Data...)
		for len(buffer) > 0 {
			credentials, n, err := b.resumingFrame(buffer)
			if err != nil {
				buffer = nil
			}
			if n == 0 {
				break
			}
			found = append(found, credentials...)
			buffer = buffer[n:]
		}
	}
	return found
}

// resumingLine takes a line off p. False means that its end is not there.
func resumingLine(p []byte) (line string, rest []byte, whole bool, err error) {
	before, rest, whole := bytes.Cut(p, []byte{'\n'})
	before, _ = bytes.CutSuffix(before, []byte{'\r'})
	if bytes.IndexByte(before, '\r') >= 0 {
		return "", nil, false, errFrame
	}
	return string(before), rest, whole, nil
}

func (b stompReader) resumingFrame(p []byte) (found []string, n int, err error) {
	rest, command, whole := p, "", true
	for command == "" && whole && err == nil {
		command, rest, whole, err = resumingLine(rest)
	}
	if err != nil || !whole {
		return nil, 0, err
	}
	if !slices.Contains(slices.Concat(stompLogins, stompCommands, stompAnswers), command) {
		return nil, 0, errFrame
	}
	size := -1
	for {
		var line string
		line, rest, whole, err = resumingLine(rest)
		if err != nil || !whole {
			return nil, 0, err
		}
		if line == "" {
			break
		}
		name, value, ok := strings.Cut(line, ":")
		unescaped, escErr := resumingUnescape(value)
		if !ok || name == "" || escErr != nil {
			return nil, 0, errFrame
		}
		if n, err := strconv.ParseInt(value, 10, 32); name == "content-length" && size < 0 && err == nil {
			size = int(n)
		}
		if slices.Contains(stompLogins, command) {
			found = append(found, b.take(name, unescaped)...)
		}
	}
	if size < 0 {
		size = bytes.IndexByte(rest, 0)
	}
	switch {
	case size < 0 || len(rest) <= size:
		return nil, 0, nil
	case rest[size] != 0 || size > 0 && command != stompSend:
		return nil, 0, errFrame
	}
	return found, len(p) - len(rest) + size + 1, nil
}

// resumingUnescape reads the value of a header.
func resumingUnescape(value string) (string, error) {
	known := strings.NewReplacer(`\\`, `\`, `\r`, "\r", `\n`, "\n", `\c`, ":")
	if strings.Contains(strings.NewReplacer(`\\`, "", `\r`, "", `\n`, "", `\c`, "").Replace(value), `\`) {
		return "", errFrame
	}
	return known.Replace(value), nil
}

// bare is how RabbitMQ reads: carriage returns and NULs between frames do not
// count, and a line without a colon ends the head.
func (b stompReader) bare(messages []proxy.Message) (found []string) {
	p := joined(messages)
	for {
		p = bytes.TrimLeft(p, "\x00\n\r")
		line, rest, ok := bytes.Cut(p, []byte{'\n'})
		command := strings.ReplaceAll(string(line), "\r", "")
		size := -1
		for ok {
			line, rest, ok = bytes.Cut(rest, []byte{'\n'})
			name, value, header := strings.Cut(strings.ReplaceAll(string(line), "\r", ""), ":")
			if !header {
				break
			}
			if name == "content-length" && size < 0 {
				n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 32)
				if err != nil {
					return found
				}
				size = int(n)
			}
			if slices.Contains(stompLogins, command) {
				found = append(found, b.take(name, value)...)
			}
		}
		if size < 0 {
			size = bytes.IndexByte(rest, 0)
		}
		if !ok || size < 0 || len(rest) <= size || rest[size] != 0 {
			return found
		}
		p = rest[size+1:]
	}
}

// framed is how ActiveMQ reads: a command is trimmed and may go on, a line of
// one byte ends the head, and only SEND has a length.
func (b stompReader) framed(messages []proxy.Message) (found []string) {
	trim := func(p []byte) string { return strings.Trim(string(p), "\x00\x01\x02\x03\x04\x05\x06\x07\b\t\n\v\f\r ") }
	for _, m := range messages {
		rest, command, ok := m.Data, "", true
		for command == "" && ok {
			var line []byte
			line, rest, ok = bytes.Cut(rest, []byte{'\n'})
			command = trim(line)
		}
		login := strings.HasPrefix(command, stompConnect) || strings.HasPrefix(command, stompStomp)
		for ok && login {
			var line []byte
			line, rest, ok = bytes.Cut(rest, []byte{'\n'})
			if len(bytes.TrimSuffix(line, []byte{'\r'})) < 2 {
				break
			}
			name, value, _ := strings.Cut(string(line), ":")
			found = append(found, b.take(name, strings.TrimSpace(value))...)
		}
	}
	return found
}

// lettered is how Artemis reads: a command is known by some of its letters, a
// line of white space ends the head, and the last length counts.
func (b stompReader) lettered(messages []proxy.Message) (found []string) {
	p := joined(messages)
	for {
		p = bytes.TrimLeft(p, "\r\n")
		if len(p) < 10 {
			return found
		}
		lengths := map[bool]int{true: len(stompConnect), false: bytes.IndexByte(p, '\n')}
		login := p[0] == 'C' && p[2] != 'M' && p[7] != 'E' || p[0] == 'S' && p[1] == 'T'
		if p[0] == 'S' && login {
			lengths[true] = len(stompStomp)
		}
		n, size, ok := lengths[login], -1, true
		if n < 0 {
			return found
		}
		rest := p[n+1:]
		for ok {
			var line []byte
			line, rest, ok = bytes.Cut(rest, []byte{'\n'})
			if len(bytes.Trim(line, " \t\r")) == 0 {
				break
			}
			name, value, _ := strings.Cut(string(bytes.TrimSuffix(line, []byte{'\r'})), ":")
			value = strings.TrimLeft(value, " \t")
			if n, err := strconv.ParseInt(value, 10, 32); name == "content-length" {
				if size = int(n); err != nil {
					return found
				}
			}
			if login {
				found = append(found, b.take(name, value)...)
			}
		}
		if size < 0 {
			size = bytes.IndexByte(rest, 0)
		}
		if !ok || size < 0 || len(rest) <= size {
			return found
		}
		p = rest[size+1:]
	}
}

// split is how one reads that has never heard of a length, nor of cases.
func (b stompReader) split(p []byte) (found []string) {
	for frame := range bytes.SplitSeq(p, []byte{0}) {
		frame = bytes.TrimLeft(frame, "\ufeff \t\r\n")
		head, _, _ := strings.Cut(strings.ReplaceAll(string(frame), "\r", ""), "\n\n")
		lines := strings.Split(head, "\n")
		command := strings.ToUpper(strings.TrimSpace(lines[0]))
		if !slices.Contains(stompLogins, command) {
			continue
		}
		for _, line := range lines[1:] {
			name, value, _ := strings.Cut(line, ":")
			found = append(found, b.take(name, strings.TrimSpace(value))...)
		}
	}
	return found
}

// FuzzSTOMPBroker: no broker finds a credential that the gate has not verified,
// however a client cuts its stream into messages.
func FuzzSTOMPBroker(f *testing.F) {
	for _, stream := range slices.Concat(stompStreams, stompAttacks()) {
		f.Add([]byte(stream), []byte{20, 30}, byte(0))
		f.Add([]byte(stream), []byte{byte(len(stompHello))}, byte(0))
		f.Add([]byte(stream), []byte{byte(strings.LastIndex(stream, stompConnect))}, byte(2))
	}
	names := []string{"Authorization", "passcode", "access_token", "token"}
	d := newDialect(f, NewSTOMP, STOMPConfig{Credential: names, Pass: "forward"})
	f.Fuzz(func(t *testing.T, data, cuts []byte, kinds byte) {
		if len(cuts) > 8 {
			return
		}
		passed, logins := converse(t, d.Start(Opening{}), cutUp(data, cuts, kinds))
		checkBrokers(t, stompBrokers(names), passed, logins)
	})
}
