package revocation

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// TestRevocationReachesEveryState: open, logged in by a message, suspended,
// and on every HTTP version: all of the subject's sockets end within a second,
// nobody else's do, and who has yet to log in is refused.
func TestRevocationReachesEveryState(t *testing.T) {
	t.Parallel()
	o := rig.Renewing("warn 0s\ngrace 1m")
	rig.TryEachPeerVersion(t, o, nil, func(t testing.TB, s *rig.PeerSite, version string) {
		lag := rig.MeasureLag(t)
		suspended, _ := s.Suspended(t, version)
		open := s.Open(t, version, "/", s.Of("alice"))
		s.Socket(t)
		logged := s.Open(t, version, "/", rig.NoHeader)
		s.LogsIn(t, logged)
		p := s.Socket(t)
		bob := s.Open(t, version, "/", s.Of("bob"))
		q := s.Socket(t)
		pending := s.Open(t, version, "/", rig.NoHeader)

		start := time.Now()
		_, ended := s.Revoke(t, map[string]any{"issuer": s.Issuer.URL, "subject": "alice"})
		if ended != 3 {
			t.Errorf("%d sockets have ended, want 3", ended)
		}
		open.EndsRevoked(t, "the open one", lag, start)
		logged.EndsRevoked(t, "the one that has logged in", lag, start)
		suspended.EndsRevoked(t, "the suspended one", lag, start)
		p.Ends(t, rig.CloseGoingAway)

		pending.Says(t, rig.Login(s.Issuer.Token(map[string]any{"iat": time.Now().Add(-time.Minute).Unix()})))
		pending.IsRefused(t, rig.CloseUnauthorized)
		s.LogsReason(t, "revoked")
		bob.Says(t, "still here")
		q.Hears(t, "still here")
		if all := s.Sessions(t, "subject=alice"); len(all) != 0 {
			t.Errorf("sessions are left: %+v", all)
		}
	})
}

// TestRevocationRenewal: no renewal saves a socket from a revocation, neither
// one by a token that is revoked nor one in the moment of it.
func TestRevocationRenewal(t *testing.T) {
	t.Parallel()
	s := rig.StartPeerSite(t, rig.SiteOptions{Directives: "from header\non_expiry renew"}, nil)
	s.Revoke(t, map[string]any{"issuer": s.Issuer.URL, "jti": "stolen"})
	c := s.Open(t, rig.H1, "/", s.Of("alice"))
	p := s.Socket(t)
	c.Says(t, rig.Login(s.Issuer.Token(map[string]any{
		"jti": "stolen", "exp": time.Now().Add(2 * time.Hour).Unix(), "sid": rig.Absent,
	})))
	c.HearsWord(t, "auth_error")
	c.Says(t, "the old one counts on")
	p.Hears(t, "the old one counts on")
	c.Says(t, rig.Login(s.Issuer.Token(map[string]any{"jti": "next", "exp": time.Now().Add(3 * time.Hour).Unix()})))
	c.HearsWord(t, "auth_ok")
	s.Revoke(t, map[string]any{"issuer": s.Issuer.URL, "jti": "jti of alice"}) // counts no more
	c.Says(t, "renewed")
	p.Hears(t, "renewed")
	lag, start := rig.MeasureLag(t), time.Now()
	s.Revoke(t, map[string]any{"issuer": s.Issuer.URL, "jti": "next"})
	c.EndsRevoked(t, "the renewed one", lag, start)
}

// TestRevocationRenewalRequest: no request renews a socket by a token that is
// revoked, also where the same token was good a moment ago.
func TestRevocationRenewalRequest(t *testing.T) {
	t.Parallel()
	s := rig.StartPeerSite(t, rig.Renewing("warn 0s\npath "+rig.RenewalPath), nil)
	c := s.Open(t, rig.H1, "/", s.Of("alice"))
	p := s.Socket(t)
	token := func(jti string, d time.Duration) http.Header {
		return s.Named(map[string]any{"jti": jti, "exp": time.Now().Add(d).Unix()})
	}
	stolen, next := token("stolen", 2*time.Hour), token("next", 3*time.Hour)
	renews := func(header http.Header) int {
		status, _ := s.Post(t, false, p.Header.Get("X-Session"), header)
		return status
	}
	s.Expects(t, "before it is revoked", stolen, http.StatusSwitchingProtocols)
	s.Socket(t)
	s.Revoke(t, map[string]any{"issuer": s.Issuer.URL, "jti": "stolen"})
	if status := renews(stolen); status != http.StatusUnauthorized {
		t.Errorf("a renewal by a revoked token: status %d, want 401", status)
	}
	c.Says(t, "the old one counts on")
	p.Hears(t, "the old one counts on")
	if status := renews(next); status != http.StatusOK {
		t.Errorf("a renewal by a good token: status %d", status)
	}
	c.HearsWord(t, "auth_ok")
	lag, start := rig.MeasureLag(t), time.Now()
	s.Revoke(t, map[string]any{"issuer": s.Issuer.URL, "jti": "next"})
	c.EndsRevoked(t, "the renewed one", lag, start)
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
			s := rig.StartPeerSite(t, rig.EveryMessage(onBad), nil)
			token := s.Issuer.Token()
			c := s.Open(t, rig.H1, "/", rig.NoHeader)
			c.Says(t, rig.Carrying(token, 1))
			c.HearsWord(t, "auth_ok")
			p := s.Socket(t)
			p.HearsNumber(t, 1)
			lag, start := rig.MeasureLag(t), time.Now()
			s.Revoke(t, map[string]any{"issuer": s.Issuer.URL, "jti": "token-1"})
			c.EndsRevoked(t, "the socket", lag, start)
			p.Ends(t, rig.CloseGoingAway)
		})
	}
}

// TestRevocationIssuers: what is revoked is of one issuer, and no issuer is
// one like any other.
func TestRevocationIssuers(t *testing.T) {
	t.Parallel()
	s := rig.StartPeerSite(t, rig.SiteOptions{}, nil)
	issuers := map[string]any{"ours": s.Issuer.URL, "another": "https://other.example.com", "none": rig.Absent}
	open := func(name, kind string) (*rig.Conn, *rig.Peer) {
		c := s.Open(t, rig.H1, "/", s.Named(map[string]any{"iss": issuers[name], "sub": kind, "jti": kind, "sid": kind}))
		return c, s.Socket(t)
	}
	for _, revoked := range []string{"ours", "another", "none"} {
		for _, field := range []string{"subject", "jti", "sid"} {
			kind := revoked + " " + field
			conns, peers := make(map[string]*rig.Conn), make(map[string]*rig.Peer)
			for name := range issuers {
				conns[name], peers[name] = open(name, kind)
			}
			// A token of a later second than the revocation would be good.
			header := s.Named(map[string]any{"iss": issuers[revoked], "sub": kind, "jti": kind, "sid": kind})
			name, _ := issuers[revoked].(string)
			if _, ended := s.Revoke(t, map[string]any{"issuer": name, field: kind}); ended != 1 {
				t.Errorf("%s: %d sockets have ended, want 1", kind, ended)
			}
			for name, c := range conns {
				if name == revoked {
					c.Closes(t, rig.CloseUnauthorized)
					s.Expects(t, kind+" of "+name, header, http.StatusUnauthorized)
					continue
				}
				c.Says(t, "still here")
				peers[name].Hears(t, "still here")
				c.Vanish()
				open(name, kind)
			}
		}
	}
}

// TestRevocationMoments: a revocation of a subject is of what was issued up to
// a moment, and all are forgotten when their time is over.
func TestRevocationMoments(t *testing.T) {
	t.Parallel()
	s := rig.StartPeerSite(t, rig.SiteOptions{}, nil)
	now := time.Now().Truncate(time.Second)
	issuedAt := func(at any) http.Header { return s.Named(map[string]any{"iat": at, "jti": "moment"}) }
	newer := s.Open(t, rig.H1, "/", issuedAt(now.Add(-10*time.Second).Unix()))
	p := s.Socket(t)
	older := s.Open(t, rig.H1, "/", issuedAt(now.Add(-30*time.Second).Unix()))
	until := time.Now().Add(rig.Busy(3 * time.Second))
	_, ended := s.Revoke(t, map[string]any{
		"issuer": s.Issuer.URL, "subject": "alice", "until": until,
		"issued_before": now.Add(-20 * time.Second),
	})
	if ended != 1 {
		t.Errorf("%d sockets have ended, want 1", ended)
	}
	older.Closes(t, rig.CloseUnauthorized)
	newer.Says(t, "still here")
	p.Hears(t, "still here")
	statuses := map[string]int{}
	for name, at := range map[string]any{
		"older": now.Add(-30 * time.Second).Unix(), "newer": now.Add(-10 * time.Second).Unix(), "does not say": rig.Absent,
		"in doubt": now.Add(-20 * time.Second).Unix(),
	} {
		statuses[name] = s.Admits(t, issuedAt(at))
	}
	if time.Now().Before(until) && (statuses["older"] != 401 || statuses["does not say"] != 401 ||
		statuses["in doubt"] != 401 || statuses["newer"] != 101) {
		t.Errorf("statuses %v", statuses)
	}
	rig.Eventually(t, rig.Patience, func() string {
		if status := s.Admits(t, issuedAt(now.Add(-30*time.Second).Unix())); status != 101 {
			return fmt.Sprintf("status %d after the revocation has ended", status)
		}
		return ""
	})
	if time.Now().Before(until) {
		t.Error("forgotten before its time")
	}
	if all := s.Revocations(t, ""); len(all) != 0 {
		t.Errorf("still there: %+v", all)
	}
}

// TestRevocationSurvivesCrash: when the API has answered, a revocation is safe
// from kill -9, and so is one that was taken back.
func TestRevocationSurvivesCrash(t *testing.T) {
	t.Parallel()
	s := rig.StartPeerSite(t, rig.SiteOptions{}, nil)
	header := func(n int) http.Header { return s.Named(map[string]any{"jti": fmt.Sprint("jti", n)}) }
	const rounds = 4
	for n := range rounds {
		s.Revoke(t, map[string]any{"issuer": s.Issuer.URL, "jti": fmt.Sprint("jti", n), "reason": "crash"})
		if n == rounds-1 {
			s.Asks(t, http.MethodDelete, "revocations?jti=jti0&issuer="+s.Issuer.URL, "", `{"removed":1}`)
		}
		s.Crash()
		s.Again(t, rig.SiteOptions{})
		for old := range n + 1 {
			want := http.StatusUnauthorized
			if old == 0 && n == rounds-1 {
				want = http.StatusSwitchingProtocols
			}
			s.Expects(t, fmt.Sprintf("after %d crashes jti%d", n+1, old), header(old), want)
		}
		s.Expects(t, "another one", header(n+1), http.StatusSwitchingProtocols)
	}
	if all := s.Revocations(t, ""); len(all) != rounds-1 || all[0].Reason != "crash" {
		t.Errorf("%d are left, want %d: %+v", len(all), rounds-1, all)
	}
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
			s := rig.StartPeerSite(t, rig.SiteOptions{}, nil)
			alice, bob, carol := s.Of("alice"), s.Of("bob"), s.Of("carol")
			s.Revoke(t, map[string]any{"issuer": s.Issuer.URL, "subject": "alice"})
			s.Crash()
			file := s.Snapshot(t)
			good, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(spoil), 0o600); err != nil {
				t.Fatal(err)
			}
			s.Again(t, rig.SiteOptions{})
			s.WaitLog(t, "revocations of before the last stop cannot be read")
			for _, header := range []http.Header{alice, bob} {
				if _, answer := s.Handshake(t, rig.H1, "/", header); answer.StatusCode != http.StatusServiceUnavailable ||
					answer.Header.Get("Retry-After") == "" {
					t.Errorf("%s with Retry-After %q, want 503", answer.Status, answer.Header.Get("Retry-After"))
				}
			}
			text := `{"issuer":"` + s.Issuer.URL + `","subject":"carol"}`
			if status, body := s.Ask(t, http.MethodPost, "revocations", text, rig.JSONType); status != http.StatusServiceUnavailable {
				t.Errorf("a revocation that cannot be saved: status %d: %s", status, body)
			}
			if now, err := os.ReadFile(file); err != nil || string(now) != spoil {
				t.Fatalf("the snapshot is written over: %q, %v", now, err)
			}
			s.Expects(t, "bob, after another revocation", bob, http.StatusServiceUnavailable)

			if err := os.WriteFile(file, good, 0o600); err != nil {
				t.Fatal(err)
			}
			rig.Eventually(t, rig.Patience, func() string {
				if status := s.Admits(t, bob); status != http.StatusSwitchingProtocols {
					return fmt.Sprintf("status %d", status)
				}
				return ""
			})
			s.Expects(t, "alice", alice, http.StatusUnauthorized)
			s.Expects(t, "carol", carol, http.StatusUnauthorized)
			rig.Eventually(t, rig.Patience, func() string { // with what has come meanwhile
				now, err := os.ReadFile(file)
				if err != nil || !strings.Contains(string(now), "carol") || !strings.Contains(string(now), "alice") {
					return fmt.Sprintf("the snapshot is %q, %v", now, err)
				}
				return ""
			})
		})
	}
}
