package messages

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// TestRenewByRequest: a protocol that cannot carry a token can be renewed by a
// request, before the end and while the socket is suspended.
func TestRenewByRequest(t *testing.T) {
	t.Parallel()
	rig.ForEachPeerVersion(t, rig.Renewing("warn 0s\npath "+rig.RenewalPath), nil, func(t *testing.T, s *rig.PeerSite, version string) {
		exp := rig.Soon(2 * time.Second)
		c := s.Open(t, version, "/", s.Bearer(exp))
		p := s.Socket(t)
		id := p.Header.Get("X-Session")
		next := rig.LaterThan(exp, 2*time.Second)
		for _, end := range []time.Time{next, time.Now().Add(time.Hour)} {
			left := time.Until(end).Seconds()
			status, body := s.Post(t, version != rig.H1, id, s.Bearer(end))
			var answer struct {
				ExpiresIn float64 `json:"expires_in"`
			}
			if err := json.Unmarshal([]byte(body), &answer); err != nil || status != http.StatusOK {
				t.Fatalf("answered %d %q", status, body)
			}
			if answer.ExpiresIn > left || answer.ExpiresIn < time.Until(end).Seconds()-2 {
				t.Errorf("told %v s, want %v", answer.ExpiresIn, left)
			}
			c.Accepted(t, end)
			if end.Equal(next) {
				c.HearsWord(t, "auth_expired")
				if time.Now().Before(next) {
					t.Errorf("suspended %v too early", time.Until(next))
				}
				c.Says(t, "held in")
				p.Says(t, "held out")
				c.Pings(t, "read")
				p.Nothing(t)
			}
		}
		c.Hears(t, "held out")
		p.Hears(t, "held in")
	})
}

// TestAttackRenewByRequest: the request is checked as a handshake is, and the
// socket's id alone is worth nothing.
func TestAttackRenewByRequest(t *testing.T) {
	t.Parallel()
	o := rig.Renewing("warn 0s\ngrace 1s\npath " + rig.RenewalPath)
	o.Directives += "\nfrom cookie session\nrequire scope chat:read"
	s := rig.StartPeerSite(t, o, nil)
	i := s.Issuer
	lag, exp := rig.MeasureLag(t), rig.Soon(4*time.Second)
	c := s.Open(t, rig.H1, "/", s.Bearer(exp))
	p := s.Socket(t)
	id := p.Header.Get("X-Session")
	token := func(changes map[string]any) http.Header {
		return http.Header{"Authorization": {"Bearer " + i.Token(changes)}}
	}
	cookie := func(name, value string) http.Header {
		return http.Header{"Cookie": {"session=" + i.Token()}, name: {value}}
	}
	for name, tt := range map[string]struct {
		tls    bool
		id     string
		header http.Header
		status int
	}{
		"unknown id":          {false, "AAAAAAAAAAAAAAAAAAAAAAAAAA", token(nil), http.StatusNotFound},
		"no id":               {false, "", token(nil), http.StatusNotFound},
		"other site":          {true, id, token(nil), http.StatusNotFound},
		"no credential":       {false, id, nil, http.StatusUnauthorized},
		"other subject":       {false, id, token(map[string]any{"sub": "mallory"}), http.StatusForbidden},
		"other issuer":        {false, id, token(map[string]any{"iss": "https://other.example.com"}), http.StatusForbidden},
		"expired":             {false, id, token(map[string]any{"exp": 1}), http.StatusUnauthorized},
		"no scope":            {false, id, token(map[string]any{"scope": "other"}), http.StatusForbidden},
		"cross-origin cookie": {false, id, cookie("Origin", "https://evil.example.com"), http.StatusForbidden},
		"cross-site cookie":   {false, id, cookie("Sec-Fetch-Site", "cross-site"), http.StatusForbidden},
	} {
		if status, body := s.Post(t, tt.tls, tt.id, tt.header); status != tt.status {
			t.Errorf("%s: answered %d %q, want %d", name, status, body, tt.status)
		}
	}
	answer, _ := rig.Request(t, http.MethodGet, "http://"+s.Addr+rig.RenewalPath+"?session="+id, token(nil))
	if answer.StatusCode == http.StatusOK {
		t.Error("a GET was taken for a renewal")
	}
	c.HearsWord(t, "auth_expired") // and nothing before it
	lag.InTime(t, "suspension", exp, time.Now(), 5*time.Second)
	c.IsRefused(t, rig.CloseTimeout)
	p.Ends(t, rig.CloseGoingAway)
}

// TestRenewByCookie: a page of the same origin may renew by its cookie.
func TestRenewByCookie(t *testing.T) {
	t.Parallel()
	o := rig.Renewing("warn 0s\npath " + rig.RenewalPath)
	o.Directives += "\nfrom cookie session"
	s := rig.StartPeerSite(t, o, nil)
	c := s.Open(t, rig.H1, "/", s.Bearer(rig.Soon(time.Minute)))
	id := s.Socket(t).Header.Get("X-Session")
	exp := time.Now().Add(time.Hour)
	header := http.Header{"Cookie": {"session=" + s.Issuer.Expiring(exp)}, "Origin": {"http://" + s.Addr}}
	if status, body := s.Post(t, false, id, header); status != http.StatusOK {
		t.Fatalf("answered %d %q", status, body)
	}
	c.Accepted(t, exp)
}

// TestRenewAfterReload: a socket keeps the rules that it was opened under, and
// is renewed under them, by message and by request.
func TestRenewAfterReload(t *testing.T) {
	t.Parallel()
	o := rig.Renewing("warn 0s\npath " + rig.RenewalPath)
	rig.ForEachPeerVersion(t, o, nil, func(t *testing.T, s *rig.PeerSite, version string) {
		exp := rig.Soon(5 * time.Second)
		c := s.Open(t, version, "/", s.Bearer(exp))
		p := s.Socket(t)
		id := p.Header.Get("X-Session")
		stricter := o
		stricter.Directives += "\nrequire claim role admin"
		s.MustReload(t, stricter)
		if _, answer := s.Handshake(t, version, "/", s.Bearer(exp)); answer.StatusCode != http.StatusForbidden {
			t.Errorf("a new socket: %s, want 403", answer.Status)
		}
		next := rig.LaterThan(exp, 2*time.Second)
		if status, body := s.Post(t, version != rig.H1, id, s.Bearer(next)); status != http.StatusOK {
			t.Fatalf("answered %d %q", status, body)
		}
		c.Accepted(t, next)
		c.Says(t, rig.Login(s.Issuer.Token(map[string]any{"exp": next.Unix() + 60, "sub": "mallory"})))
		c.HearsWord(t, "auth_error")
		c.HearsWord(t, "auth_expired")
		c.Says(t, "held in")
		p.Says(t, "held out")
		s.LogsIn(t, c)
		c.Hears(t, "held out")
		p.Hears(t, "held in")
	})
}
