package auth_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
)

// A token of HS256 is verified at two moments.
func ExampleJWT_Verify() {
	keys, err := auth.NewSecretKeys([]byte("an example's secret of 32 bytes!"))
	if err != nil {
		fmt.Println(err)
		return
	}
	verifier, err := auth.NewJWT(auth.JWTConfig{Audiences: []string{"chat"}, Keys: keys})
	if err != nil {
		fmt.Println(err)
		return
	}
	// {"alg":"HS256"} and {"aud":"chat","sub":"alice","scope":"chat:write","exp":1800000000}
	const token = "eyJhbGciOiJIUzI1NiJ9." +
		"eyJhdWQiOiJjaGF0Iiwic3ViIjoiYWxpY2UiLCJzY29wZSI6ImNoYXQ6d3JpdGUiLCJleHAiOjE4MDAwMDAwMDB9." +
		"pE37GJD-bMBYWRmQlDtDI2wfkmA4jsY3NO-5Uea9SC8"
	for _, now := range []int64{1_799_999_990, 1_800_000_000} {
		identity, err := verifier.Verify(context.Background(), token, time.Unix(now, 0))
		if refused, ok := errors.AsType[*auth.RefusedError](err); ok {
			fmt.Println("refused:", refused.Reason)
			continue
		}
		fmt.Println(identity.User, identity.Scopes, identity.ValidUntil.Unix())
	}
	// Output:
	// alice [chat:write] 1800000000
	// refused: expired
}

// Explain is for an operator who wonders why a token does not get in.
func ExampleJWT_Explain() {
	keys, err := auth.NewSecretKeys([]byte("an example's secret of 32 bytes!"))
	if err != nil {
		fmt.Println(err)
		return
	}
	verifier, err := auth.NewJWT(auth.JWTConfig{Audiences: []string{"chat"}, Keys: keys})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, check := range verifier.Explain(context.Background(), "not.a.token", time.Unix(0, 0))[:1] {
		fmt.Println(check.Name, check.OK, check.Detail)
	}
	// Output: shape false token header is not base64url without padding
}

// A path names a claim, or something in it.
func ExampleClaims_Lookup() {
	claims := auth.Claims{
		"https://example.com/roles": []any{"admin"},
		"profile":                   map[string]any{"names": []any{"Alice", "Al"}},
	}
	for _, text := range []string{"https://example.com/roles", "profile.names.1", "/profile/names/0"} {
		path, err := auth.ParseClaimPath(text)
		if err != nil {
			fmt.Println(err)
			return
		}
		value, _ := claims.Lookup(path)
		fmt.Println(auth.ClaimText(value))
	}
	// Output:
	// ["admin"]
	// Al
	// Alice
}
