package limits

import (
	"errors"
	"net/http"
	"testing"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// TestSessionsPerUserOfTheEnding: a socket that is being ended takes nobody's
// place, although its client does not answer the close frame.
func TestSessionsPerUserOfTheEnding(t *testing.T) {
	t.Parallel()
	s := rig.StartSite(t, rig.SiteOptions{Directives: "sessions_per_user 2 refuse"})
	s.Open(t, rig.H1, "/sink", s.Of("alice")) // stays
	for range 3 {
		s.Open(t, rig.H1, "/sink", s.Of("alice"))
		all := s.Sessions(t, "subject=alice")
		newest := all[len(all)-1]
		if c, answer := s.Handshake(t, rig.H1, "/sink", s.Of("alice")); c != nil || answer.StatusCode != http.StatusTooManyRequests {
			t.Fatal("one more was not refused, so the test shows nothing")
		}
		if status, text := s.Ask(t, http.MethodDelete, "sessions/"+newest.ID, "", nil); status != http.StatusOK {
			t.Fatalf("ending a socket: %d %s", status, text)
		}
	}
}

// TestSessionsPerUserReplacesTheLiving: what makes room is the user's oldest
// that works, and only where there is none.
func TestSessionsPerUserReplacesTheLiving(t *testing.T) {
	t.Parallel()
	s := rig.StartSite(t, rig.SiteOptions{Directives: "sessions_per_user 2 replace"})
	oldest := s.Open(t, rig.H1, "/echo", s.Of("alice"))
	s.Open(t, rig.H1, "/sink", s.Of("alice"))
	if status, text := s.Ask(t, http.MethodDelete, "sessions/"+s.Sessions(t, "subject=alice")[1].ID, "", nil); status != http.StatusOK {
		t.Fatalf("ending a socket: %d %s", status, text)
	}
	third := s.Open(t, rig.H1, "/echo", s.Of("alice"))
	third.Echoes(t)
	oldest.Echoes(t)
	s.Open(t, rig.H1, "/echo", s.Of("alice")).Echoes(t)
	if _, end := oldest.Last(t, rig.Patience); end.Code != rig.CloseForbidden || end.Reason != "replaced" {
		t.Errorf("%v, want 3003 \"replaced\"", end)
	}
	third.Echoes(t)
}

// TestSessionsPerUserOfTheRefused: with "reject close" a refused client has a
// socket for a while. It takes nobody's place, or a client that comes back
// again and again would keep itself out.
func TestSessionsPerUserOfTheRefused(t *testing.T) {
	t.Parallel()
	s := rig.StartSite(t, rig.SiteOptions{Directives: "sessions_per_user 1\nreject close"})
	c := s.Open(t, rig.H1, "/sink", s.Of("alice"))
	if err := s.Open(t, rig.H1, "/sink", s.Of("alice")).Write(rig.OpPing, []byte("refused")); err != nil {
		t.Fatal(err)
	}
	if err := c.Leave(); err != nil {
		t.Fatal(err)
	}
	s.App.End(t, rig.Patience)
	rig.Eventually(t, rig.Patience, func() string {
		c := s.Open(t, rig.H1, "/sink", s.Of("alice"))
		if err := c.Write(rig.OpPing, []byte("in")); err != nil {
			return err.Error()
		}
		f, err := c.Read()
		if end := (*rig.ClosedError)(nil); errors.As(err, &end) { // and it is not answered
			return end.Error()
		}
		if err != nil || f.Opcode != rig.OpPong {
			t.Fatalf("opcode %#x, %v, want a pong", f.Opcode, err)
		}
		return ""
	})
}

// TestSessionsPerUserOfTheFailed: a socket that comes to nothing, because the
// application refuses it, costs none that works.
func TestSessionsPerUserOfTheFailed(t *testing.T) {
	t.Parallel()
	o := rig.SiteOptions{Directives: "sessions_per_user 1 replace\nfrom header\nfrom first_message"}
	rig.ForEachVersion(t, rig.AllVersions, o, func(t *testing.T, s *rig.Site, version string) {
		c := s.Open(t, version, "/echo", s.Of("alice"))
		if failed, _ := s.Handshake(t, version, "/plain", s.Of("alice")); failed != nil {
			t.Fatal("the application has taken it, so the test shows nothing")
		}
		c.Echoes(t)
		failed := s.Open(t, version, "/plain", rig.NoHeader)
		failed.Says(t, rig.Login(s.Issuer.Token()))
		failed.HearsWord(t, "auth_ok")
		if _, end := failed.Last(t, rig.Patience); end.Code != rig.CloseTryAgain {
			t.Fatalf("%v, want 1013", end)
		}
		c.Echoes(t)
		next := s.Open(t, version, "/echo", rig.NoHeader)
		next.Says(t, rig.Login(s.Issuer.Token()))
		next.HearsWord(t, "auth_ok")
		if _, end := c.Last(t, rig.Patience); end.Reason != "replaced" {
			t.Errorf("%v, want \"replaced\"", end)
		}
	})
}
