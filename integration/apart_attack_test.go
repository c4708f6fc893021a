package integration

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// twoVerifiers is a site that two providers sign tokens for, neither of whose
// issuers is checked, and one whose issuer is.
const twoVerifiers = `
http://{$SITE} {
	websocket_auth {
		verify jwt {$JWKS} {
			audience chat
		}
		verify jwt {
			jwks_file {$STRANGER}
			audience chat
		}
		verify jwt {
			issuer {$NAMED}
			audience chat
		}
		from header
		from first_message
		on_expiry renew {
			warn 0s
			path ` + renewalPath + `
		}
		on_reload recheck
	}
	reverse_proxy {$APP} {
		header_up X-Session {http.websocket_auth.session}
		stream_close_delay 1h
	}
}
http://{$SITE2} {
	websocket_auth {
		verify jwt {$JWKS} {
			audience chat
		}
		verify jwt {
			jwks_file {$STRANGER}
			audience chat
		}
		from first_message {
			within 2s
			early
		}
		dialect socketio
		http authenticate
	}
	reverse_proxy {$APP}
}
`

// strangerOnly is what is left of the site when its first provider is gone,
// with another one in its place whose keys nobody has asked for.
const strangerOnly = `
http://{$SITE} {
	websocket_auth {
		verify jwt {$OTHERKEYS} {
			audience chat
		}
		from header
		on_reload recheck
	}
	reverse_proxy {$APP} {
		stream_close_delay 1h
	}
}
`

// apartSite has tokens of alice's by both providers, without an issuer.
type apartSite struct{ *site }

func startApartSite(t *testing.T) apartSite {
	t.Helper()
	s := &site{issuer: newIssuer(t), app: startApp(t)}
	t.Cleanup(s.closeAll)
	named := newIssuer(t)
	jwk, err := json.Marshal(rsaJWK(&strangerKey().PublicKey, "stranger"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "stranger.json")
	if err := os.WriteFile(path, jwk, 0o600); err != nil {
		t.Fatal(err)
	}
	s.caddyProc = startCaddy(t, twoVerifiers, withEnv("JWKS", s.issuer.jwksURL()), withEnv("APP", s.app.addr()),
		withEnv("STRANGER", path), withEnv("NAMED", named.URL), withEnv("OTHERKEYS", named.jwksURL()))
	t.Cleanup(s.closeAll)
	return apartSite{s}
}

// first returns a token of the first provider, second one of the second.
func (s apartSite) first(exp time.Time) string {
	return s.issuer.token(map[string]any{"iss": absent, "exp": exp.Unix()})
}

func (s apartSite) second(exp time.Time) string {
	return sign(jwt{key: strangerKey(), header: map[string]any{"kid": "stranger"}, claims: s.issuer.claims(
		map[string]any{"iss": absent, "exp": exp.Unix()})})
}

// TestAttackRenewedByAnotherVerifier: alice of one provider is not alice of the
// other one, though both verifiers are called jwt: not in a message, nor in a
// request, nor for a client that polls.
func TestAttackRenewedByAnotherVerifier(t *testing.T) {
	t.Parallel()
	s := startApartSite(t)
	soon, later := time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)
	c := s.open(t, h1, "/echo", bearerHeader(s.first(soon)))
	session := s.app.handshake(t).Get("X-Session")

	c.says(t, login(s.second(later)))
	if w := c.hearsWord(t, "auth_error"); w.Reason != "forbidden" {
		t.Errorf("refused with %q", w.Reason)
	}
	s.logsReason(t, "other_identity")
	if status, body := s.post(t, false, session, bearerHeader(s.second(later))); status != http.StatusForbidden {
		t.Errorf("answered %d %q", status, body)
	}
	c.says(t, login(s.first(later)))
	c.accepted(t, later)
	s.open(t, h1, "/echo", bearerHeader(s.second(soon))) // whom the second knows gets in

	url := "http://" + s.site2 + "/socket.io/" + polling("one")
	for _, step := range []struct {
		token  string
		status int
	}{{s.first(soon), http.StatusOK}, {s.second(later), http.StatusForbidden}, {s.first(later), http.StatusOK}} {
		if status := poll(t, http.MethodPost, url, loginPacket(step.token)); status != step.status {
			t.Errorf("login by polling answered %d, want %d", status, step.status)
		}
	}
}

// TestAttackIssuerOfAnotherVerifier: who signs for one provider cannot sign for
// the users of another one.
func TestAttackIssuerOfAnotherVerifier(t *testing.T) {
	t.Parallel()
	s := startApartSite(t)
	named := s.env["NAMED"]
	good := s.issuer.token(map[string]any{"iss": named}) // all issuers here share their keys
	forged := sign(jwt{key: strangerKey(), header: map[string]any{"kid": "stranger"}, claims: s.issuer.claims(
		map[string]any{"iss": named})})
	s.open(t, h1, "/echo", bearerHeader(good))
	if c, answer := s.handshake(t, h1, "/echo", bearerHeader(forged)); c != nil || answer.StatusCode != http.StatusUnauthorized {
		t.Errorf("a stranger's token with this issuer: %s", answer.Status)
	}
}

// TestAttackRecheckedByAnotherVerifier: after a reload no verifier answers for a
// socket that another one has let in, only because nobody has asked for its keys
// yet.
func TestAttackRecheckedByAnotherVerifier(t *testing.T) {
	t.Parallel()
	s := startApartSite(t)
	c := s.open(t, h1, "/echo", bearerHeader(s.second(time.Now().Add(time.Hour))))
	c.says(t, "hello")
	c.hears(t, "hello")
	if err := s.reload(t, strangerOnly); err != nil {
		t.Fatal(err)
	}
	c.isRefused(t, closeForbidden)
}

// TestRecheckedByItsOwnVerifier: a reload that changes nothing ends nothing.
func TestRecheckedByItsOwnVerifier(t *testing.T) {
	t.Parallel()
	s := startApartSite(t)
	end := time.Now().Add(time.Hour)
	conns := []*wsConn{
		s.open(t, h1, "/echo", bearerHeader(s.first(end))), s.open(t, h1, "/echo", bearerHeader(s.second(end))),
	}
	if err := s.reload(t, twoVerifiers); err != nil {
		t.Fatal(err)
	}
	for _, c := range conns {
		c.says(t, "lives on")
		c.hears(t, "lives on")
	}
}
