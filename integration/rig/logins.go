package rig

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// FirstMessage are the lines of a site whose sockets log in by their first
// message, with more lines.
func FirstMessage(lines ...string) SiteOptions {
	return SiteOptions{Directives: "from first_message\n" + strings.Join(lines, "\n")}
}

// Login is the message of the json dialect's that carries a token.
func Login(token string) string { return `{"type":"auth","token":"` + token + `"}` }

// LogsIn logs in with a token that ends in an hour.
func (s *Site) LogsIn(t testing.TB, c *Conn) {
	t.Helper()
	exp := time.Now().Add(time.Hour)
	c.Says(t, Login(s.Issuer.Expiring(exp)))
	c.Accepted(t, exp)
}

// EveryMessage are the lines of a site where each message has its token.
func EveryMessage(onBad string, lines ...string) SiteOptions {
	return SiteOptions{
		Directives: "from every_message {\non_bad " + onBad + "\n}\n" + strings.Join(lines, "\n"),
	}
}

// Carrying returns a message that carries a token.
func Carrying(token string, n int) string {
	return fmt.Sprintf(`{"type":"chat", "token":"%s", "n":%d}`, token, n)
}

// RenewalPath is where the sites of these tests take renewals.
const RenewalPath = "/renew"

// Renewing are the lines of a site whose sockets may be renewed. expired makes
// the dialect say when a socket is suspended.
func Renewing(lines string) SiteOptions {
	return SiteOptions{
		Directives: "from header\nfrom subprotocol\nfrom query\nfrom first_message\n" +
			"on_expiry renew {\n" + lines + "\n}\n" +
			"dialect json {\nexpired `{\"type\":\"auth_expired\"}`\n}",
		Proxy: "stream_close_delay 1h\nheader_up X-Session {http.websocket_auth.session}",
	}
}
