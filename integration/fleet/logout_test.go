package fleet

import (
	"net/http"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// TestFleetLogout: a logout at one node ends the sockets on all. While that is
// not certain, because Redis is away, the provider is told to try again, and may
// do so with the same token. What is replayed at another node ends nobody's
// next login.
func TestFleetLogout(t *testing.T) {
	t.Parallel()
	f := startFleet(t, 2, rig.StartRedis(t), rig.SiteOptions{
		First: "websocket_logout /logout {\nissuer {$ISSUER}\njwks_url {$JWKS}\naudience chat-client\n}",
	})
	issuer := f.nodes[0].Issuer
	token := func(subject, jti string) string {
		return rig.LogoutTokenOf(issuer, map[string]any{"sub": subject, "jti": jti, "iat": time.Now().Add(-30 * time.Second).Unix()})
	}
	alice, bob := f.open(t, "alice"), f.open(t, "bob")
	first := token("alice", "first")
	start := time.Now()
	if status := f.nodes[0].Logout(t, first); status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	for _, c := range alice {
		c.EndsRevoked(t, "alice", f.lag, start)
	}
	f.answers(t, "alice", f.token("alice"), http.StatusUnauthorized)
	again := f.nodes[0].Named(map[string]any{"sub": "alice", "jti": "again", "iat": time.Now().Add(-5 * time.Second).Unix()})
	next := f.nodes[1].Open(t, rig.H1, "/echo", again)
	for n, want := range []int{http.StatusBadRequest, http.StatusOK} {
		if status := f.nodes[n].Logout(t, first); status != want {
			t.Errorf("replayed at node %d: status %d, want %d", n, status, want)
		}
	}
	next.Echoes(t)
	f.answers(t, "alice again", again, http.StatusSwitchingProtocols)

	f.cables[1].set(cut)
	f.nodes[1].WaitLog(t, "the store cannot be reached")
	second := token("bob", "second")
	if status := f.nodes[1].Logout(t, second); status != http.StatusServiceUnavailable {
		t.Errorf("without Redis: status %d, want 503", status)
	}
	bob[1].Closes(t, rig.CloseUnauthorized)
	bob[0].Echoes(t) // nobody can know
	f.cables[1].set(whole)
	rig.Eventually(t, rig.Patience, func() string {
		if status := f.nodes[1].Logout(t, second); status != http.StatusOK {
			return http.StatusText(status)
		}
		return ""
	})
	if _, end := bob[0].Last(t, rig.Patience); end.Code != rig.CloseUnauthorized {
		t.Errorf("bob's at the other node: %v, want 3000", end)
	}
	next.Echoes(t)
}
