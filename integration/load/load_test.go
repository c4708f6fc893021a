package load

import (
	"errors"
	"io"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/internal/pace"
)

// TestExpiryUnderLoad: many sockets that end at the same moment, with traffic
// in both directions. Every client has its close frame in time, nothing is
// torn down before it has been read, the application is told, and nothing of
// the sockets is left.
func TestExpiryUnderLoad(t *testing.T) {
	tests := []struct {
		version    string
		conns, per int // WebSockets = conns * per
	}{
		{rig.H1, 500, 1},
		{rig.H2, 10, 10},
		{rig.H3, 10, 10},
	}
	for _, tt := range tests {
		t.Run(tt.version, func(t *testing.T) {
			life := expiryAfterOpening / 2
			pace.Try(t, func(t testing.TB) {
				life *= 2 // each time, for a machine that is too slow
				expireUnderLoad(t, tt.version, tt.conns, tt.per, life)
			})
		})
	}
}

// expiryAfterOpening is how long tokens of the load tests are good: enough to
// open all sockets.
const expiryAfterOpening = 7 * time.Second

func expireUnderLoad(t testing.TB, version string, conns, per int, life time.Duration) {
	s := rig.StartSite(t, rig.SiteOptions{})
	before := s.Footprint(t, version)
	n := conns * per

	exp := time.Now().Add(life).Truncate(time.Second)
	header, lag := s.Bearer(exp), rig.MeasureLag(t)
	ends := make(chan rig.ClientEnd, n)
	for _, c := range rig.OpenMany(t, s, version, "/echo", header, conns, per) {
		go func() { ends <- c.TalkUntilClosed(rig.Numbered) }()
	}
	late := judgeEnds(t, ends, n, exp, lag)
	for range n {
		if end := s.App.End(t, rig.Patience); end.Code != rig.CloseGoingAway {
			t.Errorf("the application's socket ended with %d (%v), want 1001", end.Code, end.Err)
		}
	}
	t.Logf("%d sockets over %s: the last close frame came %v after exp", n, version, late)
	s.CloseAll()
	s.NothingLeft(t, before)
}

// judgeEnds checks n ends of sockets whose token ended at exp and returns how
// late the last close frame was.
func judgeEnds(t testing.TB, ends <-chan rig.ClientEnd, n int, exp time.Time, lag *rig.Lag) (late time.Duration) {
	t.Helper()
	for range n {
		end := rig.Receive(t, "end of a socket", ends, time.Until(exp)+rig.Patience)
		judge(t, end, exp, lag)
		late = max(late, end.At.Sub(exp))
	}
	return late
}

func judge(t testing.TB, e rig.ClientEnd, exp time.Time, lag *rig.Lag) {
	t.Helper()
	if e.Err != nil {
		t.Errorf("no close frame: %v", e.Err)
		return
	}
	if e.Close.Code != rig.CloseUnauthorized || e.Close.Reason != "token expired" {
		t.Errorf("%v, want 3000 \"token expired\"", e.Close)
	}
	if e.Unclean != nil {
		t.Errorf("connection did not end cleanly: %v", e.Unclean)
	}
	lag.InTime(t, "close frame", exp, e.At, time.Second)
	if e.Echoed == 0 {
		t.Error("no traffic on this socket")
	}
}

// TestClientsThatDoNotRead: the application floods and nobody reads. The close
// frame cannot get out, and the socket is cut all the same.
func TestClientsThatDoNotRead(t *testing.T) {
	for _, version := range []string{rig.H1, rig.H2, rig.H3} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			pace.Try(t, func(t testing.TB) { endWhoDoesNotRead(t, version) })
		})
	}
}

func endWhoDoesNotRead(t testing.TB, version string) {
	const n = 20
	s := rig.StartSite(t, rig.SiteOptions{Globals: "grace_period 5s"})
	before := s.Footprint(t, version)
	exp := rig.Soon(2 * time.Second)
	lag := rig.MeasureLag(t)
	rig.OpenMany(t, s, version, "/flood", s.Bearer(exp), n, 1)
	for range n {
		end := s.App.End(t, time.Until(exp)+rig.Patience)
		lag.InTime(t, "end at the application", exp, end.At, 6*time.Second)
	}
	if version == rig.H1 { // a connection of HTTP/2 or HTTP/3 is the client's
		s.NothingLeft(t, before)
		return
	}
	s.NoSocketLeft(t)
	s.CloseAll()
	s.NothingLeft(t, before)
}

// TestExpiryInsideHugeMessage: a client cannot put off the end by never
// finishing a message.
func TestExpiryInsideHugeMessage(t *testing.T) {
	for _, version := range []string{rig.H1, rig.H2, rig.H3} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			pace.Try(t, func(t testing.TB) { endInsideHugeMessage(t, version) })
		})
	}
}

func endInsideHugeMessage(t testing.TB, version string) {
	s := rig.StartSite(t, rig.SiteOptions{Globals: "grace_period 5s"})
	before := s.Footprint(t, version)
	exp := rig.Soon(2 * time.Second)
	lag := rig.MeasureLag(t)
	c := s.Open(t, version, "/sink", s.Bearer(exp))

	gone := make(chan time.Time, 1)
	go func() {
		// Not as fast as it can: the application keeps all of it.
		ticker := time.NewTicker(2 * time.Millisecond)
		defer ticker.Stop()
		zeros := make([]byte, 8<<10)
		for err := c.WriteRaw(rig.HugeFrame()); err == nil; err = c.WriteRaw(zeros) {
			<-ticker.C
		}
		gone <- time.Now()
	}()
	_, err := c.Read()
	var end *rig.ClosedError
	if !errors.As(err, &end) || end.Code != rig.CloseUnauthorized {
		t.Fatalf("read: %v, want a close frame with 3000", err)
	}
	lag.InTime(t, "close frame", exp, time.Now(), time.Second)
	_ = c.Within(rig.Patience, func() error { _, err := io.Copy(io.Discard, c.Reader); return err })
	lag.InTime(t, "end of writing", exp, rig.Receive(t, "end of writing", gone, rig.Patience), 6*time.Second)
	if end := s.App.End(t, rig.Patience); end.Code == 1000 {
		t.Errorf("the application's socket ended with %d", end.Code)
	}
	s.CloseAll()
	s.NothingLeft(t, before)
}
