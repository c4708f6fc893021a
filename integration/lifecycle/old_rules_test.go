package lifecycle

import (
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// TestOldRulesOutliveTheirConfig: a socket renews under the rules that it was
// opened under, also with a key that is new at its provider, whatever has come
// in the place of its configuration.
func TestOldRulesOutliveTheirConfig(t *testing.T) {
	t.Parallel()
	const (
		none = "http://{$SITE} {\nrespond ok\n}\nhttps://{$TLS} {\ntls {$CERT} {$KEY}\nrespond ok\n}\n"
		keys = `http://{$SITE} {
	websocket_auth https://never.example.com/keys other
	respond ok
}
`
		dialect = `http://{$SITE} {
	websocket_auth {
		verify jwt {
			secret a-secret-that-is-long-enough-for-HS256
			audience other
		}
		from first_message
		dialect graphql
	}
	respond ok
}
`
	)
	o := rig.Renewing("warn 0s")
	for name, after := range map[string]string{
		"no websocket_auth": none, "no site": "http://{$SITE2} {\nrespond ok\n}\n", "nothing": "",
		"other keys": keys, "other verifier and dialect": dialect,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rig.ForEachPeerVersion(t, o, nil, func(t *testing.T, s *rig.PeerSite, version string) {
				c := s.Open(t, version, "/", s.Of("alice"))
				p := s.Socket(t)
				if err := s.Reload(t, after); err != nil {
					t.Fatal(err)
				}
				s.Issuer.SetKeys(rig.RSAJWK(&rig.StrangerKey().PublicKey, "rsa-2"))
				renewed := func(exp time.Time) string {
					claims := s.Issuer.Claims()
					claims["sub"], claims["exp"] = "alice", exp.Unix()
					return rig.Login(rig.Sign(rig.JWT{Key: rig.StrangerKey(), Header: map[string]any{"kid": "rsa-2"}, Claims: claims}))
				}
				later := time.Now().Add(2 * time.Hour)
				c.Says(t, renewed(later))
				c.Accepted(t, later)
				c.Says(t, "still here")
				p.Hears(t, "still here")
			})
		})
	}
}
