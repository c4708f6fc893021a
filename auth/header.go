package auth

import (
	"fmt"
	"net/http"
	"net/textproto"
	"strings"
)

const authorization = "Authorization"

// NewHeaderSource returns the source of credentials in the header name, in
// any case of letters; with an empty name, or Authorization, of
// "Authorization: Bearer" as RFC 6750 section 2.1 has it. Any other header
// holds the credential as it is, with or without "Bearer " before it.
//
// An Authorization header of another scheme holds no credential of ours and
// stays: it may be meant for the application. The error is for the operator.
func NewHeaderSource(name string) (Source, error) {
	canonical := textproto.CanonicalMIMEHeaderKey(name)
	if name == "" || canonical == authorization {
		return bearerSource{}, nil
	}
	if err := checkNames("header", []string{name}); err != nil {
		return nil, err
	}
	switch {
	case canonical == "Cookie":
		return nil, fmt.Errorf("from header cannot take %s: use from cookie", name)
	case strings.HasPrefix(canonical, "Sec-Websocket-"):
		return nil, fmt.Errorf("from header cannot take %s: use from subprotocol", name)
	case isRequestMachinery(canonical):
		return nil, fmt.Errorf("from header cannot take %s: "+
			"the request needs it, so it cannot hold a credential", name)
	}
	return headerSource{name: canonical}, nil
}

// isRequestMachinery reports whether name, in canonical form, is a header
// without which the request means something else.
func isRequestMachinery(name string) bool {
	switch name {
	case "Connection", "Content-Length", "Host", "Origin", "Te", "Trailer",
		"Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}

// bearerSource finds a credential in "Authorization: Bearer".
type bearerSource struct{}

// NewBearerSource returns the source "Authorization: Bearer".
func NewBearerSource() Source { return bearerSource{} }

func (bearerSource) Name() string { return "header" }

func (bearerSource) Find(r *http.Request) (Found, error) {
	lines := headerLines(r.Header, authorization)
	var values []string
	for _, line := range lines {
		if token, ok := cutBearer(line); ok {
			values = append(values, token)
		}
	}
	// Authorization is not a list (RFC 9110 section 11.6.2), so a second line
	// of whatever scheme makes it unclear who the client claims to be.
	if len(values) > 0 && len(lines) > 1 {
		return Found{}, Refuse(ReasonAmbiguous, "two Authorization headers")
	}
	found, err := one("header", values)
	if err == nil && found.Credential != "" && !isToken68(found.Credential) {
		return Found{}, malformed("header", "is not a token68")
	}
	return found, err
}

func (bearerSource) Strip(r *http.Request) {
	lines := headerLines(r.Header, authorization)
	var rest []string
	for _, line := range lines {
		if _, ok := cutBearer(line); !ok {
			rest = append(rest, line)
		}
	}
	if len(rest) < len(lines) {
		setLines(r.Header, authorization, rest)
	}
}

// cutBearer returns what follows the scheme Bearer, in any case, in the value
// of an Authorization header. It takes anything that begins with the word, so
// that a token after a tab or a comma is found, and refused, rather than
// handed on.
func cutBearer(value string) (string, bool) {
	const scheme = "bearer"
	value = trimSpace(value)
	if len(value) < len(scheme) || !strings.EqualFold(value[:len(scheme)], scheme) {
		return "", false
	}
	rest := value[len(scheme):]
	if rest != "" && isTokenByte(rest[0]) {
		return "", false // another scheme, such as BearerX
	}
	return strings.TrimLeft(rest, " "), true
}

// isToken68 reports whether s is a token68, RFC 9110 section 11.2, which is
// the b64token of RFC 6750 section 2.1.
func isToken68(s string) bool {
	text := strings.TrimRight(s, "=")
	for i := range len(text) {
		if c := text[i]; !isAlphanumeric(c) && strings.IndexByte("-._~+/", c) < 0 {
			return false
		}
	}
	return text != ""
}

// headerSource finds a credential in a header that holds nothing else.
type headerSource struct{ name string }

func (headerSource) Name() string { return "header" }

func (s headerSource) Find(r *http.Request) (Found, error) {
	var values []string
	for _, line := range headerLines(r.Header, s.name) {
		values = append(values, withoutBearer(line))
	}
	return one("header", values)
}

func (s headerSource) Strip(r *http.Request) { setLines(r.Header, s.name, nil) }

// withoutBearer returns value without a leading "Bearer " in any case.
func withoutBearer(value string) string {
	value = trimSpace(value)
	if rest, ok := cutBearer(value); ok && strings.HasPrefix(value[len("bearer"):], " ") {
		return rest
	}
	return value
}
