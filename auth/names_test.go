package auth

import (
	"strings"
	"testing"
)

// TestAttackUserThatLooksLikeAnother: an app gets names in headers, where a
// control character is replaced and white space at the ends is cut off. So that
// no two users are one there, such names are refused, wherever they stand.
func TestAttackUserThatLooksLikeAnother(t *testing.T) {
	t.Parallel()
	v := newJWT(t, nil)
	byEmail := newJWT(t, func(c *JWTConfig) { c.UserClaim = must(ParseClaimPath("profile.email")) })
	anybody := newJWT(t, func(c *JWTConfig) { c.Issuers = nil })
	for _, name := range []string{
		"admin\x00", "admin\x01", "ad\x00min", "admin\x7f", "admin\u0080", "admin\u0085", "admin\u009f", "\x1fadmin",
		"admin\n", "admin\r\nX-Role: root", "admin\t", "\tadmin", " admin", "admin ", "admin\u00a0", "admin\u3000", "\u2003admin",
	} {
		for _, claim := range []string{"sub", "jti", "sid"} {
			wantReason(t, v, rs256(t, goodClaims(t, map[string]any{claim: name})), ReasonClaims)
		}
		wantReason(t, anybody, rs256(t, goodClaims(t, map[string]any{"iss": name})), ReasonClaims)
		profile := map[string]any{"profile": map[string]any{"email": name}}
		wantReason(t, byEmail, rs256(t, goodClaims(t, profile)), ReasonClaims)
		for _, id := range []*Identity{
			{Issuer: name, User: "a"},
			{Subject: name, User: "a"},
			{TokenID: name, User: "a"},
			{SessionID: name, User: "a"},
			{User: name},
		} {
			if got := reasonOf(id.CheckNames()); got != ReasonClaims {
				t.Errorf("CheckNames(%+v) = %q", id, got)
			}
		}
	}
	for _, name := range []string{"admin", "\u00e4dmin", "admin\ufffd", "ad min", "\u202eadmin", "a@example.com"} {
		wantReason(t, v, rs256(t, goodClaims(t, map[string]any{"sub": name, "jti": name, "sid": name})), "")
		if err := (&Identity{Issuer: name, Subject: name, User: name}).CheckNames(); err != nil {
			t.Errorf("CheckNames with %q: %v", name, err)
		}
	}
	// The text for operators names the claim.
	_, err := v.Verify(t.Context(), rs256(t, goodClaims(t, map[string]any{"jti": "a\x00"})), testNow)
	if !strings.Contains(detailOf(err), "jti") {
		t.Errorf("refused because of %q", detailOf(err))
	}
}

// TestAttackClaimThatTheAppReadsOtherwise: what a rule has compared is what the
// app gets: a value that is changed on its way is none of those that are
// demanded.
func TestAttackClaimThatTheAppReadsOtherwise(t *testing.T) {
	t.Parallel()
	rule := must(NewClaimRule("role", []string{"admin", "admin\ufffd"}))
	careless := ClaimRule{Path: rule.Path, Values: []string{"admin", "admin\x00", "admin\ufffd"}}
	for value, want := range map[string]Reason{
		`"admin"`: "", `"admin\ufffd"`: "", `["user","admin"]`: "",
		`"admin\u0000"`: ReasonClaimRule, `"admin\u0085"`: ReasonClaimRule, `"adm\u0000in"`: ReasonClaimRule,
		`["admin\u0000"]`: ReasonClaimRule, `["admin\n","user"]`: ReasonClaimRule, `"admin "`: ReasonClaimRule,
	} {
		claims := must(decodeObject([]byte(`{"role":` + value + `}`)))
		for _, r := range []ClaimRule{rule, careless} {
			err := r.Check(&Identity{Claims: claims})
			if got := reasonOf(err); got != want {
				t.Errorf("%s: %q, want %q", value, got, want)
			}
			if role, ok := claims["role"].(string); err == nil && ok && HeaderSafe(ClaimText(role)) != ClaimText(role) {
				t.Errorf("%s is compared in another form than the app gets it in", value)
			}
		}
	}
}
