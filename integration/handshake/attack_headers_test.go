package handshake

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// Claims are written by whoever fills in a profile at the provider. None may
// break a header, nor be looked at as a placeholder (GHSA-j8px-rmrx-76h9). One
// that names the user is refused if it could not arrive as it is.
func TestAttackClaimsInHeaders(t *testing.T) {
	t.Parallel()
	f := rig.Shared(t)
	for name, claim := range map[string]string{
		"CR LF":              "admin\r\nX-Admin: yes",
		"LF":                 "admin\nX-Admin: yes",
		"CR":                 "admin\rX-Admin: yes",
		"NUL":                "admin\x00X-Admin: yes",
		"folding":            "admin\r\n X-Admin: yes",
		"line separator":     "admin\u2028X-Admin: yes",
		"placeholder of env": "{env.HOME}",
		"placeholder":        "{http.request.uri}",
		"file":               "{file./etc/passwd}",
		"our own":            "{http.websocket_auth.issuer}",
		"half a placeholder": "{env.HOME",
		"escaped":            `\{env.HOME\}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := rig.PathOf(t)
			claims := map[string]any{"sub": claim, "role": claim}
			if strings.ContainsAny(claim, "\r\n\x00") {
				token := f.Issuer.Token(claims)
				f.Refuses(t, f.Addr, rig.Bearer(path+"/refused", token), token, http.StatusUnauthorized, "bad_claims")
				claims["sub"] = "admin"
			}
			token := f.Issuer.Token(claims)
			conn, _ := rig.MustDial(t, f.Addr, rig.Bearer(path, token))
			rig.MustEcho(t, conn, "hello")
			seen := f.Backend.Wait(t, path)
			if seen.Header.Get("X-Admin") != "" {
				t.Error("the claim has made a header of its own")
			}
			for _, header := range []string{"X-User", "X-Subject", "X-Role"} {
				got := seen.Header.Values(header)
				if len(got) != 1 || strings.ContainsAny(got[0], "\r\n\x00") {
					t.Fatalf("%s is %q", header, got)
				}
				if strings.HasPrefix(claim, "admin") {
					continue
				}
				if got[0] != claim {
					t.Errorf("%s is %q, want the claim as it is: %q", header, got[0], claim)
				}
			}
			if f.Backend.Received(f.Home) {
				t.Error("a placeholder in a claim was looked at")
			}
		})
	}
}

// spoofed are headers of a client that says itself who it is, in the
// spellings that applications take for the same header (CVE-2026-52845,
// CVE-2025-64484).
var spoofed = []string{"X-User", "x-user", "X-USER", "X_User", "x_user", "X.User", "X-Subject", "X-Role", "X-Source"}

// spoofs returns the text of a request with such headers, each twice.
func spoofs(first string, lines ...string) string {
	lines = append([]string{first}, lines...)
	for _, name := range spoofed {
		lines = append(lines, name+": mallory", name+": mallory")
	}
	return strings.Join(lines, "\r\n") + "\r\n\r\n"
}

// notSpoofed checks what the application got. Names are compared as CGI makes
// them, where all but letters is one.
func notSpoofed(t testing.TB, seen *rig.BackendRequest, user string) {
	t.Helper()
	want := map[string]string{"X_USER": user, "X_SUBJECT": user, "X_SOURCE": "", "X_ROLE": ""}
	if user != "" {
		want["X_SOURCE"] = "header"
	}
	for name, values := range seen.Header {
		cgi := strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(name))
		expected, ours := want[cgi]
		if slices.Contains(values, "mallory") || ours && !slices.Equal(values, []string{expected}) {
			t.Errorf("the application got %s: %q, want %q", name, values, expected)
		}
	}
}

// A client's own X-User: the application sees only ours, and where there is
// none, none, on an accepted, a passed and a refused request.
func TestAttackOwnIdentityHeaders(t *testing.T) {
	t.Parallel()
	f := rig.Shared(t)
	errs := rig.StartCaddy(t, `
http://{$SITE} {
	websocket_auth {$JWKS} chat
	reverse_proxy {$BACKEND}
	handle_errors {
		reverse_proxy {$BACKEND} {
			header_up X-User {http.auth.user.id}
			header_up X-Subject {http.websocket_auth.subject}
			header_up X-Source {http.websocket_auth.source}
			header_up X-Role {http.websocket_auth.claims.role}
		}
	}
}`, rig.WithEnv("JWKS", f.Issuer.JWKSURL()), rig.WithEnv("BACKEND", f.Backend.Addr))
	handshakeLines := []string{
		"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + rig.RawKey,
	}
	for _, tc := range []struct {
		name, addr string
		lines      []string
		status     int
		user       string
	}{
		{"accepted", f.Addr, append(handshakeLines, "Authorization: Bearer "+f.Issuer.Token()), http.StatusSwitchingProtocols, "alice"},
		{"passed", f.Addr, nil, http.StatusOK, ""},
		{"refused", errs.Addr, handshakeLines, http.StatusOK, ""},
		{"refused with a bad token", errs.Addr, append(handshakeLines,
			"Authorization: Bearer "+f.Issuer.Token(map[string]any{"aud": "other"})), http.StatusOK, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			path := rig.PathOf(t)
			conn := rig.DialRaw(t, tc.addr)
			conn.Send(t, spoofs("GET "+path+" HTTP/1.1", append([]string{"Host: " + tc.addr}, tc.lines...)...))
			if resp := conn.Response(t); resp.StatusCode != tc.status {
				t.Errorf("answered %s, want %d", resp.Status, tc.status)
			}
			notSpoofed(t, f.Backend.Wait(t, path), tc.user)
		})
	}
}

// A header named in Connection is taken out by a proxy on its way: a client
// must not be able to have ours taken out.
func TestAttackConnectionNamesOurHeader(t *testing.T) {
	t.Parallel()
	f := rig.Shared(t)
	path := rig.PathOf(t)
	conn := rig.DialRaw(t, f.Addr)
	conn.Send(t, strings.Replace(rig.Upgrade(f.Addr, path, "Authorization: Bearer "+f.Issuer.Token()),
		"Connection: Upgrade", "Connection: Upgrade, X-User, X-Subject, Authorization", 1))
	if resp := conn.Response(t); resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("answered %s", resp.Status)
	}
	notSpoofed(t, f.Backend.Wait(t, path), "alice")
	if got := fmt.Sprint(f.Backend.Wait(t, path).Header["X-User"]); got != "[alice]" {
		t.Errorf("X-User is %s", got)
	}
}
