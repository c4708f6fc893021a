package messages

import (
	"strings"
	"testing"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// TestAttackFurtherToken: an application that is handed tokens, because its
// protocol has one for each topic, never gets one that nobody has verified, or
// that is somebody else's: not after the login, and not hidden in a message
// that is too long to be read.
func TestAttackFurtherToken(t *testing.T) {
	t.Parallel()
	join := func(ref, token, pad string) string {
		return `["` + ref + `","` + ref + `","room:` + pad + ref + `","phx_join",{"token":"` + token + `"}]`
	}
	o := rig.SiteOptions{Directives: "from first_message\nhttp reject\ndialect phoenix"}
	rig.ForEachPeerVersion(t, o, nil, func(t *testing.T, s *rig.PeerSite, version string) {
		c := s.Open(t, version, "/", rig.NoHeader)
		good := join("1", s.Issuer.Token(), "")
		c.Says(t, good)
		p := s.Socket(t)
		p.Hears(t, good)

		mallory := map[string]any{"sub": "mallory"}
		c.Says(t, join("2", s.Issuer.Token(mallory), ""))
		c.Hears(t, `["2","2","room:2","phx_reply",{"status":"error","response":{"reason":"unauthorized","detail":"forbidden"}}]`)
		c.Says(t, join("3", "no.good.token", ""))
		c.Hears(t, `["3","3","room:3","phx_reply",{"status":"error","response":{"reason":"unauthorized","detail":"invalid_token"}}]`)
		again, long := join("4", s.Issuer.Token(), ""), join("5", s.Issuer.Token(), strings.Repeat("x", 60<<10))
		c.Says(t, again, long)
		p.Hears(t, again, long)

		huge := rig.HugeFrame() // its beginning is enough
		huge[0] = 0x80 | rig.OpText
		if err := c.WriteRaw(append(huge, `["6","6"`+strings.Repeat(" ", 600)...)); err != nil {
			t.Fatal(err)
		}
		c.Broken(t, rig.CloseTooBig)
		p.Ends(t, rig.CloseGoingAway)
		c.Vanish()
	})
}
