package websocketauth

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func parseJWT(text string) (*JWTVerifier, error) {
	d := caddyfile.NewTestDispenser(text)
	unm, err := func() (caddyfile.Unmarshaler, error) {
		d.Next()
		return caddyfile.UnmarshalModule(d, "http.websocket_auth.verifiers.jwt")
	}()
	if err != nil {
		return nil, err
	}
	v, ok := unm.(*JWTVerifier)
	if !ok {
		return nil, fmt.Errorf("parsed a %T", unm)
	}
	return v, nil
}

// TestJWTCaddyfile: what is written is what the JSON has, and nothing else.
func TestJWTCaddyfile(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`jwt`:                                  `{}`,
		`jwt https://id.example.com/jwks.json`: `{"jwks_url":"https://id.example.com/jwks.json"}`,
		"jwt {\n}":                             `{}`,
		"jwt {\njwks_url https://id.example.com/jwks.json\naudience chat mail\n}": `{"jwks_url":"https://id.example.com/jwks.json","audiences":["chat","mail"]}`,
		"jwt {\njwks_file /etc/keys.json\nissuer a b\n}":                          `{"issuers":["a","b"],"jwks_file":"/etc/keys.json"}`,
		"jwt {\nsecret {env.KEY}\nalgorithms HS256 HS512\n}":                      `{"secret":"{env.KEY}","algorithms":["HS256","HS512"]}`,
		"jwt https://a/ {\ntype at+jwt\nleeway 30s\nmax_lifetime 1d\nuser_claim profile.name\nca ca.pem\n}": `{"jwks_url":"https://a/",` +
			`"types":["at+jwt"],"leeway":30000000000,"max_lifetime":86400000000000,"user_claim":"profile.name","ca":"ca.pem"}`,
		"jwt https://a/ {\nid_tokens\ninsecure_http_keys\ninsecure_any_audience\nleeway 0\n}": `{"jwks_url":"https://a/",` +
			`"id_tokens":true,"insecure_http_keys":true,"insecure_any_audience":true}`,
	} {
		v, err := parseJWT(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		got, err := json.Marshal(v)
		if err != nil || string(got) != want {
			t.Errorf("%q:\n got %s, %v\nwant %s", text, got, err, want)
		}
	}
}

func TestJWTCaddyfileErrors(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"jwt https://a/ chat":                        "audience <aud>",
		"jwt {\njwks https://a/\n}":                  "unrecognized subdirective 'jwks'",
		"jwt https://a/ {\njwks_url https://a/\n}":   "'jwks_url' is given twice",
		"jwt {\naudience a\naudience b\n}":           "'audience' is given twice",
		"jwt {\nleeway 0\nleeway 0\n}":               "'leeway' is given twice",
		"jwt {\nid_tokens\nid_tokens\n}":             "'id_tokens' is given twice",
		"jwt {\njwks_url\n}":                         "'jwks_url' takes one argument",
		"jwt {\njwks_file a b\n}":                    "'jwks_file' takes one argument, not 2",
		"jwt {\nsecret \"\"\n}":                      "'secret' takes one argument",
		"jwt {\naudience\n}":                         "'audience' takes one or more",
		"jwt {\naudience chat \"\"\n}":               "'audience' takes one or more",
		"jwt {\nleeway\n}":                           "'leeway' takes one argument",
		"jwt {\nleeway soon\n}":                      "'leeway' takes a duration such as 30s or 5m, not 'soon'",
		"jwt {\nmax_lifetime -5s\n}":                 "'max_lifetime' takes a duration",
		"jwt {\nid_tokens yes\n}":                    "'id_tokens' takes no argument: remove 'yes'",
		"jwt {\ninsecure_any_audience true false\n}": "'insecure_any_audience' takes no argument",
	} {
		_, err := parseJWT(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
