package main

import (
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jwt"
)

// TestTokens has both kinds of token verified by a JOSE library with the keys
// that are served: else the benchmark would measure refusals.
func TestTokens(t *testing.T) {
	t.Parallel()
	i, err := newIssuer()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(i.close)
	resp, err := http.Get(i.url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	set, err := jwk.Parse(body)
	if err != nil {
		t.Fatal(err)
	}
	for _, alg := range []string{"RS256", "ES256"} {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			token, err := i.token(alg, "alice", time.Now().Add(time.Minute))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := jwt.Parse([]byte(token), jwt.WithKeySet(set), jwt.WithAudience(audience)); err != nil {
				t.Errorf("the token does not verify: %v", err)
			}
		})
	}
}
