package auth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// Limits on JSON that a stranger has sent. Real tokens nest three or four
// levels deep.
const (
	maxJSONDepth   = 32
	maxJSONMembers = 256
)

var (
	errNotObject = errors.New("is not exactly one JSON object")
	errNotText   = errors.New("holds bytes or escapes that are no Unicode text")
	errDuplicate = errors.New("has a member twice")
	errTooDeep   = fmt.Errorf("nests deeper than %d levels", maxJSONDepth)
	errTooMany   = fmt.Errorf("has an object with more than %d members", maxJSONMembers)
)

// decodeObject decodes data, which must be one JSON object with nothing after
// it. Numbers become json.Number. It refuses what encoding/json lets through
// and what two parsers would read differently: duplicate members (RFC 7519
// section 4 allows to take the last one, others take the first), bytes that
// are no UTF-8 and lone surrogates (both silently replaced), and deep or wide
// nesting. Errors hold no byte of data.
func decodeObject(data []byte) (map[string]any, error) {
	if !utf8.Valid(data) || hasLoneSurrogate(data) {
		return nil, errNotText
	}
	if !json.Valid(data) {
		return nil, errNotObject
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if tok, err := dec.Token(); err != nil || tok != json.Delim('{') {
		return nil, errNotObject
	}
	return decodeMembers(dec, 1)
}

// decodeMembers reads the rest of an object whose opening brace has been
// read and which is depth levels deep.
func decodeMembers(dec *json.Decoder, depth int) (map[string]any, error) {
	object := make(map[string]any)
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return nil, errNotObject
		}
		name, ok := tok.(string)
		if !ok {
			return nil, errNotObject
		}
		if _, twice := object[name]; twice {
			return nil, errDuplicate
		}
		if len(object) == maxJSONMembers {
			return nil, errTooMany
		}
		if object[name], err = decodeValue(dec, depth); err != nil {
			return nil, err
		}
	}
	_, err := dec.Token()
	return object, err
}

// decodeValue reads one value that lies in something depth levels deep.
func decodeValue(dec *json.Decoder, depth int) (any, error) {
	tok, err := dec.Token()
	if err != nil {
		return nil, errNotObject
	}
	delim, ok := tok.(json.Delim)
	if !ok {
		return tok, nil
	}
	if depth == maxJSONDepth {
		return nil, errTooDeep
	}
	if delim == '{' {
		return decodeMembers(dec, depth+1)
	}
	array := []any{}
	for dec.More() {
		v, err := decodeValue(dec, depth+1)
		if err != nil {
			return nil, err
		}
		array = append(array, v)
	}
	_, err = dec.Token()
	return array, err
}

// hasLoneSurrogate reports whether a \u escape in data is half of a surrogate
// pair, for which encoding/json would put U+FFFD: two different subjects would
// become the same.
func hasLoneSurrogate(data []byte) bool {
	for i := 0; i < len(data); i++ {
		if data[i] != '\\' {
			continue
		}
		i++ // also skips the second of two backslashes
		hi, ok := escapedUnit(data, i)
		if !ok || hi < 0xd800 || hi > 0xdfff {
			continue
		}
		i += 5
		lo, ok := escapedUnit(data, i+1)
		paired := ok && data[i] == '\\' && hi < 0xdc00 && lo >= 0xdc00 && lo <= 0xdfff
		if !paired {
			return true
		}
		i += 5
	}
	return false
}

// escapedUnit reads uXXXX at data[i:]; ok is false if it does not stand there.
func escapedUnit(data []byte, i int) (unit uint16, ok bool) {
	if i+5 > len(data) || data[i] != 'u' {
		return 0, false
	}
	for _, c := range data[i+1 : i+5] {
		var digit byte
		switch {
		case c >= '0' && c <= '9':
			digit = c - '0'
		case c >= 'a' && c <= 'f':
			digit = c - 'a' + 10
		case c >= 'A' && c <= 'F':
			digit = c - 'A' + 10
		default:
			return 0, false
		}
		unit = unit<<4 | uint16(digit)
	}
	return unit, true
}

// DecodeObject decodes data, which must be one JSON object with nothing after
// it, as tokens are decoded: a member that is there twice is an error, and so
// is deep or wide nesting. Numbers become json.Number. Errors hold no byte of
// data.
func DecodeObject(data []byte) (map[string]any, error) { return decodeObject(data) }
