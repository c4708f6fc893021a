package dialect

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

// What the application sees of a message that carries a credential, as pass
// says it in the configuration.
const (
	passForward = "forward" // all of it
	passStrip   = "strip"   // all but the credential
	passConsume = "consume" // nothing
)

// checkPass returns pass, or preset where none is given, if it is one of
// allowed.
func checkPass(pass, preset string, allowed ...string) (string, error) {
	if pass == "" {
		return preset, nil
	}
	if !slices.Contains(allowed, pass) {
		return "", fmt.Errorf("pass %q is not known here: write pass %s", pass, strings.Join(allowed, " or pass "))
	}
	return pass, nil
}

// asWhole is a message that goes on as it came. It is never written to.
var asWhole = []Part{{Whole: true}}

// placed finds a credential in JSON texts where the protocol leaves its place
// free: at one of several pointers. It is immutable.
type placed struct {
	finder *finder
	heads  int   // how many of its pointers come before those of the places
	places []int // the numbers of those
}

// parsePlaces takes apart the pointers to a credential, or those of preset
// where none are given. An error names the word and the pointer.
func parsePlaces(texts, preset []string) ([]pointer, error) {
	if len(texts) == 0 {
		texts = preset
	}
	places, err := parsePointers(texts)
	if err != nil {
		return nil, fmt.Errorf("credential: %w", err)
	}
	for i, p := range places {
		if index(p[len(p)-1]) >= 0 {
			return nil, fmt.Errorf("credential: JSON pointer %q ends in a number: "+
				"write one that leads to a member of an object, such as /token", texts[i])
		}
	}
	return places, nil
}

// newPlaced returns what finds the heads, which tell what a message is, and a
// credential at any of places.
func newPlaced(heads, places []pointer) *placed {
	p := &placed{finder: newFinder(slices.Concat(heads, places)...), heads: len(heads)}
	for i := range places {
		p.places = append(p.places, p.heads+i)
	}
	return p
}

// find finds the heads and the places in data. The errors are those of
// finder.find.
func (p *placed) find(data []byte) ([]span, error) {
	found := make([]span, p.heads+len(p.places))
	return found, p.finder.find(data, found)
}

// findIn is find for a message, of which a binary one is JSON to fewer.
func (p *placed) findIn(m proxy.Message) ([]span, error) {
	found := make([]span, p.heads+len(p.places))
	return found, p.finder.findIn(m, found)
}

// unread returns what becomes of a message that was read with err, if one of
// those who read it could find a credential, or not.
func unread(err error, could bool) ([]Part, error) {
	if errors.Is(err, errForeign) || errors.Is(err, ErrAmbiguous) && !could {
		return asWhole, nil
	}
	return nil, err
}

// inBinary is what becomes of a binary message that carries a credential. Before
// the login it is one like any other that does not log in.
func inBinary(st State) ([]Part, error) {
	if st == Pending {
		return asWhole, nil
	}
	return nil, ErrProtocol
}

// carried is a credential in a message.
type carried struct {
	text  string
	there bool // something stands there, if only what is no text
}

// or returns the one of two that is there. ErrAmbiguous says that they differ,
// so that the application could go by another one than what was verified. They
// may be the same: some clients write it twice, for servers old and new.
func (c carried) or(other carried) (carried, error) {
	switch {
	case !other.there:
		return c, nil
	case c.there && c != other:
		return carried{}, ErrAmbiguous
	}
	return other, nil
}

// credential returns what stands at the places in data, which has been read
// without an error. null and an empty text are as if they were not there.
func (p *placed) credential(data []byte, found []span) (c carried, err error) {
	for _, id := range p.places {
		s := found[id]
		if !s.is() || string(s.raw(data)) == "null" || s.equals(data, "") {
			continue
		}
		text, _ := s.text(data)
		if c, err = c.or(carried{text: bearer(text), there: true}); err != nil {
			return carried{}, err
		}
	}
	return c, nil
}

// cut returns a copy of data without any credential. found is overwritten.
func (p *placed) cut(data []byte, found []span) []byte {
	return p.finder.cutAll(bytes.Clone(data), found, p.places)
}

// mayHold tells whether a decoder of JSON can find one of words, which are
// letters and underscores, in the message m, at almost no cost. Only an escape
// that JSON has no letter for, or another encoding, writes such a word in
// another way.
func mayHold(m proxy.Message, words ...string) bool {
	for _, word := range words {
		if bytes.Contains(m.Data, []byte(word)) {
			return true
		}
	}
	return writesOtherwise(m)
}

// writesOtherwise tells whether a decoder may read other letters in m than
// those that stand there.
func writesOtherwise(m proxy.Message) bool {
	if isWide(trimJSONFront(m.Data)) { // in a text message, too: some read its bytes
		return true
	}
	for p := m.Data; ; p = p[2:] {
		i := bytes.IndexByte(p, '\\')
		if i < 0 || i+1 == len(p) {
			return false
		}
		if p = p[i:]; bytes.IndexByte([]byte(`"\/bfnrt`), p[1]) < 0 {
			return true
		}
	}
}

// quoted returns text as JSON.
func quoted(text string) string {
	out, err := json.Marshal(text)
	if err != nil { // cannot be: every string is JSON
		return `""`
	}
	return string(out)
}

// texts are the gate's own words.
func texts(s ...string) []proxy.Message {
	messages := make([]proxy.Message, len(s))
	for i := range s {
		messages[i] = proxy.Text(s[i])
	}
	return messages
}

// clientLife is what becomes of a sign of life of the client's. Before login
// the gate gives the answer itself. Later it carries the sign across in its own
// words, say, rather than answer: what was asked in a socket that was open may
// be answered in one that is not, and every question wants one answer.
func clientLife(st State, say, answer []proxy.Message) []Part {
	if st == Pending {
		return []Part{{Kind: KeepAlive, Whole: true, ToClient: answer}}
	}
	return []Part{{Kind: KeepAlive, Whole: true, ToApp: say}}
}

// appLife is the same for a sign of life of the application's. Before login the
// client hears of it, too, since it gives up otherwise.
func appLife(st State, say, answer []proxy.Message) []Part {
	if st == Pending {
		return []Part{{Kind: KeepAlive, Whole: true, ToClient: say, ToApp: answer}}
	}
	return []Part{{Kind: KeepAlive, Whole: true, ToClient: say}}
}
