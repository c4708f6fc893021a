package integration

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/internal/pace"
)

// reloadLoad is sockets that carry numbered messages through reloads.
type reloadLoad struct {
	sockets, reloads int
	every            time.Duration // a message of each socket
	life             time.Duration // of the tokens
}

// TestReloadsUnderLoad: sockets with traffic live through many reloads. No
// message is lost and none comes in another order, nothing grows with the
// number of reloads, the registry and the gauges know all of them, they can be
// revoked, and each ends with its token.
func TestReloadsUnderLoad(t *testing.T) {
	t.Parallel()
	l := &reloadLoad{sockets: 200, reloads: 10, every: 25 * time.Millisecond, life: 7 * time.Second}
	pace.Try(t, func(t testing.TB) {
		l.every, l.life = 2*l.every, 2*l.life // each time, for a machine that is too slow
		l.run(t)
	})
}

func (l *reloadLoad) run(t testing.TB) {
	s := startSite(t, siteOptions{})
	before := s.footprint(t, h1)
	exp := time.Now().Add(l.life).Truncate(time.Second)
	header, lag := s.bearer(exp), measureLag(t)
	mallory := openMany(t, s, h1, "/echo", s.of("mallory"), l.sockets/10, 1)
	conns := openMany(t, s, h1, "/echo", header, l.sockets, 1)
	ends := make(chan clientEnd, len(conns))
	for _, c := range conns {
		go func() { ends <- c.chat(l.every) }()
	}
	var early footprint
	var earlyMiB int
	for n := range l.reloads {
		start := time.Now()
		s.mustReload(t, siteOptions{directives: fmt.Sprintf("name reload%d", n)})
		lag.inTime(t, "end of a reload", start, time.Now(), 5*time.Second)
		if n == 2 {
			early = s.uses(t)
			earlyMiB = s.heapMiB(t)
		}
	}
	if left := time.Until(exp); left < 2*time.Second {
		t.Fatalf("%d reloads under load left %v before the end: too slow to be measured", l.reloads, left)
	}
	if now := s.uses(t); now.goroutines > early.goroutines+l.sockets/20+slack || now.files > early.files+slack {
		t.Errorf("%d goroutines and %d files after %d reloads, %d and %d after three",
			now.goroutines, now.files, l.reloads, early.goroutines, early.files)
	}
	if now := s.heapMiB(t); now > earlyMiB+earlyMiB/8+4 { // some sockets hold a buffer, some do not
		t.Errorf("%d MiB after %d reloads, %d after three", now, l.reloads, earlyMiB)
	}
	if total := answer[struct{ Total int }](t, s.caddyProc, "sessions?limit=1").Total; total != len(conns)+len(mallory) {
		t.Errorf("the registry has %d sockets, want %d", total, len(conns)+len(mallory))
	}
	if open := s.scrape(t)[`sessions{state="open"}`]; open != float64(len(conns)+len(mallory)) {
		t.Errorf("the gauge says %v sockets, want %d", open, len(conns)+len(mallory))
	}
	if _, ended := s.revoke(t, map[string]any{"issuer": s.issuer.URL, "subject": "mallory"}); ended != len(mallory) {
		t.Errorf("%d sockets of before the reloads were revoked, want %d", ended, len(mallory))
	}
	for _, c := range mallory {
		c.closes(t, closeUnauthorized)
	}
	judgeEnds(t, ends, len(conns), exp, lag)
	s.closeAll()
	s.awaitMetrics(t, metrics{}, openSockets(0, 0, 0))
	s.noSocketLeft(t)
	s.nothingLeft(t, before)
}

// chat sends a numbered message now and then, and expects all of them back, in
// order, until the socket is closed.
func (c *wsConn) chat(every time.Duration) (end clientEnd) {
	over := make(chan struct{})
	defer close(over)
	go func() {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for n := uint64(0); ; n++ {
			if c.write(opBinary, numbered(n)[:8]) != nil {
				return // the reader says what is wrong
			}
			select {
			case <-ticker.C:
			case <-over:
				return
			}
		}
	}()
	for n := uint64(0); ; n++ {
		f, err := c.read()
		if errors.As(err, &end.close) {
			end.at = time.Now()
			end.unclean = c.within(patience, func() error { return c.answerClose(end.close.code) })
			return end
		}
		if err != nil || string(f.payload) != string(numbered(n)[:8]) {
			end.err = fmt.Errorf("message %d: got %x, %w", n, f.payload, err)
			return end
		}
		end.echoed++
	}
}

var heapAlloc = regexp.MustCompile(`(?m)^# HeapAlloc = (\d+)$`)

// heapMiB returns how much memory of Caddy's is in use, after a collection.
func (s *site) heapMiB(t testing.TB) int {
	t.Helper()
	found := heapAlloc.FindStringSubmatch(s.admin(t, "/debug/pprof/heap?gc=1&debug=1"))
	if found == nil {
		t.Fatal("the heap profile does not say what is in use")
	}
	n, err := strconv.Atoi(found[1])
	if err != nil {
		t.Fatal(err)
	}
	return n >> 20
}

// TestAttackRecheckOfManyWhoDoNotRead: clients that do not read hold up no
// reload, also when it ends them.
func TestAttackRecheckOfManyWhoDoNotRead(t *testing.T) {
	t.Parallel()
	pace.Try(t, recheckOfManyWhoDoNotRead)
}

func recheckOfManyWhoDoNotRead(t testing.TB) {
	o := siteOptions{directives: "on_reload recheck", globals: "grace_period 5s"}
	s := startSite(t, o)
	const n = 100
	openMany(t, s, h1, "/flood", s.bearer(time.Now().Add(time.Hour)), n, 1)
	lag, start := measureLag(t), time.Now()
	o.directives += "\nrequire claim sub bob"
	s.mustReload(t, o)
	lag.inTime(t, "end of the reload", start, time.Now(), 2*time.Second)
	for range n {
		end := s.app.end(t, patience)
		lag.inTime(t, "end at the application", start, end.at, 7*time.Second)
	}
	s.noSocketLeft(t)
}

// TestAttackStopOfManyWhoDoNotRead: clients that do not read cost the others
// nothing when Caddy stops: each has its close frame within the 5 s that
// service managers allow, also with stream_close_delay, and Caddy is gone.
func TestAttackStopOfManyWhoDoNotRead(t *testing.T) {
	t.Parallel()
	for name, drain := range map[string]string{"default": "", "at once": "drain 0s", "spread": "drain 2s"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pace.Try(t, func(t testing.TB) { stopOfManyWhoDoNotRead(t, drain) })
		})
	}
}

func stopOfManyWhoDoNotRead(t testing.TB, drain string) {
	s := startSite(t, siteOptions{globals: "grace_period 1s\nwebsocket_auth {\n" + drain + "\n}"})
	header := s.bearer(time.Now().Add(time.Hour))
	openMany(t, s, h1, "/flood", header, 50, 1)
	readers := openMany(t, s, h1, "/echo", header, 50, 1)
	for _, c := range readers {
		c.echoes(t)
	}
	var wg sync.WaitGroup
	lag, start := measureLag(t), time.Now()
	if err := s.terminate(); err != nil {
		t.Fatal(err)
	}
	for _, c := range readers {
		wg.Go(func() {
			var end *closed
			if _, err := c.read(); !errors.As(err, &end) || end.code != closeGoingAway || end.reason == "" {
				t.Errorf("%v, want 1001 with a reason", err)
			}
			lag.inTime(t, "close frame", start, time.Now(), 5*time.Second)
			_ = c.within(patience, func() error { return c.answerClose(closeGoingAway) })
		})
	}
	wg.Wait()
	receive(t, "end of the process", s.done, patience)
	lag.inTime(t, "end of the process", start, time.Now(), 6*time.Second)
}

// TestStopRefusesNewcomers: a handshake that comes while Caddy stops is
// refused, or there is nobody any more; never is it left open.
func TestStopRefusesNewcomers(t *testing.T) {
	t.Parallel()
	s := startSite(t, siteOptions{globals: "grace_period 1s"})
	header := s.bearer(time.Now().Add(time.Hour))
	openMany(t, s, h1, "/flood", header, 10, 1) // so that it takes a while
	if err := s.terminate(); err != nil {
		t.Fatal(err)
	}
	refused, closes := 0, 0
	for stopped := false; !stopped; {
		select {
		case <-s.done:
			stopped = true
		default:
		}
		conn, err := s.dial(t.Context(), h1)
		if err != nil {
			continue
		}
		r, err := s.request(t.Context(), h1, "/echo", header)
		if err != nil {
			t.Fatal(err)
		}
		switch c, answer, err := conn.open(r); {
		case err != nil: // the listener is closed
		case c != nil:
			if _, end := c.last(t, patience); end.code != closeGoingAway {
				t.Errorf("%v, want 1001", end)
			}
			closes++
		case answer.StatusCode != http.StatusServiceUnavailable:
			t.Errorf("refused with %s, want 503", answer.Status)
		default:
			refused++
		}
	}
	t.Logf("%d refused, %d accepted and closed", refused, closes)
}
