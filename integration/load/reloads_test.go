package load

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
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
	l := &reloadLoad{sockets: 200, reloads: 10, every: 50 * time.Millisecond, life: 14 * time.Second}
	tries := 0
	pace.Try(t, func(t testing.TB) {
		if tries++; tries > 1 { // the machine was too slow for it
			l.every, l.life = 4*l.every, 4*l.life
		}
		l.run(t)
	})
}

func (l *reloadLoad) run(t testing.TB) {
	s := rig.StartSite(t, rig.SiteOptions{})
	before := s.Footprint(t, rig.H1)
	exp := time.Now().Add(l.life).Truncate(time.Second)
	header, lag := s.Bearer(exp), rig.MeasureLag(t)
	mallory := rig.OpenMany(t, s, rig.H1, "/echo", s.Of("mallory"), l.sockets/10, 1)
	conns := rig.OpenMany(t, s, rig.H1, "/echo", header, l.sockets, 1)
	ends := make(chan rig.ClientEnd, len(conns))
	for _, c := range conns {
		go func() { ends <- chat(c, l.every) }()
	}
	var early rig.Footprint
	var earlyMiB int
	for n := range l.reloads {
		start := time.Now()
		s.MustReload(t, rig.SiteOptions{Directives: fmt.Sprintf("name reload%d", n)})
		lag.InTime(t, "end of a reload", start, time.Now(), 5*time.Second)
		if n == 2 {
			early = s.Uses(t)
			earlyMiB = heapMiB(t, s)
		}
	}
	if left := time.Until(exp); left < 2*time.Second {
		t.Fatalf("%d reloads under load left %v before the end: too slow to be measured", l.reloads, left)
	}
	if now := s.Uses(t); now.Goroutines > early.Goroutines+l.sockets/20+rig.Slack || now.Files > early.Files+rig.Slack {
		t.Errorf("%d goroutines and %d files after %d reloads, %d and %d after three",
			now.Goroutines, now.Files, l.reloads, early.Goroutines, early.Files)
	}
	if now := heapMiB(t, s); now > earlyMiB+earlyMiB/8+4 { // some sockets hold a buffer, some do not
		t.Errorf("%d MiB after %d reloads, %d after three", now, l.reloads, earlyMiB)
	}
	if total := rig.Answer[struct{ Total int }](t, s.Caddy, "sessions?limit=1").Total; total != len(conns)+len(mallory) {
		t.Errorf("the registry has %d sockets, want %d", total, len(conns)+len(mallory))
	}
	if open := s.Scrape(t)[`sessions{state="open"}`]; open != float64(len(conns)+len(mallory)) {
		t.Errorf("the gauge says %v sockets, want %d", open, len(conns)+len(mallory))
	}
	if _, ended := s.Revoke(t, map[string]any{"issuer": s.Issuer.URL, "subject": "mallory"}); ended != len(mallory) {
		t.Errorf("%d sockets of before the reloads were revoked, want %d", ended, len(mallory))
	}
	for _, c := range mallory {
		c.Closes(t, rig.CloseUnauthorized)
	}
	judgeEnds(t, ends, len(conns), exp, lag)
	s.CloseAll()
	s.AwaitMetrics(t, rig.Metrics{}, rig.OpenSockets(0, 0, 0))
	s.NoSocketLeft(t)
	s.NothingLeft(t, before)
}

// chat sends a numbered message now and then, and expects all of them back, in
// order, until the socket is closed.
func chat(c *rig.Conn, every time.Duration) (end rig.ClientEnd) {
	over := make(chan struct{})
	defer close(over)
	go func() {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for n := uint64(0); ; n++ {
			if c.Write(rig.OpBinary, rig.Numbered(n)[:8]) != nil {
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
		f, err := c.Read()
		if errors.As(err, &end.Close) {
			end.At = time.Now()
			end.Unclean = c.Within(rig.Patience, func() error { return c.AnswerClose(end.Close.Code) })
			return end
		}
		if err != nil || string(f.Payload) != string(rig.Numbered(n)[:8]) {
			end.Err = fmt.Errorf("message %d: got %x, %w", n, f.Payload, err)
			return end
		}
		end.Echoed++
	}
}

var heapAlloc = regexp.MustCompile(`(?m)^# HeapAlloc = (\d+)$`)

// heapMiB returns how much memory of Caddy's is in use, after a collection.
func heapMiB(t testing.TB, s *rig.Site) int {
	t.Helper()
	found := heapAlloc.FindStringSubmatch(s.Admin(t, "/debug/pprof/heap?gc=1&debug=1"))
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
	o := rig.SiteOptions{Directives: "on_reload recheck", Globals: "grace_period 5s"}
	s := rig.StartSite(t, o)
	const n = 100
	rig.OpenMany(t, s, rig.H1, "/flood", s.Bearer(time.Now().Add(time.Hour)), n, 1)
	lag, start := rig.MeasureLag(t), time.Now()
	o.Directives += "\nrequire claim sub bob"
	s.MustReload(t, o)
	lag.InTime(t, "end of the reload", start, time.Now(), 2*time.Second)
	for range n {
		end := s.App.End(t, rig.Patience)
		lag.InTime(t, "end at the application", start, end.At, 7*time.Second)
	}
	s.NoSocketLeft(t)
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
	s := rig.StartSite(t, rig.SiteOptions{Globals: "grace_period 1s\nwebsocket_auth {\n" + drain + "\n}"})
	header := s.Bearer(time.Now().Add(time.Hour))
	rig.OpenMany(t, s, rig.H1, "/flood", header, 50, 1)
	readers := rig.OpenMany(t, s, rig.H1, "/echo", header, 50, 1)
	for _, c := range readers {
		c.Echoes(t)
	}
	var wg sync.WaitGroup
	lag, start := rig.MeasureLag(t), time.Now()
	if err := s.Terminate(); err != nil {
		t.Fatal(err)
	}
	for _, c := range readers {
		wg.Go(func() {
			var end *rig.ClosedError
			if _, err := c.Read(); !errors.As(err, &end) || end.Code != rig.CloseGoingAway || end.Reason == "" {
				t.Errorf("%v, want 1001 with a reason", err)
			}
			lag.InTime(t, "close frame", start, time.Now(), 5*time.Second)
			_ = c.Within(rig.Patience, func() error { return c.AnswerClose(rig.CloseGoingAway) })
		})
	}
	wg.Wait()
	rig.Receive(t, "end of the process", s.Done, rig.Patience)
	lag.InTime(t, "end of the process", start, time.Now(), 6*time.Second)
}

// TestStopRefusesNewcomers: a handshake that comes while Caddy stops is
// refused, or there is nobody any more; never is it left open.
func TestStopRefusesNewcomers(t *testing.T) {
	t.Parallel()
	s := rig.StartSite(t, rig.SiteOptions{Globals: "grace_period 1s"})
	header := s.Bearer(time.Now().Add(time.Hour))
	rig.OpenMany(t, s, rig.H1, "/flood", header, 10, 1) // so that it takes a while
	if err := s.Terminate(); err != nil {
		t.Fatal(err)
	}
	refused, closes := 0, 0
	for stopped := false; !stopped; {
		select {
		case <-s.Done:
			stopped = true
		default:
		}
		conn, err := s.Dial(t.Context(), rig.H1)
		if err != nil {
			continue
		}
		r, err := s.Request(t.Context(), rig.H1, "/echo", header)
		if err != nil {
			t.Fatal(err)
		}
		switch c, answer, err := conn.Open(r); {
		case err != nil: // the listener is closed
		case c != nil:
			if _, end := c.Last(t, rig.Patience); end.Code != rig.CloseGoingAway {
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
