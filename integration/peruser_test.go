package integration

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestSessionsPerUserRefuse: one socket more than allowed is refused, until one
// of the others has ended. Other users and issuers do not count.
func TestSessionsPerUserRefuse(t *testing.T) {
	t.Parallel()
	forEachPeerVersion(t, siteOptions{directives: "sessions_per_user 2"}, nil, func(t *testing.T, s *peerSite, version string) {
		first, second := s.open(t, version, "/", s.of("alice")), s.open(t, version, "/", s.of("alice"))
		p, q := s.socket(t), s.socket(t)
		for range 3 {
			_, answer := s.handshake(t, version, "/", s.of("alice"))
			if answer.StatusCode != http.StatusTooManyRequests || answer.Header.Get("Retry-After") == "" {
				t.Fatalf("%s with Retry-After %q, want 429", answer.Status, answer.Header.Get("Retry-After"))
			}
		}
		s.open(t, version, "/", s.of("bob"))
		s.socket(t)
		s.open(t, version, "/", s.named(map[string]any{"iss": "https://other.example.com"}))
		s.socket(t)
		second.says(t, "still here")
		q.hears(t, "still here")
		if err := first.leave(); err != nil {
			t.Fatal(err)
		}
		p.ends(t, 1000)
		eventually(t, patience, func() string {
			if c, answer := s.handshake(t, version, "/", s.of("alice")); c == nil {
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
	forEachPeerVersion(t, siteOptions{directives: "sessions_per_user 2 replace"}, nil, func(t *testing.T, s *peerSite, version string) {
		var conns []*wsConn
		bob := s.open(t, version, "/", s.of("bob"))
		b := s.socket(t)
		for n := range 6 {
			conns = append(conns, s.open(t, version, "/", s.of("alice")))
			s.socket(t)
			if n >= 2 {
				if _, end := conns[n-2].last(t, patience); end.code != closeForbidden || end.reason != "replaced" {
					t.Errorf("%v, want 3003 \"replaced\"", end)
				}
			}
		}
		if all := s.sessions(t, "subject=alice"); len(all) != 2 {
			t.Errorf("%d sockets are left, want 2", len(all))
		}
		bob.says(t, "still here")
		b.hears(t, "still here")
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
			s := startSite(t, siteOptions{directives: "sessions_per_user 3 " + policy})
			for round := range rounds {
				header := s.of(fmt.Sprint("alice", round))
				var opened, refused atomic.Int64
				var wg sync.WaitGroup
				for range tries {
					conn := s.connect(t, h1)
					wg.Go(func() {
						r, err := s.request(t.Context(), h1, "/echo", header)
						if err != nil {
							t.Error(err)
							return
						}
						switch c, answer, err := conn.open(r); {
						case err != nil:
							t.Error(err)
						case c != nil:
							opened.Add(1)
							go func() {
								var end *closed
								if _, err := c.read(); errors.As(err, &end) {
									_ = c.answerClose(end.code)
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
				eventually(t, patience, func() string {
					if n := len(s.sessions(t, fmt.Sprint("subject=alice", round))); n != most {
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
	o := siteOptions{directives: "from first_message\nfrom header\nsessions_per_user 2\non_expiry renew"}
	forEachPeerVersion(t, o, nil, func(t *testing.T, s *peerSite, version string) {
		var conns []*wsConn
		for range 6 {
			conns = append(conns, s.open(t, version, "/", noHeader))
		}
		for n, conn := range slices.Backward(conns) {
			conn.says(t, login(s.issuer.token()))
			if n >= len(conns)-2 {
				conn.hearsWord(t, "auth_ok")
				continue
			}
			if _, end := conn.last(t, patience); end.code != closeTryAgain {
				t.Errorf("socket %d: %v, want 1013", n, end)
			}
		}
		// Who is in may renew: a renewal is no newcomer.
		for _, c := range conns[4:] {
			c.says(t, login(s.issuer.token(map[string]any{"exp": time.Now().Add(2 * time.Hour).Unix()})))
			c.hearsWord(t, "auth_ok")
		}
		if all := s.sessions(t, "subject=alice"); len(all) != 2 {
			t.Errorf("%d sockets live, want 2", len(all))
		}
	})
}
