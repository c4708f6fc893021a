package logs

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// panicConfig has a handler behind websocket_auth that panics.
const panicConfig = `{
	debug
	log default {` + rig.LogFilter + `	}
}
(site) {
	log {` + rig.LogFilter + `	}
	websocket_auth {
		verify jwt {$JWKS} {
			audience chat
		}
		from subprotocol
		from query
		from header
		from first_message
		http authenticate
	}
	panics
}
http://{$SITE} {
	import site
}
https://{$TLS} {
	tls {$CERT} {$KEY}
	import site
}
`

// TestCanaryOfPanics: when a handler behind panics, no credential is in what
// Caddy writes about it, nothing is left of the socket, and it is counted.
func TestCanaryOfPanics(t *testing.T) {
	t.Parallel()
	binary, err := rig.BuildTestCaddy()
	if err != nil {
		t.Fatal(err)
	}
	c := &canaries{
		Site: &rig.Site{Issuer: rig.NewIssuer(t)}, tokens: make(map[string]string), heard: make(map[string]string),
		untouched: make(map[string]bool),
	}
	c.Caddy, err = rig.Launch(t.TempDir(), panicConfig, rig.WithBinary(binary), rig.WithEnv("JWKS", c.Issuer.JWKSURL()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // not stop: that the log has a panic is no fault here
		c.CloseAll()
		_ = c.Terminate()
		select {
		case <-c.Done:
		case <-time.After(rig.Patience):
			_ = c.Cmd.Process.Kill()
			<-c.Done
			t.Error("did not stop when asked to")
		}
	})
	tokens := c.mint("panic")
	for _, token := range tokens {
		for _, version := range []string{rig.H1, rig.H2, rig.H3} {
			c.stream(t, "panic", version, "/x?access_token="+token, nil)
			c.stream(t, "panic", version, "/x", http.Header{"Authorization": {"Bearer " + token}})
			c.stream(t, "panic", version, "/x", http.Header{"Sec-Websocket-Protocol": {"bearer, " + token}})
			c.stream(t, "panic", version, "/x", nil, rig.Login(token), "after it")
		}
		c.plain(t, "panic", http.MethodGet, "/x?access_token="+token, nil, "")
	}
	rig.Eventually(t, rig.Patience, func() string {
		m := c.Scrape(t)
		switch {
		case m.Sum("sessions") != 0:
			return "sockets are left in the metrics"
		case len(c.Sessions(t, "")) != 0:
			return "sockets are left in the registry"
		case m[`sessions_ended_total{cause="proxy_closed"}`] != 6: // good and mallory's, by message, over three versions
			return "not all that were open are counted: " + c.Admin(t, "/metrics")
		case m[`handshakes_total{reason="",result="failed",source="header"}`] != 6:
			return "not all that were let on are counted: " + c.Admin(t, "/metrics")
		}
		return ""
	})
	c.Scrape(t).Balanced(t)
	log := c.Logs.String()
	if n := strings.Count(log, "a fault of the handler's"); n < 20 {
		t.Errorf("%d panics are in the log, too few", n)
	}
	for _, sign := range []string{"DATA RACE", "fatal error: ", "nil pointer"} {
		if strings.Contains(log, sign) {
			t.Errorf("in the log is %q", sign)
		}
	}
	c.search(t, "the log", log)
	c.search(t, "what the admin API says", c.Admin(t, "/metrics"))
	c.search(t, "what clients were told", c.heard["panic"])
}
