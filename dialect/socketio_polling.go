package dialect

import (
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
)

// PollingTransport is a [Poller] that knows which requests are those of its
// transport. Servers read paths and queries each in its way, so that what one
// of them could take for such a request has to be exactly one.
type PollingTransport interface {
	Poller
	// MayPoll tells whether a server could take path, which has been decoded
	// once, for the transport's, whatever way it reads it. It is true wherever
	// Polls is.
	MayPoll(path string) bool
	// ReadQuery reads the query of a request. The error is an [ErrProtocol]
	// that says why servers could read it in more than one way; what it returns
	// beside is then good for Named alone.
	ReadQuery(query string) (PollingQuery, error)
}

// PollingQuery is what a query says of the transport.
type PollingQuery struct {
	// Named tells whether there is a parameter that servers could take for the
	// version, which no other request has.
	Named bool
	// Any tells whether there is one of the transport's parameters at all.
	Any bool
	// Version, Transport and ID are EIO, transport and sid; empty if there is
	// none.
	Version, Transport, ID string
	// JSONP: answers are asked for as scripts, and bodies are forms.
	JSONP bool
}

// maxUnescape is how often a path is decoded, as by servers behind one another.
const maxUnescape = 3

// MayPoll looks for the segments of the configured path anywhere: a prefix may
// be taken off behind the gate. Case, empty and dot segments, escapes,
// backslashes and parameters of segments make no difference.
func (d *socketIO) MayPoll(path string) bool {
	want := foldPath(d.path)
	for range maxUnescape {
		if holdsRun(foldPath(path), want) || holdsRun(foldPath(resolved(path)), want) {
			return true
		}
		decoded, err := url.PathUnescape(path)
		if err != nil || decoded == path {
			return false
		}
		path = decoded
	}
	return true // nobody writes a path like this
}

// foldPath returns the segments of a path but for empty ones and dots.
func foldPath(path string) (segments []string) {
	path = strings.ReplaceAll(strings.ToLower(path), `\`, "/")
	for segment := range strings.SplitSeq(path, "/") {
		segment, _, _ = strings.Cut(segment, ";")
		if segment = strings.TrimSpace(segment); strings.Trim(segment, ".") != "" {
			segments = append(segments, segment)
		}
	}
	return segments
}

// resolved returns the path without its dots.
func resolved(p string) string { return path.Clean("/" + strings.ReplaceAll(p, `\`, "/")) }

// holdsRun tells whether run stands somewhere in all.
func holdsRun(all, run []string) bool {
	for i := range len(all) - len(run) + 1 {
		if slices.Equal(all[i:i+len(run)], run) {
			return true
		}
	}
	return false
}

// The parameters of the transport.
const (
	paramVersion   = "EIO"
	paramTransport = "transport"
	paramID        = "sid"
	paramJSONP     = "j"
)

// ReadQuery takes a query of plain names and values alone: what is in brackets,
// escaped, separated by a semicolon or written in another case is another
// parameter to each server. A parameter of the transport may be there once.
func (d *socketIO) ReadQuery(query string) (PollingQuery, error) {
	var q PollingQuery
	var first error
	for parameter := range strings.SplitSeq(query, "&") {
		if parameter == "" {
			continue
		}
		name, value, _ := strings.Cut(parameter, "=")
		q.Named = q.Named || couldBeName(parameter, paramVersion)
		if err := q.add(name, value); err != nil && first == nil {
			first = err
		}
	}
	return q, first
}

// add takes in one parameter.
func (q *PollingQuery) add(name, value string) error {
	if !isPlain(name, "") || !isPlainValue(value) {
		return fmt.Errorf("%w: the query has a parameter that servers read in more than one way", ErrProtocol)
	}
	for _, known := range []struct {
		name string
		into *string
	}{{paramVersion, &q.Version}, {paramTransport, &q.Transport}, {paramID, &q.ID}} {
		if !strings.EqualFold(name, known.name) {
			continue
		}
		q.Any = true
		switch {
		case name != known.name:
			return fmt.Errorf("%w: the query has %s in other letters", ErrProtocol, known.name)
		case *known.into != "":
			return fmt.Errorf("%w: the query has %s twice", ErrProtocol, known.name)
		case value == "" || !isPlain(value, ""):
			return fmt.Errorf("%w: the %s in the query has none of the values that it may have", ErrProtocol, known.name)
		}
		*known.into = value
	}
	if strings.EqualFold(name, paramJSONP) {
		q.Any, q.JSONP = true, true
	}
	return nil
}

// isPlain tells whether s has none but characters that need no escape anywhere,
// and those of more.
func isPlain(s, more string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("-._~"+more, rune(c)) {
			return false
		}
	}
	return true
}

// isPlainValue tells whether all servers find the same borders of a value.
func isPlainValue(s string) bool {
	if !isPlain(s, "%=+!$'()*,:@/?") {
		return false
	}
	_, err := url.PathUnescape(s)
	return err == nil
}

// couldBeName tells whether a server could find a parameter under name that a
// query has like this.
func couldBeName(parameter, name string) bool {
	if decoded, err := url.QueryUnescape(parameter); err == nil {
		parameter = decoded
	}
	isBorder := func(c rune) bool { return strings.ContainsRune("[]=;&?.#", c) || c <= ' ' }
	for part := range strings.FieldsFuncSeq(parameter, isBorder) {
		if strings.EqualFold(part, name) {
			return true
		}
	}
	return false
}

// Interface guard
var _ PollingTransport = (*socketIO)(nil)
