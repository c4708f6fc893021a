package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestEveryMessageBeforeTheLogin: of who has not logged in no more is kept than
// of a first message, also where each message may be longer afterwards.
func TestEveryMessageBeforeTheLogin(t *testing.T) {
	t.Parallel()
	s := StartPeerSite(t, EveryMessage("close"), nil)
	token := s.Issuer.Expiring(time.Now().Add(time.Hour))
	long := func(n int) string {
		return fmt.Sprintf(`{"type":"chat","token":%q,"text":%q}`, token, strings.Repeat("x", n))
	}
	for name, frames := range map[string][]byte{
		"in one frame":          ClientFrame(0x80|OpText, []byte(long(17<<10))),
		"in frames without end": append(ClientFrame(OpText, []byte(long(9<<10))), ClientFrame(OpContinuation, make([]byte, 9<<10))...),
	} {
		c := s.Open(t, H1, "/", NoHeader)
		if err := c.WriteRaw(frames); err != nil {
			t.Fatal(err)
		}
		if _, end := c.Last(t, Patience); end.Code != CloseTooBig {
			t.Errorf("%s: %v, want %d", name, end, CloseTooBig)
		}
	}
	s.Unasked(t)
	c := s.Open(t, H1, "/", NoHeader)
	c.Says(t, long(10), long(100<<10))
	p := s.Socket(t)
	for _, n := range []int{10, 100 << 10} {
		if got := Receive(t, "message at the application", p.Got, Patience); !strings.Contains(got, strings.Repeat("x", n)) {
			t.Errorf("the application got %.60q, want %d bytes", got, n)
		}
	}
}
