package integration

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/internal/pace"
)

// Renewing are the lines of a site whose sockets may be renewed. expired makes
// the dialect say when a socket is suspended.
func Renewing(lines string) SiteOptions {
	return SiteOptions{
		Directives: "from header\nfrom subprotocol\nfrom query\nfrom first_message\n" +
			"on_expiry renew {\n" + lines + "\n}\n" +
			"dialect json {\nexpired `{\"type\":\"auth_expired\"}`\n}",
		Proxy: "stream_close_delay 1h\nheader_up X-Session {http.websocket_auth.session}",
	}
}

// Soon returns a whole second that is at least d away, and at most three more:
// when a token can end. On a machine that is busy it is farther away, though
// no more than half as far as patience reaches.
func Soon(d time.Duration) time.Time {
	return time.Now().Add(Busy(d) + 3*time.Second).Truncate(time.Second)
}

// LaterThan returns a whole second that is at least d after another one.
func LaterThan(second time.Time, d time.Duration) time.Time {
	return second.Add(Busy(d) + time.Second - 1).Truncate(time.Second)
}

// Busy returns how long what takes d may take on a machine that is busy.
func Busy(d time.Duration) time.Duration { return min(pace.Scale(d), d+Patience/2) }

// Suspended opens a socket whose token ends soon, and returns when it is
// suspended.
func (s *PeerSite) Suspended(t testing.TB, version string) (*Conn, *Peer) {
	t.Helper()
	c := s.Open(t, version, "/", s.Bearer(Soon(2*time.Second)))
	p := s.Socket(t)
	c.HearsWord(t, "auth_expired")
	return c, p
}

// Nothing expects that nothing has come to the application of what was sent
// before a ping that has been answered.
func (p *Peer) Nothing(t testing.TB) {
	t.Helper()
	select {
	case text := <-p.Got:
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
	TryEachPeerVersion(t, Renewing("warn 5s"), nil, func(t testing.TB, s *PeerSite, version string) {
		lag := MeasureLag(t)
		exp := Soon(7 * time.Second)
		c := s.Open(t, version, "/", s.Bearer(exp))
		p := s.Socket(t)
		w := c.HearsWord(t, "auth_required")
		lag.InTime(t, "prompt", exp.Add(-5*time.Second), time.Now(), time.Second)
		if w.ExpiresIn == nil || *w.ExpiresIn > 5 {
			t.Error("the prompt does not say that the token ends in five seconds")
		}
		c.Says(t, "in 0")
		p.Hears(t, "in 0")
		p.Says(t, "out 0")
		c.Hears(t, "out 0")
		c.HearsWord(t, "auth_expired")
		lag.InTime(t, "suspension", exp, time.Now(), time.Second)

		var in, out []string
		for n := range 50 {
			in, out = append(in, fmt.Sprintf("in %d", n+1)), append(out, fmt.Sprintf("out %d", n+1))
			c.Says(t, in[n])
			p.Says(t, out[n])
			if n%10 == 0 {
				c.Pings(t, "client's")
				p.Pings(t, "application's", nil)
				c.Pings(t, "client's again") // nothing of the application's came before
				p.Nothing(t)
			}
		}
		newExp := time.Now().Add(time.Hour)
		c.Says(t, Login(s.Issuer.Expiring(newExp)), "in behind")
		c.Accepted(t, newExp)
		c.Hears(t, out...)
		p.Hears(t, append(in, "in behind")...)
		p.Says(t, "out behind")
		c.Hears(t, "out behind")
		p.Pings(t, "through", c.AnswersPing)
	})
}

// TestRenewMessageAcrossTheEnd: a message that has begun before the end is not
// torn: what has not gone out of it is held.
func TestRenewMessageAcrossTheEnd(t *testing.T) {
	t.Parallel()
	ForEachPeerVersion(t, Renewing(""), nil, func(t *testing.T, s *PeerSite, version string) {
		c := s.Open(t, version, "/", s.Bearer(Soon(2*time.Second)))
		p := s.Socket(t)
		c.HearsWord(t, "auth_required")
		if err := c.WriteRaw(ClientFrame(OpText, []byte("begun "))); err != nil {
			t.Fatal(err)
		}
		c.HearsWord(t, "auth_expired")
		if err := c.WriteRaw(ClientFrame(0x80|OpContinuation, []byte("and ended"))); err != nil {
			t.Fatal(err)
		}
		c.Pings(t, "so that it has been read")
		p.Nothing(t)
		s.LogsIn(t, c)
		p.Hears(t, "begun and ended")
	})
}

// TestRenewGraceOver: without a renewal the socket ends, and nothing that was
// held gets anywhere.
func TestRenewGraceOver(t *testing.T) {
	t.Parallel()
	TryEachPeerVersion(t, Renewing("warn 0s\ngrace 5s"), nil, func(t testing.TB, s *PeerSite, version string) {
		lag := MeasureLag(t)
		exp := Soon(2 * time.Second)
		c := s.Open(t, version, "/", s.Bearer(exp))
		p := s.Socket(t)
		c.HearsWord(t, "auth_expired")
		c.Says(t, "in")
		p.Says(t, "out")
		c.IsRefused(t, CloseTimeout)
		lag.InTime(t, "end", exp.Add(5*time.Second), time.Now(), 2*time.Second)
		p.Ends(t, CloseGoingAway)
		s.LogsReason(t, "renewal_timeout")
	})
}

// TestRenewUnasked: a renewal may come at any time, and by message also where
// the token came otherwise.
func TestRenewUnasked(t *testing.T) {
	t.Parallel()
	TryEachPeerVersion(t, Renewing("warn 0s"), nil, func(t testing.TB, s *PeerSite, version string) {
		exp := Soon(2 * time.Second)
		first := s.Issuer.Expiring(exp)
		conns := map[string]*Conn{
			"header":      s.Open(t, version, "/", http.Header{"Authorization": {"Bearer " + first}}),
			"query":       s.Open(t, version, "/?access_token="+first, NoHeader),
			"subprotocol": s.Open(t, version, "/", http.Header{"Sec-Websocket-Protocol": {"bearer, " + first}}),
			"message":     s.Open(t, version, "/", NoHeader),
		}
		conns["message"].Says(t, Login(first))
		conns["message"].Accepted(t, exp)
		newExp := LaterThan(exp, 2*time.Second)
		for _, c := range conns {
			c.Says(t, Login(s.Issuer.Expiring(newExp)))
			c.Accepted(t, newExp)
		}
		lag := MeasureLag(t)
		for source, c := range conns {
			c.HearsWord(t, "auth_expired") // the next, so that there was none at exp
			if time.Now().Before(newExp) {
				t.Errorf("%s: suspended %v before the end of the new token", source, time.Until(newExp))
			}
			lag.InTime(t, source+": suspension", newExp, time.Now(), time.Second)
		}
	})
}

// TestAttackRenewals: a credential that is not the socket's own, or no better
// than the one it has, renews nothing. The client is told, and the socket ends
// at its old time.
func TestAttackRenewals(t *testing.T) {
	t.Parallel()
	s := StartPeerSite(t, Renewing("warn 0s\ngrace 5s"), nil)
	type changes = map[string]any
	tests := []struct {
		name   string
		claims changes
		reason string
	}{
		{"other subject", changes{"sub": "mallory"}, "other_identity"},
		{"no subject", changes{"sub": Absent}, ""},
		{"other issuer", changes{"iss": "https://other.example.com"}, "other_identity"},
		{"no issuer", changes{"iss": Absent}, "other_identity"},
		{"other sid", changes{"sid": "sid-2"}, "other_identity"},
		{"expired", changes{"exp": time.Now().Add(-time.Minute).Unix()}, "expired"},
		{"no exp", changes{"exp": Absent}, ""},
		{"other audience", changes{"aud": "other"}, "wrong_audience"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s.refusesRenewal(t, s.Issuer.Token(tt.claims), tt.reason)
		})
	}
	for name, tt := range map[string]struct{ token, reason string }{
		"stranger's": {Sign(JWT{Key: StrangerKey(), Claims: s.Issuer.Claims()}), "bad_signature"},
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
		exp := Soon(2 * time.Second)
		c := s.Open(t, H1, "/", s.Bearer(exp))
		c.Says(t, Login(s.Issuer.Expiring(exp.Add(-time.Second)))) // good, but it counts for nothing
		if w := c.HearsWord(t, "auth_ok"); w.ExpiresIn == nil || *w.ExpiresIn > time.Until(exp).Seconds()+1 {
			t.Errorf("told that it ends later than in %v", time.Until(exp))
		}
		c.HearsWord(t, "auth_expired")
		if time.Now().Before(exp) {
			t.Errorf("suspended %v before the end of the newer token", time.Until(exp))
		}
		c.Says(t, Login(s.Issuer.Expiring(exp)))
		c.HearsWord(t, "auth_error")
		c.IsRefused(t, CloseTimeout)
	})
}

// refusesRenewal expects that token does not renew a socket, neither open nor
// suspended, that a line in the log says why unless reason is empty, and that
// the socket ends when it would have ended.
func (s *PeerSite) refusesRenewal(t testing.TB, token, reason string) {
	t.Helper()
	lag, exp := MeasureLag(t), Soon(2*time.Second)
	first := s.Issuer.Token(map[string]any{"exp": exp.Unix(), "sid": "sid-1"})
	c := s.Open(t, H1, "/", http.Header{"Authorization": {"Bearer " + first}})
	c.Says(t, Login(token))
	if w := c.HearsWord(t, "auth_error"); w.Reason == "" {
		t.Error("no reason")
	}
	c.Pings(t, "alive")
	c.HearsWord(t, "auth_expired")
	lag.InTime(t, "suspension", exp, time.Now(), 5*time.Second)
	c.Says(t, Login(token)) // no better now
	c.HearsWord(t, "auth_error")
	c.IsRefused(t, CloseTimeout)
	if reason != "" {
		s.LogsReason(t, reason)
	}
}

// TestAttackRenewalNotNewer: jitter ends a socket before its token, which is
// still good then. It does not open the socket again.
func TestAttackRenewalNotNewer(t *testing.T) {
	t.Parallel()
	o := Renewing("warn 0s")
	o.Directives += "\njitter 50"
	s := StartSite(t, o)
	exp := Soon(6 * time.Second)
	token := Login(s.Issuer.Expiring(exp))
	suspended := make(chan *Conn, 20)
	for _, c := range OpenMany(t, s, H1, "/echo", s.Bearer(exp), cap(suspended), 1) {
		go func() {
			if f, err := c.Read(); err == nil && string(f.Payload) == `{"type":"auth_expired"}` {
				suspended <- c
			}
		}()
	}
	c := Receive(t, "suspended socket", suspended, Patience)
	c.Says(t, token, "held")
	if w := c.HearsWord(t, "auth_error"); w.Reason == "" || !time.Now().Before(exp) {
		t.Errorf("told %q, %v before the end of the token", w.Reason, time.Until(exp))
	}
	s.LogsReason(t, "not_newer")
	c.Pings(t, "held still")
	s.LogsIn(t, c)
	c.Hears(t, "held")
}

// TestAttackHoldFlooded: who sends without end while the socket is suspended
// is cut off, in either direction, by number and by size. Memory is bounded.
func TestAttackHoldFlooded(t *testing.T) {
	t.Parallel()
	o := Renewing("warn 0s\nhold 20 64KiB")
	ForEachPeerVersion(t, o, nil, func(t *testing.T, s *PeerSite, version string) {
		big := make([]byte, 40<<10)
		for name, flood := range map[string]func(c *Conn, p *Peer) error{
			"client, number": func(c *Conn, _ *Peer) error { return c.Write(OpText, []byte("x")) },
			"client, size":   func(c *Conn, _ *Peer) error { return c.Write(OpBinary, big) },
			"app, number":    func(_ *Conn, p *Peer) error { return p.Send("x") },
			"app, size":      func(_ *Conn, p *Peer) error { return p.Send(string(big)) },
		} {
			c, p := s.Suspended(t, version)
			go func() {
				for range 1000 {
					if flood(c, p) != nil {
						return
					}
				}
			}()
			if heard := c.beforeClose(t, CloseTimeout); len(heard) > 1 {
				t.Errorf("%s: the client was told %q", name, heard)
			}
			c.Vanish()
			for text := range p.Got {
				t.Errorf("%s: the application got %.20q", name, text)
			}
		}
		s.LogsReason(t, "hold_full")
	})
}

// TestRenewMaxSession: no renewal prolongs a socket beyond max_session.
func TestRenewMaxSession(t *testing.T) {
	t.Parallel()
	o := Renewing("warn 0s")
	o.Directives += "\nmax_session 8s"
	TryEachPeerVersion(t, o, nil, func(t testing.TB, s *PeerSite, version string) {
		lag := MeasureLag(t)
		start := time.Now()
		c := s.Open(t, version, "/", s.Bearer(Soon(2*time.Second)))
		p := s.Socket(t)
		s.LogsIn(t, c)
		texts, end := c.Last(t, Patience)
		lag.InTime(t, "end", start.Add(8*time.Second), time.Now(), 2*time.Second)
		if end.Code != CloseUnauthorized || end.Reason != "session over" {
			t.Errorf("%v, want 3000 \"session over\"", end)
		}
		if len(texts) > 1 {
			t.Errorf("before it came %q", texts)
		}
		p.Ends(t, CloseGoingAway)
	})
}
