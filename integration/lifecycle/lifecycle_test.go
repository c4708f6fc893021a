package lifecycle

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// TestReloadKeepsSockets: with stream_close_delay sockets live through a
// reload, and end with their token though the handler that let them in is
// gone.
func TestReloadKeepsSockets(t *testing.T) {
	t.Parallel()
	rig.TryEachVersion(t, rig.AllVersions, rig.SiteOptions{}, func(t testing.TB, s *rig.Site, version string) {
		exp := rig.Soon(12 * time.Second)
		lag := rig.MeasureLag(t)
		c := s.Open(t, version, "/echo", s.Bearer(exp))
		s.MustReload(t, rig.SiteOptions{Directives: "max_session 1h"})
		s.MustReload(t, rig.SiteOptions{Directives: "name again"})
		c.Echoes(t)
		s.Open(t, version, "/echo", s.Bearer(exp)).Echoes(t) // a new one, too
		end := c.MustClose(t, rig.Patience)
		lag.InTime(t, "close frame", exp, time.Now(), time.Second)
		if end.Code != rig.CloseUnauthorized {
			t.Errorf("%v, want 3000", end)
		}
		if end := s.App.End(t, rig.Patience); end.Code != rig.CloseGoingAway {
			t.Errorf("the application's socket ended with %d (%v), want 1001", end.Code, end.Err)
		}
	})
}

// noDelay is a site whose sockets Caddy closes at a reload.
const noDelay = "stream_close_delay 0"

// TestReloadClosesAtABorder: without stream_close_delay Caddy closes the
// sockets at a reload. Its close frame reaches clients that converse.
func TestReloadClosesAtABorder(t *testing.T) {
	t.Parallel()
	rig.ForEachVersion(t, rig.AllVersions, rig.SiteOptions{Proxy: noDelay}, func(t *testing.T, s *rig.Site, version string) {
		const n = 8
		ends := make(chan rig.ClientEnd, n)
		for _, c := range rig.OpenMany(t, s, version, "/echo", s.Bearer(time.Now().Add(time.Hour)), n, 1) {
			c.Echoes(t)
			// Short messages: each is in one piece wherever it is.
			go func() { ends <- c.TalkUntilClosed(func(n uint64) []byte { return rig.Numbered(n)[:8] }) }()
		}
		s.MustReload(t, rig.SiteOptions{Proxy: noDelay, Directives: "name again"})
		for range n {
			if end := rig.Receive(t, "end of a socket", ends, rig.Patience); end.Err != nil || end.Close.Code != rig.CloseGoingAway || end.Unclean != nil {
				t.Errorf("%v, before it %v, after it %v; want 1001 alone", end.Close, end.Err, end.Unclean)
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
	options := rig.SiteOptions{Proxy: noDelay, Globals: "grace_period 2s"}
	rig.ForEachVersion(t, rig.AllVersions, options, func(t *testing.T, s *rig.Site, version string) {
		const n = 16
		results := make(chan error, n)
		for _, c := range rig.OpenMany(t, s, version, "/flood", s.Bearer(time.Now().Add(time.Hour)), n, 1) {
			go func() {
				for c.Write(rig.OpBinary, []byte("up")) == nil {
				}
			}()
			go func() {
				end, err := rig.ReadFlood(c)
				if err == nil && end.Code != rig.CloseGoingAway {
					err = end
				}
				results <- err
			}()
		}
		s.MustReload(t, rig.SiteOptions{Proxy: noDelay, Globals: options.Globals, Directives: "name again"})
		for range n {
			err := rig.Receive(t, "end of a socket", results, rig.Patience)
			if _, cut := errors.AsType[*rig.CutError](err); err != nil && !cut && !isAfterGrace(err) {
				t.Error(err)
			}
		}
	})
}

// isAfterGrace tells whether Caddy has closed a whole HTTP/3 connection, because its
// grace period was over: a late machine had read so little of it by then.
func isAfterGrace(err error) bool {
	closed, ok := errors.AsType[*http3.Error](err)
	return ok && closed.ErrorCode == http3.ErrCodeNoError
}

// TestRejectedConfigChangesNothing: sockets live on, and new ones open as
// before.
func TestRejectedConfigChangesNothing(t *testing.T) {
	t.Parallel()
	s := rig.StartSite(t, rig.SiteOptions{})
	exp := rig.Soon(12 * time.Second)
	hits := s.Issuer.Hits.Load()
	c := s.Open(t, rig.H1, "/echo", s.Bearer(exp))
	bad := []rig.SiteOptions{
		{Directives: "no_such_word"},
		{Directives: "jitter 99"},
		// What is wrong is found after websocket_auth has been set up.
		{After: "log_name {$SITE}", Globals: "servers 127.0.0.1:99999 {\nprotocols nonsense\n}"},
	}
	for _, o := range bad {
		if err := s.Reload(t, o.Caddyfile()); err == nil {
			t.Errorf("accepted: %+v", o)
		}
		c.Echoes(t)
		s.Open(t, rig.H1, "/echo", s.Bearer(exp)).Echoes(t)
	}
	if got := s.Issuer.Hits.Load(); got > hits+1 {
		t.Errorf("%d fetches of the key set, want one", got-hits)
	}
	if end := c.MustClose(t, rig.Patience); end.Code != rig.CloseUnauthorized {
		t.Errorf("%v, want 3000", end)
	}
}

// TestReloadsDoNotFetchKeys: key sets outlive a reload.
func TestReloadsDoNotFetchKeys(t *testing.T) {
	t.Parallel()
	s := rig.StartSite(t, rig.SiteOptions{})
	before := s.Footprint(t, rig.H1)
	c := s.Open(t, rig.H1, "/echo", s.Bearer(time.Now().Add(time.Hour)))
	hits := s.Issuer.Hits.Load()
	for i := range 50 {
		s.MustReload(t, rig.SiteOptions{Directives: fmt.Sprintf("name reload%d", i)})
	}
	s.Open(t, rig.H1, "/echo", s.Bearer(time.Now().Add(time.Hour))).Echoes(t)
	c.Echoes(t)
	if got := s.Issuer.Hits.Load(); got != hits {
		t.Errorf("50 reloads fetched the key set %d times", got-hits)
	}
	s.CloseAll()
	s.NothingLeft(t, before)
}

// TestReloadDoesNotWaitForClients: Caddy closes the sockets of an old
// configuration one after another, under a lock, and without a time limit.
// The attack: clients that do not read keep an operator from ever loading a
// new configuration.
func TestReloadDoesNotWaitForClients(t *testing.T) {
	t.Parallel()
	o := rig.SiteOptions{Proxy: noDelay, Globals: "grace_period 5s"}
	rig.TryEachVersion(t, rig.AllVersions, o, func(t testing.TB, s *rig.Site, version string) {
		n, per := 100, 1
		if version != rig.H1 {
			n, per = 40, 10 // each of which buffers some megabytes here
		}
		header, lag := s.Bearer(time.Now().Add(time.Hour)), rig.MeasureLag(t)
		rig.OpenMany(t, s, version, "/flood", header, n/per, per)
		for i := range 3 {
			start := time.Now()
			s.MustReload(t, rig.SiteOptions{Proxy: noDelay, Globals: o.Globals, Directives: fmt.Sprintf("name r%d", i)})
			lag.InTime(t, fmt.Sprintf("end of reload %d", i), start, time.Now(), 2*time.Second)
		}
		for range n {
			s.App.End(t, rig.Patience)
		}
		s.NoSocketLeft(t)
	})
}

// TestStopSaysGoodbye: when Caddy stops, every client gets a close frame
// although stream_close_delay would have Caddy alone end them without one, and
// the process is gone soon.
func TestStopSaysGoodbye(t *testing.T) {
	t.Parallel()
	rig.TryEachVersion(t, rig.AllVersions, rig.SiteOptions{}, func(t testing.TB, s *rig.Site, version string) {
		const n = 50
		conns, per := n, 1
		if version != rig.H1 {
			conns, per = n/10, 10
		}
		lag := rig.MeasureLag(t)
		all := rig.OpenMany(t, s, version, "/echo", s.Bearer(time.Now().Add(time.Hour)), conns, per)
		s.MustReload(t, rig.SiteOptions{Directives: "name again"}) // half of them are of an old configuration
		all = append(all, rig.OpenMany(t, s, version, "/echo", s.Bearer(time.Now().Add(time.Hour)), conns, per)...)
		ends := make(chan rig.ClientEnd, len(all))
		for _, c := range all {
			go func() { ends <- c.TalkUntilClosed(rig.Numbered) }()
		}
		start := time.Now()
		if err := s.Terminate(); err != nil {
			t.Fatal(err)
		}
		for range all {
			end := rig.Receive(t, "end of a socket", ends, rig.Patience)
			if end.Err != nil || end.Close.Code != rig.CloseGoingAway || end.Close.Reason == "" {
				t.Errorf("%v %v, want 1001 with a reason", end.Close, end.Err)
				continue
			}
			lag.InTime(t, "close frame", start, end.At, 5*time.Second)
		}
		rig.Receive(t, "end of the process", s.Done, rig.Patience)
		lag.InTime(t, "end of the process", start, time.Now(), 6*time.Second)
	})
}

// TestStopDoesNotWaitForClients: clients that do not read cannot keep the
// process alive. That a client of HTTP/3 does not end its connection is held
// against it only by Caddy's own grace_period, WebSockets or not.
func TestStopDoesNotWaitForClients(t *testing.T) {
	t.Parallel()
	rig.TryEachVersion(t, rig.AllVersions, rig.SiteOptions{Globals: "grace_period 1s"}, func(t testing.TB, s *rig.Site, version string) {
		lag := rig.MeasureLag(t)
		rig.OpenMany(t, s, version, "/flood", s.Bearer(time.Now().Add(time.Hour)), 10, 1)
		start := time.Now()
		if err := s.Terminate(); err != nil {
			t.Fatal(err)
		}
		rig.Receive(t, "end of the process", s.Done, rig.Patience)
		lag.InTime(t, "end of the process", start, time.Now(), 7*time.Second)
	})
}

// TestConfigShowsNoSecrets: the admin API shows placeholders as they were
// written.
func TestConfigShowsNoSecrets(t *testing.T) {
	t.Parallel()
	const secret = "a-secret-that-is-long-enough-for-HS256"
	p := rig.StartCaddy(t, `{
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
`, rig.WithEnv("SIGNING_KEY", secret))
	s := &rig.Site{Caddy: p}
	config := s.Admin(t, "/config/")
	if strings.Contains(config, secret) || strings.Contains(p.Logs.String(), secret) {
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
	issuer := rig.NewIssuer(t)
	issuer.SetAnswer(rig.AnswerStatus(http.StatusInternalServerError))
	s := &rig.Site{Issuer: issuer, App: rig.StartApp(t)}
	s.Caddy = rig.StartCaddy(t, rig.SiteOptions{}.Caddyfile(),
		rig.WithEnv("JWKS", issuer.JWKSURL()), rig.WithEnv("APP", s.App.Addr()))
	t.Cleanup(s.CloseAll)
	header := s.Bearer(time.Now().Add(time.Hour))
	c, answer := s.Handshake(t, rig.H1, "/echo", header)
	if c != nil || answer.StatusCode != http.StatusServiceUnavailable || answer.Header.Get("Retry-After") == "" {
		t.Fatalf("%s with Retry-After %q, want 503 with one", answer.Status, answer.Header.Get("Retry-After"))
	}
	lag := rig.MeasureLag(t)
	issuer.SetAnswer(nil)
	back := time.Now()
	rig.Eventually(t, rig.Patience, func() string {
		c, answer := s.Handshake(t, rig.H1, "/echo", header)
		if c == nil {
			return answer.Status
		}
		return ""
	})
	lag.InTime(t, "recovery", back, time.Now(), 5*time.Second)
}

// TestKeyRotation: the first request with a key that nobody has seen passes,
// and so do many at once.
func TestKeyRotation(t *testing.T) {
	t.Parallel()
	s := rig.StartSite(t, rig.SiteOptions{})
	s.Open(t, rig.H1, "/echo", s.Bearer(time.Now().Add(time.Hour))).Echoes(t)
	hits := s.Issuer.Hits.Load()

	s.Issuer.SetKeys(rig.RSAJWK(&rig.StrangerKey().PublicKey, "rsa-2"))
	token := rig.Sign(rig.JWT{Key: rig.StrangerKey(), Header: map[string]any{"kid": "rsa-2"}, Claims: s.Issuer.Claims()})
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			_, err := s.OpenOn(t.Context(), rig.H1, "/echo", http.Header{"Authorization": {"Bearer " + token}}, 1)
			if err != nil {
				t.Errorf("with the new key: %v", err)
			}
		})
	}
	wg.Wait()
	if got := s.Issuer.Hits.Load() - hits; got != 1 {
		t.Errorf("%d fetches for one new key, want 1", got)
	}
}
