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
	s := startPeerSite(t, everyMessage("close"), nil)
	token := s.issuer.expiring(time.Now().Add(time.Hour))
	long := func(n int) string {
		return fmt.Sprintf(`{"type":"chat","token":%q,"text":%q}`, token, strings.Repeat("x", n))
	}
	for name, frames := range map[string][]byte{
		"in one frame":          clientFrame(0x80|opText, []byte(long(17<<10))),
		"in frames without end": append(clientFrame(opText, []byte(long(9<<10))), clientFrame(opContinuation, make([]byte, 9<<10))...),
	} {
		c := s.open(t, h1, "/", noHeader)
		if err := c.writeRaw(frames); err != nil {
			t.Fatal(err)
		}
		if _, end := c.last(t, patience); end.code != closeTooBig {
			t.Errorf("%s: %v, want %d", name, end, closeTooBig)
		}
	}
	s.unasked(t)
	c := s.open(t, h1, "/", noHeader)
	c.says(t, long(10), long(100<<10))
	p := s.socket(t)
	for _, n := range []int{10, 100 << 10} {
		if got := receive(t, "message at the application", p.got, patience); !strings.Contains(got, strings.Repeat("x", n)) {
			t.Errorf("the application got %.60q, want %d bytes", got, n)
		}
	}
}
