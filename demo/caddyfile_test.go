package demo

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func testSite(listen string) site {
	return site{
		Listen:  netip.MustParseAddrPort(listen),
		Storage: "/tmp/demo",
		Issuer:  "http://127.0.0.1:1",
		Chat:    "127.0.0.1:2",
		Page:    "127.0.0.1:3",
	}
}

func TestOrigins(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, listen string
		want         []string
	}{
		{"IPv4", "127.0.0.1:8080", []string{"http://localhost:8080", "http://127.0.0.1:8080"}},
		{"IPv6", "[::1]:8080", []string{"http://localhost:8080", "http://[::1]:8080"}},
		{"localhost is another address", "127.0.0.2:8080", []string{"http://127.0.0.2:8080"}},
		{"the default port", "127.0.0.1:80", []string{"http://localhost", "http://127.0.0.1"}},
		{"the default port, IPv6", "[::1]:80", []string{"http://localhost", "http://[::1]"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := testSite(tt.listen).origins(); !slices.Equal(got, tt.want) {
				t.Errorf("origins of %s = %q, want %q", tt.listen, got, tt.want)
			}
		})
	}
}

// TestCaddyfile: people copy it, so it has to be as `caddy fmt` would have it,
// and to adapt without a warning.
func TestCaddyfile(t *testing.T) {
	t.Parallel()
	for _, listen := range []string{"127.0.0.1:8080", "[::1]:80"} {
		text, err := testSite(listen).caddyfile()
		if err != nil {
			t.Fatal(err)
		}
		if formatted := caddyfile.Format(text); !bytes.Equal(formatted, text) {
			t.Errorf("not formatted:\n%s\nwant:\n%s", text, formatted)
		}
		_, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt(text, map[string]any{"filename": "Caddyfile"})
		if err != nil {
			t.Errorf("adapting: %v\n%s", err, text)
		}
		for _, w := range warnings {
			t.Errorf("adapting: %v", w)
		}
	}
}

func TestQuote(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, text, want string }{
		{"plain", "/tmp/demo-1", "/tmp/demo-1"},
		{"a space", "/tmp/my demo", "`/tmp/my demo`"},
		{"backslashes", `C:\Temp\demo`, "`C:\\Temp\\demo`"},
		{"a placeholder", "/tmp/{env.HOME}", ""},
		{"a backquote", "/tmp/`", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := quote(tt.text)
			if got != tt.want || (err == nil) != (tt.want != "") {
				t.Errorf("quote(%q) = %q, %v, want %q", tt.text, got, err, tt.want)
			}
			if err != nil {
				return
			}
			d := caddyfile.NewTestDispenser(got)
			if !d.Next() || d.Val() != tt.text {
				t.Errorf("Caddy reads %s as %q", got, d.Val())
			}
		})
	}
}
