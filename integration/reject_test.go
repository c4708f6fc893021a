package integration

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
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
	i, down, b := newIssuer(t), newIssuer(t), newBackend(t)
	down.setAnswer(answerStatus(http.StatusInternalServerError))
	wrong := newRawBackend(t, func(r *http.Request) string { return switching(r, "Sec-WebSocket-Accept: wrong") })
	p := startCaddy(t, rejectConfig, withEnv("JWKS", i.jwksURL()), withEnv("DOWN", down.jwksURL()),
		withEnv("BACKEND", b.addr), withEnv("WRONG", wrong.addr))
	token := i.token()
	for _, tc := range []struct {
		name   string
		h      handshake
		code   int
		reason string
		answer string // the subprotocol
	}{
		{"no credential", handshake{path: "/ws/1"}, 3000, "missing_credential", ""},
		{"no credential, subprotocols offered", handshake{path: "/ws/2", subprotocols: []string{"a", "b"}}, 3000, "missing_credential", "a"},
		{"bad token", bearer("/ws/3", token+"x"), 3000, "invalid_token", ""},
		{"expired", bearer("/ws/4", i.token(map[string]any{"exp": 1})), 3000, "invalid_token", ""},
		{"wrong audience", bearer("/ws/5", i.token(map[string]any{"aud": "x"})), 3000, "invalid_token", ""},
		{"bad token in a subprotocol", handshake{path: "/ws/6", subprotocols: []string{"bearer", token + "x"}}, 3000, "invalid_token", "bearer"},
		{"scope", bearer("/scope/1", token), 3003, "insufficient_scope", ""},
		{"claim", bearer("/claim/1", token), 3003, "forbidden", ""},
		{"origin", handshake{path: "/origin/1", header: http.Header{
			"Authorization": {"Bearer " + token}, "Origin": {"https://evil.example"},
		}}, 3003, "forbidden", ""},
		{"outage", bearer("/outage/1", token), 1013, "temporarily_unavailable", ""},
		{"the application's handshake", bearer("/wrong/1", token), 1013, "bad_gateway", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			conn, resp := mustDial(t, p.site, tc.h)
			if !browserAccepts(tc.h.subprotocols, resp) || resp.Header.Get("Sec-Websocket-Protocol") != tc.answer {
				t.Errorf("answered subprotocol %q, want %q", resp.Header.Values("Sec-Websocket-Protocol"), tc.answer)
			}
			// What the client says meanwhile goes nowhere.
			if err := conn.WriteMessage(websocket.TextMessage, []byte("said to nobody")); err != nil {
				t.Error(err)
			}
			if got := closeOf(t, conn); got.Code != tc.code || got.Text != tc.reason {
				t.Errorf("closed with %d %q, want %d %q", got.Code, got.Text, tc.code, tc.reason)
			}
			if len(b.seen(tc.h.path)) > 0 || b.received("said to nobody") {
				t.Error("the refused handshake has reached the application")
			}
		})
	}
	// What is no proper handshake has no close code.
	t.Run("two credentials", func(t *testing.T) {
		t.Parallel()
		refused(t, p.site, handshake{path: "/ws/7?access_token=" + token + "&access_token=" + token}, http.StatusBadRequest)
	})
	t.Run("POST", func(t *testing.T) {
		t.Parallel()
		conn := dialRaw(t, p.site)
		conn.send(t, strings.Replace(upgrade(p.site, "/ws/8"), "GET", "POST", 1))
		if resp := conn.response(t); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("answered %s, want 400", resp.Status)
		}
	})
	t.Run("good token", func(t *testing.T) {
		t.Parallel()
		conn, _ := mustDial(t, p.site, bearer("/ws/9", token))
		mustEcho(t, conn, "hello")
	})
}

// The statuses of the same table, with the headers that go with them.
func TestRejectStatus(t *testing.T) {
	t.Parallel()
	i, down, b := newIssuer(t), newIssuer(t), newBackend(t)
	down.setAnswer(answerStatus(http.StatusInternalServerError))
	p := startCaddy(t, strings.ReplaceAll(rejectConfig, "reject close", "reject status"), withEnv("JWKS", i.jwksURL()),
		withEnv("DOWN", down.jwksURL()), withEnv("BACKEND", b.addr), withEnv("WRONG", b.addr))
	token := i.token()
	for _, tc := range []struct {
		name         string
		h            handshake
		status       int
		authenticate string
	}{
		{"no credential", handshake{path: "/ws/1"}, 401, `Bearer realm="websocket"`},
		{"bad token", bearer("/ws/2", token+"x"), 401, `Bearer realm="websocket", error="invalid_token"`},
		{"expired", bearer("/ws/3", i.token(map[string]any{"exp": 1})), 401, `Bearer realm="websocket", error="invalid_token"`},
		{"two credentials", handshake{path: "/ws/4?access_token=a&access_token=b"}, 400, `Bearer realm="websocket", error="invalid_request"`},
		{"scope", bearer("/scope/1", token), 403, `Bearer realm="websocket", error="insufficient_scope"`},
		{"claim", bearer("/claim/1", token), 403, ""},
		{"outage", bearer("/outage/1", token), 503, ""},
		{"no application", bearer("/gone/1", token), 502, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			resp := refused(t, p.site, tc.h, tc.status)
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
