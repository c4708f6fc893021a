package websocketauth

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwt"
)

const inspectSecret = "an-inspector-must-keep-his-secrets-well"

// inspectToken signs a token of alice's for the audience, with the scopes.
func inspectToken(t *testing.T, audience, scopes string, expires time.Time) string {
	t.Helper()
	claims, err := jwt.NewBuilder().
		Subject("alice").Audience([]string{audience}).
		Claim("scope", scopes).Expiration(expires).
		Build()
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Sign(claims, jwt.WithKey(jwa.HS256(), []byte(inspectSecret)))
	if err != nil {
		t.Fatal(err)
	}
	return string(token)
}

// inspect runs the command, with the configuration in a file of the given
// name, and returns what it prints.
func inspect(t *testing.T, fileName, config, stdin string, args ...string) (string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), fileName)
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := newInspectCommand()
	var out bytes.Buffer
	cmd.SetIn(strings.NewReader(stdin))
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetContext(t.Context())
	cmd.SetArgs(append([]string{"--config", path}, args...))
	err := cmd.Execute()
	return out.String(), err
}

// assertNotPrinted looks for every part of the token that is long enough to
// be found by chance nowhere.
func assertNotPrinted(t *testing.T, token, out string, err error) {
	t.Helper()
	for part := range strings.SplitSeq(token, ".") {
		if len(part) > 8 && strings.Contains(out+fmt.Sprint(err), part) {
			t.Errorf("a part of the token is printed:\n%s\n%v", out, err)
		}
	}
}

// inspectSite is a Caddyfile with one site.
func inspectSite(lines string) string {
	return fmt.Sprintf(`chat.example.com {
	route /chat/* {
		websocket_auth {
			name chat
			verify jwt {
				secret %s
				audience chat
			}
			%s
		}
		respond hello
	}
}
`, inspectSecret, lines)
}

func TestInspect(t *testing.T) {
	soon := time.Now().Add(time.Hour)
	bare := func(site, path string) string {
		return site + " {\nroute " + path + " {\nwebsocket_auth {\nrequire scope chat:admin\n}\nrespond hello\n}\n}\n"
	}
	matched := strings.ReplaceAll(inspectSite("}\nwebsocket_auth @ws {\nrequire scope chat:admin"),
		"websocket_auth {", "@ws path /chat/ws\nwebsocket_auth @ws {")
	nested := inspectSite("require scope chat:read\n}\nwebsocket_auth {\nrequire scope chat:admin")
	tests := []struct {
		name     string
		config   string
		token    string
		args     []string
		accepted bool
		want     []string
	}{
		{
			"good", inspectSite(""), inspectToken(t, "chat", "", soon), nil, true,
			[]string{"srv0 chat.example.com (chat)", "ok  signature", "ok  audience", `user "alice"`, "accepted by 1 of 1"},
		},
		{
			"wrong audience", inspectSite(""), inspectToken(t, "mail", "", soon), nil, false,
			[]string{"ok  signature", "no  audience", "wrong_audience", "accepted by 0 of 1"},
		},
		{
			"expired", inspectSite(""), inspectToken(t, "chat", "", time.Now().Add(-time.Minute)), nil, false,
			[]string{"ok  signature", "no  times", "expired", "accepted by 0 of 1"},
		},
		{
			"changed", inspectSite(""), inspectToken(t, "chat", "", soon) + "AAAA", nil, false,
			[]string{"no  signature", "accepted by 0 of 1"},
		},
		{"no token at all", inspectSite(""), "what-is-this", nil, false, []string{"no  shape", "malformed_token"}},
		{
			"rule met", inspectSite("require scope chat:read"), inspectToken(t, "chat", "chat:read", soon), nil, true,
			[]string{"ok  require", "scope chat:read"},
		},
		{
			"rule not met", inspectSite("require scope chat:admin"), inspectToken(t, "chat", "chat:read", soon), nil, false,
			[]string{"no  require", "insufficient_scope", "accepted by 0 of 1"},
		},
		{
			"tightened", nested, inspectToken(t, "chat", "chat:read chat:admin", soon), nil, true,
			[]string{"accepted by 2 of 2"},
		},
		{
			"tightened too much", nested, inspectToken(t, "chat", "chat:read", soon), nil, false,
			[]string{"ok  require", "no  require", "accepted by 1 of 2"},
		},
		{
			"refused before it is tightened", nested, inspectToken(t, "chat", "chat:admin", soon), nil, false,
			[]string{"none in front of it has accepted the token", "accepted by 0 of 2"},
		},
		{
			"tightened with its matcher", matched, inspectToken(t, "chat", "chat:read chat:admin", soon), nil, true,
			[]string{"accepted by 2 of 2"},
		},
		{
			"nothing in front on another site", inspectSite("") + bare("mail.example.com", "/chat/*"),
			inspectToken(t, "chat", "chat:admin", soon), nil, false,
			[]string{"none in front of it has accepted the token", "accepted by 1 of 2"},
		},
		{
			"nothing in front on another path", inspectSite("}\n}\nroute /more/* {\nwebsocket_auth {\nrequire scope chat:admin"),
			inspectToken(t, "chat", "chat:admin", soon), nil, false,
			[]string{"none in front of it has accepted the token", "accepted by 1 of 2"},
		},
		{
			"one of two sites", inspectSite("") + strings.ReplaceAll(inspectSite(""), "chat", "mail"),
			inspectToken(t, "mail", "", soon),
			[]string{"--site", "mail.example.com"},
			true,
			[]string{"(mail)", "accepted by 1 of 1"},
		},
		{
			"one of two sites, as sessions lists one without a name",
			inspectSite("") + strings.ReplaceAll(inspectSite(""), "chat", "mail"),
			inspectToken(t, "mail", "", soon),
			[]string{"--site", "srv0/mail.example.com"},
			true,
			[]string{"(mail)", "accepted by 1 of 1"},
		},
		{
			"both of two sites", inspectSite("") + strings.ReplaceAll(inspectSite(""), "chat", "mail"),
			inspectToken(t, "mail", "", soon), nil, false,
			[]string{"accepted by 1 of 2"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, err := inspect(t, "Caddyfile", tt.config, tt.token+"\n", tt.args...)
			if accepted := err == nil; accepted != tt.accepted || (err != nil && !errors.Is(err, errNotAccepted)) {
				t.Errorf("error %v, want accepted: %v", err, tt.accepted)
			}
			for _, want := range tt.want {
				if !strings.Contains(out, want) {
					t.Errorf("the report lacks %q:\n%s", want, out)
				}
			}
			assertNotPrinted(t, tt.token, out, err)
		})
	}
}

// TestInspectJSON has its handler in a module that the command does not know,
// and its keys on a server.
func TestInspectJSON(t *testing.T) {
	keys := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"1","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`)
	}))
	defer keys.Close()
	config := fmt.Sprintf(`{"apps": {"http": {"servers": {"edge": {"routes": [{"handle": [
		{"handler": "intercept", "handle_response": [{"routes": [{"handle": [
			{"handler": "websocket_auth", "verifiers": [{"verifier": "jwt", "jwks_url": %q, "audiences": ["chat"]}]}
		]}]}]}
	]}]}}}}}`, keys.URL)
	// RFC 8037 appendix A.4: signed with that key, but not by us and no JWT.
	token := "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc." +
		"hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
	out, err := inspect(t, "caddy.json", config, token)
	if !errors.Is(err, errNotAccepted) {
		t.Errorf("error %v, want %v", err, errNotAccepted)
	}
	for _, want := range []string{"edge", "ok  shape", "no  payload", "accepted by 0 of 1"} {
		if !strings.Contains(out, want) {
			t.Errorf("the report lacks %q:\n%s", want, out)
		}
	}
	assertNotPrinted(t, token, out, err)
}

func TestInspectTokenFile(t *testing.T) {
	token := inspectToken(t, "chat", "", time.Now().Add(time.Hour))
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(token+"\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := inspect(t, "Caddyfile", inspectSite(""), "not from here", path); err != nil {
		t.Errorf("a good token in a file: %v\n%s", err, out)
	}
	out, err := inspect(t, "Caddyfile", inspectSite(""), "", token)
	if err == nil || errors.Is(err, errNotAccepted) {
		t.Errorf("a token as argument: %v, want an error\n%s", err, out)
	}
	assertNotPrinted(t, token, out, err)
}

func TestInspectErrors(t *testing.T) {
	tests := []struct{ name, file, config, token, problem string }{
		{"no handler", "Caddyfile", "example.com\nrespond hello\n", "a.b.c", "no websocket_auth"},
		{"bad handler", "Caddyfile", "example.com\nwebsocket_auth {\nverify jwt {\naudience chat\n}\n}\n", "a.b.c", "key source"},
		{"bad Caddyfile", "Caddyfile", "example.com {\n", "a.b.c", "adapting"},
		{"bad JSON", "caddy.json", "{", "a.b.c", "not valid JSON"},
		{"empty token", "Caddyfile", inspectSite(""), " \n", "there is none"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, err := inspect(t, tt.file, tt.config, tt.token)
			if err == nil || errors.Is(err, errNotAccepted) || !strings.Contains(err.Error(), tt.problem) {
				t.Errorf("error %v, want one with %q\n%s", err, tt.problem, out)
			}
		})
	}
	if _, err := inspect(t, "Caddyfile", inspectSite(""), "a.b.c", "--site", "mail"); err == nil || !strings.Contains(err.Error(), "srv0 chat.example.com (chat)") {
		t.Errorf("an unknown site: %v, want an error that names the known one", err)
	}
	if _, err := inspect(t, "Caddyfile", inspectSite(""), "a.b.c", "--config", "-"); err == nil || !strings.Contains(err.Error(), "--config -") {
		t.Errorf("both from standard input: %v", err)
	}
}
