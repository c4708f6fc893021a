package integration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Site is a Caddy of a test's own in front of an [App], without debug logs:
// those would be most of what it does under load.
type Site struct {
	*Caddy
	Issuer *Issuer
	App    *App

	Mu    sync.Mutex // guards the following
	Conns []ClientConn
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

// Bearer returns the header of a client whose token ends at the second exp.
func (s *Site) Bearer(exp time.Time) http.Header {
	return http.Header{"Authorization": {"Bearer " + s.Issuer.Expiring(exp)}}
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
		s.Mu.Lock()
		s.Conns = append(s.Conns, conn)
		s.Mu.Unlock()
	}
	return conn, err
}

// CloseAll ends all connections as clients that crash do.
func (s *Site) CloseAll() {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	for _, conn := range s.Conns {
		conn.Close()
	}
	s.Conns = nil
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

// AdminClient leaves no connection behind that would count as Caddy's.
var AdminClient = &http.Client{
	Transport: AdminTransport{&http.Transport{DisableKeepAlives: true}}, Timeout: Patience,
}

// AdminTransport tries again where nobody took the request: after a reload the
// admin server of the configuration before may still be closing its socket, with
// a new connection in the queue, and no admin server waits long for a request.
type AdminTransport struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (a AdminTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	for tries := 1; ; tries++ {
		answer, err := a.RoundTripper.RoundTrip(r)
		untaken := errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF) ||
			err != nil && strings.Contains(err.Error(), "server closed idle connection")
		if !untaken || tries == 5 || r.Body != nil && r.GetBody == nil {
			return answer, err
		}
		r = r.Clone(r.Context())
		if r.GetBody != nil {
			if r.Body, err = r.GetBody(); err != nil {
				return nil, err
			}
		}
	}
}

// Admin returns what the admin API answers to a GET.
func (s *Site) Admin(t testing.TB, path string) string {
	t.Helper()
	answer, err := AdminClient.Get("http://" + s.AdminAddr + path)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s, %v: %s", path, answer.Status, err, body)
	}
	return string(body)
}

// Footprint is what Caddy uses.
type Footprint struct{ Goroutines, Files int }

// Slack is how many goroutines more than before may be found: those that
// answer the question, and timers of Caddy's own.
const Slack = 6

// Footprint returns what Caddy uses while it has no socket, and has had one of
// the version that is to be tested: some things are made once.
func (s *Site) Footprint(t testing.TB, version string) Footprint {
	t.Helper()
	return s.FootprintOf(t, version, s.Bearer(time.Now().Add(time.Hour)))
}

// FootprintOf is Footprint with a client of one's own.
func (s *Site) FootprintOf(t testing.TB, version string, header http.Header) Footprint {
	t.Helper()
	c := s.Open(t, version, "/echo", header)
	if err := c.Write(OpClose, []byte{0x03, 0xe8}); err != nil {
		t.Fatal(err)
	}
	s.App.End(t, Patience)
	s.App.Handshake(t)
	c.Vanish()
	s.CloseAll()
	s.NoneRuns(t, slices.Concat(ofSockets, OfConnections))
	return s.Uses(t)
}

var profileTotal = regexp.MustCompile(`^goroutine profile: total (\d+)`)

// Uses returns what Caddy uses now.
func (s *Site) Uses(t testing.TB) Footprint {
	t.Helper()
	files := OpenFiles(t, s.Cmd.Process.Pid)
	profile := s.Admin(t, "/debug/pprof/goroutine?debug=1")
	total := profileTotal.FindStringSubmatch(profile)
	if total == nil {
		t.Fatalf("no total in the goroutine profile: %.200q", profile)
	}
	n, err := strconv.Atoi(total[1])
	if err != nil {
		t.Fatal(err)
	}
	return Footprint{n, files}
}

// OpenFiles returns how many file descriptors a process has, or 0 where the
// system does not tell: there, goroutines alone show what is left.
func OpenFiles(t testing.TB, pid int) int {
	t.Helper()
	if runtime.GOOS != "linux" {
		return 0
	}
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// ofSockets are functions that run only for a socket, OfConnections those that
// run for a connection.
var (
	ofSockets = []string{
		"caddy-websocket-auth/proxy.(", "caddy-websocket-auth.(*socket)",
		"reverseproxy.switchProtocolCopier", "reverseproxy.(*Handler).handleUpgradeResponse",
	}
	OfConnections = []string{
		"http2.(*serverConn)", "quic-go.(*Conn).run", "http3.(*Server).handleConn", "net/http.(*conn).serve",
	}
)

// NoSocketLeft waits until nothing runs for a socket.
func (s *Site) NoSocketLeft(t testing.TB) {
	t.Helper()
	s.NoneRuns(t, ofSockets)
}

// NoneRuns waits until no goroutine of Caddy's runs one of the functions.
func (s *Site) NoneRuns(t testing.TB, functions []string) {
	t.Helper()
	Eventually(t, Patience, func() string {
		stacks := goroutinesOf(s.Admin(t, "/debug/pprof/goroutine?debug=1"), functions...)
		stacks = slices.DeleteFunc(stacks, func(stack string) bool {
			return strings.Contains(stack, "pprof.writeGoroutine") // who answers us
		})
		if len(stacks) == 0 {
			return ""
		}
		return fmt.Sprintf("%d kinds of goroutines are left, such as\n%s", len(stacks), stacks[0])
	})
}

// NothingLeft waits until Caddy uses no more than before, and runs nothing for
// a socket.
func (s *Site) NothingLeft(t testing.TB, before Footprint) {
	t.Helper()
	s.NoneRuns(t, slices.Concat(ofSockets, OfConnections))
	Eventually(t, Patience, func() string {
		now := s.Uses(t)
		if now.Files <= before.Files && now.Goroutines <= before.Goroutines+Slack {
			return ""
		}
		return fmt.Sprintf("%d goroutines and %d files are left, %d and %d before: %s",
			now.Goroutines, now.Files, before.Goroutines, before.Files,
			s.Admin(t, "/debug/pprof/goroutine?debug=1"))
	})
}

// goroutinesOf returns the stacks of a goroutine profile, debug=1, that have
// one of the given texts in them.
func goroutinesOf(profile string, texts ...string) []string {
	var found []string
	for stack := range strings.SplitSeq(profile, "\n\n") {
		for _, text := range texts {
			if strings.Contains(stack, text) {
				found = append(found, stack)
				break
			}
		}
	}
	return found
}
