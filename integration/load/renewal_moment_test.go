package load

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/internal/pace"
)

// momentRounds times momentSockets is how often a renewal comes in the very
// moment of the end.
const momentRounds, momentSockets = 5, 200

// TestAttackRenewalInTheMomentOfTheEnd: renewals that come just before, at, and
// just after the end, a thousand times, each between two messages. The socket
// lives on each time, and both messages arrive once and in order, whichever
// side of the end they came on.
func TestAttackRenewalInTheMomentOfTheEnd(t *testing.T) {
	t.Parallel()
	pace.Try(t, renewInTheMomentOfTheEnd)
}

func renewInTheMomentOfTheEnd(t testing.TB) {
	s := rig.StartSite(t, rig.Renewing("warn 0s"))
	exp := rig.Soon(expiryAfterOpening)
	conns := rig.OpenMany(t, s, rig.H1, "/echo", s.Bearer(exp), momentSockets, 1)
	for round := range momentRounds {
		next := rig.LaterThan(exp, 2*time.Second)
		message := rig.Login(s.Issuer.Expiring(next))
		atTheEnd(t, s, conns, exp, 50*time.Millisecond, func(c *rig.Conn) error {
			if err := renewBetween(c, message, fmt.Sprint(round)); err != nil {
				return fmt.Errorf("round %d, %v before the next end: %w", round, time.Until(next), err)
			}
			return nil
		})
		exp = next
	}
}

// atTheEnd runs f for each socket within spread of exp, on both sides of it, and
// fails the test for what f returns.
func atTheEnd(t testing.TB, s *rig.Site, conns []*rig.Conn, exp time.Time, spread time.Duration, f func(c *rig.Conn) error) {
	t.Helper()
	var wg sync.WaitGroup
	results := make(chan error, len(conns))
	for n, c := range conns {
		wg.Go(func() {
			offset := spread * time.Duration(2*n-len(conns)) / time.Duration(len(conns))
			timer := time.NewTimer(time.Until(exp) + offset)
			defer timer.Stop()
			<-timer.C
			results <- c.Within(rig.Patience, func() error { return f(c) })
		})
	}
	wg.Wait()
	close(results)
	for err := range results {
		if err != nil {
			t.Error(err)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
}

// renewBetween sends a message, a renewal and another message, and expects the
// echoes of the two and the acceptance, with at most the word of a suspension
// before that.
func renewBetween(c *rig.Conn, renewal, name string) error {
	var all []byte
	for _, text := range []string{"before " + name, renewal, "after " + name} {
		all = append(all, rig.ClientFrame(0x80|rig.OpText, []byte(text))...)
	}
	if err := c.WriteRaw(all); err != nil {
		return err
	}
	var echoes []string
	renewed := false
	for !renewed || len(echoes) < 2 {
		f, err := c.Read()
		if err != nil {
			return err
		}
		switch text := string(f.Payload); {
		case strings.HasPrefix(text, `{"type":"auth_ok"`) && !renewed:
			renewed = true
		case text == `{"type":"auth_expired"}` && !renewed:
		case strings.HasPrefix(text, "{"):
			return errors.New("told " + text)
		default:
			echoes = append(echoes, text)
		}
	}
	if fmt.Sprint(echoes) != fmt.Sprint([]string{"before " + name, "after " + name}) {
		return fmt.Errorf("echoes %q of round %s", echoes, name)
	}
	return nil
}

// TestAttackRenewalAtTheEndWithoutGrace: without a grace a renewal in the moment
// of the end comes in time or not. If the client is told that it did, the
// socket lives on past the old end; if not, it is closed.
func TestAttackRenewalAtTheEndWithoutGrace(t *testing.T) {
	t.Parallel()
	pace.Try(t, renewAtTheEndWithoutGrace)
}

func renewAtTheEndWithoutGrace(t testing.TB) {
	s := rig.StartSite(t, rig.Renewing("warn 0s\ngrace 0s"))
	exp := rig.Soon(expiryAfterOpening)
	conns := rig.OpenMany(t, s, rig.H1, "/echo", s.Bearer(exp), momentSockets, 1)
	message := rig.Login(s.Issuer.Expiring(exp.Add(time.Hour)))
	var mu sync.Mutex // guards renewed
	renewed := 0
	atTheEnd(t, s, conns, exp, 300*time.Millisecond, func(c *rig.Conn) error {
		err := renewBetween(c, message, "it")
		end, isClosed := errors.AsType[*rig.ClosedError](err)
		switch {
		case err == nil:
			mu.Lock()
			renewed++
			mu.Unlock()
		case strings.Contains(err.Error(), "auth_error"): // and then the close frame
			_, err = c.Read()
			if !errors.As(err, &end) || end.Code != rig.CloseTimeout {
				return fmt.Errorf("%w, want 3008", err)
			}
			return nil
		case isClosed && end.Code == rig.CloseTimeout:
			return nil
		default:
			return err
		}
		// The old end is over for all by then.
		timer := time.NewTimer(time.Until(exp) + 100*time.Millisecond)
		defer timer.Stop()
		<-timer.C
		if err := c.Write(rig.OpText, []byte("alive")); err != nil {
			return err
		}
		if f, err := c.Read(); err != nil || string(f.Payload) != "alive" {
			return fmt.Errorf("after the old end: %q, %w", f.Payload, err)
		}
		return nil
	})
	if renewed == 0 || renewed == momentSockets {
		t.Errorf("%d of %d renewals came in time: none was at the end", renewed, momentSockets)
	}
}

// TestRenewReloadInTheMomentOfTheEnd: the same with a reload at the same time.
func TestRenewReloadInTheMomentOfTheEnd(t *testing.T) {
	t.Parallel()
	pace.Try(t, renewAndReloadInTheMomentOfTheEnd)
}

func renewAndReloadInTheMomentOfTheEnd(t testing.TB) {
	o := rig.Renewing("warn 0s")
	s := rig.StartSite(t, o)
	exp := rig.Soon(expiryAfterOpening)
	conns := rig.OpenMany(t, s, rig.H1, "/echo", s.Bearer(exp), momentSockets/2, 1)
	message := rig.Login(s.Issuer.Expiring(exp.Add(time.Hour)))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			again := o
			again.Directives += fmt.Sprintf("\npending %d 100", 1000+n)
			if err := s.Reload(t, again.Caddyfile()); err != nil && ctx.Err() == nil {
				t.Errorf("reload: %v", err)
				return
			}
		}
	})
	atTheEnd(t, s, conns, exp, 50*time.Millisecond, func(c *rig.Conn) error { return renewBetween(c, message, "it") })
	cancel()
	wg.Wait()
	c, answer := s.Handshake(t, rig.H1, "/echo", http.Header{"Authorization": {"Bearer " + s.Issuer.Token()}})
	if c == nil {
		t.Fatal(answer.Status)
	}
}
