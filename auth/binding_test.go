package auth

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"strings"
	"testing"
)

// thumbprint returns the x5t#S256 of a certificate, RFC 8705 section 3.1.
func thumbprint(der string) string {
	sum := sha256.Sum256([]byte(der))
	return b64url.EncodeToString(sum[:])
}

// shown returns a context of a client that has shown the certificates with
// these bytes, its own first.
func shown(t testing.TB, ders ...string) context.Context {
	t.Helper()
	state := new(tls.ConnectionState)
	for _, der := range ders {
		state.PeerCertificates = append(state.PeerCertificates, &x509.Certificate{Raw: []byte(der)})
	}
	return WithConnection(t.Context(), state)
}

// bindings are what a token may be bound to, and what comes of it without a
// client certificate and with the certificate "mine". (RFC 8705, RFC 9449)
var bindings = []struct {
	name, cnf     string
	without, with Reason
}{
	{"own certificate", `{"x5t#S256":"` + thumbprint("mine") + `"}`, ReasonUnproved, ""},
	{"another certificate", `{"x5t#S256":"` + thumbprint("theirs") + `"}`, ReasonUnproved, ReasonUnproved},
	{"padded", `{"x5t#S256":"` + thumbprint("mine") + `="}`, ReasonUnproved, ReasonUnproved},
	{"the beginning of it", `{"x5t#S256":"` + thumbprint("mine")[:20] + `"}`, ReasonUnproved, ReasonUnproved},
	{"empty thumbprint", `{"x5t#S256":""}`, ReasonUnproved, ReasonUnproved},
	{"thumbprint is no text", `{"x5t#S256":["` + thumbprint("mine") + `"]}`, ReasonBinding, ReasonBinding},
	{"thumbprint is null", `{"x5t#S256":null}`, ReasonBinding, ReasonBinding},
	{"SHA-1", `{"x5t":"` + thumbprint("mine") + `"}`, ReasonBinding, ReasonBinding},
	{"another case of letters", `{"x5t#s256":"` + thumbprint("mine") + `"}`, ReasonBinding, ReasonBinding},
	{"DPoP", `{"jkt":"` + thumbprint("mine") + `"}`, ReasonBinding, ReasonBinding},
	{"DPoP and the certificate", `{"jkt":"x","x5t#S256":"` + thumbprint("mine") + `"}`, ReasonBinding, ReasonBinding},
	{"unknown beside the certificate", `{"x5t#S256":"` + thumbprint("mine") + `","new":1}`, ReasonBinding, ReasonBinding},
	{"a key", `{"jwk":{"kty":"oct","k":"AAAA"}}`, ReasonBinding, ReasonBinding},
	{"a key id", `{"kid":"k1"}`, ReasonBinding, ReasonBinding},
	{"empty", `{}`, ReasonBinding, ReasonBinding},
	{"null", `null`, ReasonBinding, ReasonBinding},
	{"false", `false`, ReasonBinding, ReasonBinding},
	{"text", `"` + thumbprint("mine") + `"`, ReasonBinding, ReasonBinding},
	{"array", `[{"x5t#S256":"` + thumbprint("mine") + `"}]`, ReasonBinding, ReasonBinding},
}

// TestAttackStolenBoundToken: a token that is good only together with a key is
// of no use without it, whether it has been seen before or not.
func TestAttackStolenBoundToken(t *testing.T) {
	t.Parallel()
	for _, row := range bindings {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			v := newJWT(t, nil)
			token := rs256(t, goodClaims(t, map[string]any{"cnf": json.RawMessage(row.cnf)}))
			for _, step := range []struct {
				name string
				ctx  context.Context
				want Reason
			}{
				{"no connection", t.Context(), row.without},
				{"no TLS", WithConnection(t.Context(), nil), row.without},
				{"no certificate", shown(t), row.without},
				{"the certificate", shown(t, "mine", "authority"), row.with},
				// It is remembered by now where it was good.
				{"the certificate again", shown(t, "mine"), row.with},
				{"no connection after it", t.Context(), row.without},
				{"no certificate after it", shown(t), row.without},
			} {
				_, err := v.Verify(step.ctx, token, testNow)
				if got := reasonOf(err); got != step.want {
					t.Errorf("%s: %q (%s), want %q", step.name, got, detailOf(err), step.want)
				}
				wantNoToken(t, token, detailOf(err))
				wantExplained(t, v, step.ctx, token, step.want)
			}
			for _, ders := range [][]string{{"other", "mine"}, {"min"}, {"mine "}} {
				if _, err := v.Verify(shown(t, ders...), token, testNow); err == nil {
					t.Errorf("with the certificates %q it is accepted", ders)
				}
			}
		})
	}
}

// wantExplained checks that exactly the check of the binding fails, if any.
func wantExplained(t *testing.T, v *JWT, ctx context.Context, token string, want Reason) { //nolint:revive // as testing has it
	t.Helper()
	found := false
	for _, check := range v.Explain(ctx, token, testNow) {
		wantNoToken(t, token, check.Detail)
		bad := check.Name == "binding" && want != ""
		found = found || check.Name == "binding"
		if check.OK == bad || check.Detail == "" {
			t.Errorf("check %s: OK %v, %q", check.Name, check.OK, check.Detail)
		}
	}
	if !found {
		t.Error("the binding is not explained")
	}
}

// TestBoundTokenIsExplained: an operator learns what is missing.
func TestBoundTokenIsExplained(t *testing.T) {
	t.Parallel()
	v := newJWT(t, nil)
	for cnf, words := range map[string]string{
		`{"x5t#S256":"` + thumbprint("mine") + `"}`: "client_auth",
		`{"x5t#S256":"x"}`:                          "client_auth",
		`{"jkt":"x"}`:                               "DPoP",
		`{"new":"x"}`:                               "not supported",
	} {
		token := rs256(t, goodClaims(t, map[string]any{"cnf": json.RawMessage(cnf)}))
		checks := v.Explain(t.Context(), token, testNow)
		if last := checks[len(checks)-1]; last.Name != "binding" || !strings.Contains(last.Detail, words) {
			t.Errorf("%s: %+v, want %q in it", cnf, last, words)
		}
	}
}

// TestAttackRecheckForgetsBinding: a verifier that is asked again without the
// credential asks for the same proof.
func TestAttackRecheckForgetsBinding(t *testing.T) {
	t.Parallel()
	for _, row := range bindings {
		v := newJWT(t, nil)
		claims := must(decodeObject([]byte(goodClaims(t, map[string]any{"cnf": json.RawMessage(row.cnf)}))))
		id := &Identity{Claims: claims, User: "alice", key: must(v.cfg.Keys.Find(t.Context(), "RS256", "r1"))[0], keys: v.cfg.Keys}
		if got := reasonOf(v.Recheck(t.Context(), id, testNow)); got != row.without {
			t.Errorf("%s: %q without a certificate, want %q", row.name, got, row.without)
		}
		if got := reasonOf(v.Recheck(shown(t, "mine"), id, testNow)); got != row.with {
			t.Errorf("%s: %q with the certificate, want %q", row.name, got, row.with)
		}
		if got := reasonOf(id.CheckBinding(shown(t, "mine"))); got != row.with {
			t.Errorf("%s: CheckBinding says %q with the certificate, want %q", row.name, got, row.with)
		}
	}
}
