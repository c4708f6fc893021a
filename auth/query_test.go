package auth

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestEachParameter compares with a slower way.
func TestEachParameter(t *testing.T) {
	t.Parallel()
	separator := regexp.MustCompile("[&;]")
	for _, query := range []string{
		"", "a", "&", ";", "a&", ";a", "a&b", "a;b", "a&b;c&d", "a;b&c;d", "&;&;", ";;&&", "a&b&c;", "a;b;c&",
		"access_token=a.b.c;room=1&x=&&y",
	} {
		var got []string
		eachParameter(query, func(start, end int) { got = append(got, query[start:end]) })
		if want := separator.Split(query, -1); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", query, got, want)
		}
	}
}

func TestQuerySource(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		names  []string
		query  string
		want   string
		reason Reason
		rest   string
	}{
		{"alone", nil, "access_token=abc", "abc", "", ""},
		{"first", nil, "access_token=abc&a=1", "abc", "", "a=1"},
		{"middle", nil, "a=1&access_token=abc&b=2", "abc", "", "a=1&b=2"},
		{"last", nil, "a=1&access_token=abc", "abc", "", "a=1"},
		{"others byte by byte", nil, "%61=%2f+x&&access_token=abc&b&=c&a=1&b=%zz", "abc", "", "%61=%2f+x&&b&=c&a=1&b=%zz"},
		{"separator at the end stays", nil, "a&access_token=abc&", "abc", "", "a&"},
		{"separator at the beginning stays", nil, "&access_token=abc", "abc", "", ""},
		{"encoded name", nil, "access%5ftoken=abc&a=1", "abc", "", "a=1"},
		{"wholly encoded name", nil, "%61%63%63%65%73%73%5F%74%6F%6B%65%6E=abc", "abc", "", ""},
		{"encoded value", nil, "access_token=a%2Db", "a-b", "", ""},
		{"plus is a plus", nil, "access_token=a+b%2Bc", "a+b+c", "", ""},
		{"equals signs belong to the value", nil, "access_token=YQ==", "YQ==", "", ""},
		{"after a semicolon", nil, "a=1;access_token=abc;b=2", "abc", "", "a=1;b=2"},
		{"semicolon ends it", nil, "access_token=abc;b=2", "abc", "", "b=2"},
		{"another case is another name", nil, "ACCESS_TOKEN=abc", "", "", "ACCESS_TOKEN=abc"},
		{"bad name is another name", nil, "access_token%zz=abc", "", "", "access_token%zz=abc"},
		{"longer name is another name", nil, "xaccess_token=a&access_tokenx=b", "", "", "xaccess_token=a&access_tokenx=b"},
		{"encoded twice is another name", nil, "access%255ftoken=a", "", "", "access%255ftoken=a"},
		{"no value", nil, "access_token&a=1", "", "", "a=1"},
		{"empty value", nil, "access_token=&a=1", "", "", "a=1"},
		{"twice", nil, "access_token=a&access_token=b", "", ReasonAmbiguous, ""},
		{"the same twice", nil, "access_token=a&access_token=a", "", ReasonAmbiguous, ""},
		{"twice, one spelt otherwise", nil, "access_token=a&x=1&access%5Ftoken=b", "", ReasonAmbiguous, "x=1"},
		{"twice, one empty", nil, "access_token=&access_token=b", "", ReasonAmbiguous, ""},
		{"twice, one after a semicolon", nil, "access_token=a;access_token=b", "", ReasonAmbiguous, ""},
		{"bad value", nil, "a=1&access_token=%zz", "", ReasonMalformed, "a=1"},
		{"cut value", nil, "access_token=%2", "", ReasonMalformed, ""},
		{"configured name", []string{"token"}, "token=abc&access_token=x", "abc", "", "access_token=x"},
		{"either name", []string{"token", "jwt"}, "jwt=abc", "abc", "", ""},
		{"both names", []string{"token", "jwt"}, "jwt=a&token=b&c=d", "", ReasonAmbiguous, "c=d"},
		{"empty query", nil, "", "", "", ""},
		{"only separators", nil, "&&;", "", "", "&&;"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSource(t)(NewQuerySource(tt.names))
			r := newUpgrade(t, "/a%2Fb?"+tt.query)
			got, err := s.Find(r)
			checkReason(t, err, tt.reason)
			if got.Credential != tt.want {
				t.Errorf("credential = %q, want %q", got.Credential, tt.want)
			}
			s.Strip(r)
			if r.URL.RawQuery != tt.rest {
				t.Errorf("RawQuery = %q, want %q", r.URL.RawQuery, tt.rest)
			}
			want := "/a%2Fb?" + tt.rest
			if tt.rest == "" && tt.query != "" {
				want = "/a%2Fb"
			}
			if r.RequestURI != want {
				t.Errorf("RequestURI = %q, want %q", r.RequestURI, want)
			}
		})
	}
}

// TestQueryStripKeepsPointer: a server keeps the pointer to the URL, and
// restores the request from it before it serves an error page.
func TestQueryStripKeepsPointer(t *testing.T) {
	t.Parallel()
	u := &url.URL{Path: "/ws", RawQuery: "access_token=abc"}
	newSource(t)(NewQuerySource(nil)).Strip(&http.Request{URL: u, RequestURI: "/other?x=1&access_token=abc"})
	if u.RawQuery != "" {
		t.Errorf("the token is still in %q", u.RawQuery)
	}
}

func TestQuerySourceWithoutURL(t *testing.T) {
	t.Parallel()
	s := newSource(t)(NewQuerySource(nil))
	r := &http.Request{}
	if got, err := s.Find(r); err != nil || got != (Found{}) {
		t.Errorf("Find = %+v, %v", got, err)
	}
	s.Strip(r)
}

// TestQueryLinear: a query of nothing but separators takes no longer than its
// length deserves. (net/url had CVE-2025-61726.)
func TestQueryLinear(t *testing.T) {
	t.Parallel()
	s := newSource(t)(NewQuerySource(nil))
	for _, part := range []string{"&", "access_token&", "a=%61;", "access%5ftoken=a&"} {
		query := strings.Repeat(part, 100_000)
		r := &http.Request{URL: &url.URL{RawQuery: query}, RequestURI: "/?" + query}
		start := time.Now()
		_, _ = s.Find(r)
		s.Strip(r)
		if took := time.Since(start); took > time.Minute {
			t.Errorf("%q took %v", part, took)
		}
	}
}

func TestNewQuerySourceErrors(t *testing.T) {
	t.Parallel()
	for name, names := range map[string][]string{
		`"": `: {""}, `"a b"`: {"a b"}, `"a=b"`: {"a=b"}, `"a;b"`: {"x", "a;b"}, `"t" is given twice`: {"t", "t"},
	} {
		_, err := NewQuerySource(names)
		if err == nil || !strings.Contains(err.Error(), strings.TrimSuffix(name, ": ")) {
			t.Errorf("NewQuerySource(%q): %v, want it to name %s", names, err, name)
		}
	}
}
