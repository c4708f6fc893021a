package handshake

import (
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
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
			max_session 5s
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
	i, b := rig.NewIssuer(t), rig.NewBackend(t)
	p := rig.StartCaddy(t, nestedConfig, rig.WithEnv("JWKS", i.JWKSURL()), rig.WithEnv("BACKEND", b.Addr))
	user, admin := i.Token(), i.Token(map[string]any{"role": "admin"})
	staff := i.Token(map[string]any{"role": []any{"staff", "other"}})
	withOrigin := rig.Bearer("/origin/2", user)
	withOrigin.Header.Set("Origin", "https://app.example.com")
	withBadOrigin := rig.Bearer("/origin/1", user)
	withBadOrigin.Header.Set("Origin", "https://evil.example")
	for _, tc := range []struct {
		name   string
		addr   string
		h      rig.Handshake
		status int
		reason string
	}{
		{"outside", p.Addr, rig.Bearer("/", user), 101, ""},
		{"rule met", p.Addr, rig.Bearer("/admin/1", admin), 101, ""},
		{"rule not met", p.Addr, rig.Bearer("/admin/2", user), 403, "claim_not_allowed"},
		{"no token", p.Addr, rig.Handshake{Path: "/admin/3"}, 401, "missing_credential"},
		{"origin met", p.Addr, withOrigin, 101, ""},
		{"origin not met", p.Addr, withBadOrigin, 403, "origin_not_allowed"},
		{"two deep, both met", p.Addr, rig.Bearer("/deep/er/1", admin), 101, ""},
		{"two deep, the inner not met", p.Addr, rig.Bearer("/deep/er/2", staff), 403, "claim_not_allowed"},
		{"two deep, one asked", p.Addr, rig.Bearer("/deep/1", staff), 101, ""},
		{"nobody outside, good token", p.Addr2, rig.Bearer("/alone/1", admin), 401, "missing_credential"},
		{"nobody outside, no token", p.Addr2, rig.Handshake{Path: "/alone/2"}, 401, "missing_credential"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if tc.status == http.StatusSwitchingProtocols {
				conn, _ := rig.MustDial(t, tc.addr, tc.h)
				rig.MustEcho(t, conn, "hello")
				if got := b.Wait(t, tc.h.Path).Header.Get("X-User"); got != "alice" {
					t.Errorf("X-User is %q", got)
				}
				return
			}
			resp := rig.Refused(t, tc.addr, tc.h, tc.status)
			if body, _ := io.ReadAll(resp.Body); string(body) != tc.reason {
				t.Errorf("refused with reason %q, want %q", body, tc.reason)
			}
			if len(b.Seen(tc.h.Path)) > 0 {
				t.Error("it has reached the application")
			}
		})
	}
	t.Run("close code", func(t *testing.T) {
		t.Parallel()
		conn, _ := rig.MustDial(t, p.Addr, rig.Bearer("/closing/1", user))
		if got := rig.CloseOf(t, conn); got.Code != 3003 || got.Text != "insufficient_scope" {
			t.Errorf("closed with %d %q, want 3003 insufficient_scope", got.Code, got.Text)
		}
		if len(b.Seen("/closing/1")) > 0 {
			t.Error("it has reached the application")
		}
	})
	t.Run("max_session", func(t *testing.T) {
		t.Parallel()
		conn, _ := rig.MustDial(t, p.Addr, rig.Bearer("/short/1", user))
		lag, opened := rig.MeasureLag(t), time.Now()
		rig.MustEcho(t, conn, "hello")
		if got := rig.CloseOf(t, conn); got.Code != 3000 {
			t.Errorf("closed with %d %q, want 3000", got.Code, got.Text)
		}
		lag.InTime(t, "end", opened, time.Now(), 9*time.Second)
		if code := b.Wait(t, "/short/1").WaitClosed(t); code != 1001 {
			t.Errorf("the application was told %d, want 1001", code)
		}
	})
	t.Run("plain request", func(t *testing.T) {
		t.Parallel()
		// The outer one lets it through; with nobody outside nobody does.
		resp, body := rig.Request(t, http.MethodGet, "http://"+p.Addr+"/admin/4", nil)
		if resp.StatusCode != http.StatusOK || body != "backend" {
			t.Errorf("answered %s %q, want what http pass says", resp.Status, body)
		}
		resp, body = rig.Request(t, http.MethodGet, "http://"+p.Addr2+"/alone/3", nil)
		if resp.StatusCode != http.StatusUnauthorized || body != "missing_credential" {
			t.Errorf("with nobody outside: answered %s %q", resp.Status, body)
		}
	})
}

const nestedOrderConfig = `
http://{$SITE} {
	# Caddy sorts the longer path to the front, whatever is written.
	websocket_auth {
		verify jwt {$JWKS} {
			audience chat
		}
		http authenticate
	}
	websocket_auth /admin/* {
		require claim role admin
	}
	reverse_proxy {$BACKEND}
	handle_errors {
		respond "{http.websocket_auth.error}"
	}
}
http://{$SITE2} {
	route {
		websocket_auth {
			verify jwt {$JWKS} {
				audience chat
			}
			from header
			on_expiry ignore
			reject close
		}
		websocket_auth /admin/* {
			require claim role admin
		}
		websocket_auth /own/* {
			verify jwt {$JWKS} {
				audience own
			}
			from query
		}
		reverse_proxy {$BACKEND} {
			header_up X-User {http.auth.user.id}
			header_up X-Subject {http.websocket_auth.subject}
			header_up X-Source {http.websocket_auth.source}
		}
	}
}`

// A nested handler that comes first must not let anybody through whom it
// would have refused behind the outer one.
func TestAttackNestedInFront(t *testing.T) {
	t.Parallel()
	i, b := rig.NewIssuer(t), rig.NewBackend(t)
	p := rig.StartCaddy(t, nestedOrderConfig, rig.WithEnv("JWKS", i.JWKSURL()), rig.WithEnv("BACKEND", b.Addr))
	header := http.Header{"Authorization": {"Bearer " + i.Token()}}
	resp, body := rig.Request(t, http.MethodGet, "http://"+p.Addr+"/admin/1", header)
	if resp.StatusCode != http.StatusUnauthorized || body != "missing_credential" {
		t.Errorf("answered %s %q", resp.Status, body)
	}
	rig.Refused(t, p.Addr, rig.Bearer("/admin/2", i.Token()), http.StatusUnauthorized)
	if b.Received("/admin/") {
		t.Error("it has reached the application")
	}
}

const nestedPassConfig = `
http://{$SITE} {
	route {
		websocket_auth {
			verify jwt {$JWKS} {
				audience chat
			}
			http authenticate
		}
		websocket_auth {
			verify jwt {$JWKS} {
				audience own
			}
			from query
		}
		websocket_auth {
			require claim role admin
		}
		reverse_proxy {$BACKEND}
	}
	handle_errors {
		respond "{http.websocket_auth.error}"
	}
}`

// A handler in between that lets plain requests pass does not hide from the
// innermost one that the outermost has authenticated them.
func TestAttackNestedBehindPass(t *testing.T) {
	t.Parallel()
	i, b := rig.NewIssuer(t), rig.NewBackend(t)
	p := rig.StartCaddy(t, nestedPassConfig, rig.WithEnv("JWKS", i.JWKSURL()), rig.WithEnv("BACKEND", b.Addr))
	for _, tc := range []struct {
		token  string
		status int
		body   string
	}{
		{i.Token(), http.StatusForbidden, "claim_not_allowed"},
		{i.Token(map[string]any{"role": "admin"}), http.StatusOK, "backend"},
	} {
		header := http.Header{"Authorization": {"Bearer " + tc.token}}
		resp, body := rig.Request(t, http.MethodGet, "http://"+p.Addr+"/", header)
		if resp.StatusCode != tc.status || body != tc.body {
			t.Errorf("answered %s %q, want %d %q", resp.Status, body, tc.status, tc.body)
		}
	}
}

// What the inner handler does not say, the outer one decides.
func TestNestedTakesOverFromOuter(t *testing.T) {
	t.Parallel()
	i, b := rig.NewIssuer(t), rig.NewBackend(t)
	p := rig.StartCaddy(t, nestedOrderConfig, rig.WithEnv("JWKS", i.JWKSURL()), rig.WithEnv("BACKEND", b.Addr))
	t.Run("reject close", func(t *testing.T) {
		t.Parallel()
		conn, _ := rig.MustDial(t, p.Addr2, rig.Bearer("/admin/1", i.Token()))
		if got := rig.CloseOf(t, conn); got.Code != 3003 {
			t.Errorf("closed with %d %q, want 3003", got.Code, got.Text)
		}
	})
	t.Run("on_expiry ignore", func(t *testing.T) {
		t.Parallel()
		exp := rig.Soon(2 * time.Second)
		conn, _ := rig.MustDial(t, p.Addr2, rig.Bearer("/admin/2", i.Token(map[string]any{"role": "admin", "exp": exp.Unix()})))
		for time.Now().Before(exp.Add(time.Second)) {
			rig.MustEcho(t, conn, "still here")
		}
	})
	t.Run("placeholders are the inner one's", func(t *testing.T) {
		t.Parallel()
		h := rig.Bearer("/own/1?access_token="+i.Token(map[string]any{"aud": "own", "sub": "bob"}), i.Token())
		conn, _ := rig.MustDial(t, p.Addr2, h)
		rig.MustEcho(t, conn, "hello")
		got := b.Wait(t, "/own/1").Header
		if got.Get("X-User") != "bob" || got.Get("X-Subject") != "bob" || got.Get("X-Source") != "query" {
			t.Errorf("the application was told %q, %q, %q", got.Get("X-User"), got.Get("X-Subject"), got.Get("X-Source"))
		}
	})
}
