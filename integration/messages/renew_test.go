package messages

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// TestRenewSuspended: before the end the client is asked, at the end the
// socket is suspended: no message passes, in either direction, but pings are
// answered on both sides. With the renewal all that was held arrives, in
// order, once.
func TestRenewSuspended(t *testing.T) {
	t.Parallel()
	rig.TryEachPeerVersion(t, rig.Renewing("warn 5s"), nil, func(t testing.TB, s *rig.PeerSite, version string) {
		lag := rig.MeasureLag(t)
		exp := rig.Soon(7 * time.Second)
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
		c.Says(t, rig.Login(s.Issuer.Expiring(newExp)), "in behind")
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
	rig.ForEachPeerVersion(t, rig.Renewing(""), nil, func(t *testing.T, s *rig.PeerSite, version string) {
		c := s.Open(t, version, "/", s.Bearer(rig.Soon(2*time.Second)))
		p := s.Socket(t)
		c.HearsWord(t, "auth_required")
		if err := c.WriteRaw(rig.ClientFrame(rig.OpText, []byte("begun "))); err != nil {
			t.Fatal(err)
		}
		c.HearsWord(t, "auth_expired")
		if err := c.WriteRaw(rig.ClientFrame(0x80|rig.OpContinuation, []byte("and ended"))); err != nil {
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
	rig.TryEachPeerVersion(t, rig.Renewing("warn 0s\ngrace 5s"), nil, func(t testing.TB, s *rig.PeerSite, version string) {
		lag := rig.MeasureLag(t)
		exp := rig.Soon(2 * time.Second)
		c := s.Open(t, version, "/", s.Bearer(exp))
		p := s.Socket(t)
		c.HearsWord(t, "auth_expired")
		c.Says(t, "in")
		p.Says(t, "out")
		c.IsRefused(t, rig.CloseTimeout)
		lag.InTime(t, "end", exp.Add(5*time.Second), time.Now(), 2*time.Second)
		p.Ends(t, rig.CloseGoingAway)
		s.LogsReason(t, "renewal_timeout")
	})
}

// TestRenewUnasked: a renewal may come at any time, and by message also where
// the token came otherwise.
func TestRenewUnasked(t *testing.T) {
	t.Parallel()
	rig.TryEachPeerVersion(t, rig.Renewing("warn 0s"), nil, func(t testing.TB, s *rig.PeerSite, version string) {
		exp := rig.Soon(2 * time.Second)
		first := s.Issuer.Expiring(exp)
		conns := map[string]*rig.Conn{
			"header":      s.Open(t, version, "/", http.Header{"Authorization": {"Bearer " + first}}),
			"query":       s.Open(t, version, "/?access_token="+first, rig.NoHeader),
			"subprotocol": s.Open(t, version, "/", http.Header{"Sec-Websocket-Protocol": {"bearer, " + first}}),
			"message":     s.Open(t, version, "/", rig.NoHeader),
		}
		conns["message"].Says(t, rig.Login(first))
		conns["message"].Accepted(t, exp)
		newExp := rig.LaterThan(exp, 2*time.Second)
		for _, c := range conns {
			c.Says(t, rig.Login(s.Issuer.Expiring(newExp)))
			c.Accepted(t, newExp)
		}
		lag := rig.MeasureLag(t)
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
	s := rig.StartPeerSite(t, rig.Renewing("warn 0s\ngrace 5s"), nil)
	type changes = map[string]any
	tests := []struct {
		name   string
		claims changes
		reason string
	}{
		{"other subject", changes{"sub": "mallory"}, "other_identity"},
		{"no subject", changes{"sub": rig.Absent}, ""},
		{"other issuer", changes{"iss": "https://other.example.com"}, "other_identity"},
		{"no issuer", changes{"iss": rig.Absent}, "other_identity"},
		{"other sid", changes{"sid": "sid-2"}, "other_identity"},
		{"expired", changes{"exp": time.Now().Add(-time.Minute).Unix()}, "expired"},
		{"no exp", changes{"exp": rig.Absent}, ""},
		{"other audience", changes{"aud": "other"}, "wrong_audience"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			refusesRenewal(t, s, s.Issuer.Token(tt.claims), tt.reason)
		})
	}
	for name, tt := range map[string]struct{ token, reason string }{
		"stranger's": {rig.Sign(rig.JWT{Key: rig.StrangerKey(), Claims: s.Issuer.Claims()}), "bad_signature"},
		"garbage":    {"garbage", "malformed_token"},
		"nothing":    {"", "missing_credential"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refusesRenewal(t, s, tt.token, tt.reason)
		})
	}
	t.Run("older", func(t *testing.T) {
		t.Parallel()
		exp := rig.Soon(2 * time.Second)
		c := s.Open(t, rig.H1, "/", s.Bearer(exp))
		c.Says(t, rig.Login(s.Issuer.Expiring(exp.Add(-time.Second)))) // good, but it counts for nothing
		if w := c.HearsWord(t, "auth_ok"); w.ExpiresIn == nil || *w.ExpiresIn > time.Until(exp).Seconds()+1 {
			t.Errorf("told that it ends later than in %v", time.Until(exp))
		}
		c.HearsWord(t, "auth_expired")
		if time.Now().Before(exp) {
			t.Errorf("suspended %v before the end of the newer token", time.Until(exp))
		}
		c.Says(t, rig.Login(s.Issuer.Expiring(exp)))
		c.HearsWord(t, "auth_error")
		c.IsRefused(t, rig.CloseTimeout)
	})
}

// refusesRenewal expects that token does not renew a socket, neither open nor
// suspended, that a line in the log says why unless reason is empty, and that
// the socket ends when it would have ended.
func refusesRenewal(t testing.TB, s *rig.PeerSite, token, reason string) {
	t.Helper()
	lag, exp := rig.MeasureLag(t), rig.Soon(2*time.Second)
	first := s.Issuer.Token(map[string]any{"exp": exp.Unix(), "sid": "sid-1"})
	c := s.Open(t, rig.H1, "/", http.Header{"Authorization": {"Bearer " + first}})
	c.Says(t, rig.Login(token))
	if w := c.HearsWord(t, "auth_error"); w.Reason == "" {
		t.Error("no reason")
	}
	c.Pings(t, "alive")
	c.HearsWord(t, "auth_expired")
	lag.InTime(t, "suspension", exp, time.Now(), 5*time.Second)
	c.Says(t, rig.Login(token)) // no better now
	c.HearsWord(t, "auth_error")
	c.IsRefused(t, rig.CloseTimeout)
	if reason != "" {
		s.LogsReason(t, reason)
	}
}

// TestAttackRenewalNotNewer: jitter ends a socket before its token, which is
// still good then. It does not open the socket again.
func TestAttackRenewalNotNewer(t *testing.T) {
	t.Parallel()
	o := rig.Renewing("warn 0s")
	o.Directives += "\njitter 50"
	s := rig.StartSite(t, o)
	exp := rig.Soon(6 * time.Second)
	token := rig.Login(s.Issuer.Expiring(exp))
	suspended := make(chan *rig.Conn, 20)
	for _, c := range rig.OpenMany(t, s, rig.H1, "/echo", s.Bearer(exp), cap(suspended), 1) {
		go func() {
			if f, err := c.Read(); err == nil && string(f.Payload) == `{"type":"auth_expired"}` {
				suspended <- c
			}
		}()
	}
	c := rig.Receive(t, "suspended socket", suspended, rig.Patience)
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
	o := rig.Renewing("warn 0s\nhold 20 64KiB")
	rig.ForEachPeerVersion(t, o, nil, func(t *testing.T, s *rig.PeerSite, version string) {
		big := make([]byte, 40<<10)
		for name, flood := range map[string]func(c *rig.Conn, p *rig.Peer) error{
			"client, number": func(c *rig.Conn, _ *rig.Peer) error { return c.Write(rig.OpText, []byte("x")) },
			"client, size":   func(c *rig.Conn, _ *rig.Peer) error { return c.Write(rig.OpBinary, big) },
			"app, number":    func(_ *rig.Conn, p *rig.Peer) error { return p.Send("x") },
			"app, size":      func(_ *rig.Conn, p *rig.Peer) error { return p.Send(string(big)) },
		} {
			c, p := s.Suspended(t, version)
			go func() {
				for range 1000 {
					if flood(c, p) != nil {
						return
					}
				}
			}()
			if heard := beforeClose(t, c, rig.CloseTimeout); len(heard) > 1 {
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
	o := rig.Renewing("warn 0s")
	o.Directives += "\nmax_session 8s"
	rig.TryEachPeerVersion(t, o, nil, func(t testing.TB, s *rig.PeerSite, version string) {
		lag := rig.MeasureLag(t)
		start := time.Now()
		c := s.Open(t, version, "/", s.Bearer(rig.Soon(2*time.Second)))
		p := s.Socket(t)
		s.LogsIn(t, c)
		texts, end := c.Last(t, rig.Patience)
		lag.InTime(t, "end", start.Add(8*time.Second), time.Now(), 2*time.Second)
		if end.Code != rig.CloseUnauthorized || end.Reason != "session over" {
			t.Errorf("%v, want 3000 \"session over\"", end)
		}
		if len(texts) > 1 {
			t.Errorf("before it came %q", texts)
		}
		p.Ends(t, rig.CloseGoingAway)
	})
}
