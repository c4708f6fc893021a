package handshake

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
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
			path ` + rig.RenewalPath + `
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
type apartSite struct{ *rig.Site }

func startApartSite(t *testing.T) apartSite {
	t.Helper()
	s := &rig.Site{Issuer: rig.NewIssuer(t), App: rig.StartApp(t)}
	t.Cleanup(s.CloseAll)
	named := rig.NewIssuer(t)
	jwk, err := json.Marshal(rig.RSAJWK(&rig.StrangerKey().PublicKey, "stranger"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "stranger.json")
	if err := os.WriteFile(path, jwk, 0o600); err != nil {
		t.Fatal(err)
	}
	s.Caddy = rig.StartCaddy(t, twoVerifiers, rig.WithEnv("JWKS", s.Issuer.JWKSURL()), rig.WithEnv("APP", s.App.Addr()),
		rig.WithEnv("STRANGER", path), rig.WithEnv("NAMED", named.URL), rig.WithEnv("OTHERKEYS", named.JWKSURL()))
	t.Cleanup(s.CloseAll)
	return apartSite{s}
}

// first returns a token of the first provider, second one of the second.
func (s apartSite) first(exp time.Time) string {
	return s.Issuer.Token(map[string]any{"iss": rig.Absent, "exp": exp.Unix()})
}

func (s apartSite) second(exp time.Time) string {
	return rig.Sign(rig.JWT{Key: rig.StrangerKey(), Header: map[string]any{"kid": "stranger"}, Claims: s.Issuer.Claims(
		map[string]any{"iss": rig.Absent, "exp": exp.Unix()})})
}

// TestAttackRenewedByAnotherVerifier: alice of one provider is not alice of the
// other one, though both verifiers are called jwt: not in a message, nor in a
// request, nor for a client that polls.
func TestAttackRenewedByAnotherVerifier(t *testing.T) {
	t.Parallel()
	s := startApartSite(t)
	soon, later := time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)
	c := s.Open(t, rig.H1, "/echo", bearerHeader(s.first(soon)))
	session := s.App.Handshake(t).Get("X-Session")

	c.Says(t, rig.Login(s.second(later)))
	if w := c.HearsWord(t, "auth_error"); w.Reason != "forbidden" {
		t.Errorf("refused with %q", w.Reason)
	}
	s.LogsReason(t, "other_identity")
	if status, body := s.Post(t, false, session, bearerHeader(s.second(later))); status != http.StatusForbidden {
		t.Errorf("answered %d %q", status, body)
	}
	c.Says(t, rig.Login(s.first(later)))
	c.Accepted(t, later)
	s.Open(t, rig.H1, "/echo", bearerHeader(s.second(soon))) // whom the second knows gets in

	url := "http://" + s.Addr2 + "/socket.io/" + rig.Polling("one")
	for _, step := range []struct {
		token  string
		status int
	}{{s.first(soon), http.StatusOK}, {s.second(later), http.StatusForbidden}, {s.first(later), http.StatusOK}} {
		if status := rig.Poll(t, http.MethodPost, url, rig.LoginPacket(step.token)); status != step.status {
			t.Errorf("login by polling answered %d, want %d", status, step.status)
		}
	}
}

// TestAttackIssuerOfAnotherVerifier: who signs for one provider cannot sign for
// the users of another one.
func TestAttackIssuerOfAnotherVerifier(t *testing.T) {
	t.Parallel()
	s := startApartSite(t)
	named := s.Env["NAMED"]
	good := s.Issuer.Token(map[string]any{"iss": named}) // all issuers here share their keys
	forged := rig.Sign(rig.JWT{Key: rig.StrangerKey(), Header: map[string]any{"kid": "stranger"}, Claims: s.Issuer.Claims(
		map[string]any{"iss": named})})
	s.Open(t, rig.H1, "/echo", bearerHeader(good))
	if c, answer := s.Handshake(t, rig.H1, "/echo", bearerHeader(forged)); c != nil || answer.StatusCode != http.StatusUnauthorized {
		t.Errorf("a stranger's token with this issuer: %s", answer.Status)
	}
}

// TestAttackRecheckedByAnotherVerifier: after a reload no verifier answers for a
// socket that another one has let in, only because nobody has asked for its keys
// yet.
func TestAttackRecheckedByAnotherVerifier(t *testing.T) {
	t.Parallel()
	s := startApartSite(t)
	c := s.Open(t, rig.H1, "/echo", bearerHeader(s.second(time.Now().Add(time.Hour))))
	c.Says(t, "hello")
	c.Hears(t, "hello")
	if err := s.Reload(t, strangerOnly); err != nil {
		t.Fatal(err)
	}
	c.IsRefused(t, rig.CloseForbidden)
}

// TestRecheckedByItsOwnVerifier: a reload that changes nothing ends nothing.
func TestRecheckedByItsOwnVerifier(t *testing.T) {
	t.Parallel()
	s := startApartSite(t)
	end := time.Now().Add(time.Hour)
	conns := []*rig.Conn{
		s.Open(t, rig.H1, "/echo", bearerHeader(s.first(end))), s.Open(t, rig.H1, "/echo", bearerHeader(s.second(end))),
	}
	if err := s.Reload(t, twoVerifiers); err != nil {
		t.Fatal(err)
	}
	for _, c := range conns {
		c.Says(t, "lives on")
		c.Hears(t, "lives on")
	}
}
