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

// site is a Caddy of a test's own in front of an [app], without debug logs:
// those would be most of what it does under load.
type site struct {
	*caddyProc
	issuer *issuer
	app    *app

	mu    sync.Mutex // guards the following
	conns []clientConn
}

// siteOptions are lines for the Caddyfile of a site.
type siteOptions struct {
	globals    string // into the global options
	timeouts   string // into the servers' timeouts
	first      string // before websocket_auth
	directives string // into websocket_auth
	proxy      string // into reverse_proxy; stream_close_delay 1h if empty
	site       string // after reverse_proxy
	env        []startOption
}

// caddyfile returns the Caddyfile.
func (o siteOptions) caddyfile() string {
	if o.proxy == "" {
		o.proxy = "stream_close_delay 1h"
	}
	return `{
	` + o.globals + `
	servers {
		timeouts {
			` + o.timeouts + `
		}
	}
}
(site) {
	` + o.first + `
	websocket_auth {
		verify jwt {$JWKS} {
			audience chat
		}
		` + o.directives + `
	}
	reverse_proxy {$APP} {
		header_up X-User {http.auth.user.id}
		header_up X-Source {http.websocket_auth.source}
		` + o.proxy + `
	}
	` + o.site + `
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

func startSite(t testing.TB, o siteOptions) *site {
	t.Helper()
	s := &site{issuer: newIssuer(t), app: startApp(t)}
	t.Cleanup(s.closeAll)
	options := append([]startOption{withEnv("JWKS", s.issuer.jwksURL()), withEnv("APP", s.app.addr())}, o.env...)
	s.caddyProc = startCaddy(t, o.caddyfile(), options...)
	t.Cleanup(s.closeAll) // before Caddy stops, which waits for HTTP/3
	return s
}

// bearer returns the header of a client whose token ends at the second exp.
func (s *site) bearer(exp time.Time) http.Header {
	return http.Header{"Authorization": {"Bearer " + s.issuer.expiring(exp)}}
}

// base returns where a client of this version goes.
func (s *site) base(version string) (scheme, addr string) {
	if version == h1 {
		return "http", s.site
	}
	return "https", s.tls
}

// connect returns a connection that ends with the test, or with closeAll.
func (s *site) connect(t testing.TB, version string) clientConn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := s.dial(ctx, version)
	if err != nil {
		t.Fatalf("connecting over %s: %v", version, err)
	}
	return conn
}

func (s *site) dial(ctx context.Context, version string) (clientConn, error) {
	scheme, addr := s.base(version)
	conn, err := connectTo(ctx, version, scheme, addr)
	if err == nil {
		s.mu.Lock()
		s.conns = append(s.conns, conn)
		s.mu.Unlock()
	}
	return conn, err
}

// closeAll ends all connections as clients that crash do.
func (s *site) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, conn := range s.conns {
		conn.Close()
	}
	s.conns = nil
}

// request returns a handshake.
func (s *site) request(ctx context.Context, version, path string, header http.Header) (*http.Request, error) {
	scheme, addr := s.base(version)
	return newHandshake(ctx, version, scheme+"://"+addr+path, header)
}

// openOn opens n WebSockets on one connection.
func (s *site) openOn(ctx context.Context, version, path string, header http.Header, n int) ([]*wsConn, error) {
	conn, err := s.dial(ctx, version)
	if err != nil {
		return nil, err
	}
	var all []*wsConn
	for range n {
		r, err := s.request(ctx, version, path, header)
		if err != nil {
			return all, err
		}
		c, answer, err := conn.open(r)
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

// handshake tries to open a WebSocket on a connection of its own.
func (s *site) handshake(t testing.TB, version, path string, header http.Header) (*wsConn, *http.Response) {
	t.Helper()
	return s.send(t, version, path, header, func(*http.Request) {})
}

// send is handshake with changes to the request.
func (s *site) send(t testing.TB, version, path string, header http.Header, change func(*http.Request)) (*wsConn, *http.Response) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r, err := s.request(ctx, version, path, header)
	if err != nil {
		t.Fatal(err)
	}
	change(r)
	c, answer, err := s.connect(t, version).open(r)
	if err != nil {
		t.Fatalf("handshake over %s: %v", version, err)
	}
	return c, answer
}

// open opens a WebSocket on a connection of its own. While it cannot be known
// who somebody is, because the keys are still on their way, it waits.
func (s *site) open(t testing.TB, version, path string, header http.Header) (c *wsConn) {
	t.Helper()
	eventually(t, patience, func() string {
		var answer *http.Response
		if c, answer = s.handshake(t, version, path, header); c != nil {
			return ""
		}
		if answer.StatusCode != http.StatusServiceUnavailable {
			t.Fatalf("handshake over %s refused: %s", version, answer.Status)
		}
		return answer.Status
	})
	return c
}

// adminClient leaves no connection behind that would count as Caddy's.
var adminClient = &http.Client{
	Transport: adminTransport{&http.Transport{DisableKeepAlives: true}}, Timeout: patience,
}

// adminTransport tries again where nobody took the request: after a reload the
// admin server of the configuration before may still be closing its socket, with
// a new connection in the queue, and no admin server waits long for a request.
type adminTransport struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (a adminTransport) RoundTrip(r *http.Request) (*http.Response, error) {
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

// admin returns what the admin API answers to a GET.
func (s *site) admin(t testing.TB, path string) string {
	t.Helper()
	answer, err := adminClient.Get("http://" + s.adminAddr + path)
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

// footprint is what Caddy uses.
type footprint struct{ goroutines, files int }

// slack is how many goroutines more than before may be found: those that
// answer the question, and timers of Caddy's own.
const slack = 6

// footprint returns what Caddy uses while it has no socket, and has had one of
// the version that is to be tested: some things are made once.
func (s *site) footprint(t testing.TB, version string) footprint {
	t.Helper()
	return s.footprintOf(t, version, s.bearer(time.Now().Add(time.Hour)))
}

// footprintOf is footprint with a client of one's own.
func (s *site) footprintOf(t testing.TB, version string, header http.Header) footprint {
	t.Helper()
	c := s.open(t, version, "/echo", header)
	if err := c.write(opClose, []byte{0x03, 0xe8}); err != nil {
		t.Fatal(err)
	}
	s.app.end(t, patience)
	s.app.handshake(t)
	c.vanish()
	s.closeAll()
	s.noneRuns(t, slices.Concat(ofSockets, ofConnections))
	return s.uses(t)
}

var profileTotal = regexp.MustCompile(`^goroutine profile: total (\d+)`)

func (s *site) uses(t testing.TB) footprint {
	t.Helper()
	files := openFiles(t, s.cmd.Process.Pid)
	profile := s.admin(t, "/debug/pprof/goroutine?debug=1")
	total := profileTotal.FindStringSubmatch(profile)
	if total == nil {
		t.Fatalf("no total in the goroutine profile: %.200q", profile)
	}
	n, err := strconv.Atoi(total[1])
	if err != nil {
		t.Fatal(err)
	}
	return footprint{n, files}
}

// openFiles returns how many file descriptors a process has, or 0 where the
// system does not tell: there, goroutines alone show what is left.
func openFiles(t testing.TB, pid int) int {
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

// ofSockets are functions that run only for a socket, ofConnections those that
// run for a connection.
var (
	ofSockets = []string{
		"caddy-websocket-auth/proxy.(", "caddy-websocket-auth.(*socket)",
		"reverseproxy.switchProtocolCopier", "reverseproxy.(*Handler).handleUpgradeResponse",
	}
	ofConnections = []string{
		"http2.(*serverConn)", "quic-go.(*Conn).run", "http3.(*Server).handleConn", "net/http.(*conn).serve",
	}
)

// noSocketLeft waits until nothing runs for a socket.
func (s *site) noSocketLeft(t testing.TB) {
	t.Helper()
	s.noneRuns(t, ofSockets)
}

func (s *site) noneRuns(t testing.TB, functions []string) {
	t.Helper()
	eventually(t, patience, func() string {
		stacks := goroutinesOf(s.admin(t, "/debug/pprof/goroutine?debug=1"), functions...)
		stacks = slices.DeleteFunc(stacks, func(stack string) bool {
			return strings.Contains(stack, "pprof.writeGoroutine") // who answers us
		})
		if len(stacks) == 0 {
			return ""
		}
		return fmt.Sprintf("%d kinds of goroutines are left, such as\n%s", len(stacks), stacks[0])
	})
}

// nothingLeft waits until Caddy uses no more than before, and runs nothing for
// a socket.
func (s *site) nothingLeft(t testing.TB, before footprint) {
	t.Helper()
	s.noneRuns(t, slices.Concat(ofSockets, ofConnections))
	eventually(t, patience, func() string {
		now := s.uses(t)
		if now.files <= before.files && now.goroutines <= before.goroutines+slack {
			return ""
		}
		return fmt.Sprintf("%d goroutines and %d files are left, %d and %d before: %s",
			now.goroutines, now.files, before.goroutines, before.files,
			s.admin(t, "/debug/pprof/goroutine?debug=1"))
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
