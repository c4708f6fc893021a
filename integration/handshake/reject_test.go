package handshake

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

const rejectConfig = `
(close) {
	reject close
	name closing
}
http://{$SITE} {
	handle /ws/* {
		websocket_auth {$JWKS} chat {
			import close
		}
		reverse_proxy {$BACKEND}
	}
	handle /scope/* {
		websocket_auth {$JWKS} chat {
			require scope admin
			import close
		}
		reverse_proxy {$BACKEND}
	}
	handle /claim/* {
		websocket_auth {$JWKS} chat {
			require claim sub root
			import close
		}
		reverse_proxy {$BACKEND}
	}
	handle /origin/* {
		websocket_auth {$JWKS} chat {
			origins https://app.example.com
			import close
		}
		reverse_proxy {$BACKEND}
	}
	handle /outage/* {
		websocket_auth {$DOWN} chat {
			import close
		}
		reverse_proxy {$BACKEND}
	}
	handle /wrong/* {
		websocket_auth {$JWKS} chat {
			import close
		}
		reverse_proxy {$WRONG}
	}
	handle /gone/* {
		websocket_auth {$JWKS} chat {
			import close
		}
		reverse_proxy 127.0.0.1:1
	}
}`

// With reject close a browser learns why: the refusals of a proper handshake
// are close codes, docs/refusals.md, with a word as their reason.
func TestRejectClose(t *testing.T) {
	t.Parallel()
	i, down, b := rig.NewIssuer(t), rig.NewIssuer(t), rig.NewBackend(t)
	down.SetAnswer(rig.AnswerStatus(http.StatusInternalServerError))
	wrong := rig.NewRawBackend(t, func(r *http.Request) string { return rig.Switching(r, "Sec-WebSocket-Accept: wrong") })
	p := rig.StartCaddy(t, rejectConfig, rig.WithEnv("JWKS", i.JWKSURL()), rig.WithEnv("DOWN", down.JWKSURL()),
		rig.WithEnv("BACKEND", b.Addr), rig.WithEnv("WRONG", wrong.Addr))
	token := i.Token()
	for _, tc := range []struct {
		name   string
		h      rig.Handshake
		code   int
		reason string
		answer string // the subprotocol
	}{
		{"no credential", rig.Handshake{Path: "/ws/1"}, 3000, "missing_credential", ""},
		{"no credential, subprotocols offered", rig.Handshake{Path: "/ws/2", Subprotocols: []string{"a", "b"}}, 3000, "missing_credential", "a"},
		{"bad token", rig.Bearer("/ws/3", token+"x"), 3000, "invalid_token", ""},
		{"expired", rig.Bearer("/ws/4", i.Token(map[string]any{"exp": 1})), 3000, "invalid_token", ""},
		{"wrong audience", rig.Bearer("/ws/5", i.Token(map[string]any{"aud": "x"})), 3000, "invalid_token", ""},
		{"bad token in a subprotocol", rig.Handshake{Path: "/ws/6", Subprotocols: []string{"bearer", token + "x"}}, 3000, "invalid_token", "bearer"},
		{"scope", rig.Bearer("/scope/1", token), 3003, "insufficient_scope", ""},
		{"claim", rig.Bearer("/claim/1", token), 3003, "forbidden", ""},
		{"origin", rig.Handshake{Path: "/origin/1", Header: http.Header{
			"Authorization": {"Bearer " + token}, "Origin": {"https://evil.example"},
		}}, 3003, "forbidden", ""},
		{"outage", rig.Bearer("/outage/1", token), 1013, "temporarily_unavailable", ""},
		{"the application's handshake", rig.Bearer("/wrong/1", token), 1013, "bad_gateway", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			conn, resp := rig.MustDial(t, p.Addr, tc.h)
			if !rig.BrowserAccepts(tc.h.Subprotocols, resp) || resp.Header.Get("Sec-Websocket-Protocol") != tc.answer {
				t.Errorf("answered subprotocol %q, want %q", resp.Header.Values("Sec-Websocket-Protocol"), tc.answer)
			}
			// What the client says meanwhile goes nowhere.
			if err := conn.WriteMessage(websocket.TextMessage, []byte("said to nobody")); err != nil {
				t.Error(err)
			}
			if got := rig.CloseOf(t, conn); got.Code != tc.code || got.Text != tc.reason {
				t.Errorf("closed with %d %q, want %d %q", got.Code, got.Text, tc.code, tc.reason)
			}
			if len(b.Seen(tc.h.Path)) > 0 || b.Received("said to nobody") {
				t.Error("the refused handshake has reached the application")
			}
		})
	}
	// What is no proper handshake has no close code.
	t.Run("two credentials", func(t *testing.T) {
		t.Parallel()
		rig.Refused(t, p.Addr, rig.Handshake{Path: "/ws/7?access_token=" + token + "&access_token=" + token}, http.StatusBadRequest)
	})
	t.Run("POST", func(t *testing.T) {
		t.Parallel()
		conn := rig.DialRaw(t, p.Addr)
		conn.Send(t, strings.Replace(rig.Upgrade(p.Addr, "/ws/8"), "GET", "POST", 1))
		if resp := conn.Response(t); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("answered %s, want 400", resp.Status)
		}
	})
	t.Run("good token", func(t *testing.T) {
		t.Parallel()
		conn, _ := rig.MustDial(t, p.Addr, rig.Bearer("/ws/9", token))
		rig.MustEcho(t, conn, "hello")
	})
}

// The statuses of the same table, with the headers that go with them.
func TestRejectStatus(t *testing.T) {
	t.Parallel()
	i, down, b := rig.NewIssuer(t), rig.NewIssuer(t), rig.NewBackend(t)
	down.SetAnswer(rig.AnswerStatus(http.StatusInternalServerError))
	p := rig.StartCaddy(t, strings.ReplaceAll(rejectConfig, "reject close", "reject status"), rig.WithEnv("JWKS", i.JWKSURL()),
		rig.WithEnv("DOWN", down.JWKSURL()), rig.WithEnv("BACKEND", b.Addr), rig.WithEnv("WRONG", b.Addr))
	token := i.Token()
	for _, tc := range []struct {
		name         string
		h            rig.Handshake
		status       int
		authenticate string
	}{
		{"no credential", rig.Handshake{Path: "/ws/1"}, 401, `Bearer realm="websocket"`},
		{"bad token", rig.Bearer("/ws/2", token+"x"), 401, `Bearer realm="websocket", error="invalid_token"`},
		{"expired", rig.Bearer("/ws/3", i.Token(map[string]any{"exp": 1})), 401, `Bearer realm="websocket", error="invalid_token"`},
		{"two credentials", rig.Handshake{Path: "/ws/4?access_token=a&access_token=b"}, 400, `Bearer realm="websocket", error="invalid_request"`},
		{"scope", rig.Bearer("/scope/1", token), 403, `Bearer realm="websocket", error="insufficient_scope"`},
		{"claim", rig.Bearer("/claim/1", token), 403, ""},
		{"outage", rig.Bearer("/outage/1", token), 503, ""},
		{"no application", rig.Bearer("/gone/1", token), 502, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			resp := rig.Refused(t, p.Addr, tc.h, tc.status)
			if got := resp.Header.Get("WWW-Authenticate"); got != tc.authenticate {
				t.Errorf("WWW-Authenticate is %q, want %q", got, tc.authenticate)
			}
			if got := resp.Header.Get("Cache-Control"); got != "no-store" && tc.status != 502 {
				t.Errorf("Cache-Control is %q, want no-store", got)
			}
			if got := resp.Header.Get("Retry-After"); (got != "") != (tc.status == 503) {
				t.Errorf("Retry-After is %q", got)
			}
			if body, _ := io.ReadAll(resp.Body); len(body) > 0 && tc.status != 502 {
				t.Errorf("the answer has a body: %q", body)
			}
		})
	}
}
