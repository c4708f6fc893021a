package websocketauth

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwt"
)

// TestInspectBoundToken: a token that is bound to a certificate is accepted with
// that one only, and the report says what is missing.
func TestInspectBoundToken(t *testing.T) {
	server := httptest.NewTLSServer(nil) // has a certificate
	server.Close()
	der := server.Certificate().Raw
	sum := sha256.Sum256(der)
	bound := func(cnf any) string {
		claims, err := jwt.NewBuilder().Subject("alice").Audience([]string{"chat"}).
			Expiration(time.Now().Add(time.Hour)).Claim("cnf", cnf).Build()
		if err != nil {
			t.Fatal(err)
		}
		token, err := jwt.Sign(claims, jwt.WithKey(jwa.HS256(), []byte(inspectSecret)))
		if err != nil {
			t.Fatal(err)
		}
		return string(token)
	}
	certificate := filepath.Join(t.TempDir(), "client.pem")
	text := append([]byte("the client's\n"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	if err := os.WriteFile(certificate, text, 0o600); err != nil {
		t.Fatal(err)
	}
	mine := bound(map[string]any{"x5t#S256": base64.RawURLEncoding.EncodeToString(sum[:])})
	theirs := bound(map[string]any{"x5t#S256": base64.RawURLEncoding.EncodeToString(make([]byte, 32))})
	for _, tt := range []struct {
		name, token string
		args        []string
		want        string
	}{
		{"without", mine, nil, "no  binding      token is bound to a client certificate, and the client has shown none"},
		{"with it", mine, []string{"--certificate", certificate}, "ok  binding"},
		{"with another", theirs, []string{"--certificate", certificate}, "no  binding      token is bound to another"},
		{"DPoP", bound(map[string]any{"jkt": "x"}), []string{"--certificate", certificate}, "no  binding      token is bound to a key by DPoP"},
	} {
		out, err := inspect(t, "Caddyfile", inspectSite(""), tt.token, tt.args...)
		if accepted := strings.HasPrefix(tt.want, "ok"); accepted != (err == nil) || err != nil && !errors.Is(err, errNotAccepted) {
			t.Errorf("%s: error %v", tt.name, err)
		}
		if !strings.Contains(out, tt.want) {
			t.Errorf("%s: the report lacks %q:\n%s", tt.name, tt.want, out)
		}
		assertNotPrinted(t, tt.token, out, err)
	}
	if err := os.WriteFile(certificate, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{filepath.Join(t.TempDir(), "none"), certificate} {
		if _, err := inspect(t, "Caddyfile", inspectSite(""), mine, "--certificate", bad); err == nil || !strings.Contains(err.Error(), "--certificate") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
