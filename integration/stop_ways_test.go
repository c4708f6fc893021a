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
func (c *Conn) says1001(t testing.TB, l *Lag, since time.Time, within time.Duration) {
	t.Helper()
	if _, end := c.Last(t, Patience); end.Code != CloseGoingAway || end.Reason == "" {
		t.Errorf("%v, want 1001 with a reason", end)
	}
	l.InTime(t, "close frame", since, time.Now(), within)
}

// TestStopWays: whichever way Caddy is told to stop, also twice or in the
// middle of a reload, every client gets its close frame and the process is gone
// soon.
func TestStopWays(t *testing.T) {
	t.Parallel()
	signalled := func(signal os.Signal) func(testing.TB, *Site) {
		return func(t testing.TB, s *Site) {
			if err := s.Cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, stop := range map[string]func(testing.TB, *Site){
		"interrupt": signalled(os.Interrupt),
		"terminate twice": func(t testing.TB, s *Site) {
			signalled(syscall.SIGTERM)(t, s)
			s.WaitLog(t, "exiting; byeee")
			signalled(syscall.SIGTERM)(t, s)
		},
		"admin": func(t testing.TB, s *Site) {
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
		"while it reloads": func(t testing.TB, s *Site) {
			reloaded := make(chan struct{})
			go func() {
				defer close(reloaded)
				// It may come before the stop, or too late.
				_ = s.Load(t, SiteOptions{Directives: "max_session 5h"}.Caddyfile())
			}()
			signalled(syscall.SIGTERM)(t, s)
			Receive(t, "end of the reload", reloaded, Patience)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pace.Try(t, func(t testing.TB) { stopsInTime(t, stop) })
		})
	}
}

func stopsInTime(t testing.TB, stop func(testing.TB, *Site)) {
	s := StartSite(t, SiteOptions{})
	conns := OpenMany(t, s, H1, "/echo", s.Of("alice"), 10, 1)
	ends := make(chan ClientEnd, len(conns))
	for _, c := range conns {
		go func() { ends <- c.TalkUntilClosed(Numbered) }()
	}
	lag, start := MeasureLag(t), time.Now()
	stop(t, s)
	for range conns {
		end := Receive(t, "end of a socket", ends, Patience)
		if end.Err != nil || end.Close.Code != CloseGoingAway || end.Close.Reason == "" {
			t.Errorf("%v %v, want 1001 with a reason", end.Close, end.Err)
			continue
		}
		lag.InTime(t, "close frame", start, end.At, 5*time.Second)
	}
	Receive(t, "end of the process", s.Done, Patience)
	lag.InTime(t, "end of the process", start, time.Now(), 6*time.Second)
}

// TestStopWithoutWebsocketAuth: sockets outlive the last configuration that has
// websocket_auth. When Caddy stops, they get their close frames all the same,
// and Caddy does not wait for them without end.
func TestStopWithoutWebsocketAuth(t *testing.T) {
	t.Parallel()
	TryEachVersion(t, AllVersions, SiteOptions{}, func(t testing.TB, s *Site, version string) {
		c := s.Open(t, version, "/echo", s.Of("alice"))
		const bare = "http://{$SITE} {\nrespond ok\n}\nhttps://{$TLS} {\ntls {$CERT} {$KEY}\nrespond ok\n}\n"
		if err := s.Reload(t, bare); err != nil {
			t.Fatal(err)
		}
		c.Echoes(t)
		lag, start := MeasureLag(t), time.Now()
		if err := s.Terminate(); err != nil {
			t.Fatal(err)
		}
		c.says1001(t, lag, start, 5*time.Second)
		s.CloseAll()
		Receive(t, "end of the process", s.Done, Patience)
		lag.InTime(t, "end of the process", start, time.Now(), 6*time.Second)
	})
}

// TestStopAfterShutdownDelay: in a shutdown_delay, in which Caddy goes on
// serving so that a load balancer can learn of the stop, sockets live on and new
// ones open. Their close frames come after it.
func TestStopAfterShutdownDelay(t *testing.T) {
	t.Parallel()
	const delay = 8 * time.Second
	TryEachVersion(t, AllVersions, SiteOptions{Globals: "shutdown_delay 8s"}, func(t testing.TB, s *Site, version string) {
		first := s.Open(t, version, "/echo", s.Of("alice"))
		lag, start := MeasureLag(t), time.Now()
		if err := s.Terminate(); err != nil {
			t.Fatal(err)
		}
		s.WaitLog(t, "shutdown scheduled")
		second := s.Open(t, version, "/echo", s.Of("alice"))
		for _, c := range []*Conn{first, second} {
			c.Echoes(t)
		}
		for _, c := range []*Conn{first, second} {
			c.says1001(t, lag, start, delay+5*time.Second)
		}
		if early := time.Since(start); early < delay-time.Second {
			t.Errorf("closed %v after the signal, in a delay of %v", early, delay)
		}
		s.CloseAll()
		Receive(t, "end of the process", s.Done, Patience)
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
			TryEachVersion(t, AllVersions, SiteOptions{Globals: "grace_period " + period}, func(t testing.TB, s *Site, version string) {
				c := s.Open(t, version, "/echo", s.Of("alice"))
				c.Echoes(t)
				lag, start := MeasureLag(t), time.Now()
				if err := s.Terminate(); err != nil {
					t.Fatal(err)
				}
				c.says1001(t, lag, start, 5*time.Second)
				s.CloseAll()
				Receive(t, "end of the process", s.Done, Patience)
				lag.InTime(t, "end of the process", start, time.Now(), 6*time.Second)
			})
		})
	}
}
