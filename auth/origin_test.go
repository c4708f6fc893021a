package auth

import (
	"strings"
	"testing"
)

func TestOriginsListed(t *testing.T) {
	t.Parallel()
	origins, err := NewOrigins([]string{
		"https://app.example.com", "http://localhost:3000", "https://[2001:DB8::1]:8443",
		"chrome-extension://abcdefghijklmnop", "https://API.example.com:443",
	})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name  string
		lines []string
		ok    bool
	}{
		{"listed", []string{"https://app.example.com"}, true},
		{"default port", []string{"https://app.example.com:443"}, true},
		{"host in another case", []string{"https://App.EXAMPLE.com"}, true},
		{"listed with a port", []string{"http://localhost:3000"}, true},
		{"listed with the default port", []string{"https://api.example.com"}, true},
		{"IPv6", []string{"https://[2001:db8::1]:8443"}, true},
		{"IPv6 spelt otherwise", []string{"https://[2001:db8:0::1]:8443"}, true},
		{"extension", []string{"chrome-extension://abcdefghijklmnop"}, true},
		{"none", nil, true}, // no browser
		{"suffix", []string{"https://app.example.com.evil.com"}, false},
		{"prefix", []string{"https://evilapp.example.com"}, false},
		{"subdomain", []string{"https://x.app.example.com"}, false},
		{"parent", []string{"https://example.com"}, false},
		{"another scheme", []string{"http://app.example.com"}, false},
		{"scheme in another case", []string{"HTTPS://app.example.com"}, false},
		{"another port", []string{"https://app.example.com:444"}, false},
		{"http's port on https", []string{"https://app.example.com:80"}, false},
		{"port with a zero", []string{"https://app.example.com:0443"}, false},
		{"port zero", []string{"https://app.example.com:0"}, false},
		{"no port", []string{"https://app.example.com:"}, false},
		{"missing port", []string{"http://localhost"}, false},
		{"user", []string{"https://app.example.com@evil"}, false},
		{"user of ours", []string{"https://evil@app.example.com"}, false},
		{"path", []string{"https://app.example.com/"}, false},
		{"query", []string{"https://app.example.com?"}, false},
		{"backslash", []string{`https://app.example.com\.evil.com`}, false},
		{"trailing dot", []string{"https://app.example.com."}, false},
		{"space after", []string{"https://app.example.com https://evil.com"}, false},
		{"list", []string{"https://app.example.com, https://evil.com"}, false},
		{"two lines", []string{"https://app.example.com", "https://app.example.com"}, false},
		{"null", []string{"null"}, false},
		{"empty", []string{""}, false},
		{"no host", []string{"https://"}, false},
		{"only the host", []string{"app.example.com"}, false},
		{"very long", []string{"https://" + strings.Repeat("a", 10_000)}, false},
		{"letter that folds to k", []string{"https://app.example.com\u212a"}, false},
	}
	for _, tt := range tests {
		for _, ambient := range []bool{false, true} {
			r := newUpgrade(t, "/")
			if tt.lines != nil {
				r.Header["Origin"] = tt.lines
			}
			want := tt.ok && (tt.lines != nil || !ambient)
			err := origins.Check(r, "https", ambient)
			if (err == nil) != want {
				t.Errorf("%s, ambient %v: %v, want ok %v", tt.name, ambient, err, want)
			}
			if err != nil {
				checkReason(t, err, ReasonOrigin)
			}
		}
	}
}

// TestOriginsUnlisted: without a list, only an ambient credential needs the
// page to be the site's own.
func TestOriginsUnlisted(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, scheme, host, origin string
		ok                         bool
	}{
		{"same", "https", "app.example.com", "https://app.example.com", true},
		{"default port in the host", "https", "app.example.com:443", "https://app.example.com", true},
		{"default port in the origin", "http", "app.example.com", "http://app.example.com:80", true},
		{"same port", "https", "app.example.com:8443", "https://app.example.com:8443", true},
		{"case of the host", "https", "App.Example.Com", "https://app.example.com", true},
		{"IPv6", "http", "[::1]:8080", "http://[0:0::1]:8080", true},
		{"another scheme", "https", "app.example.com", "http://app.example.com", false},
		{"plain request from an https page", "http", "app.example.com", "https://app.example.com", false},
		{"another host", "https", "app.example.com", "https://evil.example.com", false},
		{"another port", "https", "app.example.com", "https://app.example.com:8443", false},
		{"http's port on https", "https", "app.example.com:80", "https://app.example.com", false},
		{"null", "https", "app.example.com", "null", false},
		{"missing", "https", "app.example.com", "-", false},
		{"empty", "https", "app.example.com", "", false},
		{"no host", "https", "", "https://", false},
		{"odd host", "https", "app.example.com/x", "https://app.example.com/x", false},
	}
	var origins Origins
	for _, tt := range tests {
		r := newUpgrade(t, "/")
		r.Host = tt.host
		if tt.origin != "-" {
			r.Header["Origin"] = []string{tt.origin}
		}
		err := origins.Check(r, tt.scheme, true)
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v, want ok %v", tt.name, err, tt.ok)
		}
		if err != nil {
			checkReason(t, err, ReasonOrigin)
		}
		if err := origins.Check(r, tt.scheme, false); err != nil {
			t.Errorf("%s: %v for a credential that is not ambient", tt.name, err)
		}
	}
	r := newUpgrade(t, "/", "Origin: https://app.example.com", "origin: https://evil.com")
	checkReason(t, origins.Check(r, "https", true), ReasonOrigin)
}

func TestNewOriginsErrors(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"":                              "has no scheme",
		"app.example.com":               "write https://app.example.com",
		"null":                          "hides its origin",
		"*":                             "compared exactly",
		"https://*.example.com":         "compared exactly",
		"https://app.example.com/":      "write https://app.example.com",
		"https://app.example.com/chat":  "only those",
		"https://me@app.example.com":    "only those",
		"wss://app.example.com":         "write https://app.example.com",
		"ws://localhost:1":              "write http://localhost:1",
		"HTTPS://app.example.com":       "write https://app.example.com",
		"https://app.example.com:":      "no valid host or port",
		"https://app.example.com:x":     "no valid host or port",
		"https://app.example.com:7e4":   "no valid host or port",
		"https://app.example.com:70000": "no valid host or port",
		"https://b\u00fccher.example":   "xn--",
		"https://[::1":                  "no valid host or port",
		"https://[::1%25eth0]":          "no valid host or port",
		"https://":                      "no valid host or port",
		"://app.example.com":            "no valid host or port",
		"{env.ORIGIN}":                  "has no scheme",
	}
	for entry, want := range tests {
		_, err := NewOrigins([]string{"https://fine.example.com", entry})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "origin ") {
			t.Errorf("NewOrigins(%q): %v, want %q", entry, err, want)
		}
	}
	if _, err := NewOrigins([]string{"https://a.example", "https://A.example:443"}); err == nil ||
		!strings.Contains(err.Error(), "twice") {
		t.Errorf("the same origin twice: %v", err)
	}
}

func FuzzParseOrigin(f *testing.F) {
	for _, s := range []string{
		"https://app.example.com", "http://[::1]:80", "null", "https://a:443", "https://a@b",
		"chrome-extension://abc", "https://a:0443", "https://[::1%25a]", "",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		origin, ok := parseOrigin(s)
		if !ok {
			return
		}
		if again, ok := parseOrigin(origin); !ok || again != origin {
			t.Errorf("parseOrigin(%q) = %q, which reads %q", s, origin, again)
		}
		_, authority, _ := strings.Cut(origin, "://")
		if strings.ContainsAny(authority, "/?#@\\ ,*%") || strings.ToLower(origin) != origin {
			t.Errorf("parseOrigin(%q) = %q", s, origin)
		}
	})
}
