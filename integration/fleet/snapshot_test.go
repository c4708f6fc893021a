package fleet

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// TestFleetNeverComplete: a node that Redis has never told anything lets nobody
// in. What is revoked on it is kept, but is not all that is revoked: a restart
// does not make it know more.
func TestFleetNeverComplete(t *testing.T) {
	t.Parallel()
	f := startFleet(t, 1, rig.StartRedis(t), rig.SiteOptions{})
	s := f.nodes[0]
	f.revoke(t, 0, "alice", http.StatusOK)
	s.Crash()
	if err := os.RemoveAll(filepath.Join(s.Home, "data")); err != nil {
		t.Fatal(err)
	}
	f.cables[0].set(cut)
	for range 2 {
		s.Again(t, f.options(0, "serve"))
		s.WaitLog(t, "the store cannot be reached")
		f.revoke(t, 0, "carol", http.StatusServiceUnavailable)
		s.Snapshot(t)
		for _, who := range []string{"alice", "bob", "carol"} {
			s.Expects(t, who, f.token(who), http.StatusServiceUnavailable)
		}
		if ready := s.Scrape(t)["ready"]; ready != 0 {
			t.Errorf("the metric ready is %v, want 0", ready)
		}
		s.Crash()
	}
	s.Again(t, f.options(0, "serve"))
	f.cables[0].set(whole)
	f.await(t, 5*time.Second, f.token("bob"), http.StatusSwitchingProtocols)
	f.answers(t, "alice", f.token("alice"), http.StatusUnauthorized)
	f.answers(t, "carol", f.token("carol"), http.StatusUnauthorized)
	if ready := s.Scrape(t)["ready"]; ready != 1 {
		t.Errorf("the metric ready is %v, want 1", ready)
	}
}

// TestFleetSnapshotOfNothing: that nothing was revoked is known after a restart
// without Redis, too.
func TestFleetSnapshotOfNothing(t *testing.T) {
	t.Parallel()
	f := startFleet(t, 1, rig.StartRedis(t), rig.SiteOptions{})
	s := f.nodes[0]
	rig.Eventually(t, rig.Patience, func() string {
		files, err := filepath.Glob(filepath.Join(s.Home, "data", "caddy", "websocket_auth", "revocations", "*.json"))
		if err != nil || len(files) != 1 {
			return "there is no snapshot yet"
		}
		return ""
	})
	s.Crash()
	f.cables[0].set(cut)
	s.Again(t, f.options(0, "serve"))
	s.WaitLog(t, "the store cannot be reached")
	s.Expects(t, "bob", f.token("bob"), http.StatusSwitchingProtocols)
}

// TestFleetSnapshotSpoiled: a snapshot that cannot be read keeps nobody out
// where Redis has told all, and everybody where it has not. It is not written
// over, and counts when it can be read at last.
func TestFleetSnapshotSpoiled(t *testing.T) {
	t.Parallel()
	f := startFleet(t, 2, rig.StartRedis(t), rig.SiteOptions{})
	s := f.nodes[1]
	f.revoke(t, 0, "alice", http.StatusOK)
	f.await(t, rig.Patience, f.token("alice"), http.StatusUnauthorized)
	f.cables[1].set(cut)
	s.WaitLog(t, "the store cannot be reached")
	f.revoke(t, 1, "dave", http.StatusServiceUnavailable) // nobody else knows
	s.Crash()
	file := s.Snapshot(t)
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const spoilt = `{"version":1,"revo`
	if err := os.WriteFile(file, []byte(spoilt), 0o600); err != nil {
		t.Fatal(err)
	}
	s.Again(t, f.options(1, "serve"))
	s.WaitLog(t, "revocations of before the last stop cannot be read")
	s.WaitLog(t, "the store cannot be reached")
	s.Expects(t, "bob, and Redis is away", f.token("bob"), http.StatusServiceUnavailable)

	f.cables[1].set(whole)
	f.await(t, 5*time.Second, f.token("bob"), http.StatusSwitchingProtocols)
	f.answers(t, "alice", f.token("alice"), http.StatusUnauthorized)
	f.revoke(t, 1, "carol", http.StatusServiceUnavailable) // not kept on this node
	f.await(t, time.Second, f.token("carol"), http.StatusUnauthorized)
	dave := s.Open(t, rig.H1, "/echo", f.token("dave"))
	if is, err := os.ReadFile(file); err != nil || string(is) != spoilt {
		t.Fatalf("the snapshot is written over: %q, %v", is, err)
	}
	if err := os.WriteFile(file, good, 0o600); err != nil {
		t.Fatal(err)
	}
	dave.Closes(t, rig.CloseUnauthorized)
	f.await(t, 5*time.Second, f.token("dave"), http.StatusUnauthorized)
	f.answers(t, "bob", f.token("bob"), http.StatusSwitchingProtocols)
}

// TestFleetLagShows: how long a node has not heard of Redis is a metric.
func TestFleetLagShows(t *testing.T) {
	t.Parallel()
	f := startFleet(t, 1, rig.StartRedis(t), rig.SiteOptions{})
	s := f.nodes[0]
	f.cables[0].set(silent)
	rig.Eventually(t, rig.Patience, func() string {
		if s.Scrape(t)["store_lag_seconds"] < 3 {
			return "the lag does not show"
		}
		return ""
	})
	f.cables[0].set(whole)
	rig.Eventually(t, rig.Patience, func() string {
		if s.Scrape(t)["store_lag_seconds"] > 2 {
			return "still a lag"
		}
		return ""
	})
}
