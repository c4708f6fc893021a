package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// jsonType is what a revocation is sent with.
var jsonType = http.Header{"Content-Type": {"application/json"}}

// adminRevocation is a revocation as the admin API shows it.
type adminRevocation struct {
	Issuer, Subject, Jti, Sid, Reason string

	IssuedBefore *time.Time `json:"issued_before"`
	Until        time.Time
}

// revoke revokes and returns the revocation and how many sockets it has ended.
func (p *caddyProc) revoke(t testing.TB, revocation map[string]any) (adminRevocation, int) {
	t.Helper()
	text, err := json.Marshal(revocation)
	if err != nil {
		t.Fatal(err)
	}
	status, body := p.ask(t, http.MethodPost, "revocations", string(text), jsonType)
	var answer struct {
		Revocation adminRevocation
		Sockets    int
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil || status != http.StatusOK {
		t.Fatalf("revoking %s: status %d, %v: %s", text, status, err, body)
	}
	return answer.Revocation, answer.Sockets
}

func (p *caddyProc) revocations(t testing.TB, query string) []adminRevocation {
	t.Helper()
	return answer[struct{ Revocations []adminRevocation }](t, p, "revocations?"+query).Revocations
}

// TestAdminRevocations: a revocation ends those that are meant, keeps them out,
// and lets them in again when it is taken back.
func TestAdminRevocations(t *testing.T) {
	t.Parallel()
	forEachPeerVersion(t, siteOptions{proxy: withSession}, nil, func(t *testing.T, s *peerSite, version string) {
		issuer := s.issuer.URL
		for _, kind := range []string{"subject", "jti", "sid"} {
			alice, bob := s.of("alice"), s.of("bob")
			c, d := s.open(t, version, "/", alice), s.open(t, version, "/", bob)
			p, q := s.socket(t), s.socket(t)
			value := map[string]string{"subject": "alice", "jti": "jti of alice", "sid": "sid of alice"}[kind]
			before := time.Now()
			r, ended := s.revoke(t, map[string]any{"issuer": issuer, kind: value, "reason": "test"})
			if ended != 1 {
				t.Errorf("%s: %d sockets have ended", kind, ended)
			}
			if (r.IssuedBefore != nil) != (kind == "subject") || r.Until.Sub(before) < 24*time.Hour || r.Until.Sub(before) > 25*time.Hour {
				t.Errorf("%s: %+v", kind, r)
			}
			if _, end := c.last(t, patience); end.code != 3000 || end.reason != "revoked" {
				t.Errorf("%s: closed with %+v", kind, end)
			}
			p.ends(t, closeGoingAway)
			if _, answer := s.handshake(t, version, "/", alice); answer.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s: a new handshake: %s", kind, answer.Status)
			}
			d.says(t, "still here")
			q.hears(t, "still here")
			name := url.Values{"issuer": {issuer}, kind: {value}}.Encode()
			if all := s.revocations(t, name); len(all) != 1 || all[0].Reason != "test" || len(s.revocations(t, "issuer=x")) != 0 {
				t.Errorf("%s: the list has %+v", kind, all)
			}
			s.asks(t, http.MethodDelete, "revocations?"+name, "", `{"removed":1}`)
			if status, _ := s.ask(t, http.MethodDelete, "revocations?"+name, "", nil); status != http.StatusNotFound {
				t.Errorf("%s: taken back twice: status %d", kind, status)
			}
			s.open(t, version, "/", alice).vanish()
			s.socket(t)
			d.vanish()
			s.noSessionLeft(t)
		}
	})
}

// TestAdminRevocationPages: the pages together are all revocations.
func TestAdminRevocationPages(t *testing.T) {
	t.Parallel()
	s := startPeerSite(t, siteOptions{}, nil)
	const n = 25
	for i := range n {
		s.revoke(t, map[string]any{"issuer": "https://id.example.com", "jti": fmt.Sprint(i)})
	}
	seen := make(map[string]bool)
	for query := "limit=10"; ; {
		page := answer[struct {
			Revocations []adminRevocation
			Total       int
			Next        string
		}](t, s.caddyProc, "revocations?"+query)
		for _, r := range page.Revocations {
			seen[r.Jti] = true
		}
		if page.Total != n || len(page.Revocations) > 10 {
			t.Errorf("%d of %d on a page", len(page.Revocations), page.Total)
		}
		if page.Next == "" {
			break
		}
		query = "limit=10&next=" + page.Next
	}
	if len(seen) != n {
		t.Errorf("%d revocations on all pages, want %d", len(seen), n)
	}
}

// TestAdminLockouts: who is locked out is listed, and let in again.
func TestAdminLockouts(t *testing.T) {
	t.Parallel()
	s := startPeerSite(t, siteOptions{globals: "websocket_auth {\nlockout 3 10m 5m\n}"}, nil)
	bad := http.Header{"Authorization": {"Bearer " + sign(jwt{claims: s.issuer.claims(), key: strangerKey()})}}
	for range 3 {
		if _, answer := s.handshake(t, h1, "/", bad); answer.StatusCode != http.StatusUnauthorized {
			t.Fatalf("a bad signature: %s", answer.Status)
		}
	}
	if _, answer := s.handshake(t, h1, "/", s.of("alice")); answer.StatusCode != http.StatusTooManyRequests {
		t.Fatalf("locked out: %s", answer.Status)
	}
	list := func(query string) []struct {
		Address string
		Until   time.Time
	} {
		return answer[struct {
			Lockouts []struct {
				Address string
				Until   time.Time
			}
		}](t, s.caddyProc, "lockouts"+query).Lockouts
	}
	all := list("")
	if len(all) != 1 || all[0].Address != "127.0.0.1" || time.Until(all[0].Until) < 4*time.Minute {
		t.Fatalf("locked out are %+v", all)
	}
	if len(list("?address=127.0.0.1")) != 1 || len(list("?address=192.0.2.1")) != 0 {
		t.Error("the filter does not hold")
	}
	s.asks(t, http.MethodDelete, "lockouts?address=192.0.2.1", "", `{"released":0}`)
	s.asks(t, http.MethodDelete, "lockouts?all=true", "", `{"released":1}`)
	if all := list(""); len(all) != 0 {
		t.Errorf("still locked out: %+v", all)
	}
	s.open(t, h1, "/", s.of("alice"))
}

// TestAdminKeys: the key sets say how they stand, also when the provider is
// away.
func TestAdminKeys(t *testing.T) {
	t.Parallel()
	s := startPeerSite(t, siteOptions{}, nil)
	s.open(t, h1, "/", s.of("alice"))
	type keySet struct {
		Source, State string

		Keys      int
		KeyIDs    []string `json:"key_ids"`
		Age       *int     `json:"age_seconds"`
		LastError string   `json:"last_error"`
	}
	get := func() keySet {
		all := answer[struct {
			KeySets []keySet `json:"key_sets"`
		}](t, s.caddyProc, "keys").KeySets
		if len(all) != 1 { // both sites share it
			t.Fatalf("%d key sets, want 1: %+v", len(all), all)
		}
		return all[0]
	}
	if k := get(); k.Source != s.issuer.jwksURL() || k.State != "fresh" || k.Keys != 2 ||
		strings.Join(k.KeyIDs, " ") != "ec-1 rsa-1" || k.Age == nil || k.LastError != "" {
		t.Errorf("%+v", k)
	}
	s.issuer.setAnswer(answerStatus(http.StatusInternalServerError))
	// A token with an unknown key causes a fetch.
	unknown := sign(jwt{claims: s.issuer.claims(), header: map[string]any{"kid": "unknown"}})
	s.handshake(t, h1, "/", http.Header{"Authorization": {"Bearer " + unknown}})
	if k := get(); k.State != "stale" || k.Keys != 2 || !strings.Contains(k.LastError, "500") {
		t.Errorf("with the provider away: %+v", k)
	}
}
