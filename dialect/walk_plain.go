package dialect

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// maxPlainNames is how many members an object of a plain text has at most:
// their names are compared with each other.
const maxPlainNames = 16

// What may come next in a text.
const (
	plainValue = iota
	plainName
	plainAfter // a value
)

// walkPlain makes a pass over a text that is written plainly, as most are: no
// \u, no escapes in names, none in another case of letters than a pointer has
// it, no large objects. It takes about a third of the time
// of the library's decoder (BenchmarkFind, BenchmarkFindEscaped). It tells
// whether the text is plain and nothing but JSON; if not, that decoder has to
// judge it, and what was found so far is of no meaning.
func (w *walker) walkPlain(f *finder, data []byte, found []span) bool {
	if !utf8.Valid(data) {
		return false
	}
	w.found, w.depth, w.names = found, 0, w.names[:0]
	w.levels[0] = level{next: &f.root}
	next := plainValue
	for i := 0; ; {
		for i < len(data) && isSpace(data[i]) {
			i++
		}
		if i == len(data) {
			return next == plainAfter && w.depth == 0
		}
		switch next {
		case plainValue:
			i, next = w.plainValue(data, i)
		case plainName:
			i, next = w.plainName(data, i)
		default:
			i, next = w.plainAfter(data, i)
		}
		if i < 0 {
			return false
		}
	}
}

// plainValue reads a scalar, the beginning of an array or object, or the end
// of an empty array. It returns where it ends, or -1 if it is not plain, and
// what may come next.
func (w *walker) plainValue(data []byte, i int) (end, next int) {
	switch c := data[i]; c {
	case '{', '[':
		if w.open(i, c == '{') != nil {
			return -1, 0
		}
		w.levels[w.depth].names = len(w.names)
		if c == '{' {
			return i + 1, plainName
		}
		return i + 1, plainValue
	case ']':
		if w.levels[w.depth].count > 0 { // after a comma
			return -1, 0
		}
		return w.plainEnd(data, i)
	case '"':
		end = plainString(data, i, true)
	case 't':
		end = literal(data, i, "true")
	case 'f':
		end = literal(data, i, "false")
	case 'n':
		end = literal(data, i, "null")
	default:
		end = number(data, i)
	}
	if end > 0 {
		w.started(i)
		w.ended(end)
	}
	return end, plainAfter
}

// plainName reads a member's name and the colon, or the end of an empty
// object.
func (w *walker) plainName(data []byte, i int) (end, next int) {
	top := &w.levels[w.depth]
	if data[i] == '}' && top.count == 0 {
		return w.plainEnd(data, i)
	}
	end = plainString(data, i, false)
	if end < 0 {
		return -1, 0
	}
	quoted := data[i:end]
	names := w.names[top.names:]
	if len(names) == maxPlainNames {
		return -1, 0
	}
	for _, name := range names {
		if string(name) == string(quoted) {
			return -1, 0
		}
	}
	w.names = append(w.names, quoted)
	w.begun(i)
	var exact bool
	if top.next, exact = top.at.member(quoted); !exact {
		return -1, 0
	}
	for end < len(data) && isSpace(data[end]) {
		end++
	}
	if end == len(data) || data[end] != ':' {
		return -1, 0
	}
	return end + 1, plainValue
}

// plainAfter reads a comma or the end of an array or object.
func (w *walker) plainAfter(data []byte, i int) (end, next int) {
	switch {
	case w.depth == 0:
		return -1, 0
	case data[i] != ',':
		return w.plainEnd(data, i)
	case w.levels[w.depth].object:
		return i + 1, plainName
	default:
		return i + 1, plainValue
	}
}

// plainEnd reads the end of the array or object that is being read.
func (w *walker) plainEnd(data []byte, i int) (end, next int) {
	bracket := byte(']')
	if w.levels[w.depth].object {
		bracket = '}'
	}
	if w.depth == 0 || data[i] != bracket {
		return -1, 0
	}
	w.names = w.names[:min(len(w.names), w.levels[w.depth].names)]
	w.depth--
	w.ended(i + 1)
	return i + 1, plainAfter
}

// isSpace tells whether c is white space in JSON.
func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\r' || c == '\t' }

// literal returns the end of a word, or -1 if another stands there.
func literal(data []byte, i int, word string) int {
	if bytes.HasPrefix(data[i:], []byte(word)) {
		return i + len(word)
	}
	return -1
}

// number returns the end of a number, RFC 8259 section 6, or -1 if none stands
// there.
func number(data []byte, i int) int {
	if data[i] == '-' {
		i++
	}
	from := i
	i = digits(data, i)
	if i == from || data[from] == '0' && i > from+1 {
		return -1
	}
	if i < len(data) && data[i] == '.' {
		from = i + 1
		if i = digits(data, from); i == from {
			return -1
		}
	}
	if i < len(data) && data[i]|0x20 == 'e' {
		i++
		if i < len(data) && (data[i] == '+' || data[i] == '-') {
			i++
		}
		from = i
		if i = digits(data, from); i == from {
			return -1
		}
	}
	return i
}

// digits returns the end of the digits that begin at i.
func digits(data []byte, i int) int {
	for i < len(data) && data[i]-'0' <= 9 {
		i++
	}
	return i
}

// plainString returns the end of the string that begins at i, or -1 if none
// does, or it holds \u or, unless they are allowed, any other escape.
func plainString(data []byte, i int, escapes bool) int {
	if data[i] != '"' {
		return -1
	}
	for i++; ; {
		i = special(data, i)
		switch {
		case i == len(data):
			return -1
		case data[i] == '"':
			return i + 1
		case data[i] != '\\', !escapes, i+1 == len(data), bytes.IndexByte([]byte(`"\/bfnrt`), data[i+1]) < 0:
			return -1
		}
		i += 2
	}
}

// special returns where the next quote, backslash or control character stands,
// or the end of data. It looks at eight bytes at once.
func special(data []byte, i int) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for ; i+8 <= len(data); i += 8 {
		x := binary.LittleEndian.Uint64(data[i:])
		quote, backslash := x^ones*'"', x^ones*'\\'
		// The high bit of a byte is set where it is zero, or less than a
		// space; a borrow can set others, but only behind such a one.
		hit := ((quote-ones)&^quote | (backslash-ones)&^backslash | (x-ones*' ')&^x) & highs
		if hit != 0 {
			return i + bits.TrailingZeros64(hit)/8
		}
	}
	for ; i < len(data); i++ {
		if c := data[i]; c == '"' || c == '\\' || c < ' ' {
			return i
		}
	}
	return i
}
