package handshake

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// refusalCase is a handshake that is refused, one for each kind of refusal.
type refusalCase struct {
	name   string
	path   string // the site's part that refuses so
	status int
	// request returns the handshake's text for a path.
	request func(host, path, token string) string
}

var refusalCases = []refusalCase{
	{"no credential", "/ws", 401, func(host, path, _ string) string { return rig.Upgrade(host, path) }},
	{"bad token", "/ws", 401, func(host, path, token string) string {
		return rig.Upgrade(host, path, "Authorization: Bearer "+token+"x")
	}},
	{"wrong audience", "/other", 401, withAllSources},
	{"two credentials", "/ws", 400, func(host, path, token string) string {
		return rig.Upgrade(host, path+"?access_token="+token+"&access_token="+token)
	}},
	{"scope", "/scope", 403, withAllSources},
	{"claim", "/claim", 403, withAllSources},
	{"origin", "/origin", 403, withAllSources},
	{"outage", "/outage", 503, withAllSources},
	{"websocket in a list", "/ws", 400, func(host, path, token string) string {
		return strings.Replace(withAllSources(host, path, token), "Upgrade: websocket", "Upgrade: h2c, websocket", 1)
	}},
	{"h2c, where only WebSockets may come", "/only", 426, func(host, path, token string) string {
		return strings.Replace(withAllSources(host, path, token), "Upgrade: websocket", "Upgrade: h2c", 1)
	}},
	{"POST", "/ws", 400, func(host, path, token string) string {
		return strings.Replace(withAllSources(host, path, token), "GET", "POST", 1)
	}},
	{"no key", "/ws", 400, func(host, path, token string) string {
		return strings.Replace(withAllSources(host, path, token), "Sec-WebSocket-Key: "+rig.RawKey+"\r\n", "", 1)
	}},
	{"version", "/ws", 426, func(host, path, token string) string {
		return strings.Replace(withAllSources(host, path, token), "Version: 13", "Version: 7", 1)
	}},
	{"nobody authenticated", "/nested", 401, withAllSources},
	{"the application's handshake", "/wrong", 502, withAllSources},
	{"no application", "/gone", 502, withAllSources},
	{"an error of a later handler", "/error", 418, withAllSources},
	{"plain request", "/only", 426, func(host, path, token string) string {
		return "GET " + path + "?access_token=" + token + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n"
	}},
}

// withAllSources is a good handshake with the token in every source.
func withAllSources(host, path, token string) string {
	return rig.Upgrade(host, path+"?a=b&access_token="+token, "Authorization: Bearer "+token,
		"Sec-WebSocket-Protocol: chat, bearer, "+token, "Sec-WebSocket-Extensions: permessage-deflate")
}

const errorsConfig = `
http://{$SITE} {
	handle /ws/* {
		websocket_auth {$JWKS} chat
		reverse_proxy {$BACKEND}
	}
	handle /other/* {
		websocket_auth {$JWKS} another
		reverse_proxy {$BACKEND}
	}
	handle /scope/* {
		websocket_auth {$JWKS} chat {
			require scope admin
		}
		reverse_proxy {$BACKEND}
	}
	handle /claim/* {
		websocket_auth {$JWKS} chat {
			require claim sub root
		}
		reverse_proxy {$BACKEND}
	}
	handle /origin/* {
		websocket_auth {$JWKS} chat {
			origins https://app.example.com
		}
		reverse_proxy {$BACKEND}
	}
	handle /outage/* {
		websocket_auth {$DOWN} chat
		reverse_proxy {$BACKEND}
	}
	handle /nested/* {
		websocket_auth {
			require scope admin
		}
		reverse_proxy {$BACKEND}
	}
	handle /wrong/* {
		websocket_auth {$JWKS} chat
		reverse_proxy {$WRONG}
	}
	handle /gone/* {
		websocket_auth {$JWKS} chat
		reverse_proxy 127.0.0.1:1
	}
	handle /error/* {
		websocket_auth {$JWKS} chat
		error 418
	}
	handle /only/* {
		websocket_auth {$JWKS} chat {
			http reject
		}
		reverse_proxy {$BACKEND}
	}
	handle_errors {
		reverse_proxy {$ERRORS} {
			header_up X-Status {err.status_code}
			header_up X-Error {http.websocket_auth.error}
			header_up X-User {http.auth.user.id}
			header_up X-Original {http.request.orig_uri}
		}
	}
}`

// Caddy gives the request of an error, as it was, to handle_errors. With a
// reverse_proxy there it would open, to the application of the error pages,
// the very tunnel that was refused, and hand it the token.
func TestAttackErrorRouteTunnels(t *testing.T) {
	t.Parallel()
	i, down, b, pages := rig.NewIssuer(t), rig.NewIssuer(t), rig.NewBackend(t), rig.NewBackend(t, rig.Answering("first"))
	down.SetAnswer(rig.AnswerStatus(http.StatusInternalServerError))
	wrong := rig.NewRawBackend(t, func(*http.Request) string {
		return "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
			"Sec-WebSocket-Accept: bm90IHRoZSByaWdodCBvbmU=\r\n\r\n"
	})
	p := rig.StartCaddy(t, errorsConfig, rig.WithEnv("JWKS", i.JWKSURL()), rig.WithEnv("DOWN", down.JWKSURL()),
		rig.WithEnv("BACKEND", b.Addr), rig.WithEnv("ERRORS", pages.Addr), rig.WithEnv("WRONG", wrong.Addr))
	for n, tc := range refusalCases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			token := i.Token(map[string]any{"jti": tc.name})
			path := fmt.Sprintf("%s/%d", tc.path, n)
			conn := rig.DialRaw(t, p.Addr)
			conn.Send(t, strings.Replace(tc.request(p.Addr, path, token), "\r\n\r\n", "\r\nOrigin: https://evil.example\r\n\r\n", 1))
			conn.Send(t, rig.MaskedFrame("tunnelled"))
			resp := conn.Response(t)
			body, _ := io.ReadAll(resp.Body)
			if resp.StatusCode == http.StatusSwitchingProtocols || string(body) != "backend" {
				t.Fatalf("answered %s %q, want the page of the error", resp.Status, body)
			}
			seen := pages.Wait(t, path)
			if got := seen.Header.Get("X-Status"); got != fmt.Sprint(tc.status) {
				t.Errorf("refused with status %s, want %d", got, tc.status)
			}
			for name := range seen.Header {
				if name == "Upgrade" || name == "Connection" || strings.HasPrefix(name, "Sec-Websocket-") {
					t.Errorf("the page of the error got %s: %q", name, seen.Header[name])
				}
			}
			if strings.Contains(fmt.Sprint(seen.URI, seen.Header), token) || pages.Received(token) || b.Received(token) {
				t.Errorf("the token has travelled on: %s %v", seen.URI, seen.Header)
			}
			if pages.Received(rig.MaskedFrame("tunnelled")) || b.Received(rig.MaskedFrame("tunnelled")) {
				t.Error("bytes after the handshake were tunnelled")
			}
			if len(b.Seen(path)) > 0 {
				t.Error("the refused handshake has reached the application")
			}
		})
	}
}
