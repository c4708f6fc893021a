package dialect

import (
	"bytes"
	"encoding/binary"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

// maxTolerantDepth is how deep a text may nest until it counts as JSON of
// somebody's, whatever follows.
const maxTolerantDepth = 1 << 10

// couldBeJSON tells whether some decoder could take a text out of the binary
// message data, which beginsLikeJSON and is no JSON to this package. Bytes of
// all kinds, audio for one, begin so now and then. It knows what decoders
// tolerate: comments, quotes of the other kind or none, signs of JSON's that
// are others or too many, bytes that are no UTF-8, other encodings, and
// whatever follows the value. If data is not whole, anything may follow it.
func couldBeJSON(data []byte, whole bool) bool {
	if tolerable(data, whole) {
		return true
	}
	if !isWide(trimJSONFront(data)) {
		return false
	}
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		if tolerable(fromUTF16(data, order), whole) || tolerable(fromUTF32(data, order), whole) {
			return true
		}
	}
	return false
}

// foreignJSON tells whether a message that begins so is no JSON to anybody. One
// that begins with nothing but white space is not known to be foreign.
func foreignJSON(begin proxy.Message) bool {
	switch data := trimJSONFront(begin.Data); {
	case len(data) == 0:
		return false
	case beginsLikeJSON(data) && (!begin.Binary || couldBeJSON(begin.Data, false)):
		return false
	default:
		return !begin.Binary || !couldBeWithout(begin.Data)
	}
}

// refusedWithout tells whether a binary message would be refused by client if the
// bytes of it that are no UTF-8 were left out, as some decoders do.
func refusedWithout(st State, m proxy.Message, client func(State, proxy.Message) ([]Part, error)) bool {
	if !m.Binary || utf8.Valid(m.Data) {
		return false
	}
	_, err := client(st, proxy.Message{Binary: true, Data: bytes.ToValidUTF8(m.Data, nil)})
	return err != nil
}

// begunWithout tells, at almost no cost, whether data may begin like JSON without
// bytes that are no UTF-8.
func begunWithout(data []byte) bool {
	for len(data) > 0 {
		r, n := utf8.DecodeRune(data)
		if r > ' ' && r != '\ufeff' && (r != utf8.RuneError || n > 1) && !unicode.IsSpace(r) {
			return strings.ContainsRune(`{["/#)`, r)
		}
		data = data[n:]
	}
	return false
}

// couldBeWithout tells whether what begins with data could be JSON without bytes
// that are no UTF-8, with a text in quotes in it.
func couldBeWithout(data []byte) bool {
	if utf8.Valid(data) || !begunWithout(data) {
		return false
	}
	left := bytes.ToValidUTF8(data, nil)
	return bytes.ContainsAny(left, `"'`) && couldBeJSON(left, false)
}

// fromUTF16 returns data in UTF-8.
func fromUTF16(data []byte, order binary.ByteOrder) (out []byte) {
	units := make([]uint16, 0, len(data)/2)
	for ; len(data) > 1; data = data[2:] {
		units = append(units, order.Uint16(data))
	}
	for _, r := range utf16.Decode(units) {
		out = utf8.AppendRune(out, r)
	}
	return out
}

// fromUTF32 returns data in UTF-8.
func fromUTF32(data []byte, order binary.ByteOrder) (out []byte) {
	for ; len(data) > 3; data = data[4:] {
		out = utf8.AppendRune(out, rune(order.Uint32(data)))
	}
	return out
}

// What a tolerant reader awaits next.
const (
	tolerantValue = iota
	tolerantName
	tolerantColon
	tolerantAfter // a value
)

// minBareText is how long a text without quotes must be to be a credential.
const minBareText = 16

// tolerantReader reads what some decoder may take for JSON.
type tolerantReader struct {
	nest  []byte // brackets that are open
	next  int
	texts int // that may be credentials
}

// tolerable tells whether text is, or may become with more behind it, a value
// that holds a text. If it is not whole, anything may be behind it.
func tolerable(text []byte, whole bool) bool {
	r := tolerantReader{nest: make([]byte, 0, maxDepth)}
	text = trimJSONFront(text)
	for i := 0; i < len(text); {
		n := skippable(text[i:])
		if n == 0 {
			n = r.token(text[i:])
		}
		switch {
		case n < 0:
			return false
		case n == 0: // a text without an end
			return !whole || r.couldGoOn()
		case len(r.nest) == 0 && r.next == tolerantAfter:
			return r.texts > 0
		case len(r.nest) > maxTolerantDepth:
			return true
		}
		i += n
	}
	return !whole || r.couldGoOn()
}

// couldGoOn tells whether enough has been read to take it for the beginning of
// JSON.
func (r *tolerantReader) couldGoOn() bool { return r.texts > 0 && len(r.nest) > 0 }

// skippable returns the length of the white space or comment at the beginning.
func skippable(p []byte) int {
	switch {
	case isSpace(p[0]) || p[0] == '\f' || p[0] == '\v':
		return 1
	case bytes.HasPrefix(p, []byte("//")) || p[0] == '#':
		if n := bytes.IndexByte(p, '\n'); n >= 0 {
			return n + 1
		}
		return len(p)
	case bytes.HasPrefix(p, []byte("/*")):
		if n := bytes.Index(p[2:], []byte("*/")); n >= 0 {
			return n + 4
		}
		return len(p)
	}
	return 0
}

// token reads one token and returns its length: 0 if it has no end, -1 if no
// decoder takes it here.
func (r *tolerantReader) token(p []byte) int {
	inObject := len(r.nest) > 0 && r.nest[len(r.nest)-1] == '}'
	switch c := p[0]; {
	case r.next == tolerantColon:
		return r.colon(p)
	case len(r.nest) > 0 && c == r.nest[len(r.nest)-1]:
		r.nest = r.nest[:len(r.nest)-1]
		r.next = tolerantAfter
		return 1
	case len(r.nest) > 0 && (c == ',' || c == ';'):
		r.next = tolerantValue
		if inObject {
			r.next = tolerantName
		}
		return 1
	case r.next == tolerantAfter:
		return -1
	case r.next == tolerantValue && (c == '{' || c == '['):
		r.nest = append(r.nest, c+2) // the bracket that closes it
		if r.next = tolerantValue; c == '{' {
			r.next = tolerantName
		}
		return 1
	}
	return r.text(p)
}

// colon reads what stands between a name and its value.
func (r *tolerantReader) colon(p []byte) int {
	r.next = tolerantValue
	switch {
	case bytes.HasPrefix(p, []byte("=>")):
		return 2
	case p[0] == ':' || p[0] == '=':
		return 1
	}
	return -1
}

// text reads a text, a word or a number.
func (r *tolerantReader) text(p []byte) int {
	n := 0
	if p[0] == '"' || p[0] == '\'' {
		if n = quotedLength(p); n == 0 {
			return 0
		}
		r.texts++
	} else {
		for n < len(p) && isBare(p[n]) {
			n++
		}
		if n == 0 {
			return -1
		}
		if n >= minBareText {
			r.texts++
		}
	}
	if r.next == tolerantName {
		r.next = tolerantColon
		return n
	}
	r.next = tolerantAfter
	return n
}

// quotedLength returns the length of the quoted text at the beginning, 0 if it
// has no end.
func quotedLength(p []byte) int {
	for i := 1; i < len(p); i++ {
		switch p[i] {
		case '\\':
			i++
		case p[0]:
			return i + 1
		}
	}
	return 0
}

// isBare tells whether c may stand in a text without quotes.
func isBare(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		bytes.IndexByte([]byte("_-+.$"), c) >= 0
}
