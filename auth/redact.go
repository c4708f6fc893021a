package auth

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Redacted stands where a credential was. It is Caddy's own word.
const Redacted = "REDACTED"

// maxNesting is how many URLs deep in one another are looked at.
const maxNesting = 4

// longestProtocol is the length beyond which a subprotocol is no name. The
// longest that is registered has 54 bytes.
const longestProtocol = 64

// secretParameters are names of query parameters that hold a credential, in
// the form that [foldParameter] gives.
var secretParameters = [...]string{
	"accesstoken", "apikey", "apitoken", "assertion", "auth", "authorization",
	"authtoken", "bearer", "bearertoken", "clientsecret", "credential", "idtoken",
	"jid", "jwt", "password", "refreshtoken", "secret", "sessiontoken", "ticket",
	"token", "xapikey", "xauthtoken",
}

// secretPrefixes begin subprotocols of which the rest is a credential: those
// of the forms, and others that are in use.
var secretPrefixes = [...]string{
	kubernetesPrefix, phoenixPrefix, jupyterPrefix, appsyncPrefix,
	"base64.bearer.authorization.", "bearer-", "bearer.", "bearer_", "feldera-bearer.",
	"openai-insecure-api-key.", "quarkus-http-upgrade",
}

// Redactor takes credentials out of text that is to be logged. It does not
// know the configured sources: what a client sends to the wrong place is a
// credential, too. All that is none stays as it is, byte by byte. A Redactor
// is immutable and safe for concurrent use; the zero value takes out nothing
// but tokens and subprotocols, so use [NewRedactor].
type Redactor struct {
	parameters map[string]bool
	prefixes   []string
}

// NewRedactor returns a redactor that also knows names: further query
// parameters, in any case of letters, and with a "*" at the end prefixes of
// subprotocols as in [NewSubprotocolSource]. The error is for the operator.
func NewRedactor(names []string) (Redactor, error) {
	r := Redactor{parameters: make(map[string]bool), prefixes: slices.Clone(secretPrefixes[:])}
	for _, name := range secretParameters {
		r.parameters[name] = true
	}
	for _, name := range names {
		prefix, isPrefix := strings.CutSuffix(name, "*")
		switch {
		case !isToken(prefix):
			return Redactor{}, fmt.Errorf("%q is neither the name of a query parameter "+
				"nor a subprotocol's prefix with a * after it", name)
		case isPrefix:
			r.prefixes = append(r.prefixes, prefix)
		default:
			r.parameters[foldParameter(name)] = true
		}
	}
	return r, nil
}

// foldParameter makes spellings of one name equal: access_token, accessToken
// and Access-Token.
func foldParameter(name string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c == '_' || c == '-' || c == '.':
			return -1
		case 'A' <= c && c <= 'Z':
			return c + 'a' - 'A'
		}
		return c
	}, name)
}

// URI returns a URI, or a path with a query, without tokens in the path and
// without the values of parameters that hold credentials. From the query on,
// nothing is left of a URI that cannot be parsed.
func (r Redactor) URI(s string) string { return r.uri(s, 0, false) }

// uri is URI for what stands depth URLs deep in another one. polls: that one is
// of a client of Engine.IO.
func (r Redactor) uri(s string, depth int, polls bool) string {
	end := strings.IndexAny(s, "?#")
	if end < 0 {
		return redactPath(s)
	}
	path, mark, query := redactPath(s[:end]), s[end:end+1], s[end+1:]
	switch {
	case query == "":
		return path + mark
	case depth >= maxNesting || !isReadable(s):
		return path + mark + Redacted
	}
	polls = polls || isEngineIO(s[:end], query)
	redacted := r.query(query, depth, polls)
	if redacted == query && path == s[:end] {
		return s
	}
	return path + mark + redacted
}

// isReadable reports whether every percent sign begins an escape and there are
// no control characters: then servers agree on what the names are.
func isReadable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return false
		}
	}
	if !strings.Contains(s, "%") {
		return true
	}
	_, err := url.PathUnescape(s)
	return err == nil
}

// isEngineIO tells whether a path and a readable query are of a client of
// Engine.IO, the transport of Socket.IO. The id in the query is as good as a
// credential once somebody has logged in: see isEngineID.
func isEngineIO(path, query string) (is bool) {
	if decoded, err := url.PathUnescape(path); err == nil {
		path = decoded
	}
	path = strings.ToLower(path)
	is = strings.Contains(path, "socket.io") || strings.Contains(path, "engine.io")
	eachParameter(query, func(start, end int) {
		name, _, _ := strings.Cut(query[start:end], "=")
		is = is || hasName(name, func(part string) bool { return part == "eio" || part == "transport" })
	})
	return is
}

// isEngineID tells whether a part of a name is that of the id of a connection
// of Engine.IO. Elsewhere a parameter of this name may be anything.
func isEngineID(part string) bool { return part == "sid" }

// query returns a readable query without the credentials in it.
func (r Redactor) query(query string, depth int, polls bool) string {
	var out strings.Builder
	kept, secret := 0, false
	eachParameter(query, func(start, end int) {
		parameter := query[start:end]
		name, value, hasValue := strings.Cut(parameter, "=")
		// After a ";" without a "=", the value before may simply go on.
		goesOn := secret && !hasValue && start > 0 && query[start-1] == ';'
		secret = goesOn || r.Secret(name) || polls && hasName(name, isEngineID)
		var redacted string
		switch {
		case goesOn && parameter != "":
			redacted = Redacted
		case !hasValue:
			redacted = r.nested(parameter, depth, polls)
		case secret && value != "":
			redacted = r.nested(name, depth, polls) + "=" + Redacted
		default:
			redacted = r.nested(name, depth, polls) + "=" + r.nested(value, depth, polls)
		}
		if redacted != parameter {
			out.WriteString(query[kept:start])
			out.WriteString(redacted)
			kept = end
		}
	})
	if kept == 0 {
		return query
	}
	out.WriteString(query[kept:])
	return out.String()
}

// Secret reports whether what has this name holds a credential: a parameter,
// whose name may still be encoded, or a header. Of a structured name, such as
// auth[token], each part counts.
func (r Redactor) Secret(name string) bool {
	return hasName(name, func(part string) bool { return r.parameters[part] })
}

// hasName tells whether is holds for a name, or for a part of a structured one,
// in the form that [foldParameter] gives. Of what cannot be decoded it does.
func hasName(name string, is func(part string) bool) bool {
	if strings.ContainsAny(name, "%+") {
		var err error
		if name, err = url.QueryUnescape(name); err != nil {
			return true
		}
	}
	name = foldParameter(name)
	if !strings.ContainsAny(name, "[]?#") {
		return is(name)
	}
	isBorder := func(c rune) bool { return strings.ContainsRune("[]?#", c) }
	for part := range strings.FieldsFuncSeq(name, isBorder) {
		if is(part) {
			return true
		}
	}
	return false
}

// nested returns a name or value of a query without the credentials in it. It
// may be a URL itself, encoded or, where a client has put a second "?", not.
func (r Redactor) nested(s string, depth int, polls bool) string {
	s = r.uri(s, depth+1, polls)
	if !strings.Contains(s, "%") {
		return s
	}
	decoded, err := url.QueryUnescape(s)
	if err != nil || r.uri(decoded, depth+1, polls) != decoded {
		return Redacted
	}
	return s
}

// redactPath returns a path without the tokens in it, encoded ones included.
func redactPath(path string) string {
	path = redactTokens(path)
	if !strings.Contains(path, "%") {
		return path
	}
	segments := strings.Split(path, "/")
	for i, segment := range segments {
		decoded, err := url.PathUnescape(segment)
		if err == nil && redactTokens(decoded) != decoded {
			segments[i] = Redacted
		}
	}
	return strings.Join(segments, "/")
}

// Protocols returns lines of Sec-WebSocket-Protocol without the credentials
// in them: all forms of [SubprotocolForms] and some more. A scheme at the end
// of one line announces the first subprotocol of the next. The lines given are
// not changed.
func (r Redactor) Protocols(lines []string) []string {
	announced := false
	out := make([]string, 0, len(lines))
	for _, line := range lines {
		elements := strings.Split(line, ",")
		for i, element := range elements {
			protocol := trimSpace(element)
			if protocol == "" {
				continue
			}
			scheme := isScheme(protocol)
			if announced && !scheme {
				elements[i] = strings.Replace(element, protocol, Redacted, 1)
			} else if redacted := r.protocol(protocol); redacted != protocol {
				elements[i] = strings.Replace(element, protocol, redacted, 1)
			}
			announced = scheme
		}
		out = append(out, strings.Join(elements, ","))
	}
	return out
}

// protocol returns one subprotocol without the credential in it.
func (r Redactor) protocol(s string) string {
	for _, prefix := range r.prefixes {
		n := len(prefix)
		if len(s) > n && strings.EqualFold(s[:n], prefix) {
			return s[:n] + Redacted
		}
	}
	if len(s) > longestProtocol {
		return Redacted
	}
	return redactTokens(s)
}

// Text returns any text without the tokens in it and without what follows a
// leading "Bearer".
func (r Redactor) Text(s string) string {
	if token, ok := cutBearer(s); ok && token != "" {
		return "Bearer " + Redacted
	}
	return redactTokens(s)
}
