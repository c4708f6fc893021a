package demo

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jwt"
)

const testIssuerURL = "http://127.0.0.1:1"

func newTestIssuer(t *testing.T) http.Handler {
	t.Helper()
	i, err := newIssuer(testIssuerURL)
	if err != nil {
		t.Fatal(err)
	}
	return i.handler()
}

// request sends one request to handler; form is its body, header what
// distinguishes it.
func request(handler http.Handler, method, path string, form url.Values, header http.Header) *http.Response {
	r := httptest.NewRequest(method, path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	maps.Copy(r.Header, header)
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	return w.Result()
}

// TestTokenVerifiesWithPublishedKey goes the way a resource server goes:
// discovery, keys, token.
func TestTokenVerifiesWithPublishedKey(t *testing.T) {
	t.Parallel()
	handler := newTestIssuer(t)

	var discovery struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	res := request(handler, "GET", "/.well-known/openid-configuration", nil, nil)
	if err := json.NewDecoder(res.Body).Decode(&discovery); err != nil {
		t.Fatal(err)
	}
	if discovery.Issuer != testIssuerURL {
		t.Errorf("issuer = %q, want %q", discovery.Issuer, testIssuerURL)
	}
	keys, err := jwk.ParseReader(request(handler, "GET", strings.TrimPrefix(discovery.JWKSURI, testIssuerURL), nil, nil).Body)
	if err != nil {
		t.Fatal(err)
	}
	key, _ := keys.Key(0)
	if private, err := jwk.IsPrivateKey(key); err != nil || private {
		t.Errorf("the published key is private: %v, %v", private, err)
	}

	before := time.Now().Truncate(time.Second)
	var answer struct {
		AccessToken string `json:"access_token"`
		TokenType   string `json:"token_type"`
		ExpiresIn   int    `json:"expires_in"`
	}
	res = request(handler, "POST", tokenPath, url.Values{"user": {"bob"}, "lifetime": {"60"}}, nil)
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	if answer.TokenType != "Bearer" || answer.ExpiresIn != 60 {
		t.Errorf("token type %q for %d s, want Bearer for 60 s", answer.TokenType, answer.ExpiresIn)
	}
	if got := res.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control = %q, want no-store", got)
	}
	token, err := jwt.ParseString(answer.AccessToken, jwt.WithKeySet(keys),
		jwt.WithIssuer(testIssuerURL), jwt.WithAudience(audience))
	if err != nil {
		t.Fatal(err)
	}
	if subject, _ := token.Subject(); subject != "bob" {
		t.Errorf("sub = %q, want bob", subject)
	}
	if expires, _ := token.Expiration(); expires.Before(before.Add(time.Minute)) || expires.After(time.Now().Add(time.Minute)) {
		t.Errorf("exp = %v, want a minute after %v", expires, before)
	}
}

func TestTokenRequestRefused(t *testing.T) {
	t.Parallel()
	handler := newTestIssuer(t)
	good := url.Values{"user": {"alice"}, "lifetime": {"60"}}
	tests := []struct {
		name   string
		form   url.Values
		header http.Header
		want   int
	}{
		{"good", good, nil, http.StatusOK},
		{"another user", url.Values{"user": {"mallory"}, "lifetime": {"60"}}, nil, http.StatusBadRequest},
		{"no user", url.Values{"lifetime": {"60"}}, nil, http.StatusBadRequest},
		{"no lifetime", url.Values{"user": {"alice"}}, nil, http.StatusBadRequest},
		{"no life at all", url.Values{"user": {"alice"}, "lifetime": {"0"}}, nil, http.StatusBadRequest},
		{"too long", url.Values{"user": {"alice"}, "lifetime": {"601"}}, nil, http.StatusBadRequest},
		{"overflowing", url.Values{"user": {"alice"}, "lifetime": {"9223372036854775807"}}, nil, http.StatusBadRequest},
		{"from another page", good, http.Header{"Sec-Fetch-Site": {"cross-site"}}, http.StatusForbidden},
		{"from another port", good, http.Header{"Origin": {"http://example.com:1"}}, http.StatusForbidden},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := request(handler, "POST", tokenPath, tt.form, tt.header).StatusCode; got != tt.want {
				t.Errorf("status = %d, want %d", got, tt.want)
			}
		})
	}
}

func TestCookie(t *testing.T) {
	t.Parallel()
	handler := newTestIssuer(t)

	res := request(handler, "POST", cookiePath, nil, http.Header{"Authorization": {"Bearer a.b.c"}})
	cookies := res.Cookies()
	if len(cookies) != 1 {
		t.Fatalf("%d cookies, want 1", len(cookies))
	}
	c := cookies[0]
	if c.Name != cookieName || c.Value != "a.b.c" || c.Path != chatPath || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode {
		t.Errorf("cookie = %v", c)
	}

	cookies = request(handler, "DELETE", cookiePath, nil, nil).Cookies()
	if len(cookies) != 1 || cookies[0].MaxAge >= 0 || cookies[0].Value != "" {
		t.Errorf("cookies after clearing = %v, want one that is over", cookies)
	}

	if got := request(handler, "POST", cookiePath, nil, nil).StatusCode; got != http.StatusBadRequest {
		t.Errorf("status without a token = %d, want 400", got)
	}
}
