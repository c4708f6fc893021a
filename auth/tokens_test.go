package auth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"
)

// The tests sign tokens with the standard library alone, so that a fault of
// the library that verifies cannot hide itself.

var b64url = base64.RawURLEncoding

// testNow is when the tests' tokens are looked at.
var testNow = time.Unix(1_800_000_000, 0)

var (
	rsaKey   = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	otherRSA = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	p256Key  = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) })
	edKey    = sync.OnceValue(func() ed25519.PrivateKey { _, k, err := ed25519.GenerateKey(rand.Reader); return must(k, err) })
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// sign returns a token over the exact texts of header and claims. alg is the
// algorithm that really signs, whatever the header says.
func sign(t testing.TB, alg string, key any, header, claims string) string {
	t.Helper()
	signed := b64url.EncodeToString([]byte(header)) + "." + b64url.EncodeToString([]byte(claims))
	return signed + "." + b64url.EncodeToString(signature(t, alg, key, []byte(signed)))
}

func signature(t testing.TB, alg string, key any, signed []byte) []byte {
	t.Helper()
	hash := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}[alg[2:]]
	var sum []byte
	if hash != 0 {
		h := hash.New()
		h.Write(signed)
		sum = h.Sum(nil)
	}
	var sig []byte
	var err error
	switch key := key.(type) {
	case *rsa.PrivateKey:
		if strings.HasPrefix(alg, "PS") {
			sig, err = rsa.SignPSS(rand.Reader, key, hash, sum, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		} else {
			sig, err = rsa.SignPKCS1v15(nil, key, hash, sum)
		}
	case *ecdsa.PrivateKey:
		r, s, e := ecdsa.Sign(rand.Reader, key, sum)
		size := (key.Curve.Params().BitSize + 7) / 8
		sig, err = make([]byte, 2*size), e
		r.FillBytes(sig[:size])
		s.FillBytes(sig[size:])
	case ed25519.PrivateKey:
		sig = ed25519.Sign(key, signed)
	case []byte:
		mac := hmac.New(hash.New, key)
		mac.Write(signed)
		sig = mac.Sum(nil)
	default:
		t.Fatalf("no way to sign with %T", key)
	}
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

// goodClaims are claims that a verifier with testConfig accepts. Members of
// change replace or, if nil, remove them; a json.RawMessage is taken as is.
func goodClaims(t testing.TB, change map[string]any) string {
	t.Helper()
	claims := map[string]any{
		"iss": "https://id.example.com", "aud": "chat", "sub": "alice", "jti": "t1", "sid": "s1",
		"iat": testNow.Unix() - 10, "exp": testNow.Unix() + 300, "scope": "chat:read chat:write",
	}
	maps.Copy(claims, change)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	return string(must(json.Marshal(claims)))
}

// rs256 returns a token signed with rsaKey, kid "r1".
func rs256(t testing.TB, claims string) string {
	t.Helper()
	return sign(t, "RS256", rsaKey(), `{"alg":"RS256","kid":"r1","typ":"JWT"}`, claims)
}

// jwkOf returns a public key as a JSON Web Key. extra members are added.
func jwkOf(pub any, kid string, extra map[string]any) map[string]any {
	var m map[string]any
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		m = map[string]any{"kty": "RSA", "n": b64url.EncodeToString(pub.N.Bytes()), "e": b64url.EncodeToString([]byte{
			byte(pub.E >> 16), byte(pub.E >> 8), byte(pub.E),
		})}
	case *ecdsa.PublicKey:
		point := must(pub.Bytes())[1:]
		m = map[string]any{
			"kty": "EC", "crv": pub.Curve.Params().Name,
			"x": b64url.EncodeToString(point[:len(point)/2]), "y": b64url.EncodeToString(point[len(point)/2:]),
		}
	case ed25519.PublicKey:
		m = map[string]any{"kty": "OKP", "crv": "Ed25519", "x": b64url.EncodeToString(pub)}
	default:
		panic(fmt.Sprintf("no JWK of a %T", pub))
	}
	if kid != "" {
		m["kid"] = kid
	}
	maps.Copy(m, extra)
	return m
}

func jwksOf(keys ...map[string]any) []byte {
	return must(json.Marshal(map[string]any{"keys": keys}))
}

// testKeys are the keys r1 (RSA), e1 (P-256) and d1 (Ed25519).
func testKeys(t testing.TB) *StaticKeys {
	t.Helper()
	keys, odd, err := NewStaticKeys(jwksOf(jwkOf(&rsaKey().PublicKey, "r1", nil),
		jwkOf(&p256Key().PublicKey, "e1", nil), jwkOf(edKey().Public(), "d1", nil)))
	if err != nil || len(odd) > 0 {
		t.Fatal(err, odd)
	}
	return keys
}

func testConfig(t testing.TB) JWTConfig {
	t.Helper()
	return JWTConfig{Issuers: []string{"https://id.example.com"}, Audiences: []string{"chat", "chat2"}, Keys: testKeys(t)}
}

func newJWT(t testing.TB, change func(*JWTConfig)) *JWT {
	t.Helper()
	cfg := testConfig(t)
	if change != nil {
		change(&cfg)
	}
	v, err := NewJWT(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// reasonOf returns the reason of a refusal, "outage", "" for nil, or the text
// of another error.
func reasonOf(err error) Reason {
	if refused, ok := errors.AsType[*RefusedError](err); ok {
		return refused.Reason
	}
	if _, ok := errors.AsType[*OutageError](err); ok {
		return "outage"
	}
	if err != nil {
		return Reason("other error: " + err.Error())
	}
	return ""
}

// wantReason verifies a token and checks both the outcome and that what
// Explain says agrees with it and, like the error, gives nothing away.
func wantReason(t *testing.T, v *JWT, token string, want Reason) {
	t.Helper()
	id, err := v.Verify(t.Context(), token, testNow)
	if got := reasonOf(err); got != want {
		t.Errorf("Verify: %q (%s), want %q", got, detailOf(err), want)
	}
	if (id == nil) != (err != nil) {
		t.Errorf("Verify returned identity %v with error %v", id, err)
	}
	ok := true
	for _, check := range v.Explain(t.Context(), token, testNow) {
		ok = ok && check.OK
		wantNoToken(t, token, check.Detail)
	}
	if ok != (want == "") {
		t.Errorf("Explain says OK: %v, Verify says %q", ok, want)
	}
	if err != nil {
		wantNoToken(t, token, err.Error()+"|"+detailOf(err))
	}
}

func detailOf(err error) string {
	if cause := errors.Unwrap(err); cause != nil {
		return cause.Error()
	}
	return ""
}

// wantNoToken checks that a text for operators is short and holds no run of
// the token's bytes, encoded or decoded.
func wantNoToken(t *testing.T, token, text string) {
	t.Helper()
	if len(text) > 256+len(ReasonAudience)+1 {
		t.Errorf("text of %d bytes", len(text))
	}
	for _, configured := range []string{"id", "a", "b"} {
		text = strings.ReplaceAll(text, "https://"+configured+".example.com", "")
	}
	for part := range strings.SplitSeq(token, ".") {
		decoded, _ := b64url.DecodeString(part)
		for _, secret := range []string{part, string(decoded)} {
			for i := 0; i+12 <= min(len(secret), 4096); i += 4 {
				if piece := secret[i : i+12]; strings.Contains(text, piece) {
					t.Fatalf("text %q holds %q of the token", text, piece)
				}
			}
		}
	}
}

// countingKeys counts the calls of Find.
type countingKeys struct {
	KeySet
	mu    sync.Mutex
	finds int
	gone  bool
}

func (c *countingKeys) Find(ctx context.Context, alg, kid string) ([]*Key, error) {
	c.mu.Lock()
	c.finds++
	c.mu.Unlock()
	return c.KeySet.Find(ctx, alg, kid)
}

func (c *countingKeys) Holds(k *Key) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.gone && c.KeySet.Holds(k)
}

func sha(s string) tokenHash { return sha256.Sum256([]byte(s)) }
