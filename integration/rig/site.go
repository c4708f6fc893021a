package rig

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/internal/pace"
)

// Site is a Caddy of a test's own in front of an [App], without debug logs:
// those would be most of what it does under load.
type Site struct {
	*Caddy
	Issuer *Issuer
	App    *App

	mu    sync.Mutex // guards the following
	conns []ClientConn
}

// SiteOptions are lines for the Caddyfile of a site.
type SiteOptions struct {
	Globals    string // into the global options
	Timeouts   string // into the servers' timeouts
	First      string // before websocket_auth
	Directives string // into websocket_auth
	Proxy      string // into reverse_proxy; stream_close_delay 1h if empty
	After      string // after reverse_proxy
	Env        []StartOption
}

// Caddyfile returns the Caddyfile.
func (o SiteOptions) Caddyfile() string {
	if o.Proxy == "" {
		o.Proxy = "stream_close_delay 1h"
	}
	return `{
	` + o.Globals + `
	servers {
		timeouts {
			` + o.Timeouts + `
		}
	}
}
(site) {
	` + o.First + `
	websocket_auth {
		verify jwt {$JWKS} {
			audience chat
		}
		` + o.Directives + `
	}
	reverse_proxy {$APP} {
		header_up X-User {http.auth.user.id}
		header_up X-Source {http.websocket_auth.source}
		` + o.Proxy + `
	}
	` + o.After + `
}
http://{$SITE} {
	import site
}
https://{$TLS} {
	tls {$CERT} {$KEY}
	import site
}
`
}

// StartSite starts a Caddy of the test's own in front of an application of its
// own.
func StartSite(t testing.TB, o SiteOptions) *Site {
	t.Helper()
	s := &Site{Issuer: NewIssuer(t), App: StartApp(t)}
	t.Cleanup(s.CloseAll)
	options := append([]StartOption{WithEnv("JWKS", s.Issuer.JWKSURL()), WithEnv("APP", s.App.Addr())}, o.Env...)
	s.Caddy = StartCaddy(t, o.Caddyfile(), options...)
	t.Cleanup(s.CloseAll) // before Caddy stops, which waits for HTTP/3
	return s
}

// base returns where a client of this version goes.
func (s *Site) base(version string) (scheme, addr string) {
	if version == H1 {
		return "http", s.Addr
	}
	return "https", s.TLSAddr
}

// Connect returns a connection that ends with the test, or with CloseAll.
func (s *Site) Connect(t testing.TB, version string) ClientConn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	conn, err := s.Dial(ctx, version)
	if err != nil {
		t.Fatalf("connecting over %s: %v", version, err)
	}
	return conn
}

// Dial is Connect with an error in the place of a failed test.
func (s *Site) Dial(ctx context.Context, version string) (ClientConn, error) {
	scheme, addr := s.base(version)
	conn, err := ConnectTo(ctx, version, scheme, addr)
	if err == nil {
		s.Adopt(conn)
	}
	return conn, err
}

// Adopt has CloseAll end a connection.
func (s *Site) Adopt(conn ClientConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns = append(s.conns, conn)
}

// CloseAll ends all connections as clients that crash do.
func (s *Site) CloseAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, conn := range s.conns {
		conn.Close()
	}
	s.conns = nil
}

// Request returns a handshake.
func (s *Site) Request(ctx context.Context, version, path string, header http.Header) (*http.Request, error) {
	scheme, addr := s.base(version)
	return NewHandshake(ctx, version, scheme+"://"+addr+path, header)
}

// OpenOn opens n WebSockets on one connection.
func (s *Site) OpenOn(ctx context.Context, version, path string, header http.Header, n int) ([]*Conn, error) {
	conn, err := s.Dial(ctx, version)
	if err != nil {
		return nil, err
	}
	var all []*Conn
	for range n {
		r, err := s.Request(ctx, version, path, header)
		if err != nil {
			return all, err
		}
		c, answer, err := conn.Open(r)
		if err != nil {
			return all, err
		}
		if c == nil {
			return all, fmt.Errorf("handshake refused: %s", answer.Status)
		}
		all = append(all, c)
	}
	return all, nil
}

// Handshake tries to open a WebSocket on a connection of its own.
func (s *Site) Handshake(t testing.TB, version, path string, header http.Header) (*Conn, *http.Response) {
	t.Helper()
	return s.Send(t, version, path, header, func(*http.Request) {})
}

// Send is Handshake with changes to the request.
func (s *Site) Send(t testing.TB, version, path string, header http.Header, change func(*http.Request)) (*Conn, *http.Response) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	r, err := s.Request(ctx, version, path, header)
	if err != nil {
		t.Fatal(err)
	}
	change(r)
	c, answer, err := s.Connect(t, version).Open(r)
	if err != nil {
		t.Fatalf("handshake over %s: %v", version, err)
	}
	return c, answer
}

// Open opens a WebSocket on a connection of its own. While it cannot be known
// who somebody is, because the keys are still on their way, it waits.
func (s *Site) Open(t testing.TB, version, path string, header http.Header) (c *Conn) {
	t.Helper()
	Eventually(t, Patience, func() string {
		var answer *http.Response
		if c, answer = s.Handshake(t, version, path, header); c != nil {
			return ""
		}
		if answer.StatusCode != http.StatusServiceUnavailable {
			t.Fatalf("handshake over %s refused: %s", version, answer.Status)
		}
		return answer.Status
	})
	return c
}

// Elsewhere is another site that has websocket_auth.
const Elsewhere = `
http://{$SITE2} {
	websocket_auth {$JWKS} chat
	respond ok
}
`

// Guarded is a site that GUARD stands in. Its sockets are rechecked.
func Guarded(site, lines string) string {
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

// ForEachVersion runs f for each version on a site of its own.
func ForEachVersion(t *testing.T, versions []string, o SiteOptions, f func(t *testing.T, s *Site, version string)) {
	t.Helper()
	for _, version := range versions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			f(t, StartSite(t, o), version)
		})
	}
}

// TryEachVersion is ForEachVersion for what is about time: f may be tried again,
// on another site.
func TryEachVersion(t *testing.T, versions []string, o SiteOptions, f func(t testing.TB, s *Site, version string)) {
	t.Helper()
	for _, version := range versions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			pace.Try(t, func(t testing.TB) { f(t, StartSite(t, o), version) })
		})
	}
}
