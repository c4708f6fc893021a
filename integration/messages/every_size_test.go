package messages

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// TestEveryMessageBeforeTheLogin: of who has not logged in no more is kept than
// of a first message, also where each message may be longer afterwards.
func TestEveryMessageBeforeTheLogin(t *testing.T) {
	t.Parallel()
	s := rig.StartPeerSite(t, rig.EveryMessage("close"), nil)
	token := s.Issuer.Expiring(time.Now().Add(time.Hour))
	long := func(n int) string {
		return fmt.Sprintf(`{"type":"chat","token":%q,"text":%q}`, token, strings.Repeat("x", n))
	}
	for name, frames := range map[string][]byte{
		"in one frame":          rig.ClientFrame(0x80|rig.OpText, []byte(long(17<<10))),
		"in frames without end": append(rig.ClientFrame(rig.OpText, []byte(long(9<<10))), rig.ClientFrame(rig.OpContinuation, make([]byte, 9<<10))...),
	} {
		c := s.Open(t, rig.H1, "/", rig.NoHeader)
		if err := c.WriteRaw(frames); err != nil {
			t.Fatal(err)
		}
		if _, end := c.Last(t, rig.Patience); end.Code != rig.CloseTooBig {
			t.Errorf("%s: %v, want %d", name, end, rig.CloseTooBig)
		}
	}
	s.Unasked(t)
	c := s.Open(t, rig.H1, "/", rig.NoHeader)
	c.Says(t, long(10), long(100<<10))
	p := s.Socket(t)
	for _, n := range []int{10, 100 << 10} {
		if got := rig.Receive(t, "message at the application", p.Got, rig.Patience); !strings.Contains(got, strings.Repeat("x", n)) {
			t.Errorf("the application got %.60q, want %d bytes", got, n)
		}
	}
}
