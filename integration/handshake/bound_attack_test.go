package handshake

import (
	"crypto/tls"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// bearerHeader returns the header of a client that sends a token.
func bearerHeader(token string) http.Header {
	return http.Header{"Authorization": {"Bearer " + token}}
}

// TestAttackStolenBoundToken: who has stolen a token that is bound to a client
// certificate has not stolen its key, RFC 8705 section 3.
func TestAttackStolenBoundToken(t *testing.T) {
	t.Parallel()
	s := startBoundSite(t)
	mine, theirs := ownCertificate(t, "mine"), ownCertificate(t, "theirs")
	token := s.Issuer.Token(boundTo(mine))
	dpop := s.Issuer.Token(map[string]any{"cnf": map[string]any{"jkt": rig.Base64URL(make([]byte, 32))}})
	claimed := bearerHeader(token)
	claimed.Set("Client-Cert", ":"+rig.Base64URL(mine.Certificate[0])+":") // RFC 9440
	claimed.Set("X-Forwarded-Client-Cert", "Hash="+rig.Base64URL(mine.Certificate[0]))
	for _, version := range []string{rig.H1, rig.H2, rig.H3} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			for _, step := range []struct {
				name   string
				cert   *tls.Certificate
				header http.Header
				reason string // empty: it is good
			}{
				{"no certificate", nil, bearerHeader(token), "binding_not_proved"},
				{"its certificate", mine, bearerHeader(token), ""},
				{"no certificate after it", nil, bearerHeader(token), "binding_not_proved"},
				{"another certificate", theirs, bearerHeader(token), "binding_not_proved"},
				{"a certificate in a header", nil, claimed, "binding_not_proved"},
				{"DPoP", mine, bearerHeader(dpop), "binding_not_supported"},
				{"a token that is not bound", theirs, bearerHeader(s.Issuer.Token()), ""},
			} {
				c, answer := s.try(t, version, step.cert, "/echo", step.header)
				switch {
				case step.reason == "" && c == nil:
					t.Errorf("%s: refused: %s", step.name, answer.Status)
				case step.reason == "":
					c.Says(t, "hello")
					c.Hears(t, "hello")
				case c != nil:
					t.Errorf("%s: accepted", step.name)
				case answer.StatusCode != http.StatusUnauthorized ||
					!strings.Contains(answer.Header.Get("WWW-Authenticate"), `error="invalid_token"`):
					t.Errorf("%s: %s %q", step.name, answer.Status, answer.Header.Get("WWW-Authenticate"))
				default:
					s.LogsReason(t, step.reason)
				}
			}
		})
	}
}

// TestAttackStolenBoundTokenInMessage: in the message that logs in, in each
// one, and in one that renews.
func TestAttackStolenBoundTokenInMessage(t *testing.T) {
	t.Parallel()
	s := startBoundSite(t)
	mine, theirs := ownCertificate(t, "mine"), ownCertificate(t, "theirs")
	exp := time.Now().Add(time.Hour)
	token := s.Issuer.Token(boundTo(mine), map[string]any{"exp": exp.Unix()})
	for _, version := range []string{rig.H1, rig.H2, rig.H3} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			c := s.opens(t, version, mine, "/echo", nil)
			c.Says(t, rig.Login(token))
			c.Accepted(t, exp) // and is remembered
			for name, cert := range map[string]*tls.Certificate{"none": nil, "another": theirs} {
				t.Run(name, func(t *testing.T) {
					c := s.opens(t, version, cert, "/echo", nil)
					c.Says(t, rig.Login(token))
					c.IsRefused(t, rig.CloseUnauthorized)

					c = s.opens(t, version, cert, "/every/echo", nil)
					c.Says(t, rig.Carrying(s.Issuer.Expiring(exp), 0))
					c.Accepted(t, exp)
					if got := c.MustRead(t); !strings.Contains(string(got.Payload), `"n":0`) {
						t.Errorf("the echo is %q", got.Payload)
					}
					c.Says(t, rig.Carrying(token, 1))
					c.IsRefused(t, rig.CloseUnauthorized)

					c = s.opens(t, version, cert, "/echo", bearerHeader(s.Issuer.Token()))
					c.Says(t, rig.Login(token))
					if w := c.HearsWord(t, "auth_error"); w.Reason != "invalid_token" {
						t.Errorf("refused with %q", w.Reason)
					}
					c.Says(t, "lives on with its own")
					c.Hears(t, "lives on with its own")
				})
			}
			s.LogsReason(t, "binding_not_proved")
			c = s.opens(t, version, mine, "/every/echo", nil)
			c.Says(t, rig.Carrying(token, 2))
			c.Accepted(t, exp)
			if got := c.MustRead(t); !strings.Contains(string(got.Payload), `"n":2`) {
				t.Errorf("the echo is %q", got.Payload)
			}
		})
	}
}

// TestAttackBoundTokenForAnothersSocket: a request that renews has to prove the
// binding, and so has the socket that lives on by it.
func TestAttackBoundTokenForAnothersSocket(t *testing.T) {
	t.Parallel()
	s := startBoundSite(t)
	mine, theirs := ownCertificate(t, "mine"), ownCertificate(t, "theirs")
	exp := time.Now().Add(2 * time.Hour)
	token := s.Issuer.Token(boundTo(mine), map[string]any{"exp": exp.Unix()})
	for _, tt := range []struct {
		name          string
		socket, posts *tls.Certificate
		status        int
	}{
		{"neither", nil, nil, http.StatusUnauthorized},
		{"the request alone", nil, mine, http.StatusUnauthorized},
		{"the request, and the socket another", theirs, mine, http.StatusUnauthorized},
		{"the socket alone", mine, nil, http.StatusUnauthorized},
		{"both", mine, mine, http.StatusOK},
	} {
		c := s.opens(t, rig.H2, tt.socket, "/echo", bearerHeader(s.Issuer.Token()))
		session := s.App.Handshake(t).Get("X-Session")
		status := s.asks(t, tt.posts, http.MethodPost, rig.RenewalPath+"?session="+session, "", bearerHeader(token))
		if status != tt.status {
			t.Errorf("%s: answered %d, want %d", tt.name, status, tt.status)
		}
		if status == http.StatusOK {
			c.Accepted(t, exp)
		}
		c.Says(t, "lives on")
		c.Hears(t, "lives on")
	}
}

// TestAttackBoundLoginByPolling: after a login by polling the id of the
// connection stands for the token, and is of no more use to a thief.
func TestAttackBoundLoginByPolling(t *testing.T) {
	t.Parallel()
	s := startBoundSite(t)
	mine, theirs := ownCertificate(t, "mine"), ownCertificate(t, "theirs")
	token := s.Issuer.Token(boundTo(mine))
	const path = "/polled/socket.io/"
	for _, step := range []struct {
		name, method, sid, body string
		cert                    *tls.Certificate
		status                  int
	}{
		{"login without", http.MethodPost, "a", rig.LoginPacket(token), nil, http.StatusUnauthorized},
		{"login with another", http.MethodPost, "a", rig.LoginPacket(token), theirs, http.StatusUnauthorized},
		{"nobody has logged in", http.MethodGet, "a", "", mine, http.StatusUnauthorized},
		{"login", http.MethodPost, "b", rig.LoginPacket(token), mine, http.StatusOK},
		{"messages", http.MethodGet, "b", "", mine, http.StatusOK},
		{"message", http.MethodPost, "b", `42["event"]`, mine, http.StatusOK},
		{"messages without", http.MethodGet, "b", "", nil, http.StatusUnauthorized},
		{"message without", http.MethodPost, "b", `42["event"]`, nil, http.StatusUnauthorized},
		{"messages with another", http.MethodGet, "b", "", theirs, http.StatusUnauthorized},
		{"message with another", http.MethodPost, "b", `42["event"]`, theirs, http.StatusUnauthorized},
	} {
		if status := s.asks(t, step.cert, step.method, path+rig.Polling(step.sid), step.body, nil); status != step.status {
			t.Errorf("%s: answered %d, want %d", step.name, status, step.status)
		}
	}
	upgrade := path + "?EIO=4&transport=websocket&sid=b"
	for name, cert := range map[string]*tls.Certificate{"none": nil, "another": theirs} {
		if c, answer := s.try(t, rig.H1, cert, upgrade, nil); c != nil || answer.StatusCode != http.StatusUnauthorized {
			t.Errorf("taken over by a socket with certificate %s: %s", name, answer.Status)
		}
	}
	if c, answer := s.try(t, rig.H1, mine, upgrade, nil); c == nil {
		t.Errorf("taken over by its own socket: %s", answer.Status)
	}
}
