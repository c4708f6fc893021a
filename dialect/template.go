package dialect

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

// template is a text with placeholders, each of which is replaced by JSON
// text, quotes included: nothing that a stranger has chosen can end the value
// it stands in. The braces of JSON itself are text. It is immutable and safe
// for concurrent use. The zero value, and nil, are silence.
//
//	{expires_in}      whole seconds until the credential ends, at least 0
//	{expires_at}      when it ends, in seconds since 1970
//	{reason}          the reason word as a string
//	{subject}         the identity's subject as a string
//	{session}         the socket's id as a string
//	{message.<path>}  a value of the message that is answered, as written there
//
// What does not end, and what is not in the message, is null. <path> is
// members and elements with dots between them, or, with a leading /, a JSON
// pointer.
type template struct {
	pieces []slot
	from   *finder   // of what is taken from the message; nil if nothing is
	paths  []pointer // what from finds
}

// slot is a placeholder and the text in front of it.
type slot struct {
	text string
	name string // empty at the end of the template
	path int    // of a value of the message
}

const messagePrefix = "message."

// parseTemplate takes text apart. Errors name the placeholder and the fix.
func parseTemplate(text string) (*template, error) {
	t := new(template)
	from, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			if quoted {
				i++
			}
		case '"':
			quoted = !quoted
		case '{':
			name, ok := placeholder(text[i:])
			if !ok {
				continue
			}
			if quoted {
				return nil, fmt.Errorf("placeholder {%s} stands between quotes: its value brings its own, leave them out", name)
			}
			if err := t.add(text[from:i], name); err != nil {
				return nil, err
			}
			i += len(name) + 1
			from = i + 1
		}
	}
	if from < len(text) {
		t.pieces = append(t.pieces, slot{text: text[from:]})
	}
	if len(t.paths) > 0 {
		t.from = newFinder(t.paths...)
	}
	return t, nil
}

// placeholder returns the name between the braces that text begins with. No
// JSON has a letter after an opening brace.
func placeholder(text string) (name string, ok bool) {
	name, _, ok = strings.Cut(text[1:], "}")
	if !ok || name == "" || !isLetter(name[0]) {
		return "", false
	}
	return name, !strings.ContainsAny(name, "{\" \t\r\n")
}

// isLetter tells whether c is an ASCII letter.
func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

// add appends a placeholder and the text in front of it.
func (t *template) add(text, name string) error {
	p := slot{text: text, name: name}
	switch name {
	case "expires_in", "expires_at", "reason", "subject", "session":
	default:
		path, ok := strings.CutPrefix(name, messagePrefix)
		if !ok {
			return fmt.Errorf("unknown placeholder {%s}: there are {expires_in}, {expires_at}, "+
				"{reason}, {subject}, {session} and {message.<path>}", name)
		}
		if !strings.HasPrefix(path, "/") {
			path = "/" + strings.ReplaceAll(strings.NewReplacer("~", "~0", "/", "~1").Replace(path), ".", "/")
		}
		to, err := parsePointer(path)
		if err != nil {
			return fmt.Errorf("placeholder {%s}: %w", name, err)
		}
		p.path = len(t.paths)
		t.paths = append(t.paths, to)
	}
	t.pieces = append(t.pieces, p)
	return nil
}

// usesMessage tells whether a value of the answered message is wanted.
func (t *template) usesMessage() bool { return t != nil && t.from != nil }

// shows returns an error if the template would show what p points to, or a
// part of it: a credential is never repeated.
func (t *template) shows(p pointer) error {
	if t == nil {
		return nil
	}
	for _, path := range t.paths {
		if p.within(path) || path.within(p) {
			return errors.New("{message.…} would repeat the credential: name another value")
		}
	}
	return nil
}

// say returns what the template says: one text message, or none if it is
// silent. message is the JSON text that is answered, nil if none is. ending is
// put behind it.
func (t *template) say(f Facts, message []byte, ending string) []proxy.Message {
	if t == nil || len(t.pieces) == 0 {
		return nil
	}
	var found []span
	if t.from != nil {
		found = make([]span, len(t.paths))
		if t.from.find(message, found) != nil {
			clear(found)
		}
	}
	var out []byte
	for _, p := range t.pieces {
		out = append(out, p.text...)
		switch p.name {
		case "":
		case "expires_in":
			out = appendSeconds(out, f.ExpiresAt, max(f.ExpiresAt.Sub(f.Now), 0)/time.Second)
		case "expires_at":
			out = appendSeconds(out, f.ExpiresAt, time.Duration(f.ExpiresAt.Unix()))
		case "reason":
			out = appendString(out, f.Reason)
		case "subject":
			out = appendString(out, f.Subject)
		case "session":
			out = appendString(out, f.Session)
		default:
			out = appendFound(out, found[p.path], message)
		}
	}
	return []proxy.Message{{Data: append(out, ending...)}}
}

// appendSeconds appends n, or null if there is no end.
func appendSeconds(out []byte, end time.Time, n time.Duration) []byte {
	if end.IsZero() {
		return append(out, "null"...)
	}
	return strconv.AppendInt(out, int64(n), 10)
}

// appendString appends text as a JSON string. Bytes that are no UTF-8 become
// U+FFFD.
func appendString(out []byte, text string) []byte {
	out, _ = jsontext.AppendQuote(out, strings.ToValidUTF8(text, "\uFFFD"))
	return out
}

// appendFound appends a value of the message, or null.
func appendFound(out []byte, s span, message []byte) []byte {
	if !s.is() {
		return append(out, "null"...)
	}
	return append(out, s.raw(message)...)
}
