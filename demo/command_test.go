package demo

import (
	"net"
	"net/netip"
	"strings"
	"testing"
)

func TestParseListen(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, text, want, problem string }{
		{"default", defaultListen, "127.0.0.1:8080", ""},
		{"by name", "localhost:9000", "127.0.0.1:9000", ""},
		{"IPv6", "[::1]:8080", "[::1]:8080", ""},
		{"any free port", "127.0.0.1:0", "127.0.0.1:0", ""},
		{"another loopback address", "127.0.0.2:8080", "127.0.0.2:8080", ""},
		{"all addresses", ":8080", "", "want an IP address"},
		{"all addresses, spelled out", "0.0.0.0:8080", "", "loopback addresses only"},
		{"all addresses, IPv6", "[::]:8080", "", "loopback addresses only"},
		{"a network address", "192.0.2.1:8080", "", "loopback addresses only"},
		{"a mapped address", "[::ffff:127.0.0.1]:8080", "", "loopback addresses only"},
		{"a zone", "[::1%lo]:8080", "", "loopback addresses only"},
		{"a foreign name", "example.com:8080", "", "want an IP address"},
		{"no port", "127.0.0.1", "", "an address and a port"},
		{"bad port", "127.0.0.1:99999", "", "want an IP address and a port"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := parseListen(tt.text)
			if tt.problem != "" {
				if err == nil || !strings.Contains(err.Error(), tt.problem) {
					t.Errorf("parseListen(%q) = %v, %v, want an error with %q", tt.text, got, err, tt.problem)
				}
				return
			}
			if err != nil || got.String() != tt.want {
				t.Errorf("parseListen(%q) = %v, %v, want %s", tt.text, got, err, tt.want)
			}
		})
	}
}

// TestPortTaken is about the error text: Caddy itself would share the port.
func TestPortTaken(t *testing.T) {
	t.Parallel()
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	taken := netip.MustParseAddrPort(other.Addr().String())

	d, err := Start(taken, t.TempDir())
	if err == nil {
		d.Close()
		t.Fatal("started on a port that somebody else has")
	}
	for _, want := range []string{taken.String(), "any free port: --listen 127.0.0.1:0"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not say %q", err, want)
		}
	}
}
