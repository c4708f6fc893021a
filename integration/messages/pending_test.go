package messages

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// mustOpenFrom is OpenFrom for a handshake that is accepted.
func mustOpenFrom(t testing.TB, s *rig.Site, ip string) *rig.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), rig.Patience)
	defer cancel()
	c, err := s.OpenFrom(ctx, ip)
	if err != nil {
		t.Fatalf("a socket from %s: %v", ip, err)
	}
	return c
}

// TestAttackPendingFromOneAddress: 10,000 sockets of one client that do not
// log in. There are never more than the limit: each one more ends the oldest.
// Another client, which comes while others of the first one do, has not even to
// wait.
func TestAttackPendingFromOneAddress(t *testing.T) {
	t.Parallel()
	const all, limit = 10_000, 100
	s := rig.StartPeerSite(t, rig.SiteOptions{Directives: `pending 150 100
		from header
		from first_message {
			within 1m
		}`}, nil)
	before := rig.OpenFiles(t, s.Cmd.Process.Pid)
	var honest *rig.Conn
	var waiting []*rig.Conn
	most := 0
	for n := range all {
		if n == all-5*limit { // not from the beginning: its time for a login runs
			honest = mustOpenFrom(t, s.Site, rig.Loopback(1))
			defer honest.Vanish()
		}
		c := mustOpenFrom(t, s.Site, rig.Loopback(0))
		if waiting = append(waiting, c); len(waiting) > limit {
			c, waiting = waiting[0], waiting[1:]
			if heard := beforeClose(t, c, rig.CloseTimeout); len(heard) != 1 {
				t.Fatalf("socket %d: before the close frame came %q", n-limit, heard)
			}
			c.Vanish()
		}
		if n%500 == 0 {
			most = max(most, rig.OpenFiles(t, s.Cmd.Process.Pid))
		}
	}
	if most > before+2*limit+50 {
		t.Errorf("Caddy had up to %d descriptors open, %d before", most, before)
	}
	s.Unasked(t)
	honest.Says(t, rig.Login(s.Issuer.Token()))
	honest.Accepted(t, time.Now().Add(time.Hour))
	s.Socket(t)
	// Those that are left can still log in.
	last := waiting[len(waiting)-1]
	last.Says(t, rig.Login(s.Issuer.Token()))
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
	s := rig.StartPeerSite(t, rig.SiteOptions{Directives: `pending 200 20
		from first_message {
			within 1m
		}`}, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 5*rig.Patience)
	defer cancel()
	attack, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	opened := make(chan struct{}, 1<<16)
	for n := range attackers {
		wg.Go(func() { holdPending(attack, s.Site, rig.Loopback(n), 4, opened) })
	}
	for range 200 {
		rig.Receive(t, "socket of an attacker", opened, rig.Patience)
	}
	exp := time.Now().Add(time.Hour)
	token := rig.Login(s.Issuer.Expiring(exp))
	for n := range honest {
		c, err := s.OpenFrom(ctx, rig.Loopback(attackers+n%10))
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
func holdPending(ctx context.Context, s *rig.Site, ip string, n int, opened chan<- struct{}) {
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
