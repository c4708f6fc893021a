package dialect

import (
	"bytes"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// is tells whether the value is there.
func (s span) is() bool { return s.end > 0 }

// raw returns the value's JSON text in data.
func (s span) raw(data []byte) []byte { return data[s.start:s.end] }

// text returns the value as text if it is a string.
func (s span) text(data []byte) (string, bool) {
	if !s.is() || data[s.start] != '"' {
		return "", false
	}
	inner := data[s.start+1 : s.end-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return string(inner), true
	}
	text, err := jsontext.AppendUnquote(nil, s.raw(data))
	return string(text), err == nil
}

// equals tells whether the value is the string text.
func (s span) equals(data []byte, text string) bool {
	if !s.is() || data[s.start] != '"' {
		return false
	}
	inner := data[s.start+1 : s.end-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return string(inner) == text
	}
	got, ok := s.text(data)
	return ok && got == text
}

// couldBe tells whether the value can be the string text for one of those who
// read data, if that is ambiguous. What is written in C ends at a NUL.
func (s span) couldBe(data []byte, text string) bool {
	if !s.is() {
		return false
	}
	got, ok := s.text(data)
	got, _, _ = strings.Cut(got, "\x00")
	return s.many || got == text || !ok && data[s.start] == '"'
}

// cut returns a copy of data without the member or element whose value s is,
// and without one of the commas beside it. All other bytes stay as they are.
// The spans of other values are those of the text as it was. The whole text
// cannot be cut.
func (s span) cut(data []byte) []byte {
	out := make([]byte, 0, len(data)-(s.cutEnd-s.cutStart))
	out = append(out, data[:s.cutStart]...)
	return append(out, data[s.cutEnd:]...)
}

// cutAll returns a copy of data without the members that the numbered pointers
// lead to, whether they are there or not. They must not lead to elements of
// arrays, whose numbers change with each cut. data must have been read without
// an error; found is overwritten.
func (f *finder) cutAll(data []byte, found []span, ids []int) []byte {
	for _, id := range ids {
		if !found[id].is() {
			continue
		}
		data = found[id].cut(data)
		if f.find(data, found) != nil {
			return nil // cannot happen: a cut leaves JSON
		}
	}
	return data
}

// bearer takes a leading "Bearer " off, in any case, and the white space
// around the credential: RFC 9110 section 11.1, RFC 6750 section 2.1.
func bearer(credential string) string {
	credential = strings.TrimSpace(credential)
	scheme, rest, ok := strings.Cut(credential, " ")
	if ok && strings.EqualFold(scheme, "Bearer") {
		return strings.TrimLeft(rest, " ")
	}
	return credential
}
