package integration

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// closeTryAgain is a close code beside those of the load tests.
const closeTryAgain = 1013

// named returns the header of a client whose token has these claims.
func (s *site) named(claims map[string]any) http.Header {
	return http.Header{"Authorization": {"Bearer " + s.issuer.token(claims)}}
}

// admits tries a handshake and returns its status; a socket that it opens is
// ended.
func (s *site) admits(t testing.TB, header http.Header) int {
	t.Helper()
	c, answer := s.handshake(t, h1, "/", header)
	if c != nil {
		c.vanish()
	}
	return answer.StatusCode
}

// expects tries a handshake and expects this status.
func (s *site) expects(t testing.TB, who string, header http.Header, status int) {
	t.Helper()
	if got := s.admits(t, header); got != status {
		t.Errorf("%s: status %d, want %d", who, got, status)
	}
}

// crash ends Caddy without a word to it.
func (p *caddyProc) crash() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// again starts a Caddy that has ended once more, with what it has stored.
func (s *site) again(t testing.TB, o siteOptions) {
	t.Helper()
	o.env = append(o.env, withEnv("JWKS", s.env["JWKS"]), withEnv("APP", s.env["APP"]))
	p, err := launch(s.home, o.caddyfile(), o.env...)
	if err != nil {
		t.Fatal(err)
	}
	s.caddyProc = p
	t.Cleanup(func() {
		s.closeAll()
		if err := p.stop(); err != nil {
			t.Errorf("caddy: %v", err)
		}
		if t.Failed() {
			t.Logf("log of caddy:\n%s", lastBytes(p.logs.String(), 12<<10))
		}
	})
}

// endsRevoked expects a socket to be closed as revoked within a second of
// since, whatever it says before.
func (c *wsConn) endsRevoked(t testing.TB, who string, l *lag, since time.Time) {
	t.Helper()
	if _, end := c.last(t, patience); end.code != closeUnauthorized || end.reason != "revoked" {
		t.Errorf("%s: %v, want 3000 \"revoked\"", who, end)
	}
	l.inTime(t, "close frame of "+who, since, time.Now(), time.Second)
}

// TestRevocationReachesEveryState: open, logged in by a message, suspended,
// and on every HTTP version: all of the subject's sockets end within a second,
// nobody else's do, and who has yet to log in is refused.
func TestRevocationReachesEveryState(t *testing.T) {
	t.Parallel()
	o := renewing("warn 0s\ngrace 1m")
	tryEachPeerVersion(t, o, nil, func(t testing.TB, s *peerSite, version string) {
		lag := measureLag(t)
		suspended, _ := s.suspended(t, version)
		open := s.open(t, version, "/", s.of("alice"))
		s.socket(t)
		logged := s.open(t, version, "/", noHeader)
		s.logsIn(t, logged)
		p := s.socket(t)
		bob := s.open(t, version, "/", s.of("bob"))
		q := s.socket(t)
		pending := s.open(t, version, "/", noHeader)

		start := time.Now()
		_, ended := s.revoke(t, map[string]any{"issuer": s.issuer.URL, "subject": "alice"})
		if ended != 3 {
			t.Errorf("%d sockets have ended, want 3", ended)
		}
		open.endsRevoked(t, "the open one", lag, start)
		logged.endsRevoked(t, "the one that has logged in", lag, start)
		suspended.endsRevoked(t, "the suspended one", lag, start)
		p.ends(t, closeGoingAway)

		pending.says(t, login(s.issuer.token(map[string]any{"iat": time.Now().Add(-time.Minute).Unix()})))
		pending.isRefused(t, closeUnauthorized)
		s.logsReason(t, "revoked")
		bob.says(t, "still here")
		q.hears(t, "still here")
		if all := s.sessions(t, "subject=alice"); len(all) != 0 {
			t.Errorf("sessions are left: %+v", all)
		}
	})
}

// TestRevocationRenewal: no renewal saves a socket from a revocation, neither
// one by a token that is revoked nor one in the moment of it.
func TestRevocationRenewal(t *testing.T) {
	t.Parallel()
	s := startPeerSite(t, siteOptions{directives: "from header\non_expiry renew"}, nil)
	s.revoke(t, map[string]any{"issuer": s.issuer.URL, "jti": "stolen"})
	c := s.open(t, h1, "/", s.of("alice"))
	p := s.socket(t)
	c.says(t, login(s.issuer.token(map[string]any{
		"jti": "stolen", "exp": time.Now().Add(2 * time.Hour).Unix(), "sid": absent,
	})))
	c.hearsWord(t, "auth_error")
	c.says(t, "the old one counts on")
	p.hears(t, "the old one counts on")
	c.says(t, login(s.issuer.token(map[string]any{"jti": "next", "exp": time.Now().Add(3 * time.Hour).Unix()})))
	c.hearsWord(t, "auth_ok")
	s.revoke(t, map[string]any{"issuer": s.issuer.URL, "jti": "jti of alice"}) // counts no more
	c.says(t, "renewed")
	p.hears(t, "renewed")
	lag, start := measureLag(t), time.Now()
	s.revoke(t, map[string]any{"issuer": s.issuer.URL, "jti": "next"})
	c.endsRevoked(t, "the renewed one", lag, start)
}

// TestRevocationRenewalRequest: no request renews a socket by a token that is
// revoked, also where the same token was good a moment ago.
func TestRevocationRenewalRequest(t *testing.T) {
	t.Parallel()
	s := startPeerSite(t, renewing("warn 0s\npath "+renewalPath), nil)
	c := s.open(t, h1, "/", s.of("alice"))
	p := s.socket(t)
	token := func(jti string, d time.Duration) http.Header {
		return s.named(map[string]any{"jti": jti, "exp": time.Now().Add(d).Unix()})
	}
	stolen, next := token("stolen", 2*time.Hour), token("next", 3*time.Hour)
	renews := func(header http.Header) int {
		status, _ := s.post(t, false, p.header.Get("X-Session"), header)
		return status
	}
	s.expects(t, "before it is revoked", stolen, http.StatusSwitchingProtocols)
	s.socket(t)
	s.revoke(t, map[string]any{"issuer": s.issuer.URL, "jti": "stolen"})
	if status := renews(stolen); status != http.StatusUnauthorized {
		t.Errorf("a renewal by a revoked token: status %d, want 401", status)
	}
	c.says(t, "the old one counts on")
	p.hears(t, "the old one counts on")
	if status := renews(next); status != http.StatusOK {
		t.Errorf("a renewal by a good token: status %d", status)
	}
	c.hearsWord(t, "auth_ok")
	lag, start := measureLag(t), time.Now()
	s.revoke(t, map[string]any{"issuer": s.issuer.URL, "jti": "next"})
	c.endsRevoked(t, "the renewed one", lag, start)
	if status := renews(next); status == http.StatusOK {
		t.Error("renewed after its end")
	}
}

// TestRevocationEveryMessage: the next message of a revoked token does not
// pass, and the socket does not wait for one.
func TestRevocationEveryMessage(t *testing.T) {
	t.Parallel()
	for _, onBad := range []string{"close", "tell", "drop"} {
		t.Run(onBad, func(t *testing.T) {
			t.Parallel()
			s := startPeerSite(t, everyMessage(onBad), nil)
			token := s.issuer.token()
			c := s.open(t, h1, "/", noHeader)
			c.says(t, carrying(token, 1))
			c.hearsWord(t, "auth_ok")
			p := s.socket(t)
			p.hearsNumber(t, 1)
			lag, start := measureLag(t), time.Now()
			s.revoke(t, map[string]any{"issuer": s.issuer.URL, "jti": "token-1"})
			c.endsRevoked(t, "the socket", lag, start)
			p.ends(t, closeGoingAway)
		})
	}
}

// TestRevocationIssuers: what is revoked is of one issuer, and no issuer is
// one like any other.
func TestRevocationIssuers(t *testing.T) {
	t.Parallel()
	s := startPeerSite(t, siteOptions{}, nil)
	issuers := map[string]any{"ours": s.issuer.URL, "another": "https://other.example.com", "none": absent}
	open := func(name, kind string) (*wsConn, *peer) {
		c := s.open(t, h1, "/", s.named(map[string]any{"iss": issuers[name], "sub": kind, "jti": kind, "sid": kind}))
		return c, s.socket(t)
	}
	for _, revoked := range []string{"ours", "another", "none"} {
		for _, field := range []string{"subject", "jti", "sid"} {
			kind := revoked + " " + field
			conns, peers := make(map[string]*wsConn), make(map[string]*peer)
			for name := range issuers {
				conns[name], peers[name] = open(name, kind)
			}
			// A token of a later second than the revocation would be good.
			header := s.named(map[string]any{"iss": issuers[revoked], "sub": kind, "jti": kind, "sid": kind})
			name, _ := issuers[revoked].(string)
			if _, ended := s.revoke(t, map[string]any{"issuer": name, field: kind}); ended != 1 {
				t.Errorf("%s: %d sockets have ended, want 1", kind, ended)
			}
			for name, c := range conns {
				if name == revoked {
					c.closes(t, closeUnauthorized)
					s.expects(t, kind+" of "+name, header, http.StatusUnauthorized)
					continue
				}
				c.says(t, "still here")
				peers[name].hears(t, "still here")
				c.vanish()
				open(name, kind)
			}
		}
	}
}

// TestRevocationMoments: a revocation of a subject is of what was issued up to
// a moment, and all are forgotten when their time is over.
func TestRevocationMoments(t *testing.T) {
	t.Parallel()
	s := startPeerSite(t, siteOptions{}, nil)
	now := time.Now().Truncate(time.Second)
	issuedAt := func(at any) http.Header { return s.named(map[string]any{"iat": at, "jti": "moment"}) }
	newer := s.open(t, h1, "/", issuedAt(now.Add(-10*time.Second).Unix()))
	p := s.socket(t)
	older := s.open(t, h1, "/", issuedAt(now.Add(-30*time.Second).Unix()))
	until := time.Now().Add(busy(3 * time.Second))
	_, ended := s.revoke(t, map[string]any{
		"issuer": s.issuer.URL, "subject": "alice", "until": until,
		"issued_before": now.Add(-20 * time.Second),
	})
	if ended != 1 {
		t.Errorf("%d sockets have ended, want 1", ended)
	}
	older.closes(t, closeUnauthorized)
	newer.says(t, "still here")
	p.hears(t, "still here")
	statuses := map[string]int{}
	for name, at := range map[string]any{
		"older": now.Add(-30 * time.Second).Unix(), "newer": now.Add(-10 * time.Second).Unix(), "does not say": absent,
		"in doubt": now.Add(-20 * time.Second).Unix(),
	} {
		statuses[name] = s.admits(t, issuedAt(at))
	}
	if time.Now().Before(until) && (statuses["older"] != 401 || statuses["does not say"] != 401 ||
		statuses["in doubt"] != 401 || statuses["newer"] != 101) {
		t.Errorf("statuses %v", statuses)
	}
	eventually(t, patience, func() string {
		if status := s.admits(t, issuedAt(now.Add(-30*time.Second).Unix())); status != 101 {
			return fmt.Sprintf("status %d after the revocation has ended", status)
		}
		return ""
	})
	if time.Now().Before(until) {
		t.Error("forgotten before its time")
	}
	if all := s.revocations(t, ""); len(all) != 0 {
		t.Errorf("still there: %+v", all)
	}
}

// TestRevocationSurvivesCrash: when the API has answered, a revocation is safe
// from kill -9, and so is one that was taken back.
func TestRevocationSurvivesCrash(t *testing.T) {
	t.Parallel()
	s := startPeerSite(t, siteOptions{}, nil)
	header := func(n int) http.Header { return s.named(map[string]any{"jti": fmt.Sprint("jti", n)}) }
	const rounds = 4
	for n := range rounds {
		s.revoke(t, map[string]any{"issuer": s.issuer.URL, "jti": fmt.Sprint("jti", n), "reason": "crash"})
		if n == rounds-1 {
			s.asks(t, http.MethodDelete, "revocations?jti=jti0&issuer="+s.issuer.URL, "", `{"removed":1}`)
		}
		s.crash()
		s.again(t, siteOptions{})
		for old := range n + 1 {
			want := http.StatusUnauthorized
			if old == 0 && n == rounds-1 {
				want = http.StatusSwitchingProtocols
			}
			s.expects(t, fmt.Sprintf("after %d crashes jti%d", n+1, old), header(old), want)
		}
		s.expects(t, "another one", header(n+1), http.StatusSwitchingProtocols)
	}
	if all := s.revocations(t, ""); len(all) != rounds-1 || all[0].Reason != "crash" {
		t.Errorf("%d are left, want %d: %+v", len(all), rounds-1, all)
	}
}

// snapshot returns the only file in which a Caddy keeps revocations.
func (p *caddyProc) snapshot(t testing.TB) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(p.home, "data", "caddy", "websocket_auth", "revocations", "*.json"))
	if err != nil || len(files) != 1 {
		t.Fatalf("snapshots %v, %v, want one", files, err)
	}
	return files[0]
}

// TestAttackSnapshotSpoiled: while it cannot be read what was revoked, nobody
// is let in and the log says why. Nothing writes over what cannot be read, or
// else what was revoked would come back to life.
func TestAttackSnapshotSpoiled(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]string{
		"cut": `{"version":1,"revocations":[{"issuer"`, "empty": "", "another version": `{"version":2}`,
		"no revocation": `{"version":1,"revocations":[{"issuer":"a","until":"2100-01-01T00:00:00Z"}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startPeerSite(t, siteOptions{}, nil)
			alice, bob, carol := s.of("alice"), s.of("bob"), s.of("carol")
			s.revoke(t, map[string]any{"issuer": s.issuer.URL, "subject": "alice"})
			s.crash()
			file := s.snapshot(t)
			good, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(spoil), 0o600); err != nil {
				t.Fatal(err)
			}
			s.again(t, siteOptions{})
			s.waitLog(t, "revocations of before the last stop cannot be read")
			for _, header := range []http.Header{alice, bob} {
				if _, answer := s.handshake(t, h1, "/", header); answer.StatusCode != http.StatusServiceUnavailable ||
					answer.Header.Get("Retry-After") == "" {
					t.Errorf("%s with Retry-After %q, want 503", answer.Status, answer.Header.Get("Retry-After"))
				}
			}
			text := `{"issuer":"` + s.issuer.URL + `","subject":"carol"}`
			if status, body := s.ask(t, http.MethodPost, "revocations", text, jsonType); status != http.StatusServiceUnavailable {
				t.Errorf("a revocation that cannot be saved: status %d: %s", status, body)
			}
			if now, err := os.ReadFile(file); err != nil || string(now) != spoil {
				t.Fatalf("the snapshot is written over: %q, %v", now, err)
			}
			s.expects(t, "bob, after another revocation", bob, http.StatusServiceUnavailable)

			if err := os.WriteFile(file, good, 0o600); err != nil {
				t.Fatal(err)
			}
			eventually(t, patience, func() string {
				if status := s.admits(t, bob); status != http.StatusSwitchingProtocols {
					return fmt.Sprintf("status %d", status)
				}
				return ""
			})
			s.expects(t, "alice", alice, http.StatusUnauthorized)
			s.expects(t, "carol", carol, http.StatusUnauthorized)
			eventually(t, patience, func() string { // with what has come meanwhile
				now, err := os.ReadFile(file)
				if err != nil || !strings.Contains(string(now), "carol") || !strings.Contains(string(now), "alice") {
					return fmt.Sprintf("the snapshot is %q, %v", now, err)
				}
				return ""
			})
		})
	}
}
