package integration

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The keys of all issuers, made once because making them is slow. Those of
// the stranger are never in a key set.
var (
	rsaKey      = sync.OnceValue(newRSAKey)
	strangerKey = sync.OnceValue(newRSAKey)
	ecKey       = sync.OnceValue(func() *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		check(err)
		return key
	})
)

func newRSAKey() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	check(err)
	return key
}

// The key ids of an issuer's keys.
const (
	rsaKid = "rsa-1"
	ecKid  = "ec-1"
)

// issuer is an identity provider: a key set and its discovery document over
// HTTP on this machine, and tokens.
type issuer struct {
	URL    string // the iss of its tokens
	server *httptest.Server

	hits atomic.Int64 // requests for the key set

	mu     sync.Mutex
	answer http.HandlerFunc // in place of the key set, if not nil
	keys   []map[string]any
}

// newIssuer returns a running issuer; it ends with the test.
func newIssuer(t testing.TB) *issuer {
	t.Helper()
	i := startIssuer()
	t.Cleanup(i.server.Close)
	return i
}

// startIssuer is newIssuer for one that outlives a test.
func startIssuer() *issuer {
	i := &issuer{keys: []map[string]any{rsaJWK(&rsaKey().PublicKey, rsaKid), ecJWK(&ecKey().PublicKey, ecKid)}}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, map[string]any{"issuer": i.URL, "jwks_uri": i.jwksURL()})
	})
	mux.HandleFunc("/jwks.json", i.serveKeys)
	i.server = httptest.NewServer(mux)
	i.URL = i.server.URL
	return i
}

func (i *issuer) jwksURL() string { return i.server.URL + "/jwks.json" }

func (i *issuer) serveKeys(w http.ResponseWriter, r *http.Request) {
	i.hits.Add(1)
	i.mu.Lock()
	answer, keys := i.answer, i.keys
	i.mu.Unlock()
	if answer != nil {
		answer(w, r)
		return
	}
	writeJSON(w, map[string]any{"keys": keys})
}

// setAnswer puts another answer in the place of the key set; nil puts the key
// set back.
func (i *issuer) setAnswer(answer http.HandlerFunc) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.answer = answer
}

// setKeys puts other keys in the key set.
func (i *issuer) setKeys(keys ...map[string]any) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = keys
}

// claims returns the claims of a good token for the audience "chat", changed
// by changes. A value of absent takes a claim out.
func (i *issuer) claims(changes ...map[string]any) map[string]any {
	now := time.Now()
	claims := map[string]any{
		"iss": i.URL, "aud": "chat", "sub": "alice", "jti": "token-1",
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "scope": "chat:read chat:write",
	}
	for _, change := range changes {
		maps.Copy(claims, change)
	}
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == absent })
	return claims
}

// token returns a token signed with the issuer's RSA key, with changes to its
// claims.
func (i *issuer) token(changes ...map[string]any) string {
	return sign(jwt{claims: i.claims(changes...)})
}

// expiring returns a token that ends at the second exp.
func (i *issuer) expiring(exp time.Time) string {
	return i.token(map[string]any{"exp": exp.Unix()})
}

type absence struct{}

// absent takes a claim or header member out.
var absent = absence{}

// The ways in which a key server can be broken.

func answerStatus(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }
}

func answerBody(contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		_, _ = io.WriteString(w, body)
	}
}

func answerRedirect(to string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusFound)
	}
}

// answerSlow says nothing until the client gives up.
func answerSlow(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// answerEndless never comes to an end. It is written as fast as it is read,
// until the client has had enough or 64 MiB are out.
func answerEndless(w http.ResponseWriter, _ *http.Request) {
	_, _ = io.WriteString(w, `{"keys":[`)
	block := make([]byte, 32<<10)
	for i := range block {
		block[i] = ' '
	}
	for range 2048 {
		if _, err := w.Write(block); err != nil {
			return
		}
	}
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func rsaJWK(key *rsa.PublicKey, kid string) map[string]any {
	return map[string]any{
		"kty": "RSA", "kid": kid, "use": "sig", "alg": "RS256",
		"n": b64(key.N.Bytes()), "e": "AQAB",
	}
}

func ecJWK(key *ecdsa.PublicKey, kid string) map[string]any {
	point, err := key.Bytes() // 4 || x || y
	check(err)
	return map[string]any{
		"kty": "EC", "kid": kid, "use": "sig", "alg": "ES256", "crv": "P-256",
		"x": b64(point[1:33]), "y": b64(point[33:]),
	}
}

func b64(p []byte) string { return base64.RawURLEncoding.EncodeToString(p) }

// jwt is a token to be made, by hand, so that broken ones can be made, too.
// The zero value of each member is what a good one has.
type jwt struct {
	alg        string         // RS256 if empty; also what the header says
	key        any            // *rsa.PrivateKey, *ecdsa.PrivateKey or []byte; the issuer's for alg
	header     map[string]any // changes to the header; absent takes out
	claims     map[string]any
	rawHeader  string // in place of the header's JSON
	rawPayload string // in place of the claims' JSON
	signature  []byte // in place of the right one, if not nil
}

// sign returns the token in the compact serialisation.
func sign(j jwt) string {
	if j.alg == "" {
		j.alg = "RS256"
	}
	header := map[string]any{"typ": "JWT", "alg": j.alg, "kid": rsaKid}
	if j.alg == "ES256" {
		header["kid"] = ecKid
	}
	maps.Copy(header, j.header)
	maps.DeleteFunc(header, func(_ string, v any) bool { return v == absent })
	signed := b64(jsonOr(j.rawHeader, header)) + "." + b64(jsonOr(j.rawPayload, j.claims))
	if j.signature == nil {
		j.signature = signature(j.alg, j.key, signed)
	}
	return signed + "." + b64(j.signature)
}

func jsonOr(raw string, v any) []byte {
	if raw != "" {
		return []byte(raw)
	}
	text, err := json.Marshal(v)
	check(err)
	return text
}

// signature signs with key, or with the issuer's for alg.
func signature(alg string, key any, signed string) []byte {
	if key == nil {
		key = any(rsaKey())
		if alg == "ES256" {
			key = ecKey()
		}
	}
	sum := crypto.SHA256.New()
	sum.Write([]byte(signed))
	digest := sum.Sum(nil)
	switch key := key.(type) {
	case *rsa.PrivateKey:
		sig, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest)
		check(err)
		return sig
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, key, digest)
		check(err)
		return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	case []byte:
		return hmacSHA256(key, signed)
	}
	panic("no key of a known kind")
}
