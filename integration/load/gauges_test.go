package load

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// TestGaugesAgreeWithDescriptors: after many opens and closes of all kinds the
// gauges say what the process's descriptors say.
func TestGaugesAgreeWithDescriptors(t *testing.T) { gaugesAgree(t, 10000) }

// gaugesAgree opens and closes n sockets.
func gaugesAgree(t testing.TB, n int) {
	const left = 50
	s := rig.StartSite(t, rig.SiteOptions{Globals: "log default {\n\texclude http.handlers.websocket_auth\n}"})
	before := s.Footprint(t, rig.H1)
	base := s.Scrape(t)
	header := s.Bearer(time.Now().Add(time.Hour))
	go func() { // so that nothing waits for it
		for {
			select {
			case <-s.App.Ends:
			case <-s.App.Handshakes:
			case <-t.Context().Done():
				return
			}
		}
	}()
	churn(t, s, n, header)
	s.AwaitMetrics(t, base, rig.OpenSockets(0, 0, 0))
	m := s.Scrape(t)
	if opened := m.Since(base).Sum("sessions_opened_total"); opened != float64(n) {
		t.Errorf("%d sockets were opened, the metrics say %v", n, opened)
	}
	m.Balanced(t)

	rig.OpenMany(t, s, rig.H1, "/echo", header, left, 1)
	s.AwaitMetrics(t, base, rig.OpenSockets(0, left, 0))
	rig.Eventually(t, rig.Patience, func() string {
		open := s.Scrape(t)[`sessions{state="open"}`]
		// The client's and the application's.
		if files := rig.OpenFiles(t, s.Cmd.Process.Pid) - before.Files; files != 0 && float64(files) != 2*open {
			return fmt.Sprintf("%v sockets and %d descriptors more than before", open, files)
		}
		return ""
	})
	s.CloseAll()
	s.AwaitMetrics(t, base, rig.OpenSockets(0, 0, 0))
	s.NothingLeft(t, before)
	s.Scrape(t).Balanced(t)
}

// churn opens n sockets, some at a time, and ends them: by a close frame, by
// cutting the connection, and in the middle of a message.
func churn(t testing.TB, s *rig.Site, n int, header http.Header) {
	t.Helper()
	var (
		mu     sync.Mutex // guards failed
		failed error
		wg     sync.WaitGroup
		work   = make(chan int)
	)
	for range 16 {
		wg.Go(func() {
			for i := range work {
				if err := liveAndDie(t, s, i, header); err != nil {
					mu.Lock()
					failed = errors.Join(failed, fmt.Errorf("socket %d: %w", i, err))
					mu.Unlock()
				}
			}
		})
	}
	for i := range n {
		work <- i
	}
	close(work)
	wg.Wait()
	if failed != nil {
		t.Fatal(failed)
	}
}

// liveAndDie opens a socket and ends it in one of three ways.
func liveAndDie(t testing.TB, s *rig.Site, way int, header http.Header) error {
	conn, err := rig.ConnectTo(t.Context(), rig.H1, "http", s.Addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	r, err := s.Request(t.Context(), rig.H1, "/echo", header)
	if err != nil {
		return err
	}
	c, answer, err := conn.Open(r)
	if err != nil {
		return err
	}
	if c == nil {
		return errors.New(answer.Status)
	}
	switch way % 3 {
	case 0:
		return c.Leave()
	case 1:
		return c.WriteRaw(rig.HugeFrame())
	default:
		return nil
	}
}
