package auth

import (
	"strings"
	"testing"
	"time"
)

// TestJWTConfigErrors has configurations that must not load. The words of the
// errors are the interface: each names the configuration's word.
func TestJWTConfigErrors(t *testing.T) {
	t.Parallel()
	short := must(NewSecretKeys(make([]byte, 32)))
	for _, row := range []struct {
		name   string
		change func(*JWTConfig)
		words  []string
	}{
		{"bound to nobody", func(c *JWTConfig) { c.Issuers, c.Audiences = nil, nil }, []string{"audience", "issuer", "insecure_any_audience"}},
		{"no keys", func(c *JWTConfig) { c.Keys, c.Issuers = nil, nil }, []string{"jwks_url", "secret", "issuer"}},
		{"issuer without keys", func(c *JWTConfig) { c.Keys = nil }, []string{"issuer"}},
		{"leeway", func(c *JWTConfig) { c.Leeway = 5*time.Minute + 1 }, []string{"leeway", "5m"}},
		{"negative leeway", func(c *JWTConfig) { c.Leeway = -1 }, []string{"leeway"}},
		{"negative max_lifetime", func(c *JWTConfig) { c.MaxLifetime = -1 }, []string{"max_lifetime"}},
		{"none", func(c *JWTConfig) { c.Algorithms = []string{"none"} }, []string{"algorithms", "none"}},
		{"None", func(c *JWTConfig) { c.Algorithms = []string{"RS256", "nOnE"} }, []string{"algorithms", "none"}},
		{"unknown algorithm", func(c *JWTConfig) { c.Algorithms = []string{"rs256"} }, []string{"algorithms", `"rs256"`, "RS256"}},
		{"symmetric with public keys", func(c *JWTConfig) { c.Algorithms = []string{"HS256"} }, []string{"HS256", "secret"}},
		{"asymmetric with a secret", func(c *JWTConfig) { c.Keys, c.Algorithms = short, []string{"RS256"} }, []string{"RS256", "jwks_url"}},
		{"secret shorter than the hash", func(c *JWTConfig) { c.Keys, c.Algorithms = short, []string{"HS512"} }, []string{"secret", "32", "HS512", "64"}},
		{"logout tokens", func(c *JWTConfig) { c.Types = []string{"application/logout+JWT"} }, []string{"type", "logout+jwt"}},
		{"empty audience", func(c *JWTConfig) { c.Audiences = []string{""} }, []string{"audience"}},
	} {
		cfg := testConfig(t)
		row.change(&cfg)
		_, err := NewJWT(cfg)
		if err == nil {
			t.Errorf("%s: no error", row.name)
			continue
		}
		for _, word := range row.words {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%s: error %q does not name %q", row.name, err, word)
			}
		}
	}
	if _, err := NewSecretKeys(make([]byte, 31)); err == nil || !strings.Contains(err.Error(), "secret") {
		t.Errorf("secret of 31 bytes: %v", err)
	}
	newJWT(t, func(c *JWTConfig) { c.Issuers, c.Audiences, c.AnyAudience = nil, nil, true })
}

// TestJWTIssuersKeys: a token of one issuer that is signed with the other's
// key is refused, also with the other's kid.
func TestJWTIssuersKeys(t *testing.T) {
	t.Parallel()
	a, b := "https://a.example.com", "https://b.example.com"
	keysA, _, errA := NewStaticKeys(jwksOf(jwkOf(&rsaKey().PublicKey, "a", nil)))
	keysB, _, errB := NewStaticKeys(jwksOf(jwkOf(&otherRSA().PublicKey, "b", nil)))
	if errA != nil || errB != nil {
		t.Fatal(errA, errB)
	}
	v := newJWT(t, func(c *JWTConfig) {
		c.Keys, c.Issuers = nil, []string{a, b}
		c.IssuerKeys = map[string]KeySet{a: keysA, b: keysB}
	})
	token := func(kid, iss string) string {
		return sign(t, "RS256", rsaKey(), `{"alg":"RS256","kid":"`+kid+`"}`, goodClaims(t, map[string]any{"iss": iss}))
	}
	wantReason(t, v, token("a", a), "")
	wantReason(t, v, token("a", b), ReasonUnknownKey)
	wantReason(t, v, token("b", b), ReasonSignature)
	wantReason(t, v, token("a", "https://c.example.com"), ReasonIssuer)
}
