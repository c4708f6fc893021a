package integration

import (
	"errors"
	"net/http"
	"testing"
)

// TestSessionsPerUserOfTheEnding: a socket that is being ended takes nobody's
// place, although its client does not answer the close frame.
func TestSessionsPerUserOfTheEnding(t *testing.T) {
	t.Parallel()
	s := startSite(t, siteOptions{directives: "sessions_per_user 2 refuse"})
	s.open(t, h1, "/sink", s.of("alice")) // stays
	for range 3 {
		s.open(t, h1, "/sink", s.of("alice"))
		all := s.sessions(t, "subject=alice")
		newest := all[len(all)-1]
		if c, answer := s.handshake(t, h1, "/sink", s.of("alice")); c != nil || answer.StatusCode != http.StatusTooManyRequests {
			t.Fatal("one more was not refused, so the test shows nothing")
		}
		if status, text := s.ask(t, http.MethodDelete, "sessions/"+newest.ID, "", nil); status != http.StatusOK {
			t.Fatalf("ending a socket: %d %s", status, text)
		}
	}
}

// TestSessionsPerUserReplacesTheLiving: what makes room is the user's oldest
// that works, and only where there is none.
func TestSessionsPerUserReplacesTheLiving(t *testing.T) {
	t.Parallel()
	s := startSite(t, siteOptions{directives: "sessions_per_user 2 replace"})
	oldest := s.open(t, h1, "/echo", s.of("alice"))
	s.open(t, h1, "/sink", s.of("alice"))
	if status, text := s.ask(t, http.MethodDelete, "sessions/"+s.sessions(t, "subject=alice")[1].ID, "", nil); status != http.StatusOK {
		t.Fatalf("ending a socket: %d %s", status, text)
	}
	third := s.open(t, h1, "/echo", s.of("alice"))
	third.echoes(t)
	oldest.echoes(t)
	s.open(t, h1, "/echo", s.of("alice")).echoes(t)
	if _, end := oldest.last(t, patience); end.code != closeForbidden || end.reason != "replaced" {
		t.Errorf("%v, want 3003 \"replaced\"", end)
	}
	third.echoes(t)
}

// TestSessionsPerUserOfTheRefused: with "reject close" a refused client has a
// socket for a while. It takes nobody's place, or a client that comes back
// again and again would keep itself out.
func TestSessionsPerUserOfTheRefused(t *testing.T) {
	t.Parallel()
	s := startSite(t, siteOptions{directives: "sessions_per_user 1\nreject close"})
	c := s.open(t, h1, "/sink", s.of("alice"))
	if err := s.open(t, h1, "/sink", s.of("alice")).write(opPing, []byte("refused")); err != nil {
		t.Fatal(err)
	}
	if err := c.leave(); err != nil {
		t.Fatal(err)
	}
	s.app.end(t, patience)
	eventually(t, patience, func() string {
		c := s.open(t, h1, "/sink", s.of("alice"))
		if err := c.write(opPing, []byte("in")); err != nil {
			return err.Error()
		}
		f, err := c.read()
		if end := (*closed)(nil); errors.As(err, &end) { // and it is not answered
			return end.Error()
		}
		if err != nil || f.opcode != opPong {
			t.Fatalf("opcode %#x, %v, want a pong", f.opcode, err)
		}
		return ""
	})
}

// TestSessionsPerUserOfTheFailed: a socket that comes to nothing, because the
// application refuses it, costs none that works.
func TestSessionsPerUserOfTheFailed(t *testing.T) {
	t.Parallel()
	o := siteOptions{directives: "sessions_per_user 1 replace\nfrom header\nfrom first_message"}
	forEachVersion(t, allVersions, o, func(t *testing.T, s *site, version string) {
		c := s.open(t, version, "/echo", s.of("alice"))
		if failed, _ := s.handshake(t, version, "/plain", s.of("alice")); failed != nil {
			t.Fatal("the application has taken it, so the test shows nothing")
		}
		c.echoes(t)
		failed := s.open(t, version, "/plain", noHeader)
		failed.says(t, login(s.issuer.token()))
		failed.hearsWord(t, "auth_ok")
		if _, end := failed.last(t, patience); end.code != closeTryAgain {
			t.Fatalf("%v, want 1013", end)
		}
		c.echoes(t)
		next := s.open(t, version, "/echo", noHeader)
		next.says(t, login(s.issuer.token()))
		next.hearsWord(t, "auth_ok")
		if _, end := c.last(t, patience); end.reason != "replaced" {
			t.Errorf("%v, want \"replaced\"", end)
		}
	})
}
