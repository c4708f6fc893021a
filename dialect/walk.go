package dialect

import (
	"bytes"
	"errors"
	"io"
	"sync"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

// maxDepth is how deep a message may nest that can carry a credential. Real
// ones nest three or four levels deep.
const maxDepth = 32

// errForeign says that a message does not begin as JSON does, so that no
// decoder finds a member in it.
var errForeign = errors.New("the message is no JSON")

// errUnread says that a text is not exactly one JSON value, or nests too deep.
// Other decoders may read what this one does not.
var errUnread = errors.New("the text is not JSON that is read")

// finder finds values in JSON texts. It is made once for each set of pointers,
// is immutable, and safe for concurrent use.
type finder struct {
	root node
}

// node is a place in JSON texts that pointers lead to or through.
type node struct {
	ids  []int // of the pointers that end here
	next []edge
}

// edge leads to a member or an element.
type edge struct {
	name  string
	index int // of an element; -1 if none has this name
	to    *node
}

// span is where a value stands in a text. The zero value stands for none.
type span struct {
	start, end int
	// many: there is more than one such value in a text that is ambiguous,
	// and any of them may be the one.
	many bool
	// The value with its member's name and one comma.
	cutStart, cutEnd int
}

// newFinder returns a finder for the pointers, whose places in the list are
// the places of what find finds.
func newFinder(pointers ...pointer) *finder {
	f := new(finder)
	for id, p := range pointers {
		at := &f.root
		for _, step := range p {
			at = at.child(step)
		}
		at.ids = append(at.ids, id)
	}
	return f
}

// child returns the node that a step leads to, and makes it if need be.
func (n *node) child(step string) *node {
	for _, e := range n.next {
		if e.name == step {
			return e.to
		}
	}
	to := new(node)
	n.next = append(n.next, edge{name: step, index: index(step), to: to})
	return to
}

// find finds the values of the pointers in data, which must be exactly one
// JSON value. There must be room for each pointer in found; what is not there
// is left zero.
//
// errForeign says that data is no JSON to anybody. ErrProtocol says that it may
// be to others: it begins like JSON and is not exactly one value, or nests
// deeper than maxDepth. Nothing is found then. ErrAmbiguous says that decoders
// read data in two ways: an object has a member twice, or one that a pointer
// leads through in another case of letters, or a string is no Unicode text or
// holds a NUL. What is found then is what any of them may find, and is neither
// to be cut out nor used, but by a caller that wants to know whether such a
// message could carry a credential.
func (f *finder) find(data []byte, found []span) error {
	clear(found)
	if !beginsLikeJSON(data) {
		return errForeign
	}
	w := walkers.Get().(*walker)
	defer w.release()
	if w.walkPlain(f, data, found) {
		return nil
	}
	clear(found)
	if w.walk(f, data, found, nil) == nil {
		if w.folded || bytes.Contains(data, []byte(`\u0000`)) {
			return ErrAmbiguous
		}
		return nil
	}
	clear(found)
	if w.walk(f, data, found, lenient) != nil {
		clear(found)
		return ErrProtocol
	}
	return ErrAmbiguous
}

// findIn is find for a message. A binary one is foreign, too, if it begins like
// JSON and nobody can take a text out of it.
func (f *finder) findIn(m proxy.Message, found []span) error {
	err := f.find(m.Data, found)
	if m.Binary && errors.Is(err, ErrProtocol) && !couldBeJSON(m.Data, true) {
		return errForeign
	}
	return err
}

// lenient lets pass what makes a text ambiguous. Lone surrogates count as
// invalid UTF-8.
var lenient = []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}

// walker is what one pass over a text needs.
type walker struct {
	buf    bytes.Buffer
	dec    *jsontext.Decoder
	levels [maxDepth + 1]level
	depth  int
	found  []span
	names  [][]byte // of the members of all levels, by walkPlain
	folded bool     // a member's name is that of a pointer's step to some only
}

// level is an array or object that is being read; level 0 is around the text.
type level struct {
	at     *node // nil: no pointer leads here
	object bool
	named  bool  // of an object: the name has been read, the value follows
	next   *node // where the member or element that is being read is
	from   int   // where that begins
	count  int   // how many have been read
	end    int   // where the last one ends
	first  []int // the pointers that lead to the first one
	names  int   // where those of its members begin, by walkPlain
}

// The decoder is a library's that finds duplicates without keeping values, and
// reads straight from a bytes.Buffer.
var walkers = sync.Pool{New: func() any { return &walker{dec: jsontext.NewDecoder(new(bytes.Buffer))} }}

// release gives the walker back and lets go of the text, which holds a
// credential.
func (w *walker) release() {
	if w.buf.Cap() > 0 {
		w.buf = bytes.Buffer{}
		w.dec.Reset(&w.buf)
	}
	clear(w.names[:cap(w.names)])
	w.found = nil
	walkers.Put(w)
}

// walk makes one pass. It returns errUnread for what nests too deep, and the
// decoder's error for all else.
func (w *walker) walk(f *finder, data []byte, found []span, options []jsontext.Options) error {
	w.buf = *bytes.NewBuffer(data)
	w.dec.Reset(&w.buf, options...)
	w.found, w.depth, w.folded = found, 0, false
	w.levels[0] = level{at: nil, next: &f.root}
	for w.levels[0].count == 0 {
		if err := w.step(); err != nil {
			return err
		}
	}
	if _, err := w.dec.ReadToken(); !errors.Is(err, io.EOF) {
		return errUnread
	}
	return nil
}

// step reads one token.
func (w *walker) step() error {
	switch kind := w.dec.PeekKind(); kind {
	case '{', '[':
		if _, err := w.dec.ReadToken(); err != nil {
			return err
		}
		return w.open(int(w.dec.InputOffset())-1, kind == '{')
	case '}', ']':
		if _, err := w.dec.ReadToken(); err != nil {
			return err
		}
		w.depth--
		w.ended(int(w.dec.InputOffset()))
	default:
		text, err := w.dec.ReadValue()
		if err != nil {
			return err
		}
		end := int(w.dec.InputOffset())
		start := end - len(text)
		top := &w.levels[w.depth]
		if top.object && !top.named {
			top.named = true
			w.begun(start)
			var exact bool
			top.next, exact = top.at.member(text)
			w.folded = w.folded || !exact
			return nil
		}
		w.started(start)
		w.ended(end)
	}
	return nil
}

// open begins an array or object at start.
func (w *walker) open(start int, object bool) error {
	if w.depth == maxDepth {
		return errUnread
	}
	w.started(start)
	at := w.levels[w.depth].next
	w.depth++
	w.levels[w.depth] = level{at: at, object: object}
	return nil
}

// begun notes that a member or element begins at start. With a second one it
// is known how far the first one is to be cut.
func (w *walker) begun(start int) {
	top := &w.levels[w.depth]
	top.from = start
	if top.count == 1 {
		for _, id := range top.first {
			w.found[id].cutEnd = start
		}
	}
}

// started notes that a value begins at start.
func (w *walker) started(start int) {
	top := &w.levels[w.depth]
	if !top.object && w.depth > 0 {
		w.begun(start)
		top.next = top.at.element(top.count)
	}
	if top.next == nil {
		return
	}
	for _, id := range top.next.ids {
		s := &w.found[id]
		s.many = s.end > 0
		s.start = start
	}
}

// ended notes that the value that was begun on this level ends at end.
func (w *walker) ended(end int) {
	top := &w.levels[w.depth]
	if top.next != nil {
		for _, id := range top.next.ids {
			s := &w.found[id]
			s.end, s.cutStart, s.cutEnd = end, top.from, end
			if top.count > 0 {
				s.cutStart = top.end
			}
		}
		if top.count == 0 {
			top.first = top.next.ids
		}
	}
	top.named, top.next = false, nil
	top.end = end
	top.count++
}

// member returns where a member leads whose quoted name is given, nil if
// nowhere. exact is false if it leads there for some decoders only.
func (n *node) member(quoted []byte) (to *node, exact bool) {
	if n == nil || len(n.next) == 0 {
		return nil, true
	}
	name := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(name, '\\') >= 0 {
		name, _ = jsontext.AppendUnquote(nil, quoted)
	}
	for i := range n.next {
		if n.next[i].name == string(name) {
			return n.next[i].to, true
		}
	}
	for i := range n.next {
		if sameLetters(name, n.next[i].name) {
			return n.next[i].to, false
		}
	}
	return nil, true
}

// element returns where element i leads.
func (n *node) element(i int) *node {
	if n == nil {
		return nil
	}
	for k := range n.next {
		if n.next[k].index == i {
			return n.next[k].to
		}
	}
	return nil
}
