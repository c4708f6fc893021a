package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// mustReload gives Caddy a configuration that it takes.
func (s *site) mustReload(t testing.TB, o siteOptions) {
	t.Helper()
	if err := s.reload(t, o.caddyfile()); err != nil {
		t.Fatalf("reload: %v", err)
	}
}

// TestReloadKeepsSockets: with stream_close_delay sockets live through a
// reload, and end with their token though the handler that let them in is
// gone.
func TestReloadKeepsSockets(t *testing.T) {
	t.Parallel()
	tryEachVersion(t, allVersions, siteOptions{}, func(t testing.TB, s *site, version string) {
		exp := soon(12 * time.Second)
		lag := measureLag(t)
		c := s.open(t, version, "/echo", s.bearer(exp))
		s.mustReload(t, siteOptions{directives: "max_session 1h"})
		s.mustReload(t, siteOptions{directives: "name again"})
		c.echoes(t)
		s.open(t, version, "/echo", s.bearer(exp)).echoes(t) // a new one, too
		end := c.mustClose(t, patience)
		lag.inTime(t, "close frame", exp, time.Now(), time.Second)
		if end.code != closeUnauthorized {
			t.Errorf("%v, want 3000", end)
		}
		if end := s.app.end(t, patience); end.code != closeGoingAway {
			t.Errorf("the application's socket ended with %d (%v), want 1001", end.code, end.err)
		}
	})
}

// noDelay is a site whose sockets Caddy closes at a reload.
const noDelay = "stream_close_delay 0"

// TestReloadClosesAtABorder: without stream_close_delay Caddy closes the
// sockets at a reload. Its close frame reaches clients that converse.
func TestReloadClosesAtABorder(t *testing.T) {
	t.Parallel()
	forEachVersion(t, allVersions, siteOptions{proxy: noDelay}, func(t *testing.T, s *site, version string) {
		const n = 8
		ends := make(chan clientEnd, n)
		for _, c := range openMany(t, s, version, "/echo", s.bearer(time.Now().Add(time.Hour)), n, 1) {
			c.echoes(t)
			// Short messages: each is in one piece wherever it is.
			go func() { ends <- c.talkUntilClosed(func(n uint64) []byte { return numbered(n)[:8] }) }()
		}
		s.mustReload(t, siteOptions{proxy: noDelay, directives: "name again"})
		for range n {
			if end := receive(t, "end of a socket", ends, patience); end.err != nil || end.close.code != closeGoingAway || end.unclean != nil {
				t.Errorf("%v, before it %v, after it %v; want 1001 alone", end.close, end.err, end.unclean)
			}
		}
	})
}

// TestReloadInjectsNothing: under a flood a reload mostly comes within a
// message, and Caddy closes the application's connection at once, so that the
// rest never comes. The client then has the beginning of the message and the
// end of the connection, and never a close frame within the message.
func TestReloadInjectsNothing(t *testing.T) {
	t.Parallel()
	// Caddy waits on stop for HTTP/3 clients that were cut, without a limit of
	// its own.
	options := siteOptions{proxy: noDelay, globals: "grace_period 2s"}
	forEachVersion(t, allVersions, options, func(t *testing.T, s *site, version string) {
		const n = 16
		results := make(chan error, n)
		for _, c := range openMany(t, s, version, "/flood", s.bearer(time.Now().Add(time.Hour)), n, 1) {
			go func() {
				for c.write(opBinary, []byte("up")) == nil {
				}
			}()
			go func() {
				end, err := readFlood(c)
				if err == nil && end.code != closeGoingAway {
					err = end
				}
				results <- err
			}()
		}
		s.mustReload(t, siteOptions{proxy: noDelay, globals: options.globals, directives: "name again"})
		for range n {
			err := receive(t, "end of a socket", results, patience)
			if _, cut := errors.AsType[*cutError](err); err != nil && !cut {
				t.Error(err)
			}
		}
	})
}

// TestRejectedConfigChangesNothing: sockets live on, and new ones open as
// before.
func TestRejectedConfigChangesNothing(t *testing.T) {
	t.Parallel()
	s := startSite(t, siteOptions{})
	exp := soon(12 * time.Second)
	hits := s.issuer.hits.Load()
	c := s.open(t, h1, "/echo", s.bearer(exp))
	bad := []siteOptions{
		{directives: "no_such_word"},
		{directives: "jitter 99"},
		// What is wrong is found after websocket_auth has been set up.
		{site: "log_name {$SITE}", globals: "servers 127.0.0.1:99999 {\nprotocols nonsense\n}"},
	}
	for _, o := range bad {
		if err := s.reload(t, o.caddyfile()); err == nil {
			t.Errorf("accepted: %+v", o)
		}
		c.echoes(t)
		s.open(t, h1, "/echo", s.bearer(exp)).echoes(t)
	}
	if got := s.issuer.hits.Load(); got > hits+1 {
		t.Errorf("%d fetches of the key set, want one", got-hits)
	}
	if end := c.mustClose(t, patience); end.code != closeUnauthorized {
		t.Errorf("%v, want 3000", end)
	}
}

// TestReloadsDoNotFetchKeys: key sets outlive a reload.
func TestReloadsDoNotFetchKeys(t *testing.T) {
	t.Parallel()
	s := startSite(t, siteOptions{})
	before := s.footprint(t, h1)
	c := s.open(t, h1, "/echo", s.bearer(time.Now().Add(time.Hour)))
	hits := s.issuer.hits.Load()
	for i := range 50 {
		s.mustReload(t, siteOptions{directives: fmt.Sprintf("name reload%d", i)})
	}
	s.open(t, h1, "/echo", s.bearer(time.Now().Add(time.Hour))).echoes(t)
	c.echoes(t)
	if got := s.issuer.hits.Load(); got != hits {
		t.Errorf("50 reloads fetched the key set %d times", got-hits)
	}
	s.closeAll()
	s.nothingLeft(t, before)
}

// TestReloadDoesNotWaitForClients: Caddy closes the sockets of an old
// configuration one after another, under a lock, and without a time limit.
// The attack: clients that do not read keep an operator from ever loading a
// new configuration.
func TestReloadDoesNotWaitForClients(t *testing.T) {
	t.Parallel()
	o := siteOptions{proxy: noDelay, globals: "grace_period 5s"}
	tryEachVersion(t, allVersions, o, func(t testing.TB, s *site, version string) {
		n, per := 100, 1
		if version != h1 {
			n, per = 40, 10 // each of which buffers some megabytes here
		}
		header, lag := s.bearer(time.Now().Add(time.Hour)), measureLag(t)
		openMany(t, s, version, "/flood", header, n/per, per)
		for i := range 3 {
			start := time.Now()
			s.mustReload(t, siteOptions{proxy: noDelay, globals: o.globals, directives: fmt.Sprintf("name r%d", i)})
			lag.inTime(t, fmt.Sprintf("end of reload %d", i), start, time.Now(), 2*time.Second)
		}
		for range n {
			s.app.end(t, patience)
		}
		s.noSocketLeft(t)
	})
}

// TestStopSaysGoodbye: when Caddy stops, every client gets a close frame
// although stream_close_delay would have Caddy alone end them without one, and
// the process is gone soon.
func TestStopSaysGoodbye(t *testing.T) {
	t.Parallel()
	tryEachVersion(t, allVersions, siteOptions{}, func(t testing.TB, s *site, version string) {
		const n = 50
		conns, per := n, 1
		if version != h1 {
			conns, per = n/10, 10
		}
		lag := measureLag(t)
		all := openMany(t, s, version, "/echo", s.bearer(time.Now().Add(time.Hour)), conns, per)
		s.mustReload(t, siteOptions{directives: "name again"}) // half of them are of an old configuration
		all = append(all, openMany(t, s, version, "/echo", s.bearer(time.Now().Add(time.Hour)), conns, per)...)
		ends := make(chan clientEnd, len(all))
		for _, c := range all {
			go func() { ends <- c.talkUntilClosed(numbered) }()
		}
		start := time.Now()
		if err := s.terminate(); err != nil {
			t.Fatal(err)
		}
		for range all {
			end := receive(t, "end of a socket", ends, patience)
			if end.err != nil || end.close.code != closeGoingAway || end.close.reason == "" {
				t.Errorf("%v %v, want 1001 with a reason", end.close, end.err)
				continue
			}
			lag.inTime(t, "close frame", start, end.at, 5*time.Second)
		}
		receive(t, "end of the process", s.done, patience)
		lag.inTime(t, "end of the process", start, time.Now(), 6*time.Second)
	})
}

// TestStopDoesNotWaitForClients: clients that do not read cannot keep the
// process alive. That a client of HTTP/3 does not end its connection is held
// against it only by Caddy's own grace_period, WebSockets or not.
func TestStopDoesNotWaitForClients(t *testing.T) {
	t.Parallel()
	tryEachVersion(t, allVersions, siteOptions{globals: "grace_period 1s"}, func(t testing.TB, s *site, version string) {
		lag := measureLag(t)
		openMany(t, s, version, "/flood", s.bearer(time.Now().Add(time.Hour)), 10, 1)
		start := time.Now()
		if err := s.terminate(); err != nil {
			t.Fatal(err)
		}
		receive(t, "end of the process", s.done, patience)
		lag.inTime(t, "end of the process", start, time.Now(), 7*time.Second)
	})
}

// TestConfigShowsNoSecrets: the admin API shows placeholders as they were
// written.
func TestConfigShowsNoSecrets(t *testing.T) {
	t.Parallel()
	const secret = "a-secret-that-is-long-enough-for-HS256"
	p := startCaddy(t, `{
}
http://{$SITE} {
	websocket_auth {
		verify jwt {
			secret {env.SIGNING_KEY}
			audience chat
		}
	}
	respond ok
}
`, withEnv("SIGNING_KEY", secret))
	s := &site{caddyProc: p}
	config := s.admin(t, "/config/")
	if strings.Contains(config, secret) || strings.Contains(p.logs.String(), secret) {
		t.Error("the secret is in the configuration that the admin API shows, or in the log")
	}
	if !strings.Contains(config, "{env.SIGNING_KEY}") {
		t.Errorf("the placeholder is not in the configuration: %s", config)
	}
	if !json.Valid([]byte(config)) {
		t.Error("the configuration is no JSON")
	}
}

// TestKeysUnreachableAtStart: Caddy starts without the provider, says 503 and
// when to come back, and recovers by itself when the provider does.
func TestKeysUnreachableAtStart(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	issuer.setAnswer(answerStatus(http.StatusInternalServerError))
	s := &site{issuer: issuer, app: startApp(t)}
	s.caddyProc = startCaddy(t, siteOptions{}.caddyfile(),
		withEnv("JWKS", issuer.jwksURL()), withEnv("APP", s.app.addr()))
	t.Cleanup(s.closeAll)
	header := s.bearer(time.Now().Add(time.Hour))
	c, answer := s.handshake(t, h1, "/echo", header)
	if c != nil || answer.StatusCode != http.StatusServiceUnavailable || answer.Header.Get("Retry-After") == "" {
		t.Fatalf("%s with Retry-After %q, want 503 with one", answer.Status, answer.Header.Get("Retry-After"))
	}
	lag := measureLag(t)
	issuer.setAnswer(nil)
	back := time.Now()
	eventually(t, patience, func() string {
		c, answer := s.handshake(t, h1, "/echo", header)
		if c == nil {
			return answer.Status
		}
		return ""
	})
	lag.inTime(t, "recovery", back, time.Now(), 5*time.Second)
}

// TestKeyRotation: the first request with a key that nobody has seen passes,
// and so do many at once.
func TestKeyRotation(t *testing.T) {
	t.Parallel()
	s := startSite(t, siteOptions{})
	s.open(t, h1, "/echo", s.bearer(time.Now().Add(time.Hour))).echoes(t)
	hits := s.issuer.hits.Load()

	s.issuer.setKeys(rsaJWK(&strangerKey().PublicKey, "rsa-2"))
	token := sign(jwt{key: strangerKey(), header: map[string]any{"kid": "rsa-2"}, claims: s.issuer.claims()})
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			_, err := s.openOn(t.Context(), h1, "/echo", http.Header{"Authorization": {"Bearer " + token}}, 1)
			if err != nil {
				t.Errorf("with the new key: %v", err)
			}
		})
	}
	wg.Wait()
	if got := s.issuer.hits.Load() - hits; got != 1 {
		t.Errorf("%d fetches for one new key, want 1", got)
	}
}
