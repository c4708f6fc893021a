package rig

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
	RSAKey      = sync.OnceValue(newRSAKey)
	StrangerKey = sync.OnceValue(newRSAKey)
	ECKey       = sync.OnceValue(func() *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		Check(err)
		return key
	})
)

func newRSAKey() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	Check(err)
	return key
}

// The key ids of an issuer's keys.
const (
	RSAKid = "rsa-1"
	ECKid  = "ec-1"
)

// Issuer is an identity provider: a key set and its discovery document over
// HTTP on this machine, and tokens.
type Issuer struct {
	URL    string // the iss of its tokens
	server *httptest.Server

	Hits atomic.Int64 // requests for the key set

	mu     sync.Mutex
	answer http.HandlerFunc // in place of the key set, if not nil
	keys   []map[string]any
}

// NewIssuer returns a running issuer; it ends with the test.
func NewIssuer(t testing.TB) *Issuer {
	t.Helper()
	i := startIssuer()
	t.Cleanup(i.server.Close)
	return i
}

// startIssuer is NewIssuer for one that outlives a test.
func startIssuer() *Issuer {
	i := &Issuer{keys: []map[string]any{RSAJWK(&RSAKey().PublicKey, RSAKid), ECJWK(&ECKey().PublicKey, ECKid)}}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		WriteJSON(w, map[string]any{"issuer": i.URL, "jwks_uri": i.JWKSURL()})
	})
	mux.HandleFunc("/jwks.json", i.serveKeys)
	i.server = httptest.NewServer(mux)
	i.URL = i.server.URL
	return i
}

// JWKSURL is where the issuer's key set is.
func (i *Issuer) JWKSURL() string { return i.server.URL + "/jwks.json" }

func (i *Issuer) serveKeys(w http.ResponseWriter, r *http.Request) {
	i.Hits.Add(1)
	i.mu.Lock()
	answer, keys := i.answer, i.keys
	i.mu.Unlock()
	if answer != nil {
		answer(w, r)
		return
	}
	WriteJSON(w, map[string]any{"keys": keys})
}

// SetAnswer puts another answer in the place of the key set; nil puts the key
// set back.
func (i *Issuer) SetAnswer(answer http.HandlerFunc) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.answer = answer
}

// SetKeys puts other keys in the key set.
func (i *Issuer) SetKeys(keys ...map[string]any) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = keys
}

// Claims returns the claims of a good token for the audience "chat", changed
// by changes. A value of absent takes a claim out.
func (i *Issuer) Claims(changes ...map[string]any) map[string]any {
	now := time.Now()
	claims := map[string]any{
		"iss": i.URL, "aud": "chat", "sub": "alice", "jti": "token-1",
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "scope": "chat:read chat:write",
	}
	for _, change := range changes {
		maps.Copy(claims, change)
	}
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == Absent })
	return claims
}

// Token returns a token signed with the issuer's RSA key, with changes to its
// claims.
func (i *Issuer) Token(changes ...map[string]any) string {
	return Sign(JWT{Claims: i.Claims(changes...)})
}

// Expiring returns a token that ends at the second exp.
func (i *Issuer) Expiring(exp time.Time) string {
	return i.Token(map[string]any{"exp": exp.Unix()})
}

type absence struct{}

// Absent takes a claim or header member out.
var Absent = absence{}

// The ways in which a key server can be broken.

// AnswerStatus answers with a status and no body.
func AnswerStatus(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }
}

// AnswerBody answers with a body of this type.
func AnswerBody(contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		_, _ = io.WriteString(w, body)
	}
}

// AnswerRedirect sends the client elsewhere.
func AnswerRedirect(to string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusFound)
	}
}

// AnswerSlow says nothing until the client gives up.
func AnswerSlow(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// AnswerEndless never comes to an end. It is written as fast as it is read,
// until the client has had enough or 64 MiB are out.
func AnswerEndless(w http.ResponseWriter, _ *http.Request) {
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

// WriteJSON answers with v as JSON.
func WriteJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

// RSAJWK returns an RSA key as a member of a key set.
func RSAJWK(key *rsa.PublicKey, kid string) map[string]any {
	return map[string]any{
		"kty": "RSA", "kid": kid, "use": "sig", "alg": "RS256",
		"n": Base64URL(key.N.Bytes()), "e": "AQAB",
	}
}

// ECJWK returns a key of the curve P-256 as a member of a key set.
func ECJWK(key *ecdsa.PublicKey, kid string) map[string]any {
	point, err := key.Bytes() // 4 || x || y
	Check(err)
	return map[string]any{
		"kty": "EC", "kid": kid, "use": "sig", "alg": "ES256", "crv": "P-256",
		"x": Base64URL(point[1:33]), "y": Base64URL(point[33:]),
	}
}

// Base64URL encodes bytes as tokens do: for URLs, and without padding.
func Base64URL(p []byte) string { return base64.RawURLEncoding.EncodeToString(p) }

// JWT is a token to be made, by hand, so that broken ones can be made, too.
// The zero value of each member is what a good one has.
type JWT struct {
	Alg        string         // RS256 if empty; also what the header says
	Key        any            // *rsa.PrivateKey, *ecdsa.PrivateKey or []byte; the issuer's for alg
	Header     map[string]any // changes to the header; absent takes out
	Claims     map[string]any
	rawHeader  string // in place of the header's JSON
	RawPayload string // in place of the claims' JSON
	Signature  []byte // in place of the right one, if not nil
}

// Sign returns the token in the compact serialisation.
func Sign(j JWT) string {
	if j.Alg == "" {
		j.Alg = "RS256"
	}
	header := map[string]any{"typ": "JWT", "alg": j.Alg, "kid": RSAKid}
	if j.Alg == "ES256" {
		header["kid"] = ECKid
	}
	maps.Copy(header, j.Header)
	maps.DeleteFunc(header, func(_ string, v any) bool { return v == Absent })
	signed := Base64URL(jsonOr(j.rawHeader, header)) + "." + Base64URL(jsonOr(j.RawPayload, j.Claims))
	if j.Signature == nil {
		j.Signature = signature(j.Alg, j.Key, signed)
	}
	return signed + "." + Base64URL(j.Signature)
}

func jsonOr(raw string, v any) []byte {
	if raw != "" {
		return []byte(raw)
	}
	text, err := json.Marshal(v)
	Check(err)
	return text
}

// signature signs with key, or with the issuer's for alg.
func signature(alg string, key any, signed string) []byte {
	if key == nil {
		key = any(RSAKey())
		if alg == "ES256" {
			key = ECKey()
		}
	}
	sum := crypto.SHA256.New()
	sum.Write([]byte(signed))
	digest := sum.Sum(nil)
	switch key := key.(type) {
	case *rsa.PrivateKey:
		sig, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest)
		Check(err)
		return sig
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, key, digest)
		Check(err)
		return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	case []byte:
		return HMACSHA256(key, signed)
	}
	panic("no key of a known kind")
}
