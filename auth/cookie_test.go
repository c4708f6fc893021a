package auth

import (
	"strings"
	"testing"
)

func TestCookieSource(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		lines  []string
		want   string
		reason Reason
		rest   []string
	}{
		{"alone", []string{"tok=abc"}, "abc", "", nil},
		{"first", []string{"tok=abc; a=1"}, "abc", "", []string{"a=1"}},
		{"middle", []string{"a=1; tok=abc; b=2"}, "abc", "", []string{"a=1; b=2"}},
		{"last", []string{"a=1; tok=abc"}, "abc", "", []string{"a=1"}},
		{"others byte by byte", []string{`a="x y";  b=%zz;c;tok=abc;=d; a=1`}, "abc", "", []string{`a="x y";  b=%zz;c;=d; a=1`}},
		{"no other is touched", []string{" a=1 ;;b"}, "", "", []string{" a=1 ;;b"}},
		{"quoted", []string{`tok="abc"`}, "abc", "", nil},
		{"equals signs", []string{"tok=YQ=="}, "YQ==", "", nil},
		{"second line", []string{"a=1", "tok=abc; b=2"}, "abc", "", []string{"a=1", "b=2"}},
		{"a line of its own", []string{"a=1", "tok=abc", "b=2"}, "abc", "", []string{"a=1", "b=2"}},
		{"space before the equals sign", []string{"tok =abc; a=1"}, "abc", "", []string{"a=1"}},
		{"another case is another name", []string{"TOK=abc"}, "", "", []string{"TOK=abc"}},
		{"longer name is another name", []string{"xtok=a; tokx=b"}, "", "", []string{"xtok=a; tokx=b"}},
		{"empty", []string{"tok=; a=1"}, "", "", []string{"a=1"}},
		{"twice", []string{"tok=a; b=1; tok=b"}, "", ReasonAmbiguous, []string{"b=1"}},
		{"twice, one empty", []string{"tok=; tok=b"}, "", ReasonAmbiguous, nil},
		{"twice in two lines", []string{"tok=a", "tok=b"}, "", ReasonAmbiguous, nil},
		{"two configured names", []string{"tok=a; alt=b"}, "", ReasonAmbiguous, nil},
		{"the other name", []string{"alt=b"}, "b", "", nil},
		{"space inside", []string{"tok=a b"}, "", ReasonMalformed, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSource(t)(NewCookieSource([]string{"tok", "alt"}))
			r := newUpgrade(t, "/")
			r.Header["Cookie"] = tt.lines
			got, err := s.Find(r)
			checkReason(t, err, tt.reason)
			if got.Credential != tt.want || got.Ambient != (tt.want != "") {
				t.Errorf("Find = %+v, want %q", got, tt.want)
			}
			before := strings.Join(tt.lines, "|")
			s.Strip(r)
			if rest := r.Header["Cookie"]; strings.Join(rest, "|") != strings.Join(tt.rest, "|") {
				t.Errorf("left is %q, want %q", rest, tt.rest)
			}
			if _, ok := r.Header["Cookie"]; ok && len(tt.rest) == 0 {
				t.Error("an empty Cookie header is left")
			}
			if strings.Join(tt.lines, "|") != before {
				t.Error("Strip has changed the old lines, which a copy of the request may share")
			}
		})
	}
}

func TestNewCookieSourceErrors(t *testing.T) {
	t.Parallel()
	for _, names := range [][]string{nil, {}, {""}, {"a;b"}, {"a b"}, {"a", "a"}} {
		if _, err := NewCookieSource(names); err == nil || !strings.Contains(err.Error(), "cookie") {
			t.Errorf("NewCookieSource(%q): %v", names, err)
		}
	}
}
