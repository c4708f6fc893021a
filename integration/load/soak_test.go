//go:build soak

package load

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// soakSockets is what two descriptors a socket and 20,000 a process leave room
// for, in Caddy and here.
const soakSockets = 8000

// TestSoakExpiry: as many sockets as a process may have descriptors for end at
// the same moment. Each client has its close frame within a second, and the
// whole takes less than two minutes. Run by "make soak".
func TestSoakExpiry(t *testing.T) {
	s := rig.StartSite(t, rig.SiteOptions{})
	before := s.Footprint(t, rig.H1)

	exp := time.Now().Add(30 * time.Second).Truncate(time.Second)
	header, lag := s.Bearer(exp), rig.MeasureLag(t)
	start := time.Now()
	conns := rig.OpenMany(t, s, rig.H1, "/echo", header, soakSockets, 1)
	opened := time.Since(start)
	if left := time.Until(exp); left < 5*time.Second {
		t.Fatalf("opening %d sockets took %v: too slow to be measured", soakSockets, opened)
	}
	resident := residentMiB(t, s.Cmd.Process.Pid)

	ends := make(chan rig.ClientEnd, soakSockets)
	for _, c := range conns {
		go func() { ends <- talkOnce(c) }()
	}
	var late []time.Duration
	for range conns {
		end := rig.Receive(t, "end of a socket", ends, time.Until(exp)+rig.Patience)
		judge(t, end, exp, lag)
		late = append(late, end.At.Sub(exp))
	}
	told := 0
	for range conns {
		if end := s.App.End(t, rig.Patience); end.Code == rig.CloseGoingAway {
			told++
		}
	}
	if told != soakSockets {
		t.Errorf("%d of %d applications' sockets got a close frame", told, soakSockets)
	}
	s.CloseAll()
	s.NothingLeft(t, before)

	slices.Sort(late)
	t.Logf("%d sockets opened in %v, %d MiB resident while idle, %d CPUs", soakSockets, opened, resident, runtime.NumCPU())
	t.Logf("close frames after exp: median %v, 99%% %v, last %v",
		late[len(late)/2], late[len(late)*99/100], late[len(late)-1])
}

// talkOnce sends one message, and then waits for the end.
func talkOnce(c *rig.Conn) (end rig.ClientEnd) {
	if end.Err = c.Write(rig.OpText, []byte("hello")); end.Err != nil {
		return end
	}
	for {
		_, err := c.Read()
		if errors.As(err, &end.Close) {
			end.At = time.Now()
			end.Unclean = c.Within(rig.Patience, func() error { return c.AnswerClose(end.Close.Code) })
			return end
		}
		if err != nil {
			end.Err = err
			return end
		}
		end.Echoed++
	}
}

// residentMiB returns the memory that a process has.
func residentMiB(t testing.TB, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var kib int
		if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kib); n == 1 {
			return kib / 1024
		}
	}
	t.Fatal("no VmRSS in the process's status")
	return 0
}
