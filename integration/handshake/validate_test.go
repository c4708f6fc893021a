package handshake

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// directive is a site whose only handler is websocket_auth with these lines.
func directive(lines string) string {
	return "http://127.0.0.1:8080 {\n\twebsocket_auth {\n" + lines + "\n\t}\n\treverse_proxy 127.0.0.1:1\n}\n"
}

// verifier is a directive with a verify jwt of these lines.
func verifier(first, lines string) string {
	return directive("\t\tverify jwt " + first + " {\n" + lines + "\n\t\t}")
}

// behind is a site with a matcher in front of websocket_auth.
func behind(matcher string) string {
	return "http://127.0.0.1:8080 {\n" + matcher + "\n\twebsocket_auth @ws https://id.example.com/keys chat\n\treverse_proxy 127.0.0.1:1\n}\n"
}

const longSecret = "0123456789012345678901234567890123456789"

// badConfigs are what caddy validate refuses, each with words that its text
// must have: what is wrong, and how to put it right.
var badConfigs = []struct {
	name, config string
	words        []string
}{
	{"no verifier", "http://127.0.0.1:8080 {\n\twebsocket_auth\n}\n", []string{"no verifier", "add one with verify"}},
	{"no verifier, but sources", directive("from query"), []string{"no verifier", "'from'", "verify jwt <jwks_url>"}},
	{"no verifier, but http", directive("require scope a\n\t\thttp authenticate"), []string{"no verifier", "'http'"}},
	{
		"no verifier, but insecure_plaintext", directive("require scope a\n\t\tinsecure_plaintext"),
		[]string{"no verifier", "'insecure_plaintext'"},
	},
	{"no verifier, but ignore", directive("require scope a\n\t\ton_expiry ignore"), []string{"no verifier", "on_expiry ignore"}},
	{"no verifier, but jitter", directive("require scope a\n\t\tjitter 5"), []string{"no verifier", "'jitter'", "max_session"}},
	{
		"neither audience nor issuer", "http://127.0.0.1:8080 {\n\twebsocket_auth https://id.example.com/keys\n}\n",
		[]string{"neither audience nor issuer", "add audience <aud>", "insecure_any_audience"},
	},
	{"no key source", verifier("", "audience chat"), []string{"no key source", "jwks_url <url>", "issuer <url>"}},
	{
		"unknown form", directive("verify jwt https://id.example.com/keys {\naudience chat\n}\nfrom subprotocol bearer bearr"),
		[]string{"subprotocol form", "bearr", "known are bearer, kubernetes", "<prefix>*"},
	},
	{
		"key set over http from another machine", verifier("http://id.example.com/keys", "audience chat"),
		[]string{"jwks_url", "plain http", "use https, or set insecure_http_keys"},
	},
	{
		"issuer over http on another machine", verifier("", "issuer http://id.example.com"),
		[]string{"issuer", "plain http", "use https, or set insecure_http_keys"},
	},
	{"alg none", verifier("https://id.example.com/keys", "audience chat\nalgorithms RS256 none"), []string{"algorithms", "none"}},
	{
		"short secret", verifier("", "audience chat\nsecret 0123456789012345678901234567890"),
		[]string{"secret", "31 bytes", "HS256 needs at least 32", "make one with"},
	},
	{
		"secret too short for its algorithm", verifier("", "audience chat\nalgorithms HS512\nsecret "+longSecret),
		[]string{"secret", "40 bytes", "HS512 needs at least 64"},
	},
	{"leeway over five minutes", verifier("https://id.example.com/keys", "audience chat\nleeway 5m1s"), []string{"leeway", "5m1s", "5m0s"}},
	{
		"bad claim path", directive("verify jwt https://id.example.com/keys {\naudience chat\n}\nrequire claim realm..roles admin"),
		[]string{"realm..roles", "require claim"},
	},
	{
		"bad path of the user", verifier("https://id.example.com/keys", "audience chat\nuser_claim /a~2"),
		[]string{"user_claim"},
	},
	{
		"symmetric algorithm with a key set", verifier("https://id.example.com/keys", "audience chat\nalgorithms RS256 HS256"),
		[]string{"algorithms", "HS256", "shared secret", "use secret in a verify of its own"},
	},
	{
		"public-key algorithm with a secret", verifier("", "audience chat\nalgorithms RS256\nsecret "+longSecret),
		[]string{"algorithms", "RS256", "secret", "use jwks_url or jwks_file"},
	},
	{
		"two key sources", verifier("https://id.example.com/keys", "audience chat\nsecret "+longSecret),
		[]string{"jwks_url and secret", "a verify of its own"},
	},
	{"matcher on Upgrade", behind("@ws header Upgrade websocket"), []string{"header Upgrade", "way around", "match on a path"}},
	{"matcher on Connection", behind("@ws header_regexp Connection (?i)upgrade"), []string{"header Connection", "way around"}},
	{"matcher on the version", behind("@ws header Sec-WebSocket-Version 13"), []string{"Sec-Websocket-Version", "way around"}},
	{"matcher on the protocol", behind("@ws protocol http/1.1"), []string{"the protocol", "way around"}},
	{"matcher on not Upgrade", behind("@ws not header Upgrade h2c"), []string{"header Upgrade", "way around"}},
	{
		"matcher on Upgrade in an expression", behind("@ws `{http.request.header.Upgrade} == 'websocket'`"),
		[]string{"Upgrade", "way around"},
	},
	{"matcher on Upgrade as a variable", behind("@ws vars {header.Upgrade} websocket"), []string{"Upgrade", "way around"}},
	{"matcher on Upgrade as a variable by pattern", behind("@ws vars_regexp {header.Connection} (?i)upgrade"), []string{"Connection", "way around"}},
	{
		"matcher on Upgrade around it",
		"http://127.0.0.1:8080 {\n\t@ws header Upgrade websocket\n\thandle @ws {\n\t\twebsocket_auth https://id.example.com/keys chat\n\t}\n}\n",
		[]string{"header Upgrade", "way around"},
	},
	{
		"matcher on Upgrade in front of a named route",
		"&(auth) {\n\twebsocket_auth https://id.example.com/keys chat\n}\n" +
			"http://127.0.0.1:8080 {\n\t@ws header Upgrade websocket\n\thandle /ws {\n\t\tinvoke @ws auth\n\t}\n}\n",
		[]string{"header Upgrade", "way around"},
	},
}

// TestValidateRefuses runs caddy validate, as an operator does.
func TestValidateRefuses(t *testing.T) {
	t.Parallel()
	for _, tc := range badConfigs {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			output, ok := validate(t, tc.config, "caddyfile")
			if ok {
				t.Fatalf("accepted:\n%s", tc.config)
			}
			for _, word := range tc.words {
				if !strings.Contains(output, word) {
					t.Errorf("the text does not say %q:\n%s", word, output)
				}
			}
			if strings.Contains(output, "0123456789") {
				t.Errorf("the text holds the secret:\n%s", output)
			}
		})
	}
}

// The same matcher in JSON, where it can stand anywhere.
func TestValidateRefusesMatcherInJSON(t *testing.T) {
	t.Parallel()
	const handler = `{"handler":"websocket_auth","verifiers":[{"verifier":"jwt","jwks_url":"https://id.example.com/k","audiences":["chat"]}]}`
	for name, route := range map[string]string{
		"on the route":    `{"match":[{"header":{"Upgrade":["websocket"]}}],"handle":[` + handler + `]}`,
		"in odd case":     `{"match":[{"header":{"uPGRADE":["*"]}}],"handle":[` + handler + `]}`,
		"one of several":  `{"match":[{"path":["/ws"]},{"path":["/ws2"],"header":{"Connection":["*Upgrade*"]}}],"handle":[` + handler + `]}`,
		"within not":      `{"match":[{"not":[{"header":{"Upgrade":null}}]}],"handle":[` + handler + `]}`,
		"around it":       `{"match":[{"header":{"Upgrade":["websocket"]}}],"handle":[{"handler":"subroute","routes":[{"handle":[` + handler + `]}]}]}`,
		"two around it":   `{"handle":[{"handler":"subroute","routes":[{"match":[{"protocol":"http/1.1"}],"handle":[{"handler":"subroute","routes":[{"handle":[` + handler + `]}]}]}]}]}`,
		"on the method":   `{"match":[{"method":["GET"]}],"handle":[` + handler + `]}`,
		"on the key":      `{"match":[{"header_regexp":{"sec-websocket-key":{"pattern":"."}}}],"handle":[` + handler + `]}`,
		"after good ones": `{"match":[{"path":["/a"]}],"handle":[{"handler":"vars"}]},{"match":[{"header":{"Upgrade":["websocket"]}}],"handle":[` + handler + `]}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			output, ok := validate(t, serverOf(route), "")
			if ok || !strings.Contains(output, "way around") {
				t.Errorf("accepted %v:\n%s", ok, output)
			}
		})
	}
	t.Run("named route", func(t *testing.T) {
		t.Parallel()
		good := "&(auth) {\n\twebsocket_auth https://id.example.com/keys chat\n}\n&(other) {\n\trespond ok\n}\n" +
			"http://127.0.0.1:8080 {\n\t@ws header Upgrade websocket\n\thandle /ws {\n\t\tinvoke auth\n\t}\n\trespond @ws no\n}\n"
		if output, ok := validate(t, good, "caddyfile"); !ok {
			t.Errorf("refused:\n%s", output)
		}
	})
	t.Run("without it", func(t *testing.T) {
		t.Parallel()
		good := `{"match":[{"path":["/ws"],"header":{"X-App":["chat"]}}],"handle":[` + handler + `]},` +
			`{"match":[{"header":{"Upgrade":["h2c"]}}],"handle":[{"handler":"static_response"}]}`
		if output, ok := validate(t, serverOf(good), ""); !ok {
			t.Errorf("refused:\n%s", output)
		}
	})
}

func serverOf(routes string) string {
	return `{"admin":{"disabled":true},"apps":{"http":{"servers":{"s":{"listen":["127.0.0.1:8080"],"routes":[` + routes + `]}}}}}`
}

// validate runs caddy validate with a configuration in a file.
func validate(t testing.TB, config, adapter string) (output string, ok bool) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"validate", "--config", file}
	if adapter != "" {
		args = append(args, "--adapter", adapter)
	}
	return rig.RunCaddy(t, "", args...)
}
