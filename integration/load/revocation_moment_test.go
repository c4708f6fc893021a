package load

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// TestAttackRevokeInTheMomentOfTheHandshake: a thousand times a token is
// revoked while a handshake, or a login, with it is under way. Whatever comes
// first, never is a live socket left.
func TestAttackRevokeInTheMomentOfTheHandshake(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"header", "message"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := rig.StartSite(t, rig.SiteOptions{Directives: "from header\nfrom first_message"})
			r := &revokeRace{Site: s, byMessage: name == "message"}
			const workers, each = 10, 50
			var wg sync.WaitGroup
			for w := range workers {
				wg.Go(func() {
					for n := range each {
						if err := r.run(t, fmt.Sprintf("%d-%d", w, n)); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			t.Logf("%d refused, %d opened and ended", r.refused.Load(), r.ended.Load())
			if r.refused.Load() == 0 || r.ended.Load() == 0 {
				t.Error("always the same comes first: the test shows nothing")
			}
			if all := s.Sessions(t, ""); len(all) != 0 {
				t.Errorf("%d sockets are left", len(all))
			}
			s.NoSocketLeft(t)
		})
	}
}

// revokeRace counts which comes first.
type revokeRace struct {
	*rig.Site
	byMessage      bool
	refused, ended atomic.Int64
}

// run opens a socket with a token of this jti while it is revoked.
func (r *revokeRace) run(t testing.TB, jti string) error {
	token := rig.Sign(rig.JWT{Alg: "ES256", Claims: r.Issuer.Claims(map[string]any{"jti": jti})})
	header := http.Header{}
	if !r.byMessage {
		header.Set("Authorization", "Bearer "+token)
	}
	conn, err := r.Dial(t.Context(), rig.H1)
	if err != nil {
		return err
	}
	defer conn.Close()
	handshake, err := r.Request(t.Context(), rig.H1, "/echo", header)
	if err != nil {
		return err
	}
	delay := time.NewTimer(rand.N(8 * time.Millisecond))
	defer delay.Stop()
	revoked := make(chan error, 1)
	go func() {
		<-delay.C
		revoked <- postRevocation(r.Site.Caddy, `{"issuer":"`+r.Issuer.URL+`","jti":"`+jti+`"}`)
	}()
	c, answer, err := conn.Open(handshake)
	if err != nil {
		return fmt.Errorf("%s: %w", jti, err)
	}
	if c == nil {
		r.refused.Add(1)
		if answer.StatusCode != http.StatusUnauthorized {
			err = fmt.Errorf("%s: refused with %s", jti, answer.Status)
		}
		return errors.Join(err, <-revoked)
	}
	if r.byMessage {
		_ = c.Write(rig.OpText, []byte(rig.Login(token))) // the end may come first
	}
	return errors.Join(r.end(c, jti), <-revoked)
}

// end expects that a socket is closed.
func (r *revokeRace) end(c *rig.Conn, jti string) error {
	count := &r.refused
	if !r.byMessage {
		count = &r.ended
	}
	return c.Within(rig.Patience, func() error {
		for {
			f, err := c.Read()
			if end, ok := errors.AsType[*rig.ClosedError](err); ok {
				count.Add(1)
				if end.Code != rig.CloseUnauthorized {
					return fmt.Errorf("%s: %w, want 3000", jti, end)
				}
				return c.AnswerClose(end.Code)
			}
			if err != nil {
				return fmt.Errorf("%s: a live socket is left, or one without a close frame: %w", jti, err)
			}
			if strings.Contains(string(f.Payload), "auth_ok") {
				count = &r.ended
			}
		}
	})
}

// postRevocation revokes.
func postRevocation(p *rig.Caddy, text string) error {
	answer, err := rig.AdminClient.Post("http://"+p.AdminAddr+"/websocket_auth/revocations", "application/json", strings.NewReader(text))
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("revoking: %s", answer.Status)
	}
	return nil
}
