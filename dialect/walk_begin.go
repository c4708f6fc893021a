package dialect

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

// beginsLikeJSON tells whether data begins, after white space and a byte order
// mark, as a JSON text does from which a decoder may take members: an array, an
// object, a text that may hold either, or a comment in front of them, and what
// else some decoders skip there. It knows
// them in UTF-16 and UTF-32, too, which some decoders find out by themselves.
func beginsLikeJSON(data []byte) bool {
	if len(data) == 0 {
		return false
	}
	switch data[0] {
	case '{', '[', '"': // at no cost, as most are
		return true
	}
	data = trimJSONFront(data)
	if isWide(data) {
		return true
	}
	return len(data) > 0 && bytes.IndexByte([]byte(`{["`), data[0]) >= 0 ||
		len(data) > 1 && data[0] == '/' && (data[1] == '/' || data[1] == '*')
}

// notToRun is what some servers write in front of JSON so that no page can run
// it, and what readers of Java leave out.
const notToRun = ")]}'"

// trimJSONFront returns data without what may stand in front of its value, but
// for comments that nobody takes for anything else: white space, lines that
// begin with #, which are comments to readers of Java, and notToRun.
func trimJSONFront(data []byte) []byte {
	for {
		data = trimJSONSpace(data)
		switch {
		case len(data) > 0 && data[0] == '#':
			end := bytes.IndexAny(data, "\r\n")
			if end < 0 {
				return nil
			}
			data = data[end:]
		case bytes.HasPrefix(data, []byte(notToRun)):
			data = data[len(notToRun):]
		default:
			return data
		}
	}
}

// trimJSONSpace returns data without what decoders, and applications that trim
// before they decode, take for white space: Java's trim takes all control
// characters for it, and Python's strip some. An escape in front of a bracket
// stays: it is a terminal's.
func trimJSONSpace(data []byte) []byte {
	trimmed := bytes.TrimLeftFunc(data, func(r rune) bool {
		return r <= ' ' || r == '\ufeff' || unicode.IsSpace(r)
	})
	n := len(data) - len(trimmed)
	if n > 0 && data[n-1] == '\x1b' && bytes.HasPrefix(trimmed, []byte("[")) {
		return data[n-1:]
	}
	return trimmed
}

// isWide tells whether data begins as a JSON text in UTF-16 or UTF-32 does.
func isWide(data []byte) bool {
	if bytes.HasPrefix(data, []byte("\xfe\xff")) || bytes.HasPrefix(data, []byte("\xff\xfe")) {
		return true
	}
	if len(data) > 1 && data[1] == 0 && bytes.IndexByte([]byte("{[\"/ \t\r\n"), data[0]) >= 0 {
		return true // the low byte first
	}
	rest := bytes.TrimLeft(data[:min(len(data), utf8.UTFMax)], "\x00")
	return len(rest) < min(len(data), utf8.UTFMax) && len(rest) > 0 && bytes.IndexByte([]byte("{[\"/ \t\r\n"), rest[0]) >= 0
}

// sameLetters tells whether a decoder that does not tell cases of letters apart
// takes name for step: encoding/json folds them as Unicode does, Java takes
// either i of Turkish for i, and what is written in C ends at a NUL.
func sameLetters(name []byte, step string) bool {
	if i := bytes.IndexByte(name, 0); i >= 0 {
		name = name[:i]
	}
	for len(name) > 0 && len(step) > 0 {
		a, n := utf8.DecodeRune(name)
		b, m := utf8.DecodeRuneInString(step)
		if a != b && fold(a) != fold(b) {
			return false
		}
		name, step = name[n:], step[m:]
	}
	return len(name) == 0 && len(step) == 0
}

// fold returns the smallest of the runes that are r in another case.
func fold(r rune) rune {
	switch {
	case 'A' <= r && r <= 'Z':
		return r
	case 'a' <= r && r <= 'z':
		return r - 'a' + 'A'
	case r == 'İ' || r == 'ı':
		return 'I'
	case r < utf8.RuneSelf:
		return r
	}
	for next := unicode.SimpleFold(r); ; next = unicode.SimpleFold(next) {
		if next <= r {
			return next
		}
	}
}
