package auth

import (
	"errors"
	"maps"
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
	id := &Identity{Claims: claims, User: "alice", key: keys.table.keys[0], keys: keys}
	unsaid := *id
	unsaid.Claims = maps.Clone(claims)
	delete(unsaid.Claims, "iat")
	named := *id
	named.Claims = maps.Clone(claims)
	named.Claims["name"] = "bob"
	tests := []struct {
		name string
		cfg  JWTConfig
		now  time.Time
		id   *Identity
		want Reason
	}{
		{"as before", JWTConfig{Issuers: []string{"https://id.example.com"}, Audiences: []string{"chat"}}, now, id, ""},
		{"issuer removed", JWTConfig{Issuers: []string{"https://id.example.org"}, Audiences: []string{"chat"}}, now, id, ReasonIssuer},
		{"audience removed", JWTConfig{Audiences: []string{"shop"}}, now, id, ReasonAudience},
		{"lifetime limited", JWTConfig{Audiences: []string{"chat"}, MaxLifetime: time.Minute}, now, id, ReasonLifetime},
		{"ended", JWTConfig{Audiences: []string{"chat"}}, now.Add(time.Hour), id, ReasonExpired},
		{"another user claim", JWTConfig{Audiences: []string{"chat"}, UserClaim: ClaimPath{text: "email"}}, now, id, ReasonClaims},
		{"another user claim, of another user", JWTConfig{Audiences: []string{"chat"}, UserClaim: ClaimPath{text: "name"}}, now, &named, ReasonClaims},
		{"lifetime limited, and nobody knows it", JWTConfig{Audiences: []string{"chat"}, MaxLifetime: time.Hour}, now, &unsaid, ReasonClaims},
		{"the issuer is another verifier's", JWTConfig{Audiences: []string{"chat"}, OtherIssuers: []string{"https://id.example.com"}}, now, id, ReasonIssuer},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.cfg.Keys = keys
			v, err := NewJWT(tt.cfg)
			if err != nil {
				t.Fatal(err)
			}
			err = v.Recheck(t.Context(), tt.id, tt.now)
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
