package auth

import (
	"encoding/json"
	"testing"
)

// TestAttackIssuerOfAnotherVerifier: a verifier that does not look at iss signs
// nobody off as a user of an issuer that another one beside it speaks for.
func TestAttackIssuerOfAnotherVerifier(t *testing.T) {
	t.Parallel()
	const theirs = "https://id.example.com"
	beside := newJWT(t, func(c *JWTConfig) {
		c.Issuers, c.OtherIssuers = nil, []string{"https://b.example.com", theirs, "7"}
	})
	alone := newJWT(t, func(c *JWTConfig) { c.Issuers = nil })
	naming := newJWT(t, func(c *JWTConfig) { c.OtherIssuers = []string{theirs} })
	for _, row := range []struct {
		name string
		v    *JWT
		iss  any
		want Reason
	}{
		{"theirs", beside, theirs, ReasonIssuer},
		{"another of theirs", beside, "https://b.example.com", ReasonIssuer},
		{"a number that is one of theirs as text", beside, 7, ReasonIssuer},
		{"nobody's", beside, "https://a.example.com", ""},
		{"with a slash more", beside, theirs + "/", ""},
		{"none", beside, nil, ""},
		{"empty", beside, "", ""},
		{"in an array", beside, []string{theirs}, ReasonClaims},
		{"null", beside, json.RawMessage("null"), ReasonClaims},
		{"nobody else is there", alone, theirs, ""},
		{"both name it", naming, theirs, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			wantReason(t, row.v, rs256(t, goodClaims(t, map[string]any{"iss": row.iss})), row.want)
		})
	}
}

// TestIdentityHasItsBlock: also one that is remembered.
func TestIdentityHasItsBlock(t *testing.T) {
	t.Parallel()
	v := newJWT(t, func(c *JWTConfig) { c.Block = "this one" })
	for range 2 {
		id, err := v.Verify(t.Context(), rs256(t, goodClaims(t, nil)), testNow)
		if err != nil || id.Block != "this one" {
			t.Fatalf("%+v, %v", id, err)
		}
	}
}
