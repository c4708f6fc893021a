package demo

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws"
	"github.com/lestrrat-go/jwx/v3/jwt"
)

const (
	// audience is whom the tokens are for.
	audience = "chat"
	// cookieName is the cookie in which a token may travel.
	cookieName = "demo_token"
	// tokenPath is where the page gets its tokens; Caddy routes it here.
	tokenPath = "/token"
	// cookiePath is where the page has a token put into the cookie.
	cookiePath = tokenPath + "/cookie"
	// minLifetime and maxLifetime bound what the page may ask for.
	minLifetime = time.Second
	maxLifetime = 10 * time.Minute
)

// users are who can get a token.
var users = []string{"alice", "bob"}

// issuer is an identity provider without passwords: it gives everybody a
// token for either user. It is safe for concurrent use.
type issuer struct {
	url    string // the iss claim
	key    jwk.Key
	public []byte // the JWKS document
}

// newIssuer makes an issuer with a fresh key. url is where it can be reached,
// without a trailing slash.
func newIssuer(url string) (*issuer, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the issuer's key: %w", err)
	}
	key, err := jwk.Import(private)
	if err != nil {
		return nil, fmt.Errorf("making the issuer's key: %w", err)
	}
	err = errors.Join(
		key.Set(jwk.AlgorithmKey, jwa.ES256()),
		key.Set(jwk.KeyUsageKey, jwk.ForSignature),
		jwk.AssignKeyID(key),
	)
	if err != nil {
		return nil, fmt.Errorf("describing the issuer's key: %w", err)
	}
	public, err := publicKeySet(key)
	if err != nil {
		return nil, fmt.Errorf("publishing the issuer's key: %w", err)
	}
	return &issuer{url: url, key: key, public: public}, nil
}

// publicKeySet returns the JWKS document (RFC 7517 section 5) of one key.
func publicKeySet(key jwk.Key) ([]byte, error) {
	set := jwk.NewSet()
	if err := set.AddKey(key); err != nil {
		return nil, err
	}
	public, err := jwk.PublicSetOf(set)
	if err != nil {
		return nil, err
	}
	return json.Marshal(public)
}

// handler serves discovery and keys to Caddy, and tokens to the page.
func (i *issuer) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", i.serveDiscovery)
	mux.HandleFunc("GET /jwks.json", i.serveKeys)
	mux.HandleFunc("POST "+tokenPath, i.serveToken)
	mux.HandleFunc("POST "+cookiePath, i.setCookie)
	mux.HandleFunc("DELETE "+cookiePath, i.clearCookie)
	// No other page in the same browser may log the person in or out.
	return http.NewCrossOriginProtection().Handler(mux)
}

// serveDiscovery answers as OpenID Connect Discovery 1.0 section 4 says, with
// what a resource server needs.
func (i *issuer) serveDiscovery(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, map[string]any{
		"issuer":                                i.url,
		"jwks_uri":                              i.url + "/jwks.json",
		"token_endpoint":                        i.url + tokenPath,
		"response_types_supported":              []string{"token"},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": []string{jwa.ES256().String()},
	})
}

func (i *issuer) serveKeys(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/jwk-set+json")
	_, _ = w.Write(i.public) // the client is gone if it fails
}

// serveToken issues a token to the form's user for lifetime seconds. Its
// answer is that of RFC 6749 section 5.1.
func (i *issuer) serveToken(w http.ResponseWriter, r *http.Request) {
	user := r.PostFormValue("user")
	if !slices.Contains(users, user) {
		http.Error(w, "user must be one of "+strings.Join(users, ", "), http.StatusBadRequest)
		return
	}
	seconds, err := strconv.Atoi(r.PostFormValue("lifetime"))
	lifetime := time.Duration(seconds) * time.Second
	if err != nil || lifetime < minLifetime || lifetime > maxLifetime {
		http.Error(w, fmt.Sprintf("lifetime must be a number of seconds from %.0f to %.0f",
			minLifetime.Seconds(), maxLifetime.Seconds()), http.StatusBadRequest)
		return
	}
	token, err := i.issue(user, time.Now(), lifetime)
	if err != nil {
		http.Error(w, "the token could not be signed", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, map[string]any{
		"access_token": token,
		"token_type":   "Bearer",
		"expires_in":   seconds,
	})
}

// issue signs an access token in the form of RFC 9068.
func (i *issuer) issue(user string, now time.Time, lifetime time.Duration) (string, error) {
	claims, err := jwt.NewBuilder().
		Issuer(i.url).
		Subject(user).
		Audience([]string{audience}).
		IssuedAt(now).
		Expiration(now.Add(lifetime)).
		JwtID(rand.Text()).
		Claim("client_id", "demo-page").
		Claim("scope", "chat:read chat:write").
		Build()
	if err != nil {
		return "", err
	}
	headers := jws.NewHeaders()
	if err := headers.Set(jws.TypeKey, "at+jwt"); err != nil {
		return "", err
	}
	token, err := jwt.Sign(claims, jwt.WithKey(jwa.ES256(), i.key, jws.WithProtectedHeaders(headers)))
	return string(token), err
}

// setCookie puts the token of the Authorization header into a cookie that
// scripts cannot read. It does not look at the token: that is the gate's work,
// and a bad one makes a good experiment.
func (i *issuer) setCookie(w http.ResponseWriter, r *http.Request) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		http.Error(w, "no bearer token in the Authorization header", http.StatusBadRequest)
		return
	}
	writeCookie(w, token, maxLifetime)
}

func (i *issuer) clearCookie(w http.ResponseWriter, _ *http.Request) {
	writeCookie(w, "", -time.Second)
}

func writeCookie(w http.ResponseWriter, value string, maxAge time.Duration) {
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // not Secure: the demonstration speaks plain HTTP on this machine
		Name:     cookieName,
		Value:    value,
		Path:     chatPath,
		MaxAge:   int(maxAge.Seconds()),
		HttpOnly: true,
		SameSite: http.SameSiteStrictMode,
	})
	w.WriteHeader(http.StatusNoContent)
}

func writeJSON(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value) // the client is gone if it fails
}
