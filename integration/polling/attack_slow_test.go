package polling

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// postSlowly begins a request whose body may log in, and sends only its first
// byte. What it returns gets the status of the answer, or 0 if there is none.
func postSlowly(t testing.TB, s *rig.Site, sid string) <-chan int {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_, err = fmt.Fprintf(conn, "POST /socket.io/%s HTTP/1.1\r\nHost: %s\r\nContent-Length: 100\r\n\r\n4", rig.Polling(sid), s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	status := make(chan int, 1)
	go func() {
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			status <- 0
			return
		}
		_ = answer.Body.Close()
		status <- answer.StatusCode
	}()
	return status
}

// TestAttackPollingSlowBody: a body that may log in has as long as a message
// that does, however slowly it comes, and whatever Caddy's own time-outs are.
func TestAttackPollingSlowBody(t *testing.T) {
	t.Parallel()
	for name, timeouts := range map[string]string{"default": "", "no idle time-out": "read_body_idle -1s"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := rig.Polled()
			o.Directives = strings.Replace(o.Directives, "within 10s", "within 2s", 1)
			o.Timeouts = timeouts
			s := rig.StartSite(t, o)
			lag, start := rig.MeasureLag(t), time.Now()
			if status := rig.Receive(t, "answer", postSlowly(t, s, "slow"), rig.Patience); status != http.StatusTooManyRequests {
				t.Errorf("answered %d, want 429", status)
			}
			lag.InTime(t, "answer", start.Add(1900*time.Millisecond), time.Now(), 3*time.Second)
		})
	}
}

// TestAttackPollingSlowBodies: such requests count as pending, and the oldest
// makes room.
func TestAttackPollingSlowBodies(t *testing.T) {
	t.Parallel()
	o := rig.Polled("pending 2")
	o.Directives = strings.Replace(o.Directives, "within 10s", "within 1m", 1)
	s := rig.StartSite(t, o)
	statuses := make(chan int, 4)
	for n := range cap(statuses) {
		status := postSlowly(t, s, fmt.Sprint("slow", n))
		go func() { statuses <- <-status }()
	}
	for range 2 {
		if status := rig.Receive(t, "answer", statuses, rig.Patience); status != http.StatusTooManyRequests {
			t.Errorf("answered %d, want 429", status)
		}
	}
	// The others have their time.
	if status := rig.Poll(t, http.MethodPost, "http://"+s.Addr+"/socket.io/"+rig.Polling("quick"), rig.LoginPacket(s.Issuer.Token())); status != http.StatusOK {
		t.Errorf("a login beside them: answered %d", status)
	}
}
