package rig

import (
	"net/url"
	"strings"
	"testing"
)

// Search expects that nothing of the secrets is in a text.
func Search(t testing.TB, where, text string, secrets map[string]string) {
	t.Helper()
	for name, token := range secrets {
		for _, secret := range Pieces(token) {
			if before, after, found := strings.Cut(text, secret); found {
				t.Errorf("in %s is the secret of: %s\n%s<here>%.200s", where, name, lastBytes(before, 500), after)
				break
			}
		}
	}
}

// LogFilter is the log configuration that the docs recommend, at debug level,
// where Caddy says most.
const LogFilter = `
		format filter {
			uri websocket_credential ticket
			request>uri websocket_credential ticket
			request>headers>Sec-Websocket-Protocol websocket_credential openai-insecure-api-key.*
			request>headers>Referer websocket_credential
			request>headers>X-Token websocket_credential
			resp_headers>Sec-Websocket-Protocol websocket_credential openai-insecure-api-key.*
			resp_headers>Location websocket_credential
		}
`

// Pieces are what must be nowhere of a token: its signature and its claims, in
// clear and as URLs and the subprotocol forms encode it.
func Pieces(token string) []string {
	all := []string{token, url.QueryEscape(token), escapeAll(token)}
	secret := token
	if parts := strings.Split(token, "."); len(parts) == 3 {
		all = append(all, parts[1])
		if parts[2] != "" {
			secret = parts[2]
			all = append(all, secret)
		}
	}
	for skip := range 3 { // wherever in what is encoded it begins
		encoded := Base64URL([]byte(secret[skip:]))
		encoded = encoded[:len(encoded)-4]
		all = append(all, encoded)
		if other := strings.NewReplacer("-", "+", "_", "/").Replace(encoded); other != encoded {
			all = append(all, other)
		}
	}
	return all
}
