package lifecycle

import (
	"net/http"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/internal/pace"
)

// says1001 expects the close frame of a stop, and answers it.
func says1001(t testing.TB, c *rig.Conn, l *rig.Lag, since time.Time, within time.Duration) {
	t.Helper()
	if _, end := c.Last(t, rig.Patience); end.Code != rig.CloseGoingAway || end.Reason == "" {
		t.Errorf("%v, want 1001 with a reason", end)
	}
	l.InTime(t, "close frame", since, time.Now(), within)
}

// TestStopWays: whichever way Caddy is told to stop, also twice or in the
// middle of a reload, every client gets its close frame and the process is gone
// soon.
func TestStopWays(t *testing.T) {
	t.Parallel()
	signalled := func(signal os.Signal) func(testing.TB, *rig.Site) {
		return func(t testing.TB, s *rig.Site) {
			if err := s.Cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, stop := range map[string]func(testing.TB, *rig.Site){
		"interrupt": signalled(os.Interrupt),
		"terminate twice": func(t testing.TB, s *rig.Site) {
			signalled(syscall.SIGTERM)(t, s)
			s.WaitLog(t, "exiting; byeee")
			signalled(syscall.SIGTERM)(t, s)
		},
		"admin": func(t testing.TB, s *rig.Site) {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+s.AdminAddr+"/stop", nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
		},
		"while it reloads": func(t testing.TB, s *rig.Site) {
			reloaded := make(chan struct{})
			go func() {
				defer close(reloaded)
				// It may come before the stop, or too late.
				_ = s.Load(t, rig.SiteOptions{Directives: "max_session 5h"}.Caddyfile())
			}()
			signalled(syscall.SIGTERM)(t, s)
			rig.Receive(t, "end of the reload", reloaded, rig.Patience)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pace.Try(t, func(t testing.TB) { stopsInTime(t, stop) })
		})
	}
}

func stopsInTime(t testing.TB, stop func(testing.TB, *rig.Site)) {
	s := rig.StartSite(t, rig.SiteOptions{})
	conns := rig.OpenMany(t, s, rig.H1, "/echo", s.Of("alice"), 10, 1)
	ends := make(chan rig.ClientEnd, len(conns))
	for _, c := range conns {
		go func() { ends <- c.TalkUntilClosed(rig.Numbered) }()
	}
	lag, start := rig.MeasureLag(t), time.Now()
	stop(t, s)
	for range conns {
		end := rig.Receive(t, "end of a socket", ends, rig.Patience)
		if end.Err != nil || end.Close.Code != rig.CloseGoingAway || end.Close.Reason == "" {
			t.Errorf("%v %v, want 1001 with a reason", end.Close, end.Err)
			continue
		}
		lag.InTime(t, "close frame", start, end.At, 5*time.Second)
	}
	rig.Receive(t, "end of the process", s.Done, rig.Patience)
	lag.InTime(t, "end of the process", start, time.Now(), 6*time.Second)
}

// TestStopWithoutWebsocketAuth: sockets outlive the last configuration that has
// websocket_auth. When Caddy stops, they get their close frames all the same,
// and Caddy does not wait for them without end.
func TestStopWithoutWebsocketAuth(t *testing.T) {
	t.Parallel()
	rig.TryEachVersion(t, rig.AllVersions, rig.SiteOptions{}, func(t testing.TB, s *rig.Site, version string) {
		c := s.Open(t, version, "/echo", s.Of("alice"))
		const bare = "http://{$SITE} {\nrespond ok\n}\nhttps://{$TLS} {\ntls {$CERT} {$KEY}\nrespond ok\n}\n"
		if err := s.Reload(t, bare); err != nil {
			t.Fatal(err)
		}
		c.Echoes(t)
		lag, start := rig.MeasureLag(t), time.Now()
		if err := s.Terminate(); err != nil {
			t.Fatal(err)
		}
		says1001(t, c, lag, start, 5*time.Second)
		s.CloseAll()
		rig.Receive(t, "end of the process", s.Done, rig.Patience)
		lag.InTime(t, "end of the process", start, time.Now(), 6*time.Second)
	})
}

// TestStopAfterShutdownDelay: in a shutdown_delay, in which Caddy goes on
// serving so that a load balancer can learn of the stop, sockets live on and new
// ones open. Their close frames come after it.
func TestStopAfterShutdownDelay(t *testing.T) {
	t.Parallel()
	const delay = 8 * time.Second
	rig.TryEachVersion(t, rig.AllVersions, rig.SiteOptions{Globals: "shutdown_delay 8s"}, func(t testing.TB, s *rig.Site, version string) {
		first := s.Open(t, version, "/echo", s.Of("alice"))
		lag, start := rig.MeasureLag(t), time.Now()
		if err := s.Terminate(); err != nil {
			t.Fatal(err)
		}
		s.WaitLog(t, "shutdown scheduled")
		second := s.Open(t, version, "/echo", s.Of("alice"))
		for _, c := range []*rig.Conn{first, second} {
			c.Echoes(t)
		}
		for _, c := range []*rig.Conn{first, second} {
			says1001(t, c, lag, start, delay+5*time.Second)
		}
		if early := time.Since(start); early < delay-time.Second {
			t.Errorf("closed %v after the signal, in a delay of %v", early, delay)
		}
		s.CloseAll()
		rig.Receive(t, "end of the process", s.Done, rig.Patience)
		lag.InTime(t, "end of the process", start, time.Now(), delay+6*time.Second)
	})
}

// TestStopAsLongAsGracePeriod: a grace_period that is shorter or longer than
// the close frames take changes nothing for sockets.
func TestStopAsLongAsGracePeriod(t *testing.T) {
	t.Parallel()
	for _, period := range []string{"100ms", "10m"} {
		t.Run(period, func(t *testing.T) {
			t.Parallel()
			rig.TryEachVersion(t, rig.AllVersions, rig.SiteOptions{Globals: "grace_period " + period}, func(t testing.TB, s *rig.Site, version string) {
				c := s.Open(t, version, "/echo", s.Of("alice"))
				c.Echoes(t)
				lag, start := rig.MeasureLag(t), time.Now()
				if err := s.Terminate(); err != nil {
					t.Fatal(err)
				}
				says1001(t, c, lag, start, 5*time.Second)
				s.CloseAll()
				rig.Receive(t, "end of the process", s.Done, rig.Patience)
				lag.InTime(t, "end of the process", start, time.Now(), 6*time.Second)
			})
		})
	}
}
