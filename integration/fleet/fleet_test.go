package fleet

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// TestFleetRevocation: a revocation on one node ends the sockets on all within
// a second, keeps new ones out, and ends nobody else's; so does its end.
func TestFleetRevocation(t *testing.T) {
	t.Parallel()
	f := startFleet(t, 3, rig.StartRedis(t), rig.SiteOptions{})
	for n := range f.nodes {
		subject := fmt.Sprint("alice", n)
		conns := append(f.open(t, subject), f.open(t, subject)...)
		bob := f.open(t, "bob")
		start := time.Now()
		f.revoke(t, n, subject, http.StatusOK)
		for _, c := range conns {
			c.EndsRevoked(t, subject, f.lag, start)
		}
		f.answers(t, subject, f.token(subject), http.StatusUnauthorized)
		for _, c := range bob {
			c.Echoes(t)
		}
		query := "revocations?subject=" + subject + "&issuer=" + f.nodes[0].Issuer.URL
		f.nodes[(n+1)%3].Asks(t, http.MethodDelete, query, "", `{"removed":1}`)
		f.await(t, time.Second, f.token(subject), http.StatusSwitchingProtocols)
	}
}

// TestFleetLockout: failures on all nodes count together, and all know who is
// locked out, and who no longer is.
func TestFleetLockout(t *testing.T) {
	t.Parallel()
	f := startFleet(t, 3, rig.StartRedis(t), rig.SiteOptions{Globals: "lockout 6 10m 10m"})
	bad := http.Header{"Authorization": {"Bearer " + rig.Sign(rig.JWT{Claims: f.nodes[0].Issuer.Claims(), Key: rig.StrangerKey()})}}
	for range 2 {
		f.answers(t, "a bad signature", bad, http.StatusUnauthorized)
	}
	f.await(t, 2*time.Second, f.token("alice"), http.StatusTooManyRequests)
	f.nodes[1].Asks(t, http.MethodDelete, "lockouts?all=true", "", `{"released":1}`)
	f.await(t, 2*time.Second, f.token("alice"), http.StatusSwitchingProtocols)
}

// TestFleetCutOff: what is revoked while a node is cut off from Redis reaches
// it within 5 s of its return, and what is revoked on it reaches the others.
// Meanwhile it serves, and nobody waits.
func TestFleetCutOff(t *testing.T) {
	t.Parallel()
	for name, mode := range map[string]cableMode{"cut": cut, "silent": silent} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := startFleet(t, 2, rig.StartRedis(t), rig.SiteOptions{})
			near, far := f.open(t, "near"), f.open(t, "far")
			bob := f.open(t, "bob")
			f.cables[1].set(mode)
			f.nodes[1].WaitLog(t, "the store cannot be reached")
			f.revoke(t, 0, "near", http.StatusOK)
			start := time.Now()
			near[0].EndsRevoked(t, "near's on the node itself", f.lag, start)
			f.answers(t, "bob", f.token("bob"), http.StatusSwitchingProtocols)
			near[1].Echoes(t) // nobody can know
			f.revoke(t, 1, "far", http.StatusServiceUnavailable)
			far[1].Closes(t, rig.CloseUnauthorized)
			f.nodes[1].Expects(t, "far", f.token("far"), http.StatusUnauthorized)

			back := time.Now()
			f.cables[1].set(whole)
			for name, c := range map[string]*rig.Conn{"near's": near[1], "far's": far[0]} {
				if _, end := c.Last(t, rig.Patience); end.Code != rig.CloseUnauthorized {
					t.Errorf("%s: %v, want 3000", name, end)
				}
				f.lag.InTime(t, "end of "+name, back, time.Now(), 5*time.Second)
			}
			f.answers(t, "near", f.token("near"), http.StatusUnauthorized)
			f.answers(t, "far", f.token("far"), http.StatusUnauthorized)
			for _, c := range bob {
				c.Echoes(t)
			}
			f.nodes[1].WaitLog(t, "the store can be reached again")
		})
	}
}

// TestFleetRedisKilled: Redis is killed again and again, now with and now
// without its data. Nothing that was revoked comes back, no socket ends that
// should not, and nobody waits.
func TestFleetRedisKilled(t *testing.T) { fleetRedisKilled(t, 4) }

func fleetRedisKilled(t *testing.T, rounds int) {
	t.Parallel()
	for name, options := range map[string][]string{
		"keeps": {"--appendonly", "yes", "--appendfsync", "always"}, "forgets": nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := startFleet(t, 2, rig.StartRedis(t, options...), rig.SiteOptions{})
			bob := f.open(t, "bob")
			for round := range rounds {
				before, during := fmt.Sprint("before", round), fmt.Sprint("during", round)
				conns := append(f.open(t, before), f.open(t, during)...)
				f.revoke(t, round%2, before, http.StatusOK)
				f.redis.Kill()
				for _, s := range f.nodes {
					rig.Eventually(t, rig.Patience, func() string { return storeIs(t, s.Caddy, "away") })
				}
				f.answers(t, "bob", f.token("bob"), http.StatusSwitchingProtocols)
				f.revoke(t, round%2, during, http.StatusServiceUnavailable)
				back := time.Now()
				f.redis.Start(t)
				for _, c := range conns {
					if _, end := c.Last(t, rig.Patience); end.Code != rig.CloseUnauthorized {
						t.Errorf("%v, want 3000", end)
					}
				}
				f.lag.InTime(t, "the last end", back, time.Now(), 5*time.Second)
				for _, s := range f.nodes {
					rig.Eventually(t, rig.Patience, func() string { return storeIs(t, s.Caddy, "there") })
				}
				for old := range round + 1 {
					f.answers(t, "before", f.token(fmt.Sprint("before", old)), http.StatusUnauthorized)
					f.answers(t, "during", f.token(fmt.Sprint("during", old)), http.StatusUnauthorized)
				}
				for _, c := range bob {
					c.Echoes(t)
				}
			}
		})
	}
}

// storeIs tells what is wrong if the last line about the store does not say
// that it is there, or away.
func storeIs(t testing.TB, p *rig.Caddy, want string) string {
	t.Helper()
	gone, back := len(p.Logs.Entries("the store cannot be reached, see on_outage")), len(p.Logs.Entries("the store can be reached again"))
	if is := map[bool]string{true: "away", false: "there"}[gone > back]; is != want {
		return fmt.Sprintf("the store is %s, want %s", is, want)
	}
	return ""
}

// TestFleetNodeKilled: a node is killed again and again, and comes back with
// what it has stored, or without. At no moment does it let in who was revoked,
// nor anybody before it knows; the other node is not disturbed.
func TestFleetNodeKilled(t *testing.T) { fleetNodeKilled(t, 4) }

func fleetNodeKilled(t *testing.T, rounds int) {
	t.Parallel()
	f := startFleet(t, 2, rig.StartRedis(t), rig.SiteOptions{})
	for round := range rounds {
		mine, others := fmt.Sprint("mine", round), fmt.Sprint("others", round)
		bob := f.nodes[0].Open(t, rig.H1, "/echo", f.token("bob"))
		f.revoke(t, 1, mine, http.StatusOK)
		f.nodes[1].Crash()
		f.revoke(t, 0, others, http.StatusOK)
		if round%2 == 1 {
			if err := os.RemoveAll(filepath.Join(f.nodes[1].Home, "data")); err != nil {
				t.Fatal(err)
			}
		}
		f.nodes[1].Again(t, f.options(1, "serve"))
		for old := range round + 1 {
			if status := f.nodes[1].Admits(t, f.token(fmt.Sprint("mine", old))); status != 401 && status != 503 {
				t.Errorf("revoked before the node was killed: status %d", status)
			}
		}
		start := time.Now()
		f.await(t, 5*time.Second, f.token("bob"), http.StatusSwitchingProtocols, f.nodes[1])
		f.await(t, 5*time.Second, f.token(others), http.StatusUnauthorized, f.nodes[1])
		f.lag.InTime(t, "the node's return", start, time.Now(), 5*time.Second)
		for old := range round + 1 {
			f.answers(t, "mine", f.token(fmt.Sprint("mine", old)), http.StatusUnauthorized)
			f.answers(t, "others", f.token(fmt.Sprint("others", old)), http.StatusUnauthorized)
		}
		bob.Echoes(t)
	}
}

// TestFleetStartWithoutRedis: a node that has never known what is revoked lets
// nobody in, whatever on_outage says; one that has a snapshot serves by that,
// unless on_outage refuse.
func TestFleetStartWithoutRedis(t *testing.T) {
	t.Parallel()
	f := startFleet(t, 1, rig.StartRedis(t), rig.SiteOptions{})
	s := f.nodes[0]
	f.revoke(t, 0, "alice", http.StatusOK)
	s.Crash()
	f.cables[0].set(cut)

	s.Again(t, f.options(0, "serve"))
	s.WaitLog(t, "the store cannot be reached")
	s.Expects(t, "bob with a snapshot", f.token("bob"), http.StatusSwitchingProtocols)
	s.Expects(t, "alice with a snapshot", f.token("alice"), http.StatusUnauthorized)
	s.Crash()

	s.Again(t, f.options(0, "refuse"))
	s.WaitLog(t, "the store cannot be reached")
	s.Expects(t, "bob with on_outage refuse", f.token("bob"), http.StatusServiceUnavailable)
	s.Crash()

	if err := os.RemoveAll(filepath.Join(s.Home, "data")); err != nil {
		t.Fatal(err)
	}
	s.Again(t, f.options(0, "serve"))
	s.WaitLog(t, "the store cannot be reached")
	if _, answer := s.Handshake(t, rig.H1, "/", f.token("bob")); answer.StatusCode != http.StatusServiceUnavailable ||
		answer.Header.Get("Retry-After") == "" {
		t.Errorf("bob without a snapshot: %s, want 503 with Retry-After", answer.Status)
	}
	s.LogsReason(t, "verification_unavailable")
	f.cables[0].set(whole)
	f.await(t, 5*time.Second, f.token("bob"), http.StatusSwitchingProtocols)
	f.answers(t, "alice", f.token("alice"), http.StatusUnauthorized)
}

// TestFleetOutageRefuse: with on_outage refuse nobody is let in while Redis is
// away. Who is in stays in, until it is revoked.
func TestFleetOutageRefuse(t *testing.T) {
	t.Parallel()
	f := startFleet(t, 1, rig.StartRedis(t), rig.SiteOptions{})
	s := f.nodes[0]
	s.MustReload(t, f.options(0, "refuse"))
	bob, alice := s.Open(t, rig.H1, "/echo", f.token("bob")), s.Open(t, rig.H1, "/echo", f.token("alice"))
	for range 2 {
		f.redis.Kill()
		f.await(t, 5*time.Second, f.token("carol"), http.StatusServiceUnavailable)
		bob.Echoes(t)
		f.redis.Start(t)
		f.await(t, 5*time.Second, f.token("carol"), http.StatusSwitchingProtocols)
		bob.Echoes(t)
	}
	f.redis.Kill()
	f.await(t, 5*time.Second, f.token("carol"), http.StatusServiceUnavailable)
	f.revoke(t, 0, "alice", http.StatusServiceUnavailable)
	alice.Closes(t, rig.CloseUnauthorized)
	bob.Echoes(t)
}
