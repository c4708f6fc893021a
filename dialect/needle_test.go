package dialect

import (
	"bytes"
	"testing"
)

func TestNeedle(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "a", "auth", "token", "kkk", "Ünï", "a b", "aab", "zz"} {
		n := newNeedle(text)
		for _, data := range []string{
			"", "a", "auth", "xauth", "authx", "aut", "uth", "k", "token", "tokentoken", "toke", "okentoken", "kk", "kkkk",
			"Ünï", "Un\xc3", "a  b", "a b", "aaab", "abaab", "z", "zz", "az", "hello hello hello auth",
		} {
			if got, want := n.in([]byte(data)), bytes.Contains([]byte(data), []byte(text)); got != want {
				t.Errorf("%q in %q: %v, want %v", text, data, got, want)
			}
		}
	}
}

// FuzzNeedle compares it with the library.
func FuzzNeedle(f *testing.F) {
	f.Add("auth", []byte("the author"))
	f.Fuzz(func(t *testing.T, text string, data []byte) {
		if got, want := newNeedle(text).in(data), bytes.Contains(data, []byte(text)); got != want {
			t.Errorf("%q in %q: %v, want %v", text, data, got, want)
		}
	})
}
