package lifecycle

import (
	"net/http"
	"testing"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

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
			s := rig.StartPeerSiteOf(t, rig.Guarded(site, ""))
			c := s.Open(t, rig.H1, "/api/chat", s.Of("alice"))
			p := s.Socket(t)
			if err := s.Reload(t, rig.Guarded(site, "max_session 5h")); err != nil {
				t.Fatal(err)
			}
			// Everything of the reload is over when a second one is.
			if err := s.Reload(t, rig.Guarded(site, "max_session 6h")); err != nil {
				t.Fatal(err)
			}
			c.Says(t, "still here")
			p.Hears(t, "still here")
			if err := s.Reload(t, rig.Guarded(site, "require claim sub bob")); err != nil {
				t.Fatal(err)
			}
			if _, end := c.Last(t, rig.Patience); end.Code != rig.CloseForbidden {
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
	s := rig.StartPeerSiteOf(t, rig.Guarded(site, ""))
	c := s.Open(t, rig.H1, "/", s.Of("alice"))
	p := s.Socket(t)
	const other = "http://{$SITE2} {\nbind 127.0.0.1\nrespond ok\n}\n" // sorted by addresses
	for _, moved := range []string{other + site, site + other} {
		if err := s.Reload(t, rig.Guarded(moved, "")); err != nil {
			t.Fatal(err)
		}
		if err := s.Reload(t, rig.Guarded(moved, "max_session 5h")); err != nil {
			t.Fatal(err)
		}
		c.Says(t, "still here")
		p.Hears(t, "still here")
	}
	if err := s.Reload(t, rig.Guarded(other+site, "require claim sub bob")); err != nil {
		t.Fatal(err)
	}
	if _, end := c.Last(t, rig.Patience); end.Code != rig.CloseForbidden {
		t.Errorf("%v, want 3003", end)
	}
}

// TestRecheckWithoutAnySite: a configuration that has websocket_auth's global
// option and no site guards nothing.
func TestRecheckWithoutAnySite(t *testing.T) {
	t.Parallel()
	s := rig.StartPeerSiteOf(t, rig.Guarded("http://{$SITE} {\nGUARD\n}\n", ""))
	c := s.Open(t, rig.H1, "/", s.Of("alice"))
	s.Socket(t)
	if err := s.Reload(t, "{\nwebsocket_auth {\ndrain 1s\n}\n}\n"); err != nil {
		t.Fatal(err)
	}
	if _, end := c.Last(t, rig.Patience); end.Code != rig.CloseForbidden {
		t.Errorf("%v, want 3003", end)
	}
}

// TestRecheckOfOrigins: a page that may connect no more has its socket ended.
// Who comes from no page, or from one that may, stays.
func TestRecheckOfOrigins(t *testing.T) {
	t.Parallel()
	const site = "http://{$SITE} {\nGUARD\n}\n"
	s := rig.StartPeerSiteOf(t, rig.Guarded(site, ""))
	from := func(origin string) http.Header {
		h := s.Of("alice")
		h.Set("Origin", origin)
		return h
	}
	conns := []*rig.Conn{
		s.Open(t, rig.H1, "/", from("https://old.example.com")),
		s.Open(t, rig.H1, "/", from("https://app.example.com")),
		s.Open(t, rig.H1, "/", s.Of("alice")),
	}
	if err := s.Reload(t, rig.Guarded(site, "origins https://app.example.com")); err != nil {
		t.Fatal(err)
	}
	if _, end := conns[0].Last(t, rig.Patience); end.Code != rig.CloseForbidden {
		t.Errorf("%v, want 3003", end)
	}
	if err := s.Reload(t, rig.Guarded(site, "origins https://app.example.com\nmax_session 5h")); err != nil {
		t.Fatal(err)
	}
	for _, c := range conns[1:] {
		c.Pings(t, "still here")
	}
}
