package rig

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Footprint is what Caddy uses.
type Footprint struct{ Goroutines, Files int }

// Slack is how many goroutines more than before may be found: those that
// answer the question, and timers of Caddy's own.
const Slack = 6

// Footprint returns what Caddy uses while it has no socket, and has had one of
// the version that is to be tested: some things are made once.
func (s *Site) Footprint(t testing.TB, version string) Footprint {
	t.Helper()
	return s.FootprintOf(t, version, s.Bearer(time.Now().Add(time.Hour)))
}

// FootprintOf is Footprint with a client of one's own.
func (s *Site) FootprintOf(t testing.TB, version string, header http.Header) Footprint {
	t.Helper()
	c := s.Open(t, version, "/echo", header)
	if err := c.Write(OpClose, []byte{0x03, 0xe8}); err != nil {
		t.Fatal(err)
	}
	s.App.End(t, Patience)
	s.App.Handshake(t)
	c.Vanish()
	s.CloseAll()
	s.NoneRuns(t, slices.Concat(ofSockets, OfConnections))
	return s.Uses(t)
}

var profileTotal = regexp.MustCompile(`^goroutine profile: total (\d+)`)

// Uses returns what Caddy uses now.
func (s *Site) Uses(t testing.TB) Footprint {
	t.Helper()
	files := OpenFiles(t, s.Cmd.Process.Pid)
	profile := s.Admin(t, "/debug/pprof/goroutine?debug=1")
	total := profileTotal.FindStringSubmatch(profile)
	if total == nil {
		t.Fatalf("no total in the goroutine profile: %.200q", profile)
	}
	n, err := strconv.Atoi(total[1])
	if err != nil {
		t.Fatal(err)
	}
	return Footprint{n, files}
}

// OpenFiles returns how many file descriptors a process has, or 0 where the
// system does not tell: there, goroutines alone show what is left.
func OpenFiles(t testing.TB, pid int) int {
	t.Helper()
	if runtime.GOOS != "linux" {
		return 0
	}
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// ofSockets are functions that run only for a socket, OfConnections those that
// run for a connection.
var (
	ofSockets = []string{
		"caddy-websocket-auth/proxy.(", "caddy-websocket-auth.(*socket)",
		"reverseproxy.switchProtocolCopier", "reverseproxy.(*Handler).handleUpgradeResponse",
	}
	OfConnections = []string{
		"http2.(*serverConn)", "quic-go.(*Conn).run", "http3.(*Server).handleConn", "net/http.(*conn).serve",
	}
)

// NoSocketLeft waits until nothing runs for a socket.
func (s *Site) NoSocketLeft(t testing.TB) {
	t.Helper()
	s.NoneRuns(t, ofSockets)
}

// NoneRuns waits until no goroutine of Caddy's runs one of the functions.
func (s *Site) NoneRuns(t testing.TB, functions []string) {
	t.Helper()
	Eventually(t, Patience, func() string {
		stacks := goroutinesOf(s.Admin(t, "/debug/pprof/goroutine?debug=1"), functions...)
		stacks = slices.DeleteFunc(stacks, func(stack string) bool {
			return strings.Contains(stack, "pprof.writeGoroutine") // who answers us
		})
		if len(stacks) == 0 {
			return ""
		}
		return fmt.Sprintf("%d kinds of goroutines are left, such as\n%s", len(stacks), stacks[0])
	})
}

// NothingLeft waits until Caddy uses no more than before, and runs nothing for
// a socket.
func (s *Site) NothingLeft(t testing.TB, before Footprint) {
	t.Helper()
	s.NoneRuns(t, slices.Concat(ofSockets, OfConnections))
	Eventually(t, Patience, func() string {
		now := s.Uses(t)
		if now.Files <= before.Files && now.Goroutines <= before.Goroutines+Slack {
			return ""
		}
		return fmt.Sprintf("%d goroutines and %d files are left, %d and %d before: %s",
			now.Goroutines, now.Files, before.Goroutines, before.Files,
			s.Admin(t, "/debug/pprof/goroutine?debug=1"))
	})
}

// goroutinesOf returns the stacks of a goroutine profile, debug=1, that have
// one of the given texts in them.
func goroutinesOf(profile string, texts ...string) []string {
	var found []string
	for stack := range strings.SplitSeq(profile, "\n\n") {
		for _, text := range texts {
			if strings.Contains(stack, text) {
				found = append(found, stack)
				break
			}
		}
	}
	return found
}
