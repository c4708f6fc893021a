package auth

import (
	"errors"
	"testing"
	"time"
)

// What a verifier with another configuration makes of an identity.
func TestRecheck(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	keys, err := NewSecretKeys([]byte("0123456789abcdef0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	claims, err := decodeObject([]byte(`{"iss":"https://id.example.com","aud":["chat","mail"],"sub":"alice",` +
		`"iat":1699999000,"exp":1700001000,"at_hash":"x"}`))
	if err != nil {
		t.Fatal(err)
	}
	id := &Identity{Claims: claims}
	tests := []struct {
		name string
		cfg  JWTConfig
		now  time.Time
		want Reason
	}{
		{"as before", JWTConfig{Issuers: []string{"https://id.example.com"}, Audiences: []string{"chat"}}, now, ""},
		{"issuer removed", JWTConfig{Issuers: []string{"https://id.example.org"}, Audiences: []string{"chat"}}, now, ReasonIssuer},
		{"audience removed", JWTConfig{Audiences: []string{"shop"}}, now, ReasonAudience},
		{"lifetime limited", JWTConfig{Audiences: []string{"chat"}, MaxLifetime: time.Minute}, now, ReasonLifetime},
		{"ended", JWTConfig{Audiences: []string{"chat"}}, now.Add(time.Hour), ReasonExpired},
		{"another user claim", JWTConfig{Audiences: []string{"chat"}, UserClaim: ClaimPath{text: "email"}}, now, ReasonClaims},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.cfg.Keys = keys
			v, err := NewJWT(tt.cfg)
			if err != nil {
				t.Fatal(err)
			}
			err = v.Recheck(t.Context(), id, tt.now)
			if got := reasonIn(err); got != tt.want {
				t.Errorf("Recheck = %v (%s), want reason %q", err, got, tt.want)
			}
		})
	}
}

// reasonIn returns the reason of a refusal, "" of nil.
func reasonIn(err error) Reason {
	refused := &RefusedError{}
	if errors.As(err, &refused) {
		return refused.Reason
	}
	if err != nil {
		return "error"
	}
	return ""
}
