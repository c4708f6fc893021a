package http2xconnect_test

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/cmd/caddy/http2xconnect"
)

func TestExtend(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, godebug, want string }{
		{"nothing set", "", "http2xconnect=1"},
		{"another setting", "madvdontneed=1", "madvdontneed=1,http2xconnect=1"},
		{"already on", "http2xconnect=1", "http2xconnect=1"},
		{"operator says no", "http2debug=1,http2xconnect=0", "http2debug=1,http2xconnect=0"},
		{"a longer name", "xhttp2xconnect=0", "xhttp2xconnect=0,http2xconnect=1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := http2xconnect.Extend(tt.godebug); got != tt.want {
				t.Errorf("Extend(%q) = %q, want %q", tt.godebug, got, tt.want)
			}
		})
	}
}

// TestServersOfferExtendedConnect is about the order in which packages are
// initialised: both of Go's HTTP/2 servers must have seen the setting.
func TestServersOfferExtendedConnect(t *testing.T) {
	t.Parallel()
	for name, configure := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if !offersExtendedConnect(t, configure) {
				t.Error("no SETTINGS_ENABLE_CONNECT_PROTOCOL=1 in the server's settings")
			}
		})
	}
}

// TestOperatorSaysNo runs this test binary again with the setting off.
func TestOperatorSaysNo(t *testing.T) {
	t.Parallel()
	const child = "HTTP2XCONNECT_TEST_CHILD"
	if os.Getenv(child) == "" {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestOperatorSaysNo$", "-test.count=1")
		cmd.Env = append(os.Environ(), "GODEBUG=http2xconnect=0", child+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("with GODEBUG=http2xconnect=0: %v\n%s", err, out)
		}
		return
	}
	for name, configure := range servers {
		if offersExtendedConnect(t, configure) {
			t.Errorf("%s offers extended CONNECT although the operator has switched it off", name)
		}
	}
}

// servers are the two implementations, by the package that registers them.
var servers = map[string]func(*testing.T, *httptest.Server){
	"net/http": func(*testing.T, *httptest.Server) {},
	"golang.org/x/net/http2": func(t *testing.T, s *httptest.Server) {
		//nolint:staticcheck // deprecated, but what Caddy calls
		if err := http2.ConfigureServer(s.Config, new(http2.Server)); err != nil {
			t.Fatal(err)
		}
	},
}

// offersExtendedConnect starts an HTTP/2 server and reads its first frame.
func offersExtendedConnect(t *testing.T, configure func(*testing.T, *httptest.Server)) bool {
	t.Helper()
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.EnableHTTP2 = true
	configure(t, server)
	server.StartTLS()
	defer server.Close()

	conn, err := tls.Dial("tcp", server.Listener.Addr().String(), &tls.Config{
		InsecureSkipVerify: true, // the certificate is not what is tested
		NextProtos:         []string{http2.NextProtoTLS},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte(http2.ClientPreface)); err != nil {
		t.Fatal(err)
	}
	framer := http2.NewFramer(conn, conn)
	if err := framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	frame, err := framer.ReadFrame()
	if err != nil {
		t.Fatal(err)
	}
	settings, ok := frame.(*http2.SettingsFrame)
	if !ok {
		t.Fatalf("first frame is %T, want settings", frame)
	}
	value, ok := settings.Value(http2.SettingEnableConnectProtocol)
	return ok && value == 1
}
