package limits

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// lockedAfterFive are global options by which five failures lock out.
const lockedAfterFive = "websocket_auth {\nlockout 5 10m 10m\n}\n"

// TestAttackLockoutOfNeighbours: who fails at an address that others share
// keeps them from coming in, but ends no socket that is open there, also where
// each message has its token. Of that socket's own, that is: another one is
// not looked at.
func TestAttackLockoutOfNeighbours(t *testing.T) {
	t.Parallel()
	s := startLockoutSite(t, strings.Replace(lockoutSite(behindProxy, "10m", ""), "from first_message", "from every_message", 1))
	guesser := visitor{s, "192.0.2.1"}
	token := s.Issuer.Token()
	open := func() *rig.Conn {
		c := s.Open(t, rig.H1, "/echo", guesser.header(""))
		c.Says(t, rig.Carrying(token, 1))
		c.HearsWord(t, "auth_ok")
		c.HearsWord(t, "chat")
		return c
	}
	neighbour, other := open(), open()
	guesser.fails(t, 5)
	guesser.isLocked(t, true)
	for n := range 10 {
		neighbour.Says(t, rig.Carrying(token, n))
		neighbour.HearsWord(t, "chat")
	}
	neighbour.Vanish()
	other.Says(t, rig.Carrying(s.Issuer.Token(map[string]any{"jti": "another"}), 1))
	other.IsRefused(t, rig.CloseTryAgain)
}

// TestAttackLockoutByRenewals: what is presented by a message or a request to
// renew counts, and is not looked at once the address is locked out. The socket
// stays open.
func TestAttackLockoutByRenewals(t *testing.T) {
	t.Parallel()
	o := rig.Renewing("warn 0s\npath " + rig.RenewalPath)
	o.Globals += lockedAfterFive
	s := rig.StartSite(t, o)
	c := s.Open(t, rig.H1, "/echo", s.Bearer(time.Now().Add(time.Hour)))
	id := rig.Receive(t, "handshake", s.App.Handshakes, rig.Patience).Get("X-Session")
	forged := visitor{s, ""}.forged()
	renews := func(token string) int {
		status, _ := s.Post(t, false, id, http.Header{"Authorization": {"Bearer " + token}})
		return status
	}
	for range 2 {
		c.Says(t, rig.Login(forged))
		if w := c.HearsWord(t, "auth_error"); w.Reason == "" {
			t.Error("refused for no reason")
		}
	}
	for range 3 {
		if status := renews(forged); status != http.StatusUnauthorized {
			t.Errorf("a forged renewal: status %d", status)
		}
	}
	if status := renews(s.Issuer.Token()); status != http.StatusTooManyRequests {
		t.Errorf("a renewal when locked out: status %d, want 429", status)
	}
	c.Says(t, rig.Login(s.Issuer.Token()))
	c.HearsWord(t, "auth_error")
	c.Says(t, "still there")
	c.Hears(t, "still there")
	c.Vanish()
	s.Expects(t, "a handshake", s.Bearer(time.Now().Add(time.Hour)), http.StatusTooManyRequests)
}

// TestAttackLockoutByPolling: logins by polling count as others, and no request
// is taken that could only become one. Who has logged in stays.
func TestAttackLockoutByPolling(t *testing.T) {
	t.Parallel()
	o := rig.Polled()
	o.Globals += lockedAfterFive
	s := rig.StartSite(t, o)
	url := func(sid string) string { return "http://" + s.Addr + "/socket.io/" + rig.Polling(sid) }
	if status := rig.Poll(t, http.MethodPost, url("there"), rig.LoginPacket(s.Issuer.Token())); status != http.StatusOK {
		t.Fatalf("login: answered %d", status)
	}
	forged := visitor{s, ""}.forged()
	for n := range 5 {
		if status := rig.Poll(t, http.MethodPost, url(fmt.Sprint(n)), rig.LoginPacket(forged)); status != http.StatusUnauthorized {
			t.Errorf("a forged login: answered %d", status)
		}
	}
	for name, status := range map[string]int{
		"a good login":      rig.Poll(t, http.MethodPost, url("new"), rig.LoginPacket(s.Issuer.Token())),
		"a client's begin":  rig.Poll(t, http.MethodGet, url(""), ""),
		"a handshake":       s.Admits(t, nil),
		"a good credential": s.Admits(t, s.Bearer(time.Now().Add(time.Hour))),
	} {
		if status != http.StatusTooManyRequests {
			t.Errorf("%s: answered %d, want 429", name, status)
		}
	}
	if status := rig.Poll(t, http.MethodGet, url("there"), ""); status != http.StatusOK {
		t.Errorf("who has logged in before: answered %d", status)
	}
}

// TestAttackLockoutWithTwoIssuers: a forged token counts, whichever of several
// verifiers it is for, though the others only say that it is not theirs.
func TestAttackLockoutWithTwoIssuers(t *testing.T) {
	t.Parallel()
	other := rig.NewIssuer(t)
	s := rig.StartSite(t, rig.SiteOptions{
		Globals:    lockedAfterFive,
		Directives: "verify jwt {$OTHER} {\nissuer " + other.URL + "\naudience chat\n}\nfrom header",
		Env:        []rig.StartOption{rig.WithEnv("OTHER", other.JWKSURL())},
	})
	token := func(i *rig.Issuer, key any) http.Header {
		return http.Header{"Authorization": {"Bearer " + rig.Sign(rig.JWT{Claims: i.Claims(), Key: key})}}
	}
	for range 5 {
		s.Expects(t, "a forged token", token(s.Issuer, rig.StrangerKey()), http.StatusUnauthorized)
	}
	s.Expects(t, "a good token", token(s.Issuer, nil), http.StatusTooManyRequests)
}

// TestAttackLockoutForwardedChain: a proxy appends the client's address to what
// the client has sent itself. With trusted_proxies_strict that helps no guesser
// and locks nobody else out; without it the log says once to set it.
func TestAttackLockoutForwardedChain(t *testing.T) {
	t.Parallel()
	warnings := func(s *rig.Site) int {
		return strings.Count(s.Logs.String(), "set the server's trusted_proxies_strict")
	}
	strict := startLockoutSite(t, lockoutSite(behindProxy+"\ntrusted_proxies_strict", "10m", ""))
	for n := range 5 {
		visitor{strict, fmt.Sprintf("192.0.2.%d, 198.51.100.1", n)}.fails(t, 1)
	}
	visitor{strict, "203.0.113.1, 198.51.100.1"}.isLocked(t, true)
	visitor{strict, "192.0.2.1"}.isLocked(t, false)
	if n := warnings(strict); n != 0 {
		t.Errorf("%d warnings where it is set", n)
	}
	lax := startLockoutSite(t, lockoutSite(behindProxy, "10m", ""))
	visitor{lax, "192.0.2.1"}.fails(t, 1)
	if n := warnings(lax); n != 0 {
		t.Errorf("%d warnings for one address", n)
	}
	for range 3 {
		visitor{lax, "192.0.2.1, 198.51.100.1"}.fails(t, 1)
	}
	rig.Eventually(t, rig.Patience, func() string {
		if n := warnings(lax); n != 1 {
			return fmt.Sprintf("%d warnings, want one", n)
		}
		return ""
	})
}
