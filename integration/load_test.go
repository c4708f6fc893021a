package integration

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

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
		{H1, 500, 1},
		{H2, 10, 10},
		{H3, 10, 10},
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
	s := StartSite(t, SiteOptions{})
	before := s.Footprint(t, version)
	n := conns * per

	exp := time.Now().Add(life).Truncate(time.Second)
	header, lag := s.Bearer(exp), MeasureLag(t)
	ends := make(chan ClientEnd, n)
	for _, c := range OpenMany(t, s, version, "/echo", header, conns, per) {
		go func() { ends <- c.TalkUntilClosed(Numbered) }()
	}
	late := judgeEnds(t, ends, n, exp, lag)
	for range n {
		if end := s.App.End(t, Patience); end.Code != CloseGoingAway {
			t.Errorf("the application's socket ended with %d (%v), want 1001", end.Code, end.Err)
		}
	}
	t.Logf("%d sockets over %s: the last close frame came %v after exp", n, version, late)
	s.CloseAll()
	s.NothingLeft(t, before)
}

// Close codes that the tests expect by number, so that a wrong constant in the
// product cannot make them pass.
const (
	CloseGoingAway    = 1001
	CloseUnauthorized = 3000
)

// ClientEnd is how a socket has ended for its client.
type ClientEnd struct {
	At      time.Time // of the close frame
	Close   *ClosedError
	Echoed  int
	Err     error // before the close frame
	Unclean error // after it
}

// TalkUntilClosed keeps a few messages on their way through the application
// until the socket is closed, answers that, and waits for the end.
func (c *Conn) TalkUntilClosed(message func(n uint64) []byte) (end ClientEnd) {
	const onTheirWay = 3
	for n := range uint64(onTheirWay) {
		if end.Err = c.Write(OpBinary, message(n)); end.Err != nil {
			return end
		}
	}
	for n := uint64(0); ; n++ {
		f, err := c.Read()
		if errors.As(err, &end.Close) {
			end.At = time.Now()
			end.Unclean = c.Within(Patience, func() error { return c.AnswerClose(end.Close.Code) })
			return end
		}
		if err != nil {
			end.Err = fmt.Errorf("after %d messages: %w", n, err)
			return end
		}
		if string(f.Payload) != string(message(n)) {
			end.Err = fmt.Errorf("message %d came back as another", n)
			return end
		}
		end.Echoed++
		// What is sent after the close frame is thrown away: an error here
		// shows in the next read.
		_ = c.Write(OpBinary, message(n+onTheirWay))
	}
}

// judgeEnds checks n ends of sockets whose token ended at exp and returns how
// late the last close frame was.
func judgeEnds(t testing.TB, ends <-chan ClientEnd, n int, exp time.Time, lag *Lag) (late time.Duration) {
	t.Helper()
	for range n {
		end := Receive(t, "end of a socket", ends, time.Until(exp)+Patience)
		end.judge(t, exp, lag)
		late = max(late, end.At.Sub(exp))
	}
	return late
}

func (e ClientEnd) judge(t testing.TB, exp time.Time, lag *Lag) {
	t.Helper()
	if e.Err != nil {
		t.Errorf("no close frame: %v", e.Err)
		return
	}
	if e.Close.Code != CloseUnauthorized || e.Close.Reason != "token expired" {
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

// OpenMany opens per WebSockets on each of n connections.
func OpenMany(t testing.TB, s *Site, version, path string, header http.Header, n, per int) []*Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*Patience)
	defer cancel()
	var (
		mu     sync.Mutex // guards all and failed
		all    []*Conn
		failed error
		wg     sync.WaitGroup
		slots  = make(chan struct{}, 16)
	)
	for range n {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			opened, err := s.OpenOn(ctx, version, path, header, per)
			mu.Lock()
			defer mu.Unlock()
			all, failed = append(all, opened...), errors.Join(failed, err)
		})
	}
	wg.Wait()
	if failed != nil {
		t.Fatal(failed)
	}
	return all
}

// TestClientsThatDoNotRead: the application floods and nobody reads. The close
// frame cannot get out, and the socket is cut all the same.
func TestClientsThatDoNotRead(t *testing.T) {
	for _, version := range []string{H1, H2, H3} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			pace.Try(t, func(t testing.TB) { endWhoDoesNotRead(t, version) })
		})
	}
}

func endWhoDoesNotRead(t testing.TB, version string) {
	const n = 20
	s := StartSite(t, SiteOptions{Globals: "grace_period 5s"})
	before := s.Footprint(t, version)
	exp := Soon(2 * time.Second)
	lag := MeasureLag(t)
	OpenMany(t, s, version, "/flood", s.Bearer(exp), n, 1)
	for range n {
		end := s.App.End(t, time.Until(exp)+Patience)
		lag.InTime(t, "end at the application", exp, end.At, 6*time.Second)
	}
	if version == H1 { // a connection of HTTP/2 or HTTP/3 is the client's
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
	for _, version := range []string{H1, H2, H3} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			pace.Try(t, func(t testing.TB) { endInsideHugeMessage(t, version) })
		})
	}
}

func endInsideHugeMessage(t testing.TB, version string) {
	s := StartSite(t, SiteOptions{Globals: "grace_period 5s"})
	before := s.Footprint(t, version)
	exp := Soon(2 * time.Second)
	lag := MeasureLag(t)
	c := s.Open(t, version, "/sink", s.Bearer(exp))

	gone := make(chan time.Time, 1)
	go func() {
		// Not as fast as it can: the application keeps all of it.
		ticker := time.NewTicker(2 * time.Millisecond)
		defer ticker.Stop()
		zeros := make([]byte, 8<<10)
		for err := c.WriteRaw(HugeFrame()); err == nil; err = c.WriteRaw(zeros) {
			<-ticker.C
		}
		gone <- time.Now()
	}()
	_, err := c.Read()
	var end *ClosedError
	if !errors.As(err, &end) || end.Code != CloseUnauthorized {
		t.Fatalf("read: %v, want a close frame with 3000", err)
	}
	lag.InTime(t, "close frame", exp, time.Now(), time.Second)
	_ = c.Within(Patience, func() error { _, err := io.Copy(io.Discard, c.Reader); return err })
	lag.InTime(t, "end of writing", exp, Receive(t, "end of writing", gone, Patience), 6*time.Second)
	if end := s.App.End(t, Patience); end.Code == 1000 {
		t.Errorf("the application's socket ended with %d", end.Code)
	}
	s.CloseAll()
	s.NothingLeft(t, before)
}

// HugeFrame returns the header of a frame that announces 1 GiB, masked with
// zeros.
func HugeFrame() []byte {
	b := binary.BigEndian.AppendUint64([]byte{0x80 | OpBinary, 0x80 | 127}, 1<<30)
	return append(b, 0, 0, 0, 0)
}
