package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"
)

// TestKeyRules has keys that must not be used.
func TestKeyRules(t *testing.T) {
	t.Parallel()
	rsaPub, ecPub, edPub := &rsaKey().PublicKey, &p256Key().PublicKey, edKey().Public()
	small := new(rsa.PublicKey)
	small.N, small.E = new(big.Int).Rsh(rsaPub.N, 1024), 65537
	small.N.SetBit(small.N, 0, 1)
	ec := jwkOf(ecPub, "k", nil)
	p384 := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	for _, row := range []struct {
		name string
		key  map[string]any
		word string // in the error; empty for a good key
	}{
		{"rsa", jwkOf(rsaPub, "k", nil), ""},
		{"rsa for signatures", jwkOf(rsaPub, "k", map[string]any{"use": "sig", "key_ops": []string{"verify"}, "alg": "PS256"}), ""},
		{"rsa of 1024 bits", jwkOf(small, "k", nil), "key"},
		{"rsa, even exponent", jwkOf(&rsa.PublicKey{N: rsaPub.N, E: 65536}, "k", nil), "key"},
		{"rsa, exponent 1", jwkOf(&rsa.PublicKey{N: rsaPub.N, E: 1}, "k", nil), "key"},
		{"rsa, even modulus", jwkOf(&rsa.PublicKey{N: new(big.Int).SetBit(rsaPub.N, 0, 0), E: 65537}, "k", nil), "key"},
		{"rsa of 20,000 bits", jwkOf(&rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 20000, 1), E: 65537}, "k", nil), "bits"},
		{"for encryption", jwkOf(rsaPub, "k", map[string]any{"use": "enc"}), "use"},
		{"of odd use", jwkOf(rsaPub, "k", map[string]any{"use": 1}), "use"},
		{"that only signs", jwkOf(rsaPub, "k", map[string]any{"key_ops": []string{"sign"}}), "key_ops"},
		{"without operations", jwkOf(rsaPub, "k", map[string]any{"key_ops": []string{}}), "key_ops"},
		{"with an alg for encryption", jwkOf(rsaPub, "k", map[string]any{"alg": "RSA-OAEP"}), "key"},
		{"with the alg of another kind", jwkOf(rsaPub, "k", map[string]any{"alg": "ES256"}), "alg"},
		{"with alg HS256", jwkOf(rsaPub, "k", map[string]any{"alg": "HS256"}), "alg"},
		{"symmetric", map[string]any{"kty": "oct", "k": b64url.EncodeToString(make([]byte, 64)), "kid": "k"}, "oct"},
		{"unknown kind", map[string]any{"kty": "AKP", "pub": "AAAA", "kid": "k"}, "unknown"},
		{"no kind", map[string]any{"kid": "k"}, "unknown"},
		{"kind in another case", map[string]any{"kty": "rsa", "n": "AQAB", "e": "AQAB"}, "unknown"},
		{"ec", ec, ""},
		{"ec with curve P-384", jwkOf(&p384.PublicKey, "k", nil), ""},
		{"ec off the curve", jwkOf(ecPub, "k", map[string]any{"x": ec["y"]}), "key"},
		{"ec at infinity", jwkOf(ecPub, "k", map[string]any{"x": b64url.EncodeToString(make([]byte, 32)), "y": b64url.EncodeToString(make([]byte, 32))}), "key"},
		{"ec of another curve", jwkOf(ecPub, "k", map[string]any{"crv": "P-384"}), "key"},
		{"ec with alg of another curve", jwkOf(ecPub, "k", map[string]any{"alg": "ES384"}), "alg"},
		{"secp256k1", jwkOf(ecPub, "k", map[string]any{"crv": "secp256k1"}), "key"},
		{"ed25519", jwkOf(edPub, "k", nil), ""},
		{"ed25519, short", jwkOf(edPub, "k", map[string]any{"x": "AAAA"}), "key"},
		{"x25519", jwkOf(edPub, "k", map[string]any{"crv": "X25519"}), "key"},
		{"kid of 257 bytes", jwkOf(rsaPub, strings.Repeat("k", 257), nil), "kid"},
		{"kid number", jwkOf(rsaPub, "", map[string]any{"kid": 5}), "key"},
		{"certificates that contradict", jwkOf(rsaPub, "k", map[string]any{"x5c": []string{"AAAA"}, "x5t": 7, "x5u": "http://127.0.0.1:1/"}), ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			k, err := parseKey(must(json.Marshal(row.key)))
			if row.word == "" {
				if err != nil || k.id != "k" || len(k.algs) == 0 {
					t.Errorf("got %+v, %v", k, err)
				}
				return
			}
			if err == nil || k != nil || !strings.Contains(err.Error(), row.word) {
				t.Errorf("got %+v, %v, want an error with %q", k, err, row.word)
			}
		})
	}
	for _, text := range []string{"null", "[]", `"x"`, "7", "{}"} {
		if k, err := parseKey(json.RawMessage(text)); err == nil {
			t.Errorf("%s is the key %+v", text, k)
		}
	}
}

// TestKeySetOddEntries: one odd key does not spoil the set, a private half is
// seen and not used.
func TestKeySetOddEntries(t *testing.T) {
	t.Parallel()
	private := jwkOf(&rsaKey().PublicKey, "r1", map[string]any{
		"d": b64url.EncodeToString(rsaKey().D.Bytes()),
		"p": b64url.EncodeToString(rsaKey().Primes[0].Bytes()), "q": b64url.EncodeToString(rsaKey().Primes[1].Bytes()),
	})
	keys, odd, err := parseKeys(jwksOf(
		map[string]any{"kty": "XYZ"}, map[string]any{"kty": "RSA", "n": "!", "e": "AQAB"},
		jwkOf(&otherRSA().PublicKey, "enc", map[string]any{"use": "enc"}),
		map[string]any{"kty": "oct", "k": "AAAA", "kid": "r1"}, private, jwkOf(edKey().Public(), "d1", nil),
	))
	if err != nil || len(keys) != 2 || len(odd) != 4 {
		t.Fatalf("%d keys, odd %v, %v; want 2 keys and 4 odd ones", len(keys), odd, err)
	}
	if pub, ok := keys[0].material.(*rsa.PublicKey); !ok || !pub.Equal(&rsaKey().PublicKey) {
		t.Errorf("material of the private key is %T, want its public half", keys[0].material)
	}
}

func TestKeySetTexts(t *testing.T) {
	t.Parallel()
	pub := &rsaKey().PublicKey
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	pkix := block("PUBLIC KEY", must(x509.MarshalPKIXPublicKey(&p256Key().PublicKey)))
	many := make([]map[string]any, 101)
	for i := range many {
		many[i] = jwkOf(edKey().Public(), fmt.Sprint(i), nil)
	}
	for _, row := range []struct {
		name, text string
		keys, odd  int
		word       string
	}{
		{"set", string(jwksOf(jwkOf(pub, "a", nil))), 1, 0, ""},
		{"single key", string(must(json.Marshal(jwkOf(pub, "a", nil)))), 1, 0, ""},
		{"PEM", pkix, 1, 0, ""},
		{"PKCS 1", block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(pub)), 1, 0, ""},
		{"certificate", block("CERTIFICATE", selfSigned(t)), 1, 0, ""},
		{"two blocks", "\n" + pkix + "\n" + block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(pub)), 2, 0, ""},
		{"private key only", block("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(rsaKey()))), 0, 1, "private"},
		{"private key beside", pkix + block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey())), 1, 1, ""},
		{"broken block", block("PUBLIC KEY", []byte("x")), 0, 1, "PEM"},
		{"text behind", pkix + "hello", 1, 1, ""},
		{"no keys", `{"keys":[]}`, 0, 0, "empty"},
		{"no members", `{}`, 0, 0, "empty"},
		{"HTML", "<!doctype html>", 0, 0, "neither"},
		{"nothing", "", 0, 0, "neither"},
		{"cut off", string(jwksOf(jwkOf(pub, "a", nil))[:80]), 0, 0, "neither"},
		{"keys is no array", `{"keys":{}}`, 0, 0, "neither"},
		{"array", `[]`, 0, 0, "neither"},
		{"101 keys", string(jwksOf(many...)), 0, 0, "101"},
		{"100 keys", string(jwksOf(many[:100]...)), 100, 0, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			keys, odd, err := parseKeys([]byte(row.text))
			if len(keys) != row.keys || len(odd) != row.odd || (err == nil) != (row.word == "") {
				t.Fatalf("%d keys, odd %v, %v; want %d and %d", len(keys), odd, err, row.keys, row.odd)
			}
			if err != nil && !strings.Contains(err.Error(), row.word) {
				t.Errorf("error %q has no %q", err, row.word)
			}
		})
	}
}

func selfSigned(t *testing.T) []byte {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}, NotAfter: time.Unix(1, 0)}
	return must(x509.CreateCertificate(rand.Reader, template, template, &rsaKey().PublicKey, rsaKey()))
}

func TestKeyTableFind(t *testing.T) {
	t.Parallel()
	key := func(id string, algs ...string) *Key { return &Key{id: id, algs: algs, print: id} }
	a, b, e := key("a", "RS256"), key("b", "RS256"), key("e", "ES256")
	x1, x2 := key("x", "RS256"), key("x", "RS256")
	nameless := key("", "RS256", "ES256")
	for _, row := range []struct {
		name     string
		keys     []*Key
		alg, kid string
		want     []*Key
		known    bool
	}{
		{"by id", []*Key{a, b, e}, "RS256", "b", []*Key{b}, true},
		{"without kid, all of the algorithm", []*Key{a, b, e}, "RS256", "", []*Key{a, b}, true},
		{"without kid, none", []*Key{a, b}, "ES256", "", nil, false},
		{"unknown", []*Key{a, b}, "RS256", "c", nil, false},
		{"known, of another kind", []*Key{a, e}, "RS256", "e", nil, true},
		{"known, of another kind, beside one without id", []*Key{nameless, e}, "RS256", "e", nil, true},
		{"same id twice", []*Key{x1, x2}, "RS256", "x", []*Key{x1, x2}, true},
		{"key without id", []*Key{nameless, e}, "ES256", "z", []*Key{nameless}, true},
		{"id before no id", []*Key{nameless, a}, "RS256", "a", []*Key{a}, true},
		{"at most four", []*Key{a, a, a, a, a}, "RS256", "", []*Key{a, a, a, a}, true},
	} {
		got, known := newKeyTable(row.keys).find(row.alg, row.kid)
		if fmt.Sprint(got) != fmt.Sprint(row.want) || known != row.known {
			t.Errorf("%s: %v, %v, want %v, %v", row.name, got, known, row.want, row.known)
		}
	}
	if got, known := (*keyTable)(nil).find("RS256", "a"); got != nil || known || (*keyTable)(nil).holds(a) {
		t.Errorf("no table has %v", got)
	}
}

// TestKeyTableKeeping: a refreshed set keeps the keys that are the same.
func TestKeyTableKeeping(t *testing.T) {
	t.Parallel()
	parse := func(keys ...map[string]any) *keyTable {
		parsed, _, err := parseKeys(jwksOf(keys...))
		if err != nil {
			t.Fatal(err)
		}
		return newKeyTable(parsed)
	}
	r, e := jwkOf(&rsaKey().PublicKey, "r", nil), jwkOf(&p256Key().PublicKey, "e", nil)
	old := parse(r, e)
	kept := parse(jwkOf(&rsaKey().PublicKey, "r", map[string]any{"x5t": "x"}), jwkOf(&p256Key().PublicKey, "e", map[string]any{"alg": "ES256"})).keeping(old)
	if kept.keys[0] != old.keys[0] || !kept.holds(old.keys[0]) {
		t.Error("the same key is another one")
	}
	if kept.holds(old.keys[1]) {
		t.Error("a key whose alg has changed is the same one")
	}
	if parse(jwkOf(&otherRSA().PublicKey, "r", nil)).keeping(old).holds(old.keys[0]) {
		t.Error("another key with the same id is the same one")
	}
}
