package integration

import (
	"strings"
	"testing"
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
	o := siteOptions{directives: "from first_message\nhttp reject\ndialect phoenix"}
	forEachPeerVersion(t, o, nil, func(t *testing.T, s *peerSite, version string) {
		c := s.open(t, version, "/", noHeader)
		good := join("1", s.issuer.token(), "")
		c.says(t, good)
		p := s.socket(t)
		p.hears(t, good)

		mallory := map[string]any{"sub": "mallory"}
		c.says(t, join("2", s.issuer.token(mallory), ""))
		c.hears(t, `["2","2","room:2","phx_reply",{"status":"error","response":{"reason":"unauthorized","detail":"forbidden"}}]`)
		c.says(t, join("3", "no.good.token", ""))
		c.hears(t, `["3","3","room:3","phx_reply",{"status":"error","response":{"reason":"unauthorized","detail":"invalid_token"}}]`)
		again, long := join("4", s.issuer.token(), ""), join("5", s.issuer.token(), strings.Repeat("x", 60<<10))
		c.says(t, again, long)
		p.hears(t, again, long)

		huge := hugeFrame() // its beginning is enough
		huge[0] = 0x80 | opText
		if err := c.writeRaw(append(huge, `["6","6"`+strings.Repeat(" ", 600)...)); err != nil {
			t.Fatal(err)
		}
		c.broken(t, closeTooBig)
		p.ends(t, closeGoingAway)
		c.vanish()
	})
}
