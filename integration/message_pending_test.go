package integration

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"
)

// OpenFrom opens a socket from a client address of this machine.
func (s *Site) OpenFrom(ctx context.Context, ip string) (*Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
	conn, err := d.DialContext(ctx, "tcp", s.Addr)
	if err != nil {
		return nil, err
	}
	r, err := s.Request(ctx, H1, "/", nil)
	if err != nil {
		conn.Close()
		return nil, err
	}
	c, answer, err := H1Conn{conn}.Open(r)
	if err == nil && c == nil {
		err = errors.New(answer.Status)
	}
	if err != nil {
		conn.Close()
	}
	return c, err
}

// mustOpenFrom is OpenFrom for a handshake that is accepted.
func (s *Site) mustOpenFrom(t testing.TB, ip string) *Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	c, err := s.OpenFrom(ctx, ip)
	if err != nil {
		t.Fatalf("a socket from %s: %v", ip, err)
	}
	return c
}

// Loopback returns client address n. Where the system knows only one, it is
// that.
func Loopback(n int) string {
	if runtime.GOOS == "darwin" {
		return "127.0.0.1"
	}
	return fmt.Sprintf("127.0.%d.%d", 1+n/200, 1+n%200)
}

// TestAttackPendingFromOneAddress: 10,000 sockets of one client that do not
// log in. There are never more than the limit: each one more ends the oldest.
// Another client, which comes while others of the first one do, has not even to
// wait.
func TestAttackPendingFromOneAddress(t *testing.T) {
	t.Parallel()
	const all, limit = 10_000, 100
	s := StartPeerSite(t, SiteOptions{Directives: `pending 150 100
		from header
		from first_message {
			within 1m
		}`}, nil)
	before := OpenFiles(t, s.Cmd.Process.Pid)
	var honest *Conn
	var waiting []*Conn
	most := 0
	for n := range all {
		if n == all-5*limit { // not from the beginning: its time for a login runs
			honest = s.mustOpenFrom(t, Loopback(1))
			defer honest.Vanish()
		}
		c := s.mustOpenFrom(t, Loopback(0))
		if waiting = append(waiting, c); len(waiting) > limit {
			c, waiting = waiting[0], waiting[1:]
			if heard := c.beforeClose(t, CloseTimeout); len(heard) != 1 {
				t.Fatalf("socket %d: before the close frame came %q", n-limit, heard)
			}
			c.Vanish()
		}
		if n%500 == 0 {
			most = max(most, OpenFiles(t, s.Cmd.Process.Pid))
		}
	}
	if most > before+2*limit+50 {
		t.Errorf("Caddy had up to %d descriptors open, %d before", most, before)
	}
	s.Unasked(t)
	honest.Says(t, Login(s.Issuer.Token()))
	honest.Accepted(t, time.Now().Add(time.Hour))
	s.Socket(t)
	// Those that are left can still log in.
	last := waiting[len(waiting)-1]
	last.Says(t, Login(s.Issuer.Token()))
	last.Accepted(t, time.Now().Add(time.Hour))
	s.Socket(t)
	for _, c := range waiting {
		c.Vanish()
	}
}

// TestAttackPendingFromManyAddresses: fifty clients fill all there is for
// sockets that have not logged in, and fill it up again whenever one of theirs
// is closed. Honest clients come in meanwhile and all of them log in.
func TestAttackPendingFromManyAddresses(t *testing.T) {
	t.Parallel()
	const attackers, honest = 50, 100
	s := StartPeerSite(t, SiteOptions{Directives: `pending 200 20
		from first_message {
			within 1m
		}`}, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 5*Patience)
	defer cancel()
	attack, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	opened := make(chan struct{}, 1<<16)
	for n := range attackers {
		wg.Go(func() { s.holdPending(attack, Loopback(n), 4, opened) })
	}
	for range 200 {
		Receive(t, "socket of an attacker", opened, Patience)
	}
	exp := time.Now().Add(time.Hour)
	token := Login(s.Issuer.Expiring(exp))
	for n := range honest {
		c, err := s.OpenFrom(ctx, Loopback(attackers+n%10))
		if err != nil {
			t.Fatalf("honest client %d: %v", n, err)
		}
		c.Pings(t, "still here")
		c.Says(t, token)
		c.Accepted(t, exp)
		s.Socket(t) // the application is not told of a client that has gone before
		c.Vanish()
	}
}

// holdPending keeps n sockets open that do not log in, and opens another one
// for each that is closed.
func (s *Site) holdPending(ctx context.Context, ip string, n int, opened chan<- struct{}) {
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			for ctx.Err() == nil {
				c, err := s.OpenFrom(ctx, ip)
				if err != nil {
					return
				}
				opened <- struct{}{}
				stop := context.AfterFunc(ctx, c.Vanish)
				for err == nil {
					_, err = c.Read()
				}
				stop()
				c.Vanish()
			}
		})
	}
	wg.Wait()
}
