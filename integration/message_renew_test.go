package integration

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/internal/pace"
)

// renewing are the lines of a site whose sockets may be renewed. expired makes
// the dialect say when a socket is suspended.
func renewing(lines string) siteOptions {
	return siteOptions{
		directives: "from header\nfrom subprotocol\nfrom query\nfrom first_message\n" +
			"on_expiry renew {\n" + lines + "\n}\n" +
			"dialect json {\nexpired `{\"type\":\"auth_expired\"}`\n}",
		proxy: "stream_close_delay 1h\nheader_up X-Session {http.websocket_auth.session}",
	}
}

// soon returns a whole second that is at least d away, and at most three more:
// when a token can end. On a machine that is busy it is farther away, though
// no more than half as far as patience reaches.
func soon(d time.Duration) time.Time {
	return time.Now().Add(busy(d) + 3*time.Second).Truncate(time.Second)
}

// laterThan returns a whole second that is at least d after another one.
func laterThan(second time.Time, d time.Duration) time.Time {
	return second.Add(busy(d) + time.Second - 1).Truncate(time.Second)
}

// busy returns how long what takes d may take on a machine that is busy.
func busy(d time.Duration) time.Duration { return min(pace.Scale(d), d+patience/2) }

// suspended opens a socket whose token ends soon, and returns when it is
// suspended.
func (s *peerSite) suspended(t testing.TB, version string) (*wsConn, *peer) {
	t.Helper()
	c := s.open(t, version, "/", s.bearer(soon(2*time.Second)))
	p := s.socket(t)
	c.hearsWord(t, "auth_expired")
	return c, p
}

// nothing expects that nothing has come to the application of what was sent
// before a ping that has been answered.
func (p *peer) nothing(t testing.TB) {
	t.Helper()
	select {
	case text := <-p.got:
		t.Errorf("the application got %q", text)
	default:
	}
}

// TestRenewSuspended: before the end the client is asked, at the end the
// socket is suspended: no message passes, in either direction, but pings are
// answered on both sides. With the renewal all that was held arrives, in
// order, once.
func TestRenewSuspended(t *testing.T) {
	t.Parallel()
	tryEachPeerVersion(t, renewing("warn 5s"), nil, func(t testing.TB, s *peerSite, version string) {
		lag := measureLag(t)
		exp := soon(7 * time.Second)
		c := s.open(t, version, "/", s.bearer(exp))
		p := s.socket(t)
		w := c.hearsWord(t, "auth_required")
		lag.inTime(t, "prompt", exp.Add(-5*time.Second), time.Now(), time.Second)
		if w.ExpiresIn == nil || *w.ExpiresIn > 5 {
			t.Error("the prompt does not say that the token ends in five seconds")
		}
		c.says(t, "in 0")
		p.hears(t, "in 0")
		p.says(t, "out 0")
		c.hears(t, "out 0")
		c.hearsWord(t, "auth_expired")
		lag.inTime(t, "suspension", exp, time.Now(), time.Second)

		var in, out []string
		for n := range 50 {
			in, out = append(in, fmt.Sprintf("in %d", n+1)), append(out, fmt.Sprintf("out %d", n+1))
			c.says(t, in[n])
			p.says(t, out[n])
			if n%10 == 0 {
				c.pings(t, "client's")
				p.pings(t, "application's", nil)
				c.pings(t, "client's again") // nothing of the application's came before
				p.nothing(t)
			}
		}
		newExp := time.Now().Add(time.Hour)
		c.says(t, login(s.issuer.expiring(newExp)), "in behind")
		c.accepted(t, newExp)
		c.hears(t, out...)
		p.hears(t, append(in, "in behind")...)
		p.says(t, "out behind")
		c.hears(t, "out behind")
		p.pings(t, "through", c.answersPing)
	})
}

// TestRenewMessageAcrossTheEnd: a message that has begun before the end is not
// torn: what has not gone out of it is held.
func TestRenewMessageAcrossTheEnd(t *testing.T) {
	t.Parallel()
	forEachPeerVersion(t, renewing(""), nil, func(t *testing.T, s *peerSite, version string) {
		c := s.open(t, version, "/", s.bearer(soon(2*time.Second)))
		p := s.socket(t)
		c.hearsWord(t, "auth_required")
		if err := c.writeRaw(clientFrame(opText, []byte("begun "))); err != nil {
			t.Fatal(err)
		}
		c.hearsWord(t, "auth_expired")
		if err := c.writeRaw(clientFrame(0x80|opContinuation, []byte("and ended"))); err != nil {
			t.Fatal(err)
		}
		c.pings(t, "so that it has been read")
		p.nothing(t)
		s.logsIn(t, c)
		p.hears(t, "begun and ended")
	})
}

// TestRenewGraceOver: without a renewal the socket ends, and nothing that was
// held gets anywhere.
func TestRenewGraceOver(t *testing.T) {
	t.Parallel()
	tryEachPeerVersion(t, renewing("warn 0s\ngrace 5s"), nil, func(t testing.TB, s *peerSite, version string) {
		lag := measureLag(t)
		exp := soon(2 * time.Second)
		c := s.open(t, version, "/", s.bearer(exp))
		p := s.socket(t)
		c.hearsWord(t, "auth_expired")
		c.says(t, "in")
		p.says(t, "out")
		c.isRefused(t, closeTimeout)
		lag.inTime(t, "end", exp.Add(5*time.Second), time.Now(), 2*time.Second)
		p.ends(t, closeGoingAway)
		s.logsReason(t, "renewal_timeout")
	})
}

// TestRenewUnasked: a renewal may come at any time, and by message also where
// the token came otherwise.
func TestRenewUnasked(t *testing.T) {
	t.Parallel()
	tryEachPeerVersion(t, renewing("warn 0s"), nil, func(t testing.TB, s *peerSite, version string) {
		exp := soon(2 * time.Second)
		first := s.issuer.expiring(exp)
		conns := map[string]*wsConn{
			"header":      s.open(t, version, "/", http.Header{"Authorization": {"Bearer " + first}}),
			"query":       s.open(t, version, "/?access_token="+first, noHeader),
			"subprotocol": s.open(t, version, "/", http.Header{"Sec-Websocket-Protocol": {"bearer, " + first}}),
			"message":     s.open(t, version, "/", noHeader),
		}
		conns["message"].says(t, login(first))
		conns["message"].accepted(t, exp)
		newExp := laterThan(exp, 2*time.Second)
		for _, c := range conns {
			c.says(t, login(s.issuer.expiring(newExp)))
			c.accepted(t, newExp)
		}
		lag := measureLag(t)
		for source, c := range conns {
			c.hearsWord(t, "auth_expired") // the next, so that there was none at exp
			if time.Now().Before(newExp) {
				t.Errorf("%s: suspended %v before the end of the new token", source, time.Until(newExp))
			}
			lag.inTime(t, source+": suspension", newExp, time.Now(), time.Second)
		}
	})
}

// TestAttackRenewals: a credential that is not the socket's own, or no better
// than the one it has, renews nothing. The client is told, and the socket ends
// at its old time.
func TestAttackRenewals(t *testing.T) {
	t.Parallel()
	s := startPeerSite(t, renewing("warn 0s\ngrace 5s"), nil)
	type changes = map[string]any
	tests := []struct {
		name   string
		claims changes
		reason string
	}{
		{"other subject", changes{"sub": "mallory"}, "other_identity"},
		{"no subject", changes{"sub": absent}, ""},
		{"other issuer", changes{"iss": "https://other.example.com"}, "other_identity"},
		{"no issuer", changes{"iss": absent}, "other_identity"},
		{"other sid", changes{"sid": "sid-2"}, "other_identity"},
		{"expired", changes{"exp": time.Now().Add(-time.Minute).Unix()}, "expired"},
		{"no exp", changes{"exp": absent}, ""},
		{"other audience", changes{"aud": "other"}, "wrong_audience"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s.refusesRenewal(t, s.issuer.token(tt.claims), tt.reason)
		})
	}
	for name, tt := range map[string]struct{ token, reason string }{
		"stranger's": {sign(jwt{key: strangerKey(), claims: s.issuer.claims()}), "bad_signature"},
		"garbage":    {"garbage", "malformed_token"},
		"nothing":    {"", "missing_credential"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s.refusesRenewal(t, tt.token, tt.reason)
		})
	}
	t.Run("older", func(t *testing.T) {
		t.Parallel()
		exp := soon(2 * time.Second)
		c := s.open(t, h1, "/", s.bearer(exp))
		c.says(t, login(s.issuer.expiring(exp.Add(-time.Second)))) // good, but it counts for nothing
		if w := c.hearsWord(t, "auth_ok"); w.ExpiresIn == nil || *w.ExpiresIn > time.Until(exp).Seconds()+1 {
			t.Errorf("told that it ends later than in %v", time.Until(exp))
		}
		c.hearsWord(t, "auth_expired")
		if time.Now().Before(exp) {
			t.Errorf("suspended %v before the end of the newer token", time.Until(exp))
		}
		c.says(t, login(s.issuer.expiring(exp)))
		c.hearsWord(t, "auth_error")
		c.isRefused(t, closeTimeout)
	})
}

// refusesRenewal expects that token does not renew a socket, neither open nor
// suspended, that a line in the log says why unless reason is empty, and that
// the socket ends when it would have ended.
func (s *peerSite) refusesRenewal(t testing.TB, token, reason string) {
	t.Helper()
	lag, exp := measureLag(t), soon(2*time.Second)
	first := s.issuer.token(map[string]any{"exp": exp.Unix(), "sid": "sid-1"})
	c := s.open(t, h1, "/", http.Header{"Authorization": {"Bearer " + first}})
	c.says(t, login(token))
	if w := c.hearsWord(t, "auth_error"); w.Reason == "" {
		t.Error("no reason")
	}
	c.pings(t, "alive")
	c.hearsWord(t, "auth_expired")
	lag.inTime(t, "suspension", exp, time.Now(), 5*time.Second)
	c.says(t, login(token)) // no better now
	c.hearsWord(t, "auth_error")
	c.isRefused(t, closeTimeout)
	if reason != "" {
		s.logsReason(t, reason)
	}
}

// TestAttackRenewalNotNewer: jitter ends a socket before its token, which is
// still good then. It does not open the socket again.
func TestAttackRenewalNotNewer(t *testing.T) {
	t.Parallel()
	o := renewing("warn 0s")
	o.directives += "\njitter 50"
	s := startSite(t, o)
	exp := soon(6 * time.Second)
	token := login(s.issuer.expiring(exp))
	suspended := make(chan *wsConn, 20)
	for _, c := range openMany(t, s, h1, "/echo", s.bearer(exp), cap(suspended), 1) {
		go func() {
			if f, err := c.read(); err == nil && string(f.payload) == `{"type":"auth_expired"}` {
				suspended <- c
			}
		}()
	}
	c := receive(t, "suspended socket", suspended, patience)
	c.says(t, token, "held")
	if w := c.hearsWord(t, "auth_error"); w.Reason == "" || !time.Now().Before(exp) {
		t.Errorf("told %q, %v before the end of the token", w.Reason, time.Until(exp))
	}
	s.logsReason(t, "not_newer")
	c.pings(t, "held still")
	s.logsIn(t, c)
	c.hears(t, "held")
}

// TestAttackHoldFlooded: who sends without end while the socket is suspended
// is cut off, in either direction, by number and by size. Memory is bounded.
func TestAttackHoldFlooded(t *testing.T) {
	t.Parallel()
	o := renewing("warn 0s\nhold 20 64KiB")
	forEachPeerVersion(t, o, nil, func(t *testing.T, s *peerSite, version string) {
		big := make([]byte, 40<<10)
		for name, flood := range map[string]func(c *wsConn, p *peer) error{
			"client, number": func(c *wsConn, _ *peer) error { return c.write(opText, []byte("x")) },
			"client, size":   func(c *wsConn, _ *peer) error { return c.write(opBinary, big) },
			"app, number":    func(_ *wsConn, p *peer) error { return p.send("x") },
			"app, size":      func(_ *wsConn, p *peer) error { return p.send(string(big)) },
		} {
			c, p := s.suspended(t, version)
			go func() {
				for range 1000 {
					if flood(c, p) != nil {
						return
					}
				}
			}()
			if heard := c.beforeClose(t, closeTimeout); len(heard) > 1 {
				t.Errorf("%s: the client was told %q", name, heard)
			}
			c.vanish()
			for text := range p.got {
				t.Errorf("%s: the application got %.20q", name, text)
			}
		}
		s.logsReason(t, "hold_full")
	})
}

// TestRenewMaxSession: no renewal prolongs a socket beyond max_session.
func TestRenewMaxSession(t *testing.T) {
	t.Parallel()
	o := renewing("warn 0s")
	o.directives += "\nmax_session 8s"
	tryEachPeerVersion(t, o, nil, func(t testing.TB, s *peerSite, version string) {
		lag := measureLag(t)
		start := time.Now()
		c := s.open(t, version, "/", s.bearer(soon(2*time.Second)))
		p := s.socket(t)
		s.logsIn(t, c)
		texts, end := c.last(t, patience)
		lag.inTime(t, "end", start.Add(8*time.Second), time.Now(), 2*time.Second)
		if end.code != closeUnauthorized || end.reason != "session over" {
			t.Errorf("%v, want 3000 \"session over\"", end)
		}
		if len(texts) > 1 {
			t.Errorf("before it came %q", texts)
		}
		p.ends(t, closeGoingAway)
	})
}
