package integration

import (
	"net/http"
	"strings"
	"testing"
)

// guarded is a site that GUARD stands in. Its sockets are rechecked.
func guarded(site, lines string) string {
	guard := `route {
		websocket_auth {
			verify jwt {$JWKS} {
				audience chat
			}
			on_reload recheck
			` + lines + `
		}
		reverse_proxy {$APP} {
			stream_close_delay 1h
		}
	}`
	return "{\n\tgrace_period 5s\n}\n" + strings.ReplaceAll(site, "GUARD", guard)
}

// TestRecheckGoesTheWay: a reload that changes nothing ends no socket, and one
// that adds a rule ends it, whatever is in front of websocket_auth.
func TestRecheckGoesTheWay(t *testing.T) {
	t.Parallel()
	for name, site := range map[string]string{
		"path is stripped": "http://{$SITE} {\nhandle_path /api/* {\nGUARD\n}\n}",
		"path is stripped and matched": "http://{$SITE} {\nhandle_path /api/* {\n" +
			"@chat path /chat\nhandle @chat {\nGUARD\n}\nhandle {\nrespond 404\n}\n}\n}",
		"path is rewritten": "http://{$SITE} {\nroute {\nrewrite /api/chat /else\n@else path /else\nhandle @else {\nGUARD\n}\n}\n}",
		"variable is set":   "http://{$SITE} {\nroute {\nvars kind chat\n@chat vars {vars.kind} chat\nhandle @chat {\nGUARD\n}\n}\n}",
		"value is mapped": "http://{$SITE} {\nroute {\nmap {path} {kind} {\n/api/chat chat\ndefault none\n}\n" +
			"@chat vars {kind} chat\nhandle @chat {\nGUARD\n}\n}\n}",
		"named route": "&(chat) {\nGUARD\n}\nhttp://{$SITE} {\nhandle /api/* {\ninvoke chat\n}\n}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startPeerSiteOf(t, guarded(site, ""))
			c := s.open(t, h1, "/api/chat", s.of("alice"))
			p := s.socket(t)
			if err := s.reload(t, guarded(site, "max_session 5h")); err != nil {
				t.Fatal(err)
			}
			// Everything of the reload is over when a second one is.
			if err := s.reload(t, guarded(site, "max_session 6h")); err != nil {
				t.Fatal(err)
			}
			c.says(t, "still here")
			p.hears(t, "still here")
			if err := s.reload(t, guarded(site, "require claim sub bob")); err != nil {
				t.Fatal(err)
			}
			if _, end := c.last(t, patience); end.code != closeForbidden {
				t.Errorf("%v, want 3003", end)
			}
		})
	}
}

// TestRecheckOfMovedServers: Caddy names servers in the order of
// their addresses. A site that is added in front moves them, and ends no socket.
func TestRecheckOfMovedServers(t *testing.T) {
	t.Parallel()
	const site = "http://{$SITE} {\nGUARD\n}\n"
	s := startPeerSiteOf(t, guarded(site, ""))
	c := s.open(t, h1, "/", s.of("alice"))
	p := s.socket(t)
	const other = "http://{$SITE2} {\nbind 127.0.0.1\nrespond ok\n}\n" // sorted by addresses
	for _, moved := range []string{other + site, site + other} {
		if err := s.reload(t, guarded(moved, "")); err != nil {
			t.Fatal(err)
		}
		if err := s.reload(t, guarded(moved, "max_session 5h")); err != nil {
			t.Fatal(err)
		}
		c.says(t, "still here")
		p.hears(t, "still here")
	}
	if err := s.reload(t, guarded(other+site, "require claim sub bob")); err != nil {
		t.Fatal(err)
	}
	if _, end := c.last(t, patience); end.code != closeForbidden {
		t.Errorf("%v, want 3003", end)
	}
}

// TestRecheckWithoutAnySite: a configuration that has websocket_auth's global
// option and no site guards nothing.
func TestRecheckWithoutAnySite(t *testing.T) {
	t.Parallel()
	s := startPeerSiteOf(t, guarded("http://{$SITE} {\nGUARD\n}\n", ""))
	c := s.open(t, h1, "/", s.of("alice"))
	s.socket(t)
	if err := s.reload(t, "{\nwebsocket_auth {\ndrain 1s\n}\n}\n"); err != nil {
		t.Fatal(err)
	}
	if _, end := c.last(t, patience); end.code != closeForbidden {
		t.Errorf("%v, want 3003", end)
	}
}

// TestRecheckOfOrigins: a page that may connect no more has its socket ended.
// Who comes from no page, or from one that may, stays.
func TestRecheckOfOrigins(t *testing.T) {
	t.Parallel()
	const site = "http://{$SITE} {\nGUARD\n}\n"
	s := startPeerSiteOf(t, guarded(site, ""))
	from := func(origin string) http.Header {
		h := s.of("alice")
		h.Set("Origin", origin)
		return h
	}
	conns := []*wsConn{
		s.open(t, h1, "/", from("https://old.example.com")),
		s.open(t, h1, "/", from("https://app.example.com")),
		s.open(t, h1, "/", s.of("alice")),
	}
	if err := s.reload(t, guarded(site, "origins https://app.example.com")); err != nil {
		t.Fatal(err)
	}
	if _, end := conns[0].last(t, patience); end.code != closeForbidden {
		t.Errorf("%v, want 3003", end)
	}
	if err := s.reload(t, guarded(site, "origins https://app.example.com\nmax_session 5h")); err != nil {
		t.Fatal(err)
	}
	for _, c := range conns[1:] {
		c.pings(t, "still here")
	}
}
