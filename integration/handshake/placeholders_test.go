package handshake

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// placeholderCases are placeholders and what they are for the token below.
var placeholderCases = []struct{ placeholder, want string }{
	{"http.auth.user.id", "alice"},
	{"http.websocket_auth.subject", "alice"},
	{"http.websocket_auth.jti", "token-1"},
	{"http.websocket_auth.sid", "session-1"},
	{"http.websocket_auth.scopes", "chat:read chat:write"},
	{"http.websocket_auth.source", "header"},
	{"http.websocket_auth.verifier", "jwt"},
	{"http.websocket_auth.error", ""},
	{"http.websocket_auth.unknown", ""},
	{"http.websocket_auth.claims.sub", "alice"},
	{"http.websocket_auth.claims.missing", ""},
	{"http.websocket_auth.claims.realm_access.roles", `["admin","user"]`},
	{"http.websocket_auth.claims.realm_access.roles.1", "user"},
	{"http.websocket_auth.claims.realm_access.roles.2", ""},
	{"http.websocket_auth.claims.realm_access.roles.-1", ""},
	{"http.websocket_auth.claims.realm_access", `{"roles":["admin","user"]}`},
	{"http.websocket_auth.claims./realm_access/roles/0", "admin"},
	{"http.websocket_auth.claims./https:~1~1example.com~1roles/0", "editor"},
	{"http.websocket_auth.claims.https://example.com/roles", `["editor"]`},
	{"http.websocket_auth.claims.a.b", "dotted"},
	{"http.websocket_auth.claims.yes", "true"},
	{"http.websocket_auth.claims.no", "false"},
	{"http.websocket_auth.claims.nothing", ""},
	{"http.websocket_auth.claims.large", "9007199254740993"},
	{"http.websocket_auth.claims.fraction", "1.50"},
	{"http.websocket_auth.claims.empty", ""},
	{"http.websocket_auth.claims.braces", "{http.request.host}"},
}

const placeholderClaims = `{"iss":%q,"aud":"chat","sub":"alice","jti":"token-1","sid":"session-1","exp":%d,
	"scope":"chat:read chat:write","realm_access":{"roles":["admin","user"]},
	"https://example.com/roles":["editor"],"a.b":"dotted","yes":true,"no":false,"nothing":null,
	"large":9007199254740993,"fraction":1.50,"empty":"","braces":"{http.request.host}"}`

// TestPlaceholders shows what later handlers can know, in headers for the
// application. Every placeholder resolves on every request, accepted, passed
// or refused, and holds nothing of another request.
func TestPlaceholders(t *testing.T) {
	t.Parallel()
	i, b := rig.NewIssuer(t), rig.NewBackend(t)
	var headers strings.Builder
	for n, tc := range placeholderCases {
		fmt.Fprintf(&headers, "\t\theader_up X-%d {%s}\n", n, tc.placeholder)
	}
	headers.WriteString("\t\theader_up X-Issuer {http.websocket_auth.issuer}\n" +
		"\t\theader_up X-Expires {http.websocket_auth.expires_at}\n\t\theader_up X-Session {http.websocket_auth.session}\n")
	p := rig.StartCaddy(t, `
(app) {
	reverse_proxy {$BACKEND} {
`+headers.String()+`	}
}
http://{$SITE} {
	websocket_auth {$JWKS} chat
	import app
	handle_errors {
		import app
	}
}`, rig.WithEnv("JWKS", i.JWKSURL()), rig.WithEnv("BACKEND", b.Addr))
	exp := time.Now().Add(time.Hour).Unix()
	token := rig.Sign(rig.JWT{RawPayload: fmt.Sprintf(placeholderClaims, i.URL, exp)})
	sessions := make(map[string]bool)
	for _, path := range []string{"/first", "/second"} {
		conn, _ := rig.MustDial(t, p.Addr, rig.Bearer(path, token))
		rig.MustEcho(t, conn, "hello")
		seen := b.Wait(t, path)
		for n, tc := range placeholderCases {
			if got := seen.Header.Values(fmt.Sprintf("X-%d", n)); len(got) != 1 || got[0] != tc.want {
				t.Errorf("{%s} is %q, want %q", tc.placeholder, got, tc.want)
			}
		}
		if got, want := seen.Header.Get("X-Expires"), time.Unix(exp, 0).UTC().Format(time.RFC3339); got != want {
			t.Errorf("expires_at is %q, want %q", got, want)
		}
		if got := seen.Header.Get("X-Issuer"); got != i.URL {
			t.Errorf("issuer is %q, want %q", got, i.URL)
		}
		sessions[seen.Header.Get("X-Session")] = true
	}
	if len(sessions) != 2 || sessions[""] {
		t.Errorf("the sessions of two sockets are %v", sessions)
	}
	t.Run("passed", func(t *testing.T) {
		t.Parallel()
		rig.Request(t, http.MethodGet, "http://"+p.Addr+"/passed", http.Header{"Authorization": {"Bearer " + token}})
		placeholdersEmpty(t, b.Wait(t, "/passed"), "")
	})
	t.Run("refused", func(t *testing.T) {
		t.Parallel()
		h := rig.Bearer("/refused", token)
		h.Header.Set("X-0", "mallory")
		h.Path += "?access_token=" + token + "x.y"
		_, resp, err := rig.Dial(t, p.Addr, h)
		if err == nil || resp == nil {
			t.Fatalf("accepted, or %v", err)
		}
		placeholdersEmpty(t, b.Wait(t, "/refused"), "malformed_token")
	})
}

// placeholdersEmpty checks that all of them are, but the error.
func placeholdersEmpty(t testing.TB, seen *rig.BackendRequest, reason string) {
	t.Helper()
	for n, tc := range placeholderCases {
		want := ""
		if tc.placeholder == "http.websocket_auth.error" {
			want = reason
		}
		if got := seen.Header.Values(fmt.Sprintf("X-%d", n)); len(got) != 1 || got[0] != want {
			t.Errorf("{%s} is %q, want %q", tc.placeholder, got, want)
		}
	}
}
