package limits

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// TestSessionsPerUserRefuse: one socket more than allowed is refused, until one
// of the others has ended. Other users and issuers do not count.
func TestSessionsPerUserRefuse(t *testing.T) {
	t.Parallel()
	rig.ForEachPeerVersion(t, rig.SiteOptions{Directives: "sessions_per_user 2"}, nil, func(t *testing.T, s *rig.PeerSite, version string) {
		first := s.Open(t, version, "/", s.Of("alice"))
		p := s.Socket(t) // one after the other: the application may tell of them in any order
		second := s.Open(t, version, "/", s.Of("alice"))
		q := s.Socket(t)
		for range 3 {
			_, answer := s.Handshake(t, version, "/", s.Of("alice"))
			if answer.StatusCode != http.StatusTooManyRequests || answer.Header.Get("Retry-After") == "" {
				t.Fatalf("%s with Retry-After %q, want 429", answer.Status, answer.Header.Get("Retry-After"))
			}
		}
		s.Open(t, version, "/", s.Of("bob"))
		s.Socket(t)
		s.Open(t, version, "/", s.Named(map[string]any{"iss": "https://other.example.com"}))
		s.Socket(t)
		second.Says(t, "still here")
		q.Hears(t, "still here")
		if err := first.Leave(); err != nil {
			t.Fatal(err)
		}
		p.Ends(t, 1000)
		rig.Eventually(t, rig.Patience, func() string {
			if c, answer := s.Handshake(t, version, "/", s.Of("alice")); c == nil {
				return "still refused with " + answer.Status
			}
			return ""
		})
	})
}

// TestSessionsPerUserReplace: the oldest makes room, and is told not to come
// back.
func TestSessionsPerUserReplace(t *testing.T) {
	t.Parallel()
	rig.ForEachPeerVersion(t, rig.SiteOptions{Directives: "sessions_per_user 2 replace"}, nil, func(t *testing.T, s *rig.PeerSite, version string) {
		var conns []*rig.Conn
		bob := s.Open(t, version, "/", s.Of("bob"))
		b := s.Socket(t)
		for n := range 6 {
			conns = append(conns, s.Open(t, version, "/", s.Of("alice")))
			s.Socket(t)
			if n >= 2 {
				if _, end := conns[n-2].Last(t, rig.Patience); end.Code != rig.CloseForbidden || end.Reason != "replaced" {
					t.Errorf("%v, want 3003 \"replaced\"", end)
				}
			}
		}
		if all := s.Sessions(t, "subject=alice"); len(all) != 2 {
			t.Errorf("%d sockets are left, want 2", len(all))
		}
		bob.Says(t, "still here")
		b.Hears(t, "still here")
	})
}

// TestAttackSessionsPerUserAtOnce: many sockets at the same moment. As many as
// are allowed live, no more and no fewer.
func TestAttackSessionsPerUserAtOnce(t *testing.T) {
	t.Parallel()
	for _, policy := range []string{"refuse", "replace"} {
		t.Run(policy, func(t *testing.T) {
			t.Parallel()
			const most, tries, rounds = 3, 20, 5
			s := rig.StartSite(t, rig.SiteOptions{Directives: "sessions_per_user 3 " + policy})
			for round := range rounds {
				header := s.Of(fmt.Sprint("alice", round))
				var opened, refused atomic.Int64
				var wg sync.WaitGroup
				for range tries {
					conn := s.Connect(t, rig.H1)
					wg.Go(func() {
						r, err := s.Request(t.Context(), rig.H1, "/echo", header)
						if err != nil {
							t.Error(err)
							return
						}
						switch c, answer, err := conn.Open(r); {
						case err != nil:
							t.Error(err)
						case c != nil:
							opened.Add(1)
							go func() {
								var end *rig.ClosedError
								if _, err := c.Read(); errors.As(err, &end) {
									_ = c.AnswerClose(end.Code)
								}
							}()
						case answer.StatusCode == http.StatusTooManyRequests:
							refused.Add(1)
						default:
							t.Errorf("refused with %s", answer.Status)
						}
					})
				}
				wg.Wait()
				if opened.Load()+refused.Load() != tries || policy == "refuse" && opened.Load() != most {
					t.Errorf("%d were opened and %d refused of %d", opened.Load(), refused.Load(), tries)
				}
				rig.Eventually(t, rig.Patience, func() string {
					if n := len(s.Sessions(t, fmt.Sprint("subject=alice", round))); n != most {
						return fmt.Sprintf("%d sockets live, want %d", n, most)
					}
					return ""
				})
			}
		})
	}
}

// TestAttackSessionsPerUserPending: sockets that are opened first and log in
// last, in whatever order, are no way round the limit.
func TestAttackSessionsPerUserPending(t *testing.T) {
	t.Parallel()
	o := rig.SiteOptions{Directives: "from first_message\nfrom header\nsessions_per_user 2\non_expiry renew"}
	rig.ForEachPeerVersion(t, o, nil, func(t *testing.T, s *rig.PeerSite, version string) {
		var conns []*rig.Conn
		for range 6 {
			conns = append(conns, s.Open(t, version, "/", rig.NoHeader))
		}
		for n, conn := range slices.Backward(conns) {
			conn.Says(t, rig.Login(s.Issuer.Token()))
			if n >= len(conns)-2 {
				conn.HearsWord(t, "auth_ok")
				continue
			}
			if _, end := conn.Last(t, rig.Patience); end.Code != rig.CloseTryAgain {
				t.Errorf("socket %d: %v, want 1013", n, end)
			}
		}
		// Who is in may renew: a renewal is no newcomer.
		for _, c := range conns[4:] {
			c.Says(t, rig.Login(s.Issuer.Token(map[string]any{"exp": time.Now().Add(2 * time.Hour).Unix()})))
			c.HearsWord(t, "auth_ok")
		}
		if all := s.Sessions(t, "subject=alice"); len(all) != 2 {
			t.Errorf("%d sockets live, want 2", len(all))
		}
	})
}
