package integration

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
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
	token := s.issuer.token()
	open := func() *wsConn {
		c := s.open(t, h1, "/echo", guesser.header(""))
		c.says(t, carrying(token, 1))
		c.hearsWord(t, "auth_ok")
		c.hearsWord(t, "chat")
		return c
	}
	neighbour, other := open(), open()
	guesser.fails(t, 5)
	guesser.isLocked(t, true)
	for n := range 10 {
		neighbour.says(t, carrying(token, n))
		neighbour.hearsWord(t, "chat")
	}
	neighbour.vanish()
	other.says(t, carrying(s.issuer.token(map[string]any{"jti": "another"}), 1))
	other.isRefused(t, closeTryAgain)
}

// TestAttackLockoutByRenewals: what is presented by a message or a request to
// renew counts, and is not looked at once the address is locked out. The socket
// stays open.
func TestAttackLockoutByRenewals(t *testing.T) {
	t.Parallel()
	o := renewing("warn 0s\npath " + renewalPath)
	o.globals += lockedAfterFive
	s := startSite(t, o)
	c := s.open(t, h1, "/echo", s.bearer(time.Now().Add(time.Hour)))
	id := receive(t, "handshake", s.app.handshakes, patience).Get("X-Session")
	forged := visitor{s, ""}.forged()
	renews := func(token string) int {
		status, _ := s.post(t, false, id, http.Header{"Authorization": {"Bearer " + token}})
		return status
	}
	for range 2 {
		c.says(t, login(forged))
		if w := c.hearsWord(t, "auth_error"); w.Reason == "" {
			t.Error("refused for no reason")
		}
	}
	for range 3 {
		if status := renews(forged); status != http.StatusUnauthorized {
			t.Errorf("a forged renewal: status %d", status)
		}
	}
	if status := renews(s.issuer.token()); status != http.StatusTooManyRequests {
		t.Errorf("a renewal when locked out: status %d, want 429", status)
	}
	c.says(t, login(s.issuer.token()))
	c.hearsWord(t, "auth_error")
	c.says(t, "still there")
	c.hears(t, "still there")
	c.vanish()
	s.expects(t, "a handshake", s.bearer(time.Now().Add(time.Hour)), http.StatusTooManyRequests)
}

// TestAttackLockoutByPolling: logins by polling count as others, and no request
// is taken that could only become one. Who has logged in stays.
func TestAttackLockoutByPolling(t *testing.T) {
	t.Parallel()
	o := polled()
	o.globals += lockedAfterFive
	s := startSite(t, o)
	url := func(sid string) string { return "http://" + s.site + "/socket.io/" + polling(sid) }
	if status := poll(t, http.MethodPost, url("there"), loginPacket(s.issuer.token())); status != http.StatusOK {
		t.Fatalf("login: answered %d", status)
	}
	forged := visitor{s, ""}.forged()
	for n := range 5 {
		if status := poll(t, http.MethodPost, url(fmt.Sprint(n)), loginPacket(forged)); status != http.StatusUnauthorized {
			t.Errorf("a forged login: answered %d", status)
		}
	}
	for name, status := range map[string]int{
		"a good login":      poll(t, http.MethodPost, url("new"), loginPacket(s.issuer.token())),
		"a client's begin":  poll(t, http.MethodGet, url(""), ""),
		"a handshake":       s.admits(t, nil),
		"a good credential": s.admits(t, s.bearer(time.Now().Add(time.Hour))),
	} {
		if status != http.StatusTooManyRequests {
			t.Errorf("%s: answered %d, want 429", name, status)
		}
	}
	if status := poll(t, http.MethodGet, url("there"), ""); status != http.StatusOK {
		t.Errorf("who has logged in before: answered %d", status)
	}
}

// TestAttackLockoutWithTwoIssuers: a forged token counts, whichever of several
// verifiers it is for, though the others only say that it is not theirs.
func TestAttackLockoutWithTwoIssuers(t *testing.T) {
	t.Parallel()
	other := newIssuer(t)
	s := startSite(t, siteOptions{
		globals:    lockedAfterFive,
		directives: "verify jwt {$OTHER} {\nissuer " + other.URL + "\naudience chat\n}\nfrom header",
		env:        []startOption{withEnv("OTHER", other.jwksURL())},
	})
	token := func(i *issuer, key any) http.Header {
		return http.Header{"Authorization": {"Bearer " + sign(jwt{claims: i.claims(), key: key})}}
	}
	for range 5 {
		s.expects(t, "a forged token", token(s.issuer, strangerKey()), http.StatusUnauthorized)
	}
	s.expects(t, "a good token", token(s.issuer, nil), http.StatusTooManyRequests)
}

// TestAttackLockoutForwardedChain: a proxy appends the client's address to what
// the client has sent itself. With trusted_proxies_strict that helps no guesser
// and locks nobody else out; without it the log says once to set it.
func TestAttackLockoutForwardedChain(t *testing.T) {
	t.Parallel()
	warnings := func(s *site) int { return strings.Count(s.logs.String(), "set the server's trusted_proxies_strict") }
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
	eventually(t, patience, func() string {
		if n := warnings(lax); n != 1 {
			return fmt.Sprintf("%d warnings, want one", n)
		}
		return ""
	})
}
