package dialect

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

// FuzzFind compares with readings of other libraries: what is found is what a
// decoder finds, and after a cut all else is left.
func FuzzFind(f *testing.F) {
	for _, seed := range []string{
		`{"token":"x"}`, `{"a":1, "token":"x", "b":2}`, `{"p":{"token":[1,2]},"z":0}`,
		`["1",{"token":"x"}]`, `{"token":"x","token":"y"}`, `{"p":{"To\u212aen":1}}`, `{"A":1,"a":2}`, `{"tok\u0065n":"\ud800"}`, nest(40), `[1 , 2]`,
	} {
		f.Add([]byte(seed))
	}
	pointers := []string{"/token", "/p/token", "/1/token", "/1", "/p", "/a"}
	find := newFinder(mustPointers(f, pointers...)...)
	f.Fuzz(func(t *testing.T, data []byte) {
		before := bytes.Clone(data)
		found := make([]span, len(pointers))
		err := find.find(data, found)
		if !bytes.Equal(before, data) {
			t.Fatal("find changed its text")
		}
		if want := verdict(data, pointers); !errors.Is(err, want) {
			t.Fatalf("find(%q): %v, want %v", data, err, want)
		}
		if err != nil {
			return
		}
		checkPlain(t, find, data, found)
		for i, s := range found {
			checkFound(t, data, pointers[i], s)
		}
	})
}

// checkPlain compares both ways to read a text that is plain.
func checkPlain(t *testing.T, f *finder, data []byte, want []span) {
	t.Helper()
	w := walkers.New().(*walker)
	got := make([]span, len(want))
	if err := w.walk(f, data, got, nil); err != nil || !slices.Equal(got, want) {
		t.Fatalf("%q: %v, %v, want %v", data, got, err, want)
	}
	clear(got)
	if w.walkPlain(f, data, got) && !slices.Equal(got, want) {
		t.Fatalf("%q read plainly: %v, want %v", data, got, want)
	}
}

// verdict is what find must say of data.
func verdict(data []byte, pointers []string) error {
	switch {
	case !beginsLikeJSON(data):
		return errForeign
	case !jsontext.Value(data).IsValid(lenient...) || deep(data):
		return ErrProtocol
	case !jsontext.Value(data).IsValid() || bytes.Contains(data, []byte(`\u0000`)) || inOtherCase(data, pointers):
		return ErrAmbiguous
	default:
		return nil
	}
}

// inOtherCase tells whether a member that a pointer leads through is written in
// another case of letters. data is JSON without a member twice.
func inOtherCase(data []byte, pointers []string) bool {
	var v any
	if json.Unmarshal(data, &v) != nil {
		return false
	}
	steps := make([][]string, len(pointers))
	for i, p := range pointers {
		steps[i] = strings.Split(p[1:], "/")
	}
	return otherCaseIn(v, steps)
}

// otherCaseIn is inOtherCase for the rest of pointers, below a value.
func otherCaseIn(v any, pointers [][]string) bool {
	object, _ := v.(map[string]any)
	for name, member := range object {
		var below [][]string
		exact, folded := false, false
		for _, p := range pointers {
			switch {
			case len(p) == 0:
			case p[0] == name:
				exact, below = true, append(below, p[1:])
			case strings.EqualFold(p[0], name):
				folded = true
			}
		}
		if folded && !exact || otherCaseIn(member, below) {
			return true
		}
	}
	elements, _ := v.([]any)
	for i, element := range elements {
		var below [][]string
		for _, p := range pointers {
			if len(p) > 0 && index(p[0]) == i {
				below = append(below, p[1:])
			}
		}
		if otherCaseIn(element, below) {
			return true
		}
	}
	return false
}

// deep tells whether JSON nests too deep.
func deep(data []byte) bool {
	dec := jsontext.NewDecoder(bytes.NewReader(data), lenient...)
	for {
		if _, err := dec.ReadToken(); err != nil {
			return false
		}
		if dec.StackDepth() > maxDepth {
			return true
		}
	}
}

// checkFound compares a span with what encoding/json decodes.
func checkFound(t *testing.T, data []byte, at string, s span) {
	t.Helper()
	want, ok := lookUp(decode(t, data), at)
	if ok != s.is() {
		t.Fatalf("%s in %q: found %v, want %v", at, data, s.is(), ok)
	}
	if !ok {
		return
	}
	if got := decode(t, s.raw(data)); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("%s in %q is %v, want %v", at, data, got, want)
	}
	whole := decode(t, data)
	remove(whole, at)
	if got := decode(t, s.cut(data)); fmt.Sprint(got) != fmt.Sprint(removed(whole, at)) {
		t.Fatalf("%s cut from %q leaves %q", at, data, s.cut(data))
	}
}

// decode decodes a JSON text; numbers stay text.
func decode(t *testing.T, data []byte) any {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("%q: %v", data, err)
	}
	return v
}

// lookUp follows a pointer without escapes.
func lookUp(v any, at string) (any, bool) {
	for step := range strings.SplitSeq(strings.TrimPrefix(at, "/"), "/") {
		switch in := v.(type) {
		case map[string]any:
			next, ok := in[step]
			if !ok {
				return nil, false
			}
			v = next
		case []any:
			i := index(step)
			if i < 0 || i >= len(in) {
				return nil, false
			}
			v = in[i]
		default:
			return nil, false
		}
	}
	return v, true
}

// remove takes a member out of the object that holds it.
func remove(v any, at string) {
	i := strings.LastIndexByte(at, '/')
	if i > 0 {
		v, _ = lookUp(v, at[:i])
	}
	if object, ok := v.(map[string]any); ok {
		delete(object, at[i+1:])
	}
}

// removed returns v without the element that a pointer of one step leads to.
func removed(v any, at string) any {
	array, ok := v.([]any)
	i := index(at[1:])
	if !ok || i < 0 || i >= len(array) {
		return v
	}
	return append(append([]any{}, array[:i]...), array[i+1:]...)
}
