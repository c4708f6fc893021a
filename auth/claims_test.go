package auth

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"
)

const claimsText = `{
	"sub": "alice",
	"https://example.com/roles": ["admin", "chat"],
	"realm_access": {"roles": ["a", {"name": "b"}], "n/a": 1, "~": 2, "": 3},
	"a.b": "name with a dot",
	"a": {"b": "path", "c": null, "0": "zero"},
	"big": 12345678901234567890.50, "yes": true, "html": {"b": "<&>", "a": [1, 2.0]}
}`

func TestClaimsLookup(t *testing.T) {
	t.Parallel()
	claims := Claims(must(decodeObject([]byte(claimsText))))
	for _, row := range []struct {
		path, want string
		found      bool
	}{
		{"sub", "alice", true},
		{"https://example.com/roles", `["admin","chat"]`, true},
		{"realm_access.roles.0", "a", true},
		{"realm_access.roles.1.name", "b", true},
		{"realm_access.roles.2", "", false},
		{"realm_access.roles.00", "", false},
		{"realm_access.roles.-1", "", false},
		{"realm_access.roles.+1", "", false},
		{"realm_access.roles.-", "", false},
		{"realm_access.roles.99999999999999999999", "", false},
		{"a.b", "name with a dot", true},
		{"a.0", "zero", true},
		{"a.c", "", true},
		{"a.c.d", "", false},
		{"sub.x", "", false},
		{"nothing", "", false},
		{"/a/b", "path", true},
		{"/a.b", "name with a dot", true},
		{"/sub", "alice", true},
		{"/realm_access/roles/1/name", "b", true},
		{"/realm_access/n~1a", "1", true},
		{"/realm_access/~0", "2", true},
		{"/realm_access/", "3", true},
		{"/realm_access/~01", "", false},
		{"/https:~1~1example.com~1roles/1", "chat", true},
	} {
		path, err := ParseClaimPath(row.path)
		if err != nil {
			t.Errorf("ParseClaimPath(%q): %v", row.path, err)
			continue
		}
		v, ok := claims.Lookup(path)
		if got := ClaimText(v); got != row.want || ok != row.found {
			t.Errorf("Lookup(%q) = %q, %v, want %q, %v", row.path, got, ok, row.want, row.found)
		}
		if path.String() != row.path {
			t.Errorf("String() = %q, want %q", path, row.path)
		}
	}
	if v, ok := claims.Lookup(ClaimPath{}); ok {
		t.Errorf("the zero path names %v", v)
	}
	if v, ok := Claims(nil).Lookup(must(ParseClaimPath("a.b"))); ok {
		t.Errorf("no claims have %v", v)
	}
}

func TestClaimPathErrors(t *testing.T) {
	t.Parallel()
	for path, word := range map[string]string{
		"": "empty", "a..b": "empty part", ".a": "empty part", "a.": "empty part",
		"/a~b": "~0", "/a~2": "~0", "a\nb": "control", "a\x7f": "control", "\xff": "UTF-8",
		" sub": "space", "sub ": "space", strings.Repeat("x", 161): "160",
	} {
		_, err := ParseClaimPath(path)
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("ParseClaimPath(%q): %v, want an error with %q", path, err, word)
		}
	}
}

func TestClaimText(t *testing.T) {
	t.Parallel()
	claims := must(decodeObject([]byte(claimsText)))
	for name, want := range map[string]string{
		"sub": "alice", "big": "12345678901234567890.50", "yes": "true",
		"html": `{"a":[1,2.0],"b":"<&>"}`, "https://example.com/roles": `["admin","chat"]`,
	} {
		if got := ClaimText(claims[name]); got != want {
			t.Errorf("ClaimText(%s) = %q, want %q", name, got, want)
		}
	}
	for _, row := range []struct {
		v    any
		want string
	}{
		{nil, ""},
		{false, "false"},
		{"", ""},
		{json.Number("9007199254740993"), "9007199254740993"},
		{3.5, "3.5"},
		{[]any{nil, true}, "[null,true]"},
		{"{env.HOME}", "{env.HOME}"},
		{func() {}, ""},
	} {
		if got := ClaimText(row.v); got != row.want {
			t.Errorf("ClaimText(%v) = %q, want %q", row.v, got, row.want)
		}
	}
}

// TestHeaderSafe: what a claim holds cannot end a header.
func TestHeaderSafe(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"alice":            "alice",
		"Žofie 😀 \"a\\b\"": "Žofie 😀 \"a\\b\"",
		"a\r\nX-User: b":   "a\ufffd\ufffdX-User: b",
		"admin\x00":        "admin\ufffd",
		"a\tb\x7f\u0085":   "a\ufffdb\ufffd\ufffd",
		"a\xffb":           "a\ufffdb",
	} {
		got := HeaderSafe(in)
		if got != want {
			t.Errorf("HeaderSafe(%q) = %q, want %q", in, got, want)
		}
		if HeaderSafe(got) != got {
			t.Errorf("HeaderSafe(%q) is not stable", in)
		}
	}
	// The judge is net/http itself.
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.Header["X-Claim"]) != 1 || r.Header.Get("X-Evil") != "" {
			w.WriteHeader(http.StatusTeapot)
		}
	}))
	defer server.Close()
	for c := range rune(256) {
		req := must(http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil))
		req.Header.Set("X-Claim", HeaderSafe("a"+string(c)+"\r\nX-Evil: 1"))
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatalf("character %#x: %v", c, err)
		}
		if err := resp.Body.Close(); err != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("character %#x: status %d", c, resp.StatusCode)
		}
	}
}

func FuzzClaims(f *testing.F) {
	for _, path := range []string{"sub", "a.b", "/a/b", "/~01", "realm_access.roles.1", "https://example.com/roles"} {
		f.Add(path, claimsText)
	}
	f.Add("a", `{"a":"\ud800"}`)
	f.Add("a", `{"a":{"a":{}},"a":1}`)
	f.Fuzz(func(t *testing.T, path, text string) {
		p, err := ParseClaimPath(path)
		if err != nil {
			return
		}
		members, err := decodeObject([]byte(text))
		if err != nil {
			return
		}
		v, _ := Claims(members).Lookup(p)
		safe := HeaderSafe(ClaimText(v))
		if strings.ContainsFunc(safe, isControl) || !utf8.ValidString(safe) {
			t.Errorf("%q is not safe in a header", safe)
		}
		// What was taken means the same to another parser.
		var again map[string]any
		if err := json.Unmarshal([]byte(text), &again); err != nil || len(again) != len(members) {
			t.Errorf("decodeObject takes %d members, encoding/json %d (%v)", len(members), len(again), err)
		}
	})
}
