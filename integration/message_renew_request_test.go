package integration

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"testing"
	"time"
)

// renewalPath is where the sites of these tests take renewals.
const renewalPath = "/renew"

// post renews the socket with this id over plain HTTP, by the site over TLS
// or the other one, and returns the status and the body.
func (s *site) post(t testing.TB, tls bool, session string, header http.Header) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	url, client := "http://"+s.site, &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	if tls {
		url = "https://" + s.tls
		client.Transport = &http.Transport{DisableKeepAlives: true, TLSClientConfig: s.tlsConfig}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url+renewalPath+"?session="+session, nil)
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(r.Header, header)
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

// TestRenewByRequest: a protocol that cannot carry a token can be renewed by a
// request, before the end and while the socket is suspended.
func TestRenewByRequest(t *testing.T) {
	t.Parallel()
	forEachPeerVersion(t, renewing("warn 0s\npath "+renewalPath), nil, func(t *testing.T, s *peerSite, version string) {
		exp := soon(2 * time.Second)
		c := s.open(t, version, "/", s.bearer(exp))
		p := s.socket(t)
		id := p.header.Get("X-Session")
		next := laterThan(exp, 2*time.Second)
		for _, end := range []time.Time{next, time.Now().Add(time.Hour)} {
			left := time.Until(end).Seconds()
			status, body := s.post(t, version != h1, id, s.bearer(end))
			var answer struct {
				ExpiresIn float64 `json:"expires_in"`
			}
			if err := json.Unmarshal([]byte(body), &answer); err != nil || status != http.StatusOK {
				t.Fatalf("answered %d %q", status, body)
			}
			if answer.ExpiresIn > left || answer.ExpiresIn < time.Until(end).Seconds()-2 {
				t.Errorf("told %v s, want %v", answer.ExpiresIn, left)
			}
			c.accepted(t, end)
			if end.Equal(next) {
				c.hearsWord(t, "auth_expired")
				if time.Now().Before(next) {
					t.Errorf("suspended %v too early", time.Until(next))
				}
				c.says(t, "held in")
				p.says(t, "held out")
				c.pings(t, "read")
				p.nothing(t)
			}
		}
		c.hears(t, "held out")
		p.hears(t, "held in")
	})
}

// TestAttackRenewByRequest: the request is checked as a handshake is, and the
// socket's id alone is worth nothing.
func TestAttackRenewByRequest(t *testing.T) {
	t.Parallel()
	o := renewing("warn 0s\ngrace 1s\npath " + renewalPath)
	o.directives += "\nfrom cookie session\nrequire scope chat:read"
	s := startPeerSite(t, o, nil)
	i := s.issuer
	lag, exp := measureLag(t), soon(4*time.Second)
	c := s.open(t, h1, "/", s.bearer(exp))
	p := s.socket(t)
	id := p.header.Get("X-Session")
	token := func(changes map[string]any) http.Header {
		return http.Header{"Authorization": {"Bearer " + i.token(changes)}}
	}
	cookie := func(name, value string) http.Header {
		return http.Header{"Cookie": {"session=" + i.token()}, name: {value}}
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
		if status, body := s.post(t, tt.tls, tt.id, tt.header); status != tt.status {
			t.Errorf("%s: answered %d %q, want %d", name, status, body, tt.status)
		}
	}
	answer, _ := request(t, http.MethodGet, "http://"+s.site.site+renewalPath+"?session="+id, token(nil))
	if answer.StatusCode == http.StatusOK {
		t.Error("a GET was taken for a renewal")
	}
	c.hearsWord(t, "auth_expired") // and nothing before it
	lag.inTime(t, "suspension", exp, time.Now(), 5*time.Second)
	c.isRefused(t, closeTimeout)
	p.ends(t, closeGoingAway)
}

// TestRenewByCookie: a page of the same origin may renew by its cookie.
func TestRenewByCookie(t *testing.T) {
	t.Parallel()
	o := renewing("warn 0s\npath " + renewalPath)
	o.directives += "\nfrom cookie session"
	s := startPeerSite(t, o, nil)
	c := s.open(t, h1, "/", s.bearer(soon(time.Minute)))
	id := s.socket(t).header.Get("X-Session")
	exp := time.Now().Add(time.Hour)
	header := http.Header{"Cookie": {"session=" + s.issuer.expiring(exp)}, "Origin": {"http://" + s.site.site}}
	if status, body := s.post(t, false, id, header); status != http.StatusOK {
		t.Fatalf("answered %d %q", status, body)
	}
	c.accepted(t, exp)
}

// TestRenewAfterReload: a socket keeps the rules that it was opened under, and
// is renewed under them, by message and by request.
func TestRenewAfterReload(t *testing.T) {
	t.Parallel()
	o := renewing("warn 0s\npath " + renewalPath)
	forEachPeerVersion(t, o, nil, func(t *testing.T, s *peerSite, version string) {
		exp := soon(5 * time.Second)
		c := s.open(t, version, "/", s.bearer(exp))
		p := s.socket(t)
		id := p.header.Get("X-Session")
		stricter := o
		stricter.directives += "\nrequire claim role admin"
		s.mustReload(t, stricter)
		if _, answer := s.handshake(t, version, "/", s.bearer(exp)); answer.StatusCode != http.StatusForbidden {
			t.Errorf("a new socket: %s, want 403", answer.Status)
		}
		next := laterThan(exp, 2*time.Second)
		if status, body := s.post(t, version != h1, id, s.bearer(next)); status != http.StatusOK {
			t.Fatalf("answered %d %q", status, body)
		}
		c.accepted(t, next)
		c.says(t, login(s.issuer.token(map[string]any{"exp": next.Unix() + 60, "sub": "mallory"})))
		c.hearsWord(t, "auth_error")
		c.hearsWord(t, "auth_expired")
		c.says(t, "held in")
		p.says(t, "held out")
		s.logsIn(t, c)
		c.hears(t, "held out")
		p.hears(t, "held in")
	})
}
