package auth

import (
	"net/http"
	"slices"
	"strings"
)

// cookieSource finds a credential in a cookie.
type cookieSource struct{ names []string }

// NewCookieSource returns the source of credentials in the cookies names, of
// which there must be at least one. Names are compared exactly. The error is
// for the operator and says which name is bad.
func NewCookieSource(names []string) (Source, error) {
	if err := checkNames("cookie", names); err != nil {
		return nil, err
	}
	return &cookieSource{names: slices.Clone(names)}, nil
}

func (*cookieSource) Name() string { return "cookie" }

func (s *cookieSource) Find(r *http.Request) (Found, error) {
	var values []string
	for _, line := range headerLines(r.Header, "Cookie") {
		for pair := range strings.SplitSeq(line, ";") {
			if value, ok := s.match(pair); ok {
				values = append(values, value)
			}
		}
	}
	found, err := one("cookie", values)
	found.Ambient, found.MaybeAmbient = found.Credential != "", true
	return found, err
}

func (s *cookieSource) Strip(r *http.Request) {
	var rest []string
	changed := false
	for _, line := range headerLines(r.Header, "Cookie") {
		stripped := s.strip(line)
		changed = changed || stripped != line
		if stripped != "" {
			rest = append(rest, stripped)
		}
	}
	if changed {
		setLines(r.Header, "Cookie", rest)
	}
}

// strip returns line, the value of a Cookie header, without the cookies of s.
// The others are as they were.
func (s *cookieSource) strip(line string) string {
	var rest strings.Builder
	found, first := false, true
	for pair := range strings.SplitSeq(line, ";") {
		if _, ok := s.match(pair); ok {
			found = true
			continue
		}
		if first {
			pair = strings.TrimLeft(pair, " \t")
			first = false
		} else {
			rest.WriteByte(';')
		}
		rest.WriteString(pair)
	}
	if !found {
		return line
	}
	return rest.String()
}

// match returns the value of a cookie pair, RFC 6265 section 4.2.1, without
// the quotes it may have, if its name is one of s.
func (s *cookieSource) match(pair string) (string, bool) {
	name, value, ok := strings.Cut(pair, "=")
	if !ok || !slices.Contains(s.names, trimSpace(name)) {
		return "", false
	}
	value = trimSpace(value)
	if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
		value = value[1 : len(value)-1]
	}
	return value, true
}
