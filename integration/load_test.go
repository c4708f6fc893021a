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
		{h1, 500, 1},
		{h2, 10, 10},
		{h3, 10, 10},
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
	s := startSite(t, siteOptions{})
	before := s.footprint(t, version)
	n := conns * per

	exp := time.Now().Add(life).Truncate(time.Second)
	header, lag := s.bearer(exp), measureLag(t)
	ends := make(chan clientEnd, n)
	for _, c := range openMany(t, s, version, "/echo", header, conns, per) {
		go func() { ends <- c.talkUntilClosed(numbered) }()
	}
	late := judgeEnds(t, ends, n, exp, lag)
	for range n {
		if end := s.app.end(t, patience); end.code != closeGoingAway {
			t.Errorf("the application's socket ended with %d (%v), want 1001", end.code, end.err)
		}
	}
	t.Logf("%d sockets over %s: the last close frame came %v after exp", n, version, late)
	s.closeAll()
	s.nothingLeft(t, before)
}

// Close codes that the tests expect by number, so that a wrong constant in the
// product cannot make them pass.
const (
	closeGoingAway    = 1001
	closeUnauthorized = 3000
)

// clientEnd is how a socket has ended for its client.
type clientEnd struct {
	at      time.Time // of the close frame
	close   *closed
	echoed  int
	err     error // before the close frame
	unclean error // after it
}

// talkUntilClosed keeps a few messages on their way through the application
// until the socket is closed, answers that, and waits for the end.
func (c *wsConn) talkUntilClosed(message func(n uint64) []byte) (end clientEnd) {
	const onTheirWay = 3
	for n := range uint64(onTheirWay) {
		if end.err = c.write(opBinary, message(n)); end.err != nil {
			return end
		}
	}
	for n := uint64(0); ; n++ {
		f, err := c.read()
		if errors.As(err, &end.close) {
			end.at = time.Now()
			end.unclean = c.within(patience, func() error { return c.answerClose(end.close.code) })
			return end
		}
		if err != nil {
			end.err = fmt.Errorf("after %d messages: %w", n, err)
			return end
		}
		if string(f.payload) != string(message(n)) {
			end.err = fmt.Errorf("message %d came back as another", n)
			return end
		}
		end.echoed++
		// What is sent after the close frame is thrown away: an error here
		// shows in the next read.
		_ = c.write(opBinary, message(n+onTheirWay))
	}
}

// judgeEnds checks n ends of sockets whose token ended at exp and returns how
// late the last close frame was.
func judgeEnds(t testing.TB, ends <-chan clientEnd, n int, exp time.Time, lag *lag) (late time.Duration) {
	t.Helper()
	for range n {
		end := receive(t, "end of a socket", ends, time.Until(exp)+patience)
		end.judge(t, exp, lag)
		late = max(late, end.at.Sub(exp))
	}
	return late
}

func (e clientEnd) judge(t testing.TB, exp time.Time, lag *lag) {
	t.Helper()
	if e.err != nil {
		t.Errorf("no close frame: %v", e.err)
		return
	}
	if e.close.code != closeUnauthorized || e.close.reason != "token expired" {
		t.Errorf("%v, want 3000 \"token expired\"", e.close)
	}
	if e.unclean != nil {
		t.Errorf("connection did not end cleanly: %v", e.unclean)
	}
	lag.inTime(t, "close frame", exp, e.at, time.Second)
	if e.echoed == 0 {
		t.Error("no traffic on this socket")
	}
}

// openMany opens per WebSockets on each of n connections.
func openMany(t testing.TB, s *site, version, path string, header http.Header, n, per int) []*wsConn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	var (
		mu     sync.Mutex // guards all and failed
		all    []*wsConn
		failed error
		wg     sync.WaitGroup
		slots  = make(chan struct{}, 16)
	)
	for range n {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			opened, err := s.openOn(ctx, version, path, header, per)
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
	for _, version := range []string{h1, h2, h3} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			pace.Try(t, func(t testing.TB) { endWhoDoesNotRead(t, version) })
		})
	}
}

func endWhoDoesNotRead(t testing.TB, version string) {
	const n = 20
	s := startSite(t, siteOptions{globals: "grace_period 5s"})
	before := s.footprint(t, version)
	exp := soon(2 * time.Second)
	lag := measureLag(t)
	openMany(t, s, version, "/flood", s.bearer(exp), n, 1)
	for range n {
		end := s.app.end(t, time.Until(exp)+patience)
		lag.inTime(t, "end at the application", exp, end.at, 6*time.Second)
	}
	if version == h1 { // a connection of HTTP/2 or HTTP/3 is the client's
		s.nothingLeft(t, before)
		return
	}
	s.noSocketLeft(t)
	s.closeAll()
	s.nothingLeft(t, before)
}

// TestExpiryInsideHugeMessage: a client cannot put off the end by never
// finishing a message.
func TestExpiryInsideHugeMessage(t *testing.T) {
	for _, version := range []string{h1, h2, h3} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			pace.Try(t, func(t testing.TB) { endInsideHugeMessage(t, version) })
		})
	}
}

func endInsideHugeMessage(t testing.TB, version string) {
	s := startSite(t, siteOptions{globals: "grace_period 5s"})
	before := s.footprint(t, version)
	exp := soon(2 * time.Second)
	lag := measureLag(t)
	c := s.open(t, version, "/sink", s.bearer(exp))

	gone := make(chan time.Time, 1)
	go func() {
		// Not as fast as it can: the application keeps all of it.
		ticker := time.NewTicker(2 * time.Millisecond)
		defer ticker.Stop()
		zeros := make([]byte, 8<<10)
		for err := c.writeRaw(hugeFrame()); err == nil; err = c.writeRaw(zeros) {
			<-ticker.C
		}
		gone <- time.Now()
	}()
	_, err := c.read()
	var end *closed
	if !errors.As(err, &end) || end.code != closeUnauthorized {
		t.Fatalf("read: %v, want a close frame with 3000", err)
	}
	lag.inTime(t, "close frame", exp, time.Now(), time.Second)
	_ = c.within(patience, func() error { _, err := io.Copy(io.Discard, c.r); return err })
	lag.inTime(t, "end of writing", exp, receive(t, "end of writing", gone, patience), 6*time.Second)
	if end := s.app.end(t, patience); end.code == 1000 {
		t.Errorf("the application's socket ended with %d", end.code)
	}
	s.closeAll()
	s.nothingLeft(t, before)
}

// hugeFrame returns the header of a frame that announces 1 GiB, masked with
// zeros.
func hugeFrame() []byte {
	b := binary.BigEndian.AppendUint64([]byte{0x80 | opBinary, 0x80 | 127}, 1<<30)
	return append(b, 0, 0, 0, 0)
}
