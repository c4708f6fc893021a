package integration

import (
	"testing"
	"time"
)

// nestedMessageConfig has in its two sites the same rules in a handler behind
// the one that authenticates. On the second the application is connected
// before the login.
//
// It has no debug log: with one, Caddy's own TLS app has a data race at the
// first handshake over HTTP/3.
const nestedMessageConfig = `{
}
(site) {
	route {
		websocket_auth {
			verify jwt {$JWKS} {
				audience chat
			}
			from header
			from first_message {
				{args[:]}
			}
			on_expiry renew {
				warn 0s
			}
			dialect json {
				expired ` + "`" + `{"type":"auth_expired"}` + "`" + `
			}
		}
		websocket_auth /admin/* {
			require claim role admin
		}
		websocket_auth /closing/* {
			require claim role admin
			reject close
		}
		websocket_auth /own/* {
			verify jwt {$JWKS} {
				audience own
			}
			from header
		}
		websocket_auth /short/* {
			max_session 6s
		}
		websocket_auth /ending/* {
			on_expiry close
		}
		reverse_proxy {$APP} {
			header_up X-User {http.auth.user.id}
			stream_close_delay 1h
		}
	}
}
http://{$SITE} {
	import site within 1m
}
https://{$TLS} {
	tls {$CERT} {$KEY}
	import site within 1m
}
http://{$SITE2} {
	import site early
}
`

// startNested runs the configuration of the nested handlers. The site is the
// one where the application is connected before the login if early is set.
func startNested(t testing.TB, early bool) *peerSite {
	t.Helper()
	app := startPeerApp(t, nil)
	s := &site{issuer: newIssuer(t)}
	t.Cleanup(s.closeAll)
	s.caddyProc = startCaddy(t, nestedMessageConfig, withEnv("JWKS", s.issuer.jwksURL()), withEnv("APP", app.addr()))
	t.Cleanup(s.closeAll)
	if early {
		s.site = s.site2
	}
	return &peerSite{s, app}
}

// nestedVersions are what a nested handler is tested with: all versions, and
// early.
var nestedVersions = []struct {
	name, version string
	early         bool
}{{h1, h1, false}, {h2, h2, false}, {h3, h3, false}, {"early", h1, true}}

// forEachNested runs f for each way that a nested handler can be reached.
func forEachNested(t *testing.T, f func(t *testing.T, s *peerSite, version string)) {
	t.Helper()
	for _, tt := range nestedVersions {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f(t, startNested(t, tt.early), tt.version)
		})
	}
}

// TestNestedMessageRules: the rules of a handler further in count for a login
// by message and for a renewal.
func TestNestedMessageRules(t *testing.T) {
	t.Parallel()
	forEachNested(t, func(t *testing.T, s *peerSite, version string) {
		i := s.issuer
		admin := func(exp time.Time) string {
			return login(i.token(map[string]any{"role": "admin", "exp": exp.Unix()}))
		}
		for _, path := range []string{"/admin/1", "/closing/1"} {
			c := s.open(t, version, path, noHeader)
			c.says(t, login(i.token()), "hello")
			texts, end := c.last(t, patience)
			if end.code != closeForbidden {
				t.Errorf("%s: %v after %q, want 3003", path, end, texts)
			}
		}
		s.logsReason(t, "claim_not_allowed")
		for _, entry := range s.logs.entries("request refused") {
			if entry["reason"] != "claim_not_allowed" {
				t.Errorf("the log says %v, too", entry)
			}
		}

		exp := soon(2 * time.Second)
		c := s.open(t, version, "/admin/2", noHeader)
		c.says(t, admin(exp), "hello")
		c.accepted(t, exp)
		p := s.socketAt(t, "/admin/2")
		p.hears(t, "hello")
		c.hearsWord(t, "auth_expired")
		c.says(t, login(i.token()), "held")
		c.hearsWord(t, "auth_error")
		p.nothing(t)
		later := time.Now().Add(time.Hour)
		c.says(t, admin(later))
		c.accepted(t, later)
		p.hears(t, "held")
	})
}

// socketAt returns the next socket of the application at this path.
func (s *peerSite) socketAt(t testing.TB, uri string) *peer {
	t.Helper()
	for {
		if p := s.socket(t); p.uri == uri {
			return p
		}
	}
}

// TestNestedMessageLimits: so do its limits, from the login on, and no renewal
// lifts them.
func TestNestedMessageLimits(t *testing.T) {
	t.Parallel()
	forEachNested(t, func(t *testing.T, s *peerSite, version string) {
		lag := measureLag(t)
		start := time.Now()
		c := s.open(t, version, "/short/1", noHeader)
		s.logsIn(t, c)
		exp := soon(4 * time.Second)
		ending := s.open(t, version, "/ending/1", noHeader)
		ending.says(t, login(s.issuer.expiring(exp)))
		ending.accepted(t, exp)
		s.logsIn(t, c)
		if end := c.mustClose(t, patience); end.code != closeUnauthorized || end.reason != "session over" {
			t.Errorf("%v, want 3000 \"session over\"", end)
		}
		lag.inTime(t, "end of the session", start.Add(6*time.Second), time.Now(), 2*time.Second)
		if end := ending.mustClose(t, patience); end.code != closeUnauthorized {
			t.Errorf("%v, want 3000", end)
		}
		lag.inTime(t, "end of the token", exp, time.Now(), time.Second)
	})
}

// TestNestedMessageOwnCredential: a handler further in may want a credential of
// its own, in the request. A client that has logged in to the outer one and
// has none is told so; it is no error of the application's.
func TestNestedMessageOwnCredential(t *testing.T) {
	t.Parallel()
	for _, version := range allVersions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			s := startNested(t, false)
			c := s.open(t, version, "/own/1", noHeader)
			s.logsIn(t, c)
			c.isRefused(t, closeUnauthorized)
			s.logsReason(t, "missing_credential")
			s.unasked(t)
		})
	}
}
