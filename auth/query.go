package auth

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// defaultParameter is the query parameter of RFC 6750 section 2.3.
const defaultParameter = "access_token"

// querySource finds a credential in the query of the URL: the last resort of
// RFC 6750 section 2.3, but where browsers have little else.
type querySource struct{ names []string }

// NewQuerySource returns the source of credentials in query parameters, which
// are found by any of names; without names, access_token. The error is for the
// operator and says which name is bad.
//
// Names are compared exactly, after percent-decoding. Parameters end at "&"
// and also at ";", because some servers end them there. A "+" in a credential
// is a plus: no credential holds a space, so a client that sends one has
// forgotten to encode it.
func NewQuerySource(names []string) (Source, error) {
	if len(names) == 0 {
		names = []string{defaultParameter}
	}
	if err := checkNames("query", names); err != nil {
		return nil, err
	}
	return &querySource{names: slices.Clone(names)}, nil
}

func (*querySource) Name() string { return "query" }

func (s *querySource) Find(r *http.Request) (Found, error) {
	if r.URL == nil || r.URL.RawQuery == "" {
		return Found{}, nil
	}
	var values []string
	var refusal error
	query := r.URL.RawQuery
	eachParameter(query, func(start, end int) {
		raw, ok := s.match(query[start:end])
		if !ok || len(values) > 1 {
			return
		}
		value, err := url.PathUnescape(raw)
		if err != nil {
			refusal = malformed("query", "has a bad percent-encoding")
		}
		values = append(values, value)
	})
	if len(values) == 1 && refusal != nil {
		return Found{}, refusal
	}
	return one("query", values)
}

// Strip changes r.URL in place, because a server may keep the pointer.
func (s *querySource) Strip(r *http.Request) {
	if r.URL != nil {
		r.URL.RawQuery = s.strip(r.URL.RawQuery)
	}
	path, query, ok := strings.Cut(r.RequestURI, "?")
	if !ok {
		return
	}
	switch rest := s.strip(query); rest {
	case query:
	case "":
		r.RequestURI = path
	default:
		r.RequestURI = path + "?" + rest
	}
}

// strip returns query without the parameters of s. What is left, separators
// included, is as it was.
func (s *querySource) strip(query string) string {
	var rest strings.Builder
	kept, last := 0, false // what lies before kept is copied or dropped
	eachParameter(query, func(start, end int) {
		if _, ok := s.match(query[start:end]); !ok {
			return
		}
		rest.WriteString(query[kept:start])
		// The separator goes with what it follows.
		kept, last = min(end+1, len(query)), end == len(query)
	})
	if kept == 0 {
		return query
	}
	rest.WriteString(query[kept:])
	if last && rest.Len() > 0 { // nothing follows the last separator
		return rest.String()[:rest.Len()-1]
	}
	return rest.String()
}

// match returns the value of parameter, still encoded, if its name is one
// of s.
func (s *querySource) match(parameter string) (string, bool) {
	name, value, _ := strings.Cut(parameter, "=")
	if strings.ContainsAny(name, "%+") {
		var err error
		if name, err = url.QueryUnescape(name); err != nil {
			return "", false
		}
	}
	return value, slices.Contains(s.names, name)
}

// eachParameter calls do with the borders of each parameter in query, in
// order, without its separator.
func eachParameter(query string, do func(start, end int)) {
	ampersand, semicolon := -1, -1 // the next of each
	for start := 0; start <= len(query); {
		if ampersand < start {
			ampersand = indexFrom(query, '&', start)
		}
		if semicolon < start {
			semicolon = indexFrom(query, ';', start)
		}
		end := min(ampersand, semicolon)
		do(start, end)
		start = end + 1
	}
}

// indexFrom returns where in s, from start on, the next c is, or the length
// of s.
func indexFrom(s string, c byte, start int) int {
	if i := strings.IndexByte(s[start:], c); i >= 0 {
		return start + i
	}
	return len(s)
}
