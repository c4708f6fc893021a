package integration

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"
)

// TestGaugesAgreeWithDescriptors: after many opens and closes of all kinds the
// gauges say what the process's descriptors say.
func TestGaugesAgreeWithDescriptors(t *testing.T) { gaugesAgree(t, 10000) }

// gaugesAgree opens and closes n sockets.
func gaugesAgree(t testing.TB, n int) {
	const left = 50
	s := startSite(t, siteOptions{globals: "log default {\n\texclude http.handlers.websocket_auth\n}"})
	before := s.footprint(t, h1)
	base := s.scrape(t)
	header := s.bearer(time.Now().Add(time.Hour))
	go func() { // so that nothing waits for it
		for {
			select {
			case <-s.app.ends:
			case <-s.app.handshakes:
			case <-t.Context().Done():
				return
			}
		}
	}()
	s.churn(t, n, header)
	s.awaitMetrics(t, base, openSockets(0, 0, 0))
	m := s.scrape(t)
	if opened := m.since(base).sum("sessions_opened_total"); opened != float64(n) {
		t.Errorf("%d sockets were opened, the metrics say %v", n, opened)
	}
	m.balanced(t)

	openMany(t, s, h1, "/echo", header, left, 1)
	s.awaitMetrics(t, base, openSockets(0, left, 0))
	eventually(t, patience, func() string {
		open := s.scrape(t)[`sessions{state="open"}`]
		// The client's and the application's.
		if files := openFiles(t, s.cmd.Process.Pid) - before.files; files != 0 && float64(files) != 2*open {
			return fmt.Sprintf("%v sockets and %d descriptors more than before", open, files)
		}
		return ""
	})
	s.closeAll()
	s.awaitMetrics(t, base, openSockets(0, 0, 0))
	s.nothingLeft(t, before)
	s.scrape(t).balanced(t)
}

// churn opens n sockets, some at a time, and ends them: by a close frame, by
// cutting the connection, and in the middle of a message.
func (s *site) churn(t testing.TB, n int, header http.Header) {
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
				if err := s.liveAndDie(t, i, header); err != nil {
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
func (s *site) liveAndDie(t testing.TB, way int, header http.Header) error {
	conn, err := connectTo(t.Context(), h1, "http", s.caddyProc.site)
	if err != nil {
		return err
	}
	defer conn.Close()
	r, err := s.request(t.Context(), h1, "/echo", header)
	if err != nil {
		return err
	}
	c, answer, err := conn.open(r)
	if err != nil {
		return err
	}
	if c == nil {
		return errors.New(answer.Status)
	}
	switch way % 3 {
	case 0:
		return c.leave()
	case 1:
		return c.writeRaw(hugeFrame())
	default:
		return nil
	}
}
