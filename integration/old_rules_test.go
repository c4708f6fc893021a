package integration

import (
	"testing"
	"time"
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
	o := renewing("warn 0s")
	for name, after := range map[string]string{
		"no websocket_auth": none, "no site": "http://{$SITE2} {\nrespond ok\n}\n", "nothing": "",
		"other keys": keys, "other verifier and dialect": dialect,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			forEachPeerVersion(t, o, nil, func(t *testing.T, s *peerSite, version string) {
				c := s.open(t, version, "/", s.of("alice"))
				p := s.socket(t)
				if err := s.reload(t, after); err != nil {
					t.Fatal(err)
				}
				s.issuer.setKeys(rsaJWK(&strangerKey().PublicKey, "rsa-2"))
				renewed := func(exp time.Time) string {
					claims := s.issuer.claims()
					claims["sub"], claims["exp"] = "alice", exp.Unix()
					return login(sign(jwt{key: strangerKey(), header: map[string]any{"kid": "rsa-2"}, claims: claims}))
				}
				later := time.Now().Add(2 * time.Hour)
				c.says(t, renewed(later))
				c.accepted(t, later)
				c.says(t, "still here")
				p.hears(t, "still here")
			})
		})
	}
}
