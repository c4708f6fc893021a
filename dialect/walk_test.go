package dialect

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// mustPointers takes pointers apart.
func mustPointers(t testing.TB, texts ...string) []pointer {
	t.Helper()
	ps := make([]pointer, len(texts))
	for i, text := range texts {
		p, err := parsePointer(text)
		if err != nil {
			t.Fatal(err)
		}
		ps[i] = p
	}
	return ps
}

func TestFind(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, data, pointer, want, cut string
	}{
		{"alone", `{"token":"x"}`, "/token", `"x"`, `{}`},
		{"first", `{ "token" : "x" , "a":1}`, "/token", `"x"`, `{ "a":1}`},
		{"middle", `{"a":1, "token":"x", "b":2}`, "/token", `"x"`, `{"a":1, "b":2}`},
		{"last", `{"a":1 , "token":"x" }`, "/token", `"x"`, `{"a":1 }`},
		{"missing", `{"a":1}`, "/token", "", ""},
		{"not below", `{"a":{"token":1}}`, "/token", "", ""},
		{"nested", `{"p":{"a":[],"token":"x"},"z":0}`, "/p/token", `"x"`, `{"p":{"a":[]},"z":0}`},
		{"nested first", `{"p":{"token":{"x":[1]},"a":2}}`, "/p/token", `{"x":[1]}`, `{"p":{"a":2}}`},
		{"whole member", `{"p":{"token":1},"a":2}`, "/p", `{"token":1}`, `{"a":2}`},
		{"in an array", `["1","2",null,{"token":"x"}]`, "/3/token", `"x"`, `["1","2",null,{}]`},
		{"first element", `[ 1 ,2]`, "/0", `1`, `[ 2]`},
		{"last element", `[1, 2]`, "/1", `2`, `[1]`},
		{"only element", `[1]`, "/0", `1`, `[]`},
		{"no such element", `[1]`, "/1", "", ""},
		{"number as a name", `{"0":1}`, "/0", `1`, `{}`},
		{"leading zero", `[[1]]`, "/00", "", ""},
		{"escaped name", `{"tok\u0065n":"x"}`, "/token", `"x"`, `{}`},
		{"slash in a name", `{"a/b":{"~":1}}`, "/a~1b/~0", `1`, `{"a/b":{}}`},
		{"empty name", `{"":1}`, "/", `1`, `{}`},
		{"through a scalar", `{"a":"b"}`, "/a/b", "", ""},
		{"white space around", " \n{\"token\":1}\t", "/token", `1`, " \n{}\t"},
		{"among many", `{"token":1` + members(40) + `}`, "/m7", `7.5e-1`, strings.Replace(`{"token":1`+members(40)+`}`, `,"m7":7.5e-1`, "", 1)},
		{"short escapes", `{"a":"\"\\\/\b","token":"\n"}`, "/token", `"\n"`, `{"a":"\"\\\/\b"}`},
		{"surrogate pair", `{"a":"\ud83d\ude00","token":1}`, "/token", `1`, `{"a":"\ud83d\ude00"}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			f := newFinder(mustPointers(t, tc.pointer)...)
			found := make([]span, 1)
			if err := f.find([]byte(tc.data), found); err != nil {
				t.Fatalf("find: %v", err)
			}
			if !found[0].is() {
				if tc.want != "" {
					t.Fatal("not found")
				}
				return
			}
			if got := string(found[0].raw([]byte(tc.data))); got != tc.want {
				t.Errorf("found %s, want %s", got, tc.want)
			}
			if got := string(found[0].cut([]byte(tc.data))); got != tc.cut {
				t.Errorf("cut leaves %s, want %s", got, tc.cut)
			}
		})
	}
}

func TestFindSeveral(t *testing.T) {
	t.Parallel()
	const data = `{"type":"auth","p":{"token":"x","b":[{"c":1}]},"q":2}`
	f := newFinder(mustPointers(t, "/type", "/p/token", "/p", "/p/b/0/c", "", "/none", "/p/token")...)
	found := make([]span, 7)
	if err := f.find([]byte(data), found); err != nil {
		t.Fatal(err)
	}
	want := []string{`"auth"`, `"x"`, `{"token":"x","b":[{"c":1}]}`, "1", data, "", `"x"`}
	for i, w := range want {
		if got := string(found[i].raw([]byte(data))); got != w {
			t.Errorf("found[%d] = %s, want %s", i, got, w)
		}
	}
	if got := string(f.cutAll([]byte(data), found, []int{1, 0, 5, 3})); got != `{"p":{"b":[{}]},"q":2}` {
		t.Errorf("cutAll leaves %s", got)
	}
}

func TestFindRefuses(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, data string
		want       error
	}{
		{"nothing", "", errForeign},
		{"white space", " ", errForeign},
		{"text", "hello", errForeign},
		{"cut off", `{"token":"x"`, ErrProtocol},
		{"more after it", `{"token":"x"}{}`, ErrProtocol},
		{"garbage after it", `{"token":"x"}x`, ErrProtocol},
		{"comma too many", `{"token":"x",}`, ErrProtocol},
		{"name is no string", `{1:2}`, ErrProtocol},
		{"control character", "{\"token\":\"\x00\"}", ErrProtocol},
		{"unknown escape", `{"token":"\x"}`, ErrProtocol},
		{"twice", `{"token":"x","token":"y"}`, ErrAmbiguous},
		{"twice, one escaped", `{"token":"x","\u0074oken":"y"}`, ErrAmbiguous},
		{"twice, one with a short escape", `{"token":"x","a/b":1,"a\/b":2}`, ErrAmbiguous},
		{"another twice", `{"token":"x","a":1,"a":1}`, ErrAmbiguous},
		{"below twice", `{"token":"x","a":[{"b":1,"b":2}]}`, ErrAmbiguous},
		{"lone surrogate", `{"token":"\ud800"}`, ErrAmbiguous},
		{"lone surrogate elsewhere", `{"token":"x","a":"\udc00x"}`, ErrAmbiguous},
		{"no UTF-8", "{\"token\":\"x\",\"a\":\"\xff\"}", ErrAmbiguous},
		{"twice, then cut off", `{"token":"x","token":"y"`, ErrProtocol},
		{"twice among many", `{"token":"x"` + members(40) + `,"m7":1}`, ErrAmbiguous},
		{"number with leading zero", `{"token":01}`, ErrProtocol},
		{"number that ends with a point", `{"token":1.}`, ErrProtocol},
		{"number without an exponent", `{"token":1e+}`, ErrProtocol},
		{"minus alone", `{"token":-}`, ErrProtocol},
		{"word cut off", `{"token":tru}`, ErrProtocol},
		{"word too long", `{"token":nulll}`, ErrProtocol},
		{"no colon", `{"token" 1}`, ErrProtocol},
		{"no comma", `{"token":[1 2]}`, ErrProtocol},
		{"no value", `{"token":}`, ErrProtocol},
		{"commas alone", `{,}`, ErrProtocol},
		{"comma after an element", `[1,]`, ErrProtocol},
		{"wrong bracket", `{"token":1]`, ErrProtocol},
		{"bracket too many", `{"token":1}}`, ErrProtocol},
		{"just deep enough", nest(maxDepth), nil},
		{"too deep", nest(maxDepth + 1), ErrProtocol},
		{"too deep after twice", `{"a":1,"a":` + nest(maxDepth) + `}`, ErrProtocol},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			found := make([]span, 1)
			f := newFinder(mustPointers(t, "/token")...)
			err := f.find([]byte(tc.data), found)
			if !errors.Is(err, tc.want) {
				t.Errorf("find: %v, want %v", err, tc.want)
			}
			if has := strings.Contains(tc.data, `"token"`) || strings.Contains(tc.data, "oken"); found[0].is() != (has && errors.Is(err, ErrAmbiguous)) {
				t.Errorf("found: %v", found[0].is())
			}
		})
	}
}

// members returns members of different names.
func members(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"m%d":%d.5e-1`, i, i)
	}
	return b.String()
}

// nest returns arrays in each other.
func nest(depth int) string {
	return strings.Repeat("[", depth) + strings.Repeat("]", depth)
}

// TestFindAmbiguous shows that what one of two parsers would find is found.
func TestFindAmbiguous(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		data string
		auth bool
	}{
		{`{"type":"auth","type":"chat"}`, true},
		{`{"type":"chat","type":"auth"}`, true},
		{`{"type":"auth","a":1,"a":2}`, true},
		{`{"type":"chat","a":1,"a":2}`, false},
		{`{"type":"chat","a":"auth","a":2}`, false},
		{`{"type":"auth\ud800"}`, true},
		{`{"a":1,"a":2}`, false},
	} {
		found := make([]span, 1)
		f := newFinder(mustPointers(t, "/type")...)
		if err := f.find([]byte(tc.data), found); !errors.Is(err, ErrAmbiguous) {
			t.Errorf("find(%s): %v", tc.data, err)
		}
		if got := found[0].couldBe([]byte(tc.data), "auth"); got != tc.auth {
			t.Errorf("couldBe(%s) = %v, want %v", tc.data, got, tc.auth)
		}
	}
}

// TestFindDeepIsCheap has 100 KiB of nesting refused after a few of its bytes.
// It counts allocations, so that nothing may run beside it.
func TestFindDeepIsCheap(t *testing.T) {
	f := newFinder(mustPointers(t, "/token")...)
	found := make([]span, 1)
	for _, data := range [][]byte{
		bytes.Repeat([]byte("["), 100<<10),
		bytes.Repeat([]byte(`{"token":`), 100<<10/9),
	} {
		if err := f.find(data, found); !errors.Is(err, ErrProtocol) {
			t.Errorf("find: %v", err)
		}
		perRun := testing.AllocsPerRun(100, func() { _ = f.find(data, found) })
		// A decoder that is not from the pool allocates for each level it reads;
		// the text has more than ten thousand.
		if perRun > 2*maxDepth {
			t.Errorf("%v allocations", perRun)
		}
	}
}

func TestPointer(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ text, want string }{
		{"token", `JSON pointer "token" does not begin with /: write "/token"`},
		{"/a~", `JSON pointer "/a~": ~ is written ~0`},
		{"/a~2", `JSON pointer "/a~2": ~ is written ~0`},
		{"/a\xff", `JSON pointer "/a\xff" is no UTF-8`},
		{strings.Repeat("/a", maxDepth+1), "has more than 32 steps"},
	} {
		if _, err := parsePointer(tc.text); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("parsePointer(%q): %v, want %q", tc.text, err, tc.want)
		}
	}
	p := mustPointers(t, "/a/b", "/a", "", "/ab", "/a/b/c")
	for i, want := range []bool{true, true, true, false, false} {
		if got := p[0].within(p[i]); got != want {
			t.Errorf("%q within %q = %v", p[0], p[i], got)
		}
	}
}

func TestBearer(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ in, want string }{
		{"x", "x"},
		{"Bearer x", "x"},
		{"bEARER   x\n", "x"},
		{" x ", "x"},
		{"Bearer", "Bearer"},
		{"Bearerx", "Bearerx"},
		{"Basic x", "Basic x"},
		{"", ""},
	} {
		if got := bearer(tc.in); got != tc.want {
			t.Errorf("bearer(%q) = %q, want %q", tc.in, got, tc.want)
		}
	}
}

// everyMessage is a message of about 1.2 KB with its token.
var everyMessage = []byte(`{"type":"chat","id":4711,"token":"` + strings.Repeat("eyJhbGciOi", 80) +
	`","room":"general","payload":{"text":"` + strings.Repeat("hello there ", 20) + `","tags":["a","b",{"x":1}]}}`)

func BenchmarkFind(b *testing.B) {
	f := newFinder(mustPointers(b, "/token")...)
	found := make([]span, 1)
	b.ReportAllocs()
	for b.Loop() {
		if err := f.find(everyMessage, found); err != nil || !found[0].is() {
			b.Fatal(err)
		}
	}
}

// BenchmarkFindEscaped is for a text that is not plain.
func BenchmarkFindEscaped(b *testing.B) {
	f := newFinder(mustPointers(b, "/token")...)
	found := make([]span, 1)
	data := bytes.Replace(everyMessage, []byte("general"), []byte(`\u0067eneral`), 1)
	b.ReportAllocs()
	for b.Loop() {
		if err := f.find(data, found); err != nil || !found[0].is() {
			b.Fatal(err)
		}
	}
}
