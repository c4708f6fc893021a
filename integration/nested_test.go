package integration

import (
	"io"
	"net/http"
	"testing"
	"time"
)

const nestedConfig = `
(app) {
	reverse_proxy {$BACKEND} {
		header_up X-User {http.auth.user.id}
	}
}
http://{$SITE} {
	websocket_auth {$JWKS} chat
	handle /admin/* {
		websocket_auth {
			require claim role admin
		}
		import app
	}
	handle /closing/* {
		websocket_auth {
			require scope admin
			reject close
		}
		import app
	}
	handle /origin/* {
		websocket_auth {
			origins https://app.example.com
		}
		import app
	}
	handle /short/* {
		websocket_auth {
			max_session 1s
		}
		import app
	}
	handle /deep/* {
		websocket_auth {
			require claim role admin staff
		}
		handle /deep/er/* {
			websocket_auth {
				require claim role admin
			}
			import app
		}
		import app
	}
	handle {
		import app
	}
	handle_errors {
		respond "{http.websocket_auth.error}"
	}
}
http://{$SITE2} {
	websocket_auth {
		require claim role admin
	}
	import app
	handle_errors {
		respond "{http.websocket_auth.error}"
	}
}`

// A websocket_auth without verify inside another one tightens it: its rules
// and limits count for the same socket.
func TestNested(t *testing.T) {
	t.Parallel()
	i, b := newIssuer(t), newBackend(t)
	p := startCaddy(t, nestedConfig, withEnv("JWKS", i.jwksURL()), withEnv("BACKEND", b.addr))
	user, admin := i.token(), i.token(map[string]any{"role": "admin"})
	staff := i.token(map[string]any{"role": []any{"staff", "other"}})
	withOrigin := bearer("/origin/2", user)
	withOrigin.header.Set("Origin", "https://app.example.com")
	withBadOrigin := bearer("/origin/1", user)
	withBadOrigin.header.Set("Origin", "https://evil.example")
	for _, tc := range []struct {
		name   string
		addr   string
		h      handshake
		status int
		reason string
	}{
		{"outside", p.site, bearer("/", user), 101, ""},
		{"rule met", p.site, bearer("/admin/1", admin), 101, ""},
		{"rule not met", p.site, bearer("/admin/2", user), 403, "claim_not_allowed"},
		{"no token", p.site, handshake{path: "/admin/3"}, 401, "missing_credential"},
		{"origin met", p.site, withOrigin, 101, ""},
		{"origin not met", p.site, withBadOrigin, 403, "origin_not_allowed"},
		{"two deep, both met", p.site, bearer("/deep/er/1", admin), 101, ""},
		{"two deep, the inner not met", p.site, bearer("/deep/er/2", staff), 403, "claim_not_allowed"},
		{"two deep, one asked", p.site, bearer("/deep/1", staff), 101, ""},
		{"nobody outside, good token", p.site2, bearer("/alone/1", admin), 401, "missing_credential"},
		{"nobody outside, no token", p.site2, handshake{path: "/alone/2"}, 401, "missing_credential"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if tc.status == http.StatusSwitchingProtocols {
				conn, _ := mustDial(t, tc.addr, tc.h)
				mustEcho(t, conn, "hello")
				if got := b.wait(t, tc.h.path).header.Get("X-User"); got != "alice" {
					t.Errorf("X-User is %q", got)
				}
				return
			}
			resp := refused(t, tc.addr, tc.h, tc.status)
			if body, _ := io.ReadAll(resp.Body); string(body) != tc.reason {
				t.Errorf("refused with reason %q, want %q", body, tc.reason)
			}
			if len(b.seen(tc.h.path)) > 0 {
				t.Error("it has reached the application")
			}
		})
	}
	t.Run("close code", func(t *testing.T) {
		t.Parallel()
		conn, _ := mustDial(t, p.site, bearer("/closing/1", user))
		if got := closeOf(t, conn); got.Code != 3003 || got.Text != "insufficient_scope" {
			t.Errorf("closed with %d %q, want 3003 insufficient_scope", got.Code, got.Text)
		}
		if len(b.seen("/closing/1")) > 0 {
			t.Error("it has reached the application")
		}
	})
	t.Run("max_session", func(t *testing.T) {
		t.Parallel()
		conn, _ := mustDial(t, p.site, bearer("/short/1", user))
		opened := time.Now()
		mustEcho(t, conn, "hello")
		if got := closeOf(t, conn); got.Code != 3000 || time.Since(opened) > 5*time.Second {
			t.Errorf("closed with %d %q after %v, want 3000 after 1s", got.Code, got.Text, time.Since(opened))
		}
		if code := b.wait(t, "/short/1").waitClosed(t); code != 1001 {
			t.Errorf("the application was told %d, want 1001", code)
		}
	})
	t.Run("plain request", func(t *testing.T) {
		t.Parallel()
		resp, body := request(t, http.MethodGet, "http://"+p.site2+"/alone/3", nil)
		if resp.StatusCode != http.StatusOK || body != "backend" {
			t.Errorf("answered %s %q, want what http pass says", resp.Status, body)
		}
	})
}
