package messages

import (
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
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
func startNested(t testing.TB, early bool) *rig.PeerSite {
	t.Helper()
	app := rig.StartPeerApp(t, nil)
	s := &rig.Site{Issuer: rig.NewIssuer(t)}
	t.Cleanup(s.CloseAll)
	s.Caddy = rig.StartCaddy(t, nestedMessageConfig, rig.WithEnv("JWKS", s.Issuer.JWKSURL()), rig.WithEnv("APP", app.Addr()))
	t.Cleanup(s.CloseAll)
	if early {
		s.Addr = s.Addr2
	}
	return &rig.PeerSite{Site: s, App: app}
}

// nestedVersions are what a nested handler is tested with: all versions, and
// early.
var nestedVersions = []struct {
	name, version string
	early         bool
}{{rig.H1, rig.H1, false}, {rig.H2, rig.H2, false}, {rig.H3, rig.H3, false}, {"early", rig.H1, true}}

// forEachNested runs f for each way that a nested handler can be reached.
func forEachNested(t *testing.T, f func(t *testing.T, s *rig.PeerSite, version string)) {
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
	forEachNested(t, func(t *testing.T, s *rig.PeerSite, version string) {
		i := s.Issuer
		admin := func(exp time.Time) string {
			return rig.Login(i.Token(map[string]any{"role": "admin", "exp": exp.Unix()}))
		}
		for _, path := range []string{"/admin/1", "/closing/1"} {
			c := s.Open(t, version, path, rig.NoHeader)
			c.Says(t, rig.Login(i.Token()), "hello")
			texts, end := c.Last(t, rig.Patience)
			if end.Code != rig.CloseForbidden {
				t.Errorf("%s: %v after %q, want 3003", path, end, texts)
			}
		}
		s.LogsReason(t, "claim_not_allowed")
		for _, entry := range s.Logs.Entries("request refused") {
			if entry["reason"] != "claim_not_allowed" {
				t.Errorf("the log says %v, too", entry)
			}
		}

		exp := rig.Soon(2 * time.Second)
		c := s.Open(t, version, "/admin/2", rig.NoHeader)
		c.Says(t, admin(exp), "hello")
		c.Accepted(t, exp)
		p := socketAt(t, s, "/admin/2")
		p.Hears(t, "hello")
		c.HearsWord(t, "auth_expired")
		c.Says(t, rig.Login(i.Token()), "held")
		c.HearsWord(t, "auth_error")
		p.Nothing(t)
		later := time.Now().Add(time.Hour)
		c.Says(t, admin(later))
		c.Accepted(t, later)
		p.Hears(t, "held")
	})
}

// socketAt returns the next socket of the application at this path.
func socketAt(t testing.TB, s *rig.PeerSite, uri string) *rig.Peer {
	t.Helper()
	for {
		if p := s.Socket(t); p.URI == uri {
			return p
		}
	}
}

// TestNestedMessageLimits: so do its limits, from the login on, and no renewal
// lifts them.
func TestNestedMessageLimits(t *testing.T) {
	t.Parallel()
	forEachNested(t, func(t *testing.T, s *rig.PeerSite, version string) {
		lag := rig.MeasureLag(t)
		start := time.Now()
		c := s.Open(t, version, "/short/1", rig.NoHeader)
		s.LogsIn(t, c)
		exp := rig.Soon(4 * time.Second)
		ending := s.Open(t, version, "/ending/1", rig.NoHeader)
		ending.Says(t, rig.Login(s.Issuer.Expiring(exp)))
		ending.Accepted(t, exp)
		s.LogsIn(t, c)
		if end := c.MustClose(t, rig.Patience); end.Code != rig.CloseUnauthorized || end.Reason != "session over" {
			t.Errorf("%v, want 3000 \"session over\"", end)
		}
		lag.InTime(t, "end of the session", start.Add(6*time.Second), time.Now(), 2*time.Second)
		if end := ending.MustClose(t, rig.Patience); end.Code != rig.CloseUnauthorized {
			t.Errorf("%v, want 3000", end)
		}
		lag.InTime(t, "end of the token", exp, time.Now(), time.Second)
	})
}

// TestNestedMessageOwnCredential: a handler further in may want a credential of
// its own, in the request. A client that has logged in to the outer one and
// has none is told so; it is no error of the application's.
func TestNestedMessageOwnCredential(t *testing.T) {
	t.Parallel()
	for _, version := range rig.AllVersions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			s := startNested(t, false)
			c := s.Open(t, version, "/own/1", rig.NoHeader)
			s.LogsIn(t, c)
			c.IsRefused(t, rig.CloseUnauthorized)
			s.LogsReason(t, "missing_credential")
			s.Unasked(t)
		})
	}
}
