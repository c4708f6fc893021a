package integration

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestFleetRevocation: a revocation on one node ends the sockets on all within
// a second, keeps new ones out, and ends nobody else's; so does its end.
func TestFleetRevocation(t *testing.T) {
	t.Parallel()
	f := startFleet(t, 3, startRedis(t), siteOptions{})
	for n := range f.nodes {
		subject := fmt.Sprint("alice", n)
		conns := append(f.open(t, subject), f.open(t, subject)...)
		bob := f.open(t, "bob")
		start := time.Now()
		f.revoke(t, n, subject, http.StatusOK)
		for _, c := range conns {
			c.endsRevoked(t, subject, f.lag, start)
		}
		f.answers(t, subject, f.token(subject), http.StatusUnauthorized)
		for _, c := range bob {
			c.echoes(t)
		}
		query := "revocations?subject=" + subject + "&issuer=" + f.nodes[0].issuer.URL
		f.nodes[(n+1)%3].asks(t, http.MethodDelete, query, "", `{"removed":1}`)
		f.await(t, time.Second, f.token(subject), http.StatusSwitchingProtocols)
	}
}

// TestFleetLockout: failures on all nodes count together, and all know who is
// locked out, and who no longer is.
func TestFleetLockout(t *testing.T) {
	t.Parallel()
	f := startFleet(t, 3, startRedis(t), siteOptions{globals: "lockout 6 10m 10m"})
	bad := http.Header{"Authorization": {"Bearer " + sign(jwt{claims: f.nodes[0].issuer.claims(), key: strangerKey()})}}
	for range 2 {
		f.answers(t, "a bad signature", bad, http.StatusUnauthorized)
	}
	f.await(t, 2*time.Second, f.token("alice"), http.StatusTooManyRequests)
	f.nodes[1].asks(t, http.MethodDelete, "lockouts?all=true", "", `{"released":1}`)
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
			f := startFleet(t, 2, startRedis(t), siteOptions{})
			near, far := f.open(t, "near"), f.open(t, "far")
			bob := f.open(t, "bob")
			f.cables[1].set(mode)
			f.nodes[1].waitLog(t, "the store cannot be reached")
			f.revoke(t, 0, "near", http.StatusOK)
			start := time.Now()
			near[0].endsRevoked(t, "near's on the node itself", f.lag, start)
			f.answers(t, "bob", f.token("bob"), http.StatusSwitchingProtocols)
			near[1].echoes(t) // nobody can know
			f.revoke(t, 1, "far", http.StatusServiceUnavailable)
			far[1].closes(t, closeUnauthorized)
			f.nodes[1].expects(t, "far", f.token("far"), http.StatusUnauthorized)

			back := time.Now()
			f.cables[1].set(whole)
			for name, c := range map[string]*wsConn{"near's": near[1], "far's": far[0]} {
				if _, end := c.last(t, patience); end.code != closeUnauthorized {
					t.Errorf("%s: %v, want 3000", name, end)
				}
				f.lag.inTime(t, "end of "+name, back, time.Now(), 5*time.Second)
			}
			f.answers(t, "near", f.token("near"), http.StatusUnauthorized)
			f.answers(t, "far", f.token("far"), http.StatusUnauthorized)
			for _, c := range bob {
				c.echoes(t)
			}
			f.nodes[1].waitLog(t, "the store can be reached again")
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
			f := startFleet(t, 2, startRedis(t, options...), siteOptions{})
			bob := f.open(t, "bob")
			for round := range rounds {
				before, during := fmt.Sprint("before", round), fmt.Sprint("during", round)
				conns := append(f.open(t, before), f.open(t, during)...)
				f.revoke(t, round%2, before, http.StatusOK)
				f.redis.kill()
				for _, s := range f.nodes {
					eventually(t, patience, func() string { return s.storeIs(t, "away") })
				}
				f.answers(t, "bob", f.token("bob"), http.StatusSwitchingProtocols)
				f.revoke(t, round%2, during, http.StatusServiceUnavailable)
				back := time.Now()
				f.redis.start(t)
				for _, c := range conns {
					if _, end := c.last(t, patience); end.code != closeUnauthorized {
						t.Errorf("%v, want 3000", end)
					}
				}
				f.lag.inTime(t, "the last end", back, time.Now(), 5*time.Second)
				for _, s := range f.nodes {
					eventually(t, patience, func() string { return s.storeIs(t, "there") })
				}
				for old := range round + 1 {
					f.answers(t, "before", f.token(fmt.Sprint("before", old)), http.StatusUnauthorized)
					f.answers(t, "during", f.token(fmt.Sprint("during", old)), http.StatusUnauthorized)
				}
				for _, c := range bob {
					c.echoes(t)
				}
			}
		})
	}
}

// storeIs tells what is wrong if the last line about the store does not say
// that it is there, or away.
func (p *caddyProc) storeIs(t testing.TB, want string) string {
	t.Helper()
	gone, back := len(p.logs.entries("the store cannot be reached, see on_outage")), len(p.logs.entries("the store can be reached again"))
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
	f := startFleet(t, 2, startRedis(t), siteOptions{})
	for round := range rounds {
		mine, others := fmt.Sprint("mine", round), fmt.Sprint("others", round)
		bob := f.nodes[0].open(t, h1, "/echo", f.token("bob"))
		f.revoke(t, 1, mine, http.StatusOK)
		f.nodes[1].crash()
		f.revoke(t, 0, others, http.StatusOK)
		if round%2 == 1 {
			if err := os.RemoveAll(filepath.Join(f.nodes[1].home, "data")); err != nil {
				t.Fatal(err)
			}
		}
		f.nodes[1].again(t, f.options(1, "serve"))
		for old := range round + 1 {
			if status := f.nodes[1].admits(t, f.token(fmt.Sprint("mine", old))); status != 401 && status != 503 {
				t.Errorf("revoked before the node was killed: status %d", status)
			}
		}
		start := time.Now()
		f.await(t, 5*time.Second, f.token("bob"), http.StatusSwitchingProtocols, f.nodes[1])
		f.await(t, 5*time.Second, f.token(others), http.StatusUnauthorized, f.nodes[1])
		f.lag.inTime(t, "the node's return", start, time.Now(), 5*time.Second)
		for old := range round + 1 {
			f.answers(t, "mine", f.token(fmt.Sprint("mine", old)), http.StatusUnauthorized)
			f.answers(t, "others", f.token(fmt.Sprint("others", old)), http.StatusUnauthorized)
		}
		bob.echoes(t)
	}
}

// TestFleetStartWithoutRedis: a node that has never known what is revoked lets
// nobody in, whatever on_outage says; one that has a snapshot serves by that,
// unless on_outage refuse.
func TestFleetStartWithoutRedis(t *testing.T) {
	t.Parallel()
	f := startFleet(t, 1, startRedis(t), siteOptions{})
	s := f.nodes[0]
	f.revoke(t, 0, "alice", http.StatusOK)
	s.crash()
	f.cables[0].set(cut)

	s.again(t, f.options(0, "serve"))
	s.waitLog(t, "the store cannot be reached")
	s.expects(t, "bob with a snapshot", f.token("bob"), http.StatusSwitchingProtocols)
	s.expects(t, "alice with a snapshot", f.token("alice"), http.StatusUnauthorized)
	s.crash()

	s.again(t, f.options(0, "refuse"))
	s.waitLog(t, "the store cannot be reached")
	s.expects(t, "bob with on_outage refuse", f.token("bob"), http.StatusServiceUnavailable)
	s.crash()

	if err := os.RemoveAll(filepath.Join(s.home, "data")); err != nil {
		t.Fatal(err)
	}
	s.again(t, f.options(0, "serve"))
	s.waitLog(t, "the store cannot be reached")
	if _, answer := s.handshake(t, h1, "/", f.token("bob")); answer.StatusCode != http.StatusServiceUnavailable ||
		answer.Header.Get("Retry-After") == "" {
		t.Errorf("bob without a snapshot: %s, want 503 with Retry-After", answer.Status)
	}
	s.logsReason(t, "verification_unavailable")
	f.cables[0].set(whole)
	f.await(t, 5*time.Second, f.token("bob"), http.StatusSwitchingProtocols)
	f.answers(t, "alice", f.token("alice"), http.StatusUnauthorized)
}

// TestFleetOutageRefuse: with on_outage refuse nobody is let in while Redis is
// away. Who is in stays in, until it is revoked.
func TestFleetOutageRefuse(t *testing.T) {
	t.Parallel()
	f := startFleet(t, 1, startRedis(t), siteOptions{})
	s := f.nodes[0]
	s.mustReload(t, f.options(0, "refuse"))
	bob, alice := s.open(t, h1, "/echo", f.token("bob")), s.open(t, h1, "/echo", f.token("alice"))
	for range 2 {
		f.redis.kill()
		f.await(t, 5*time.Second, f.token("carol"), http.StatusServiceUnavailable)
		bob.echoes(t)
		f.redis.start(t)
		f.await(t, 5*time.Second, f.token("carol"), http.StatusSwitchingProtocols)
		bob.echoes(t)
	}
	f.redis.kill()
	f.await(t, 5*time.Second, f.token("carol"), http.StatusServiceUnavailable)
	f.revoke(t, 0, "alice", http.StatusServiceUnavailable)
	alice.closes(t, closeUnauthorized)
	bob.echoes(t)
}
