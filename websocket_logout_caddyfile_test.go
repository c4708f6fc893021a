package websocketauth_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	websocketauth "github.com/caddy-websocket-auth/caddy-websocket-auth"
)

// What docs/logout.md says of the syntax is what the parser says.
func TestSyntaxOfLogout(t *testing.T) {
	t.Parallel()
	syntax := syntaxOf(t, "websocket_logout_caddyfile.go")
	page := blocks(read(t, "docs/logout.md"), "")
	if !slices.ContainsFunc(page, func(block string) bool { return strings.TrimSpace(block) == syntax }) {
		t.Errorf("docs/logout.md lacks the syntax:\n%s", syntax)
	}
}

// What is read becomes JSON with the fields that docs/json.md names, and the
// same again.
func TestLogoutJSON(t *testing.T) {
	t.Parallel()
	var h, again websocketauth.LogoutHandler
	err := h.UnmarshalCaddyfile(caddyfile.NewTestDispenser(`websocket_logout {
		issuer https://id.example.com
		jwks_url https://id.example.com/jwks.json
		audience a b
		ca ca.pem
		all_sessions
	}`))
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(&h)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"issuer":"https://id.example.com","jwks_url":"https://id.example.com/jwks.json","audiences":["a","b"],"ca":"ca.pem","all_sessions":true}`
	if string(text) != want {
		t.Errorf("JSON %s, want %s", text, want)
	}
	if err := caddy.StrictUnmarshalJSON(text, &again); err != nil || again.Issuer != h.Issuer ||
		again.JWKSURL != h.JWKSURL || again.CA != h.CA || !again.AllSessions || !slices.Equal(again.Audiences, h.Audiences) {
		t.Errorf("read again: %v, %+v", err, again)
	}
	var none websocketauth.LogoutHandler
	if text, err := json.Marshal(&none); err != nil || string(text) != "{}" {
		t.Errorf("JSON of nothing: %s, %v", text, err)
	}
}
