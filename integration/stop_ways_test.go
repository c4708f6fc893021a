package integration

import (
	"net/http"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/internal/pace"
)

// says1001 expects the close frame of a stop, and answers it.
func (c *wsConn) says1001(t testing.TB, l *lag, since time.Time, within time.Duration) {
	t.Helper()
	if _, end := c.last(t, patience); end.code != closeGoingAway || end.reason == "" {
		t.Errorf("%v, want 1001 with a reason", end)
	}
	l.inTime(t, "close frame", since, time.Now(), within)
}

// TestStopWays: whichever way Caddy is told to stop, also twice or in the
// middle of a reload, every client gets its close frame and the process is gone
// soon.
func TestStopWays(t *testing.T) {
	t.Parallel()
	signalled := func(signal os.Signal) func(testing.TB, *site) {
		return func(t testing.TB, s *site) {
			if err := s.cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, stop := range map[string]func(testing.TB, *site){
		"interrupt": signalled(os.Interrupt),
		"terminate twice": func(t testing.TB, s *site) {
			signalled(syscall.SIGTERM)(t, s)
			s.waitLog(t, "exiting; byeee")
			signalled(syscall.SIGTERM)(t, s)
		},
		"admin": func(t testing.TB, s *site) {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+s.adminAddr+"/stop", nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
		},
		"while it reloads": func(t testing.TB, s *site) {
			reloaded := make(chan struct{})
			go func() {
				defer close(reloaded)
				// It may come before the stop, or too late.
				_ = s.load(t, siteOptions{directives: "max_session 5h"}.caddyfile())
			}()
			signalled(syscall.SIGTERM)(t, s)
			receive(t, "end of the reload", reloaded, patience)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pace.Try(t, func(t testing.TB) { stopsInTime(t, stop) })
		})
	}
}

func stopsInTime(t testing.TB, stop func(testing.TB, *site)) {
	s := startSite(t, siteOptions{})
	conns := openMany(t, s, h1, "/echo", s.of("alice"), 10, 1)
	ends := make(chan clientEnd, len(conns))
	for _, c := range conns {
		go func() { ends <- c.talkUntilClosed(numbered) }()
	}
	lag, start := measureLag(t), time.Now()
	stop(t, s)
	for range conns {
		end := receive(t, "end of a socket", ends, patience)
		if end.err != nil || end.close.code != closeGoingAway || end.close.reason == "" {
			t.Errorf("%v %v, want 1001 with a reason", end.close, end.err)
			continue
		}
		lag.inTime(t, "close frame", start, end.at, 5*time.Second)
	}
	receive(t, "end of the process", s.done, patience)
	lag.inTime(t, "end of the process", start, time.Now(), 6*time.Second)
}

// TestStopWithoutWebsocketAuth: sockets outlive the last configuration that has
// websocket_auth. When Caddy stops, they get their close frames all the same,
// and Caddy does not wait for them without end.
func TestStopWithoutWebsocketAuth(t *testing.T) {
	t.Parallel()
	tryEachVersion(t, allVersions, siteOptions{}, func(t testing.TB, s *site, version string) {
		c := s.open(t, version, "/echo", s.of("alice"))
		const bare = "http://{$SITE} {\nrespond ok\n}\nhttps://{$TLS} {\ntls {$CERT} {$KEY}\nrespond ok\n}\n"
		if err := s.reload(t, bare); err != nil {
			t.Fatal(err)
		}
		c.echoes(t)
		lag, start := measureLag(t), time.Now()
		if err := s.terminate(); err != nil {
			t.Fatal(err)
		}
		c.says1001(t, lag, start, 5*time.Second)
		s.closeAll()
		receive(t, "end of the process", s.done, patience)
		lag.inTime(t, "end of the process", start, time.Now(), 6*time.Second)
	})
}

// TestStopAfterShutdownDelay: in a shutdown_delay, in which Caddy goes on
// serving so that a load balancer can learn of the stop, sockets live on and new
// ones open. Their close frames come after it.
func TestStopAfterShutdownDelay(t *testing.T) {
	t.Parallel()
	const delay = 8 * time.Second
	tryEachVersion(t, allVersions, siteOptions{globals: "shutdown_delay 8s"}, func(t testing.TB, s *site, version string) {
		first := s.open(t, version, "/echo", s.of("alice"))
		lag, start := measureLag(t), time.Now()
		if err := s.terminate(); err != nil {
			t.Fatal(err)
		}
		s.waitLog(t, "shutdown scheduled")
		second := s.open(t, version, "/echo", s.of("alice"))
		for _, c := range []*wsConn{first, second} {
			c.echoes(t)
		}
		for _, c := range []*wsConn{first, second} {
			c.says1001(t, lag, start, delay+5*time.Second)
		}
		if early := time.Since(start); early < delay-time.Second {
			t.Errorf("closed %v after the signal, in a delay of %v", early, delay)
		}
		s.closeAll()
		receive(t, "end of the process", s.done, patience)
		lag.inTime(t, "end of the process", start, time.Now(), delay+6*time.Second)
	})
}

// TestStopAsLongAsGracePeriod: a grace_period that is shorter or longer than
// the close frames take changes nothing for sockets.
func TestStopAsLongAsGracePeriod(t *testing.T) {
	t.Parallel()
	for _, period := range []string{"100ms", "10m"} {
		t.Run(period, func(t *testing.T) {
			t.Parallel()
			tryEachVersion(t, allVersions, siteOptions{globals: "grace_period " + period}, func(t testing.TB, s *site, version string) {
				c := s.open(t, version, "/echo", s.of("alice"))
				c.echoes(t)
				lag, start := measureLag(t), time.Now()
				if err := s.terminate(); err != nil {
					t.Fatal(err)
				}
				c.says1001(t, lag, start, 5*time.Second)
				s.closeAll()
				receive(t, "end of the process", s.done, patience)
				lag.inTime(t, "end of the process", start, time.Now(), 6*time.Second)
			})
		})
	}
}
