package auth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxClaimPath is the longest claim path taken, in bytes. It leaves room for
// the path in an error text of 256 bytes.
const maxClaimPath = 160

// Claims are the claims of a verified token, decoded from JSON with numbers
// kept as json.Number. It must not be changed.
type Claims map[string]any

// ClaimPath says where in the claims a value lies. The zero value names
// nothing. It is immutable and safe for concurrent use.
type ClaimPath struct {
	text  string
	parts []string // nil when the text as a whole is the only reading
}

// ParseClaimPath reads a claim path. A text that begins with "/" is a JSON
// pointer (RFC 6901). Any other text is a claim's name first
// ("https://example.com/roles") and, if no claim has that name, a path split at
// dots ("realm_access.roles.0"). The error says what is wrong with s and how
// a path is written.
func ParseClaimPath(s string) (ClaimPath, error) {
	switch {
	case s == "":
		return ClaimPath{}, errors.New("claim path is empty: name a claim, e.g. sub or realm_access.roles.0")
	case len(s) > maxClaimPath:
		return ClaimPath{}, fmt.Errorf("claim path is longer than %d bytes", maxClaimPath)
	case !utf8.ValidString(s) || strings.IndexFunc(s, isControl) >= 0:
		return ClaimPath{}, fmt.Errorf("claim path %q has control characters or is not UTF-8", s)
	case strings.TrimSpace(s) != s:
		return ClaimPath{}, fmt.Errorf("claim path %q begins or ends with a space", s)
	case s[0] == '/':
		return parsePointer(s)
	}
	if !strings.Contains(s, ".") {
		return ClaimPath{text: s}, nil
	}
	parts := strings.Split(s, ".")
	if slices.Contains(parts, "") {
		return ClaimPath{}, fmt.Errorf("claim path %q has an empty part: "+
			"write a.b.0, or a JSON pointer such as /a.b/0 for names with dots", s)
	}
	return ClaimPath{text: s, parts: parts}, nil
}

// parsePointer reads a JSON pointer, RFC 6901 section 3. It is in parts with
// the escapes undone.
func parsePointer(s string) (ClaimPath, error) {
	parts := strings.Split(s[1:], "/")
	for i, part := range parts {
		rest := strings.NewReplacer("~0", "", "~1", "").Replace(part)
		if strings.Contains(rest, "~") {
			return ClaimPath{}, fmt.Errorf(
				"claim path %q has a bare ~: in a JSON pointer write ~0 for ~ and ~1 for /", s)
		}
		// In one pass: undoing ~0 before ~1 would make / of ~01, against
		// RFC 6901 section 4.
		parts[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(part)
	}
	return ClaimPath{text: s, parts: parts}, nil
}

// String returns the path as it was written.
func (p ClaimPath) String() string { return p.text }

// Lookup returns the value at p, and whether there is one. A null is there,
// and is nil. What it returns must not be changed.
func (c Claims) Lookup(p ClaimPath) (any, bool) {
	if p.text == "" {
		return nil, false
	}
	if p.text[0] != '/' {
		if v, ok := c[p.text]; ok {
			return v, true
		}
	}
	if p.parts == nil {
		return nil, false
	}
	var v any = map[string]any(c)
	for _, part := range p.parts {
		var ok bool
		if v, ok = member(v, part); !ok {
			return nil, false
		}
	}
	return v, true
}

// member returns the member of an object or the element of an array that
// name stands for.
func member(v any, name string) (any, bool) {
	switch v := v.(type) {
	case map[string]any:
		m, ok := v[name]
		return m, ok
	case []any:
		i, ok := arrayIndex(name)
		if !ok || i >= len(v) {
			return nil, false
		}
		return v[i], true
	}
	return nil, false
}

// arrayIndex reads an index: digits without a sign or leading zeros, RFC 6901
// section 4.
func arrayIndex(s string) (int, bool) {
	if s == "" || len(s) > 1 && s[0] == '0' || s[0] < '0' || s[0] > '9' {
		return 0, false
	}
	i, err := strconv.Atoi(s)
	return i, err == nil
}

// ClaimText returns the text form of a claim's value: texts as they are,
// numbers exactly as they were sent, true and false, nothing for null, and
// objects and arrays as compact JSON with sorted names. The text is data: it
// may hold anything, see [HeaderSafe].
func ClaimText(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		return strconv.FormatBool(v)
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return ""
	}
	return strings.TrimSuffix(buf.String(), "\n")
}

// HeaderSafe returns s such that it can be the value of a header and can never
// end it or be misread: each control character (C0, DEL, C1) and each byte
// that is no UTF-8 becomes U+FFFD. They are replaced, not removed or turned
// into spaces, since a recipient trims spaces and "admin\x00" would become
// "admin". All other text, ASCII or not, is unchanged.
func HeaderSafe(s string) string {
	if utf8.ValidString(s) && strings.IndexFunc(s, isControl) < 0 {
		return s
	}
	return strings.Map(func(r rune) rune {
		if isControl(r) {
			return utf8.RuneError
		}
		return r
	}, s)
}

// checkName refuses a text that names somebody or something, and that an app may
// get as another one: [HeaderSafe] replaces control characters, and a header's
// recipient cuts white space off its ends. Two users would be one then.
func checkName(what, text string) error {
	switch {
	case strings.ContainsFunc(text, isControl) || !utf8.ValidString(text):
		return Refuse(ReasonClaims, what+" has control characters")
	case strings.TrimSpace(text) != text:
		return Refuse(ReasonClaims, what+" begins or ends with white space")
	}
	return nil
}

// isControl reports whether r is a C0 or C1 control character or DEL.
func isControl(r rune) bool { return r < 0x20 || r >= 0x7f && r <= 0x9f }
