package admin

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// TestAdminRevocations: a revocation ends those that are meant, keeps them out,
// and lets them in again when it is taken back.
func TestAdminRevocations(t *testing.T) {
	t.Parallel()
	rig.ForEachPeerVersion(t, rig.SiteOptions{Proxy: withSession}, nil, func(t *testing.T, s *rig.PeerSite, version string) {
		issuer := s.Issuer.URL
		for _, kind := range []string{"subject", "jti", "sid"} {
			alice, bob := s.Of("alice"), s.Of("bob")
			c := s.Open(t, version, "/", alice)
			p := s.Socket(t) // one after the other: the application may tell of them in any order
			d := s.Open(t, version, "/", bob)
			q := s.Socket(t)
			value := map[string]string{"subject": "alice", "jti": "jti of alice", "sid": "sid of alice"}[kind]
			before := time.Now()
			r, ended := s.Revoke(t, map[string]any{"issuer": issuer, kind: value, "reason": "test"})
			if ended != 1 {
				t.Errorf("%s: %d sockets have ended", kind, ended)
			}
			if (r.IssuedBefore != nil) != (kind == "subject") || r.Until.Sub(before) < 24*time.Hour || r.Until.Sub(before) > 25*time.Hour {
				t.Errorf("%s: %+v", kind, r)
			}
			if _, end := c.Last(t, rig.Patience); end.Code != 3000 || end.Reason != "revoked" {
				t.Errorf("%s: closed with %+v", kind, end)
			}
			p.Ends(t, rig.CloseGoingAway)
			if _, answer := s.Handshake(t, version, "/", alice); answer.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s: a new handshake: %s", kind, answer.Status)
			}
			d.Says(t, "still here")
			q.Hears(t, "still here")
			name := url.Values{"issuer": {issuer}, kind: {value}}.Encode()
			if all := s.Revocations(t, name); len(all) != 1 || all[0].Reason != "test" || len(s.Revocations(t, "issuer=x")) != 0 {
				t.Errorf("%s: the list has %+v", kind, all)
			}
			s.Asks(t, http.MethodDelete, "revocations?"+name, "", `{"removed":1}`)
			if status, _ := s.Ask(t, http.MethodDelete, "revocations?"+name, "", nil); status != http.StatusNotFound {
				t.Errorf("%s: taken back twice: status %d", kind, status)
			}
			s.Open(t, version, "/", alice).Vanish()
			s.Socket(t)
			d.Vanish()
			s.NoSessionLeft(t)
		}
	})
}

// TestAdminRevocationPages: the pages together are all revocations.
func TestAdminRevocationPages(t *testing.T) {
	t.Parallel()
	s := rig.StartPeerSite(t, rig.SiteOptions{}, nil)
	const n = 25
	for i := range n {
		s.Revoke(t, map[string]any{"issuer": "https://id.example.com", "jti": fmt.Sprint(i)})
	}
	seen := make(map[string]bool)
	for query := "limit=10"; ; {
		page := rig.Answer[struct {
			Revocations []rig.AdminRevocation
			Total       int
			Next        string
		}](t, s.Caddy, "revocations?"+query)
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
	s := rig.StartPeerSite(t, rig.SiteOptions{Globals: "websocket_auth {\nlockout 3 10m 5m\n}"}, nil)
	bad := http.Header{"Authorization": {"Bearer " + rig.Sign(rig.JWT{Claims: s.Issuer.Claims(), Key: rig.StrangerKey()})}}
	for range 3 {
		if _, answer := s.Handshake(t, rig.H1, "/", bad); answer.StatusCode != http.StatusUnauthorized {
			t.Fatalf("a bad signature: %s", answer.Status)
		}
	}
	if _, answer := s.Handshake(t, rig.H1, "/", s.Of("alice")); answer.StatusCode != http.StatusTooManyRequests {
		t.Fatalf("locked out: %s", answer.Status)
	}
	list := func(query string) []struct {
		Address string
		Until   time.Time
	} {
		return rig.Answer[struct {
			Lockouts []struct {
				Address string
				Until   time.Time
			}
		}](t, s.Caddy, "lockouts"+query).Lockouts
	}
	all := list("")
	if len(all) != 1 || all[0].Address != "127.0.0.1" || time.Until(all[0].Until) < 4*time.Minute {
		t.Fatalf("locked out are %+v", all)
	}
	if len(list("?address=127.0.0.1")) != 1 || len(list("?address=192.0.2.1")) != 0 {
		t.Error("the filter does not hold")
	}
	s.Asks(t, http.MethodDelete, "lockouts?address=192.0.2.1", "", `{"released":0}`)
	s.Asks(t, http.MethodDelete, "lockouts?all=true", "", `{"released":1}`)
	if all := list(""); len(all) != 0 {
		t.Errorf("still locked out: %+v", all)
	}
	s.Open(t, rig.H1, "/", s.Of("alice"))
}

// TestAdminKeys: the key sets say how they stand, also when the provider is
// away.
func TestAdminKeys(t *testing.T) {
	t.Parallel()
	s := rig.StartPeerSite(t, rig.SiteOptions{}, nil)
	s.Open(t, rig.H1, "/", s.Of("alice"))
	type keySet struct {
		Source, State string

		Keys      int
		KeyIDs    []string `json:"key_ids"`
		Age       *int     `json:"age_seconds"`
		LastError string   `json:"last_error"`
	}
	get := func() keySet {
		all := rig.Answer[struct {
			KeySets []keySet `json:"key_sets"`
		}](t, s.Caddy, "keys").KeySets
		if len(all) != 1 { // both sites share it
			t.Fatalf("%d key sets, want 1: %+v", len(all), all)
		}
		return all[0]
	}
	if k := get(); k.Source != s.Issuer.JWKSURL() || k.State != "fresh" || k.Keys != 2 ||
		strings.Join(k.KeyIDs, " ") != "ec-1 rsa-1" || k.Age == nil || k.LastError != "" {
		t.Errorf("%+v", k)
	}
	s.Issuer.SetAnswer(rig.AnswerStatus(http.StatusInternalServerError))
	// A token with an unknown key causes a fetch.
	unknown := rig.Sign(rig.JWT{Claims: s.Issuer.Claims(), Header: map[string]any{"kid": "unknown"}})
	s.Handshake(t, rig.H1, "/", http.Header{"Authorization": {"Bearer " + unknown}})
	if k := get(); k.State != "stale" || k.Keys != 2 || !strings.Contains(k.LastError, "500") {
		t.Errorf("with the provider away: %+v", k)
	}
}
