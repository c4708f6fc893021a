package limits

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// lockoutSite returns the Caddyfile of a site where five failures lock out.
// servers are options of all servers, duration is how long it is.
func lockoutSite(servers, duration, lines string) string {
	return `{
	grace_period 5s
	servers {
		` + servers + `
	}
	websocket_auth {
		lockout 5 10m ` + duration + `
	}
}
http://{$SITE} {
	websocket_auth {
		verify jwt {$JWKS} {
			audience chat
		}
		from header
		from query
		from first_message
		` + lines + `
	}
	reverse_proxy {$APP} {
		stream_close_delay 1h
	}
}
`
}

// behindProxy has the clients come from where a trusted proxy says.
const behindProxy = "trusted_proxies static 127.0.0.0/8 ::1/128"

func startLockoutSite(t testing.TB, caddyfile string) *rig.Site {
	t.Helper()
	s := &rig.Site{Issuer: rig.NewIssuer(t), App: rig.StartApp(t)}
	s.Caddy = rig.StartCaddy(t, caddyfile, rig.WithEnv("JWKS", s.Issuer.JWKSURL()), rig.WithEnv("APP", s.App.Addr()))
	t.Cleanup(s.CloseAll)
	return s
}

// visitor is a client at an address, as a trusted proxy tells it.
type visitor struct {
	*rig.Site
	address string
}

func (v visitor) header(token string) http.Header {
	h := http.Header{"X-Forwarded-For": {v.address}, "X-Forwarded-Proto": {"https"}}
	if token != "" {
		h.Set("Authorization", "Bearer "+token)
	}
	return h
}

// fails sends a credential that no honest client has, n times.
func (v visitor) fails(t testing.TB, n int) {
	t.Helper()
	for range n {
		v.Expects(t, "a bad signature", v.header(v.forged()), http.StatusUnauthorized)
	}
}

// failsByMessage is fails with logins by a message.
func (v visitor) failsByMessage(t testing.TB, n int) {
	t.Helper()
	for range n {
		c := v.Open(t, rig.H1, "/", v.header(""))
		c.Says(t, rig.Login(v.forged()))
		c.IsRefused(t, rig.CloseUnauthorized)
	}
}

// forged returns a token that is signed with another key than its kid's.
func (v visitor) forged() string {
	return rig.Sign(rig.JWT{Claims: v.Issuer.Claims(), Key: rig.StrangerKey()})
}

// isLocked expects the visitor to be refused, or not, whatever it presents.
func (v visitor) isLocked(t testing.TB, locked bool) {
	t.Helper()
	want := map[bool]int{true: http.StatusTooManyRequests, false: http.StatusSwitchingProtocols}[locked]
	v.Expects(t, v.address, v.header(v.Issuer.Token()), want)
}

// TestLockout: handshakes and first messages count together; who is locked out
// hears 429 and when to come back, or 1013, before the credential is looked at.
func TestLockout(t *testing.T) {
	t.Parallel()
	s := startLockoutSite(t, lockoutSite(behindProxy, "10m", ""))
	v := visitor{s, "192.0.2.1"}
	early := s.Open(t, rig.H1, "/", v.header("")) // has yet to log in
	v.fails(t, 2)
	v.failsByMessage(t, 2)
	v.isLocked(t, false)
	v.fails(t, 1)
	_, answer := s.Handshake(t, rig.H1, "/", v.header(s.Issuer.Token()))
	after, err := strconv.Atoi(answer.Header.Get("Retry-After"))
	if answer.StatusCode != http.StatusTooManyRequests || err != nil || after < 500 || after > 600 {
		t.Errorf("%s with Retry-After %q, want 429 with ten minutes", answer.Status, answer.Header.Get("Retry-After"))
	}
	early.Says(t, rig.Login(s.Issuer.Token()))
	if _, end := early.Last(t, rig.Patience); end.Code != rig.CloseTryAgain {
		t.Errorf("who was to log in by a message: %v, want 1013", end)
	}
	v.Expects(t, "who is to log in by a message", v.header(""), http.StatusTooManyRequests)
	s.LogsReason(t, "locked_out")
	visitor{s, "192.0.2.2"}.isLocked(t, false)
	if err := s.Reload(t, lockoutSite(behindProxy, "10m", "name again")); err != nil {
		t.Fatal(err)
	}
	v.isLocked(t, true) // a reload lets nobody in
	s.Asks(t, http.MethodDelete, "lockouts?address=192.0.2.1", "", `{"released":1}`)
	v.isLocked(t, false)
}

// TestLockoutIsOver: when its time is over an address may come back.
func TestLockoutIsOver(t *testing.T) {
	t.Parallel()
	s := startLockoutSite(t, lockoutSite(behindProxy, "10s", "reject close"))
	v := visitor{s, "192.0.2.1"}
	var start time.Time // of what locks out
	for range 5 {
		start = time.Now()
		s.Open(t, rig.H1, "/", v.header(v.forged())).IsRefused(t, rig.CloseUnauthorized)
	}
	c, _ := s.Handshake(t, rig.H1, "/", v.header(s.Issuer.Token()))
	if _, end := c.Last(t, rig.Patience); end.Code != rig.CloseTryAgain {
		t.Errorf("%v, want 1013", end)
	}
	rig.Eventually(t, rig.Patience, func() string {
		c := s.Open(t, rig.H1, "/echo", v.header(s.Issuer.Token()))
		if err := c.Write(rig.OpText, []byte("hello")); err != nil {
			return err.Error()
		}
		if f, err := c.Read(); err != nil || string(f.Payload) != "hello" {
			return fmt.Sprint("still locked out: ", err)
		}
		return ""
	})
	if time.Since(start) < 10*time.Second {
		t.Error("let in before the time was over")
	}
}

// TestLockoutIsForNobodyHonest: what a client may come to without guessing does
// not lock it out.
func TestLockoutIsForNobodyHonest(t *testing.T) {
	t.Parallel()
	s := startLockoutSite(t, lockoutSite(behindProxy, "10m", "require claim sub alice"))
	for name, token := range map[string]string{
		"expired":         s.Issuer.Token(map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}),
		"too early":       s.Issuer.Token(map[string]any{"nbf": time.Now().Add(time.Hour).Unix()}),
		"another app's":   s.Issuer.Token(map[string]any{"aud": "another"}),
		"key not known":   rig.Sign(rig.JWT{Claims: s.Issuer.Claims(), Header: map[string]any{"kid": "unknown"}}),
		"a rule not met":  s.Issuer.Token(map[string]any{"sub": "bob"}),
		"missing":         "",
		"no end":          s.Issuer.Token(map[string]any{"exp": rig.Absent}),
		"wrong algorithm": rig.Sign(rig.JWT{Alg: "HS256", Key: []byte(strings.Repeat("k", 32)), Claims: s.Issuer.Claims()}),
	} {
		t.Run(name, func(t *testing.T) {
			v := visitor{s, "198.51.100." + strconv.Itoa(len(name))}
			for range 10 {
				if token != "" {
					if status := s.Admits(t, v.header(token)); status == http.StatusSwitchingProtocols {
						t.Fatal("accepted")
					}
					continue
				}
				c := s.Open(t, rig.H1, "/", v.header(""))
				c.Says(t, `{"type":"chat"}`)
				c.IsRefused(t, rig.CloseUnauthorized)
			}
			v.isLocked(t, false)
		})
	}
	// Two credentials are a client's mistake.
	v := visitor{s, "198.51.100.200"}
	for range 10 {
		c, answer := s.Handshake(t, rig.H1, "/?access_token=a&access_token=b", v.header(""))
		if c != nil || answer.StatusCode != http.StatusBadRequest {
			t.Fatal(answer.Status)
		}
	}
	v.isLocked(t, false)
}

// TestAttackLockoutGarbage: what is no token at all counts as a forged one.
func TestAttackLockoutGarbage(t *testing.T) {
	t.Parallel()
	s := startLockoutSite(t, lockoutSite(behindProxy, "10m", ""))
	for n, garbage := range []string{"guess", "a.b.c", "eyJhbGciOiJub25lIn0.e30."} {
		v := visitor{s, "203.0.113." + strconv.Itoa(n)}
		for range 5 {
			v.Expects(t, "garbage", v.header(garbage), http.StatusUnauthorized)
		}
		v.isLocked(t, true)
	}
}

// TestAttackLockoutAddresses: who has a /64 of IPv6 addresses is one client,
// and so is one address in two spellings. Neighbours are not.
func TestAttackLockoutAddresses(t *testing.T) {
	t.Parallel()
	s := startLockoutSite(t, lockoutSite(behindProxy, "10m", ""))
	at := func(address string) visitor { return visitor{s, address} }
	for _, address := range []string{"2001:db8::1", "2001:db8::2", "2001:db8::ffff:0:0:1", "2001:DB8:0:0::3", "2001:db8::abcd"} {
		at(address).fails(t, 1)
	}
	at("2001:db8::99").isLocked(t, true)
	at("2001:db8:0:1::1").isLocked(t, false)
	at("192.0.2.1").fails(t, 3)
	at("::ffff:192.0.2.1").fails(t, 2)
	at("192.0.2.1").isLocked(t, true)
	at("192.0.2.2").isLocked(t, false)
}

// TestAttackLockoutSuccess: somebody with a good token cannot wipe the count,
// neither for themselves nor for others.
func TestAttackLockoutSuccess(t *testing.T) {
	t.Parallel()
	s := startLockoutSite(t, lockoutSite(behindProxy, "10m", ""))
	guesser, other := visitor{s, "192.0.2.1"}, visitor{s, "192.0.2.2"}
	for range 4 {
		guesser.fails(t, 1)
		guesser.isLocked(t, false) // a success of the guesser's own
		other.isLocked(t, false)
		c := s.Open(t, rig.H1, "/", guesser.header(""))
		c.Says(t, rig.Login(s.Issuer.Token()))
		c.HearsWord(t, "auth_ok")
	}
	guesser.fails(t, 1)
	guesser.isLocked(t, true)
	other.isLocked(t, false)
}

// TestAttackLockoutForwarded: without a trusted proxy X-Forwarded-For is the
// client's own word. It helps no guesser and locks nobody else out, and the
// log says once what to do if there is a proxy after all.
func TestAttackLockoutForwarded(t *testing.T) {
	t.Parallel()
	s := startLockoutSite(t, lockoutSite("", "10m", ""))
	for n := range 5 {
		visitor{s, fmt.Sprint("192.0.2.", n)}.failsByMessage(t, 1)
	}
	visitor{s, "192.0.2.99"}.isLocked(t, true)
	s.Expects(t, "without the header", http.Header{"Authorization": {"Bearer " + s.Issuer.Token()}}, http.StatusTooManyRequests)

	// A victim that the header has named.
	ctx, cancel := context.WithTimeout(t.Context(), rig.Patience)
	defer cancel()
	victim := rig.Loopback(1)
	if victim != "127.0.0.1" { // systems that have one loopback address have no victim
		s.Asks(t, http.MethodDelete, "lockouts?all=true", "", `{"released":1}`)
		for range 5 {
			visitor{s, victim}.fails(t, 1)
		}
		c, err := s.OpenFrom(ctx, victim)
		if err != nil {
			t.Fatal(err)
		}
		c.Says(t, rig.Login(s.Issuer.Token()))
		c.HearsWord(t, "auth_ok")
		c.Vanish()
	}
	warnings := 0
	for line := range strings.Lines(s.Logs.String()) {
		if strings.Contains(line, "X-Forwarded-For comes from a proxy that is not trusted") {
			warnings++
		}
	}
	if warnings != 1 {
		t.Errorf("%d warnings, want one", warnings)
	}
}
