package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
)

// TestAttackAlgNone: a token that nobody has signed, in all spellings, with
// and without a third part. (CVE-2015-9235)
func TestAttackAlgNone(t *testing.T) {
	t.Parallel()
	v := newJWT(t, nil)
	claims := b64url.EncodeToString([]byte(goodClaims(t, nil)))
	for _, alg := range []string{"none", "None", "NONE", "nOnE"} {
		head := b64url.EncodeToString([]byte(`{"alg":"` + alg + `","kid":"r1"}`))
		wantReason(t, v, head+"."+claims+".", ReasonMalformed)
		wantReason(t, v, head+"."+claims, ReasonMalformed)
		wantReason(t, v, head+"."+claims+".AAAA", ReasonAlgorithm)
	}
	for _, header := range []string{`{"kid":"r1"}`, `{"alg":"","kid":"r1"}`, `{"alg":null}`, `{"alg":["RS256"]}`, `{"Alg":"RS256"}`} {
		wantReason(t, v, sign(t, "RS256", rsaKey(), header, goodClaims(t, nil)), ReasonMalformed)
	}
	// Spelled otherwise than configured.
	wantReason(t, v, sign(t, "RS256", rsaKey(), `{"alg":"rs256","kid":"r1"}`, goodClaims(t, nil)), ReasonAlgorithm)
}

// TestAttackHMACWithPublicKey: whoever knows the public key takes it for a
// secret. The HS* algorithms are off with public keys; were they on, no key
// of the set would serve them. (CVE-2016-5431)
func TestAttackHMACWithPublicKey(t *testing.T) {
	t.Parallel()
	pub := &rsaKey().PublicKey
	der := must(x509.MarshalPKIXPublicKey(pub))
	keys := testKeys(t)
	v := newJWT(t, func(c *JWTConfig) { c.Keys = keys })
	careless := newJWT(t, func(c *JWTConfig) { c.Keys = keys })
	careless.cfg.Algorithms = append([]string{"HS256"}, careless.cfg.Algorithms...)
	for _, secret := range [][]byte{
		pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}),
		der,
		pub.N.Bytes(),
		must(json.Marshal(jwkOf(pub, "r1", nil))),
	} {
		for _, header := range []string{`{"alg":"HS256","kid":"r1"}`, `{"alg":"HS256"}`} {
			token := sign(t, "HS256", secret, header, goodClaims(t, nil))
			wantReason(t, v, token, ReasonAlgorithm)
			if _, err := careless.Verify(t.Context(), token, testNow); err == nil {
				t.Error("a token signed with the public key was accepted")
			}
		}
	}
}

// TestAttackHeaderKey: the token brings its own key, or says where one is.
// Nothing is fetched, nothing is trusted. (CVE-2018-0114)
func TestAttackHeaderKey(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_, _ = w.Write(jwksOf(jwkOf(&otherRSA().PublicKey, "evil", nil)))
	}))
	defer server.Close()
	v := newJWT(t, nil)
	own := string(must(json.Marshal(jwkOf(&otherRSA().PublicKey, "r1", nil))))
	for name, member := range map[string]string{
		"jwk": own, "jku": `"` + server.URL + `"`, "x5u": `"` + server.URL + `"`,
		"x5c": `["AAAA"]`, "x5t": `"AAAA"`,
	} {
		for kid, want := range map[string]Reason{"r1": ReasonSignature, "evil": ReasonUnknownKey} {
			header := `{"alg":"RS256","kid":"` + kid + `","` + name + `":` + member + `}`
			wantReason(t, v, sign(t, "RS256", otherRSA(), header, goodClaims(t, nil)), want)
		}
		// A good signature is good whatever else the header says.
		header := `{"alg":"RS256","kid":"r1","` + name + `":` + member + `}`
		wantReason(t, v, sign(t, "RS256", rsaKey(), header, goodClaims(t, nil)), "")
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("%d requests went where a token said", n)
	}
}

// TestAttackHeaderMembers: extensions that must be understood, other payload
// encodings, compression, nesting.
func TestAttackHeaderMembers(t *testing.T) {
	t.Parallel()
	v := newJWT(t, nil)
	for _, row := range []struct {
		name, header string
		want         Reason
	}{
		{"good", `{"alg":"RS256","kid":"r1"}`, ""},
		{"unknown crit", `{"alg":"RS256","kid":"r1","crit":["x"],"x":1}`, ReasonMalformed},
		{"standard crit", `{"alg":"RS256","kid":"r1","crit":["alg"]}`, ReasonMalformed},
		{"absent crit", `{"alg":"RS256","kid":"r1","crit":["exp"]}`, ReasonMalformed},
		{"crit twice the same", `{"alg":"RS256","kid":"r1","crit":["x","x"],"x":1}`, ReasonMalformed},
		{"empty crit", `{"alg":"RS256","kid":"r1","crit":[]}`, ReasonMalformed},
		{"null crit", `{"alg":"RS256","kid":"r1","crit":null}`, ReasonMalformed},
		{"b64", `{"alg":"RS256","kid":"r1","b64":false}`, ReasonMalformed},
		{"b64 with crit", `{"alg":"RS256","kid":"r1","b64":false,"crit":["b64"]}`, ReasonMalformed},
		{"zip", `{"alg":"RS256","kid":"r1","zip":"DEF"}`, ReasonMalformed},
		{"alg twice", `{"alg":"none","alg":"RS256","kid":"r1"}`, ReasonMalformed},
		{"kid twice by an escape", `{"alg":"RS256","kid":"x","k\u0069d":"r1"}`, ReasonMalformed},
		{"bytes behind", `{"alg":"RS256","kid":"r1"}{}`, ReasonMalformed},
		{"array", `["RS256"]`, ReasonMalformed},
		{"nested", `{"alg":"RS256","kid":"r1","cty":"JWT"}`, ReasonType},
		{"nested, long form", `{"alg":"RS256","kid":"r1","cty":"application/jwt"}`, ReasonType},
		{"other content", `{"alg":"RS256","kid":"r1","cty":"json"}`, ""},
		{"kid number", `{"alg":"RS256","kid":1}`, ReasonMalformed},
		{"kid array", `{"alg":"RS256","kid":["r1"]}`, ReasonMalformed},
		{"kid null", `{"alg":"RS256","kid":null}`, ReasonMalformed},
		{"kid of 257 bytes", `{"alg":"RS256","kid":"` + strings.Repeat("k", 257) + `"}`, ReasonMalformed},
		{"kid of 256 bytes", `{"alg":"RS256","kid":"` + strings.Repeat("k", 256) + `"}`, ReasonUnknownKey},
		{"kid path", `{"alg":"RS256","kid":"../../etc/passwd"}`, ReasonUnknownKey},
		{"kid query", `{"alg":"RS256","kid":"' OR 1=1 --"}`, ReasonUnknownKey},
		{"kid of a key of another kind", `{"alg":"RS256","kid":"e1"}`, ReasonAlgorithm},
		{"no kid", `{"alg":"RS256"}`, ""},
		{"empty kid", `{"alg":"RS256","kid":""}`, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			wantReason(t, v, sign(t, "RS256", rsaKey(), row.header, goodClaims(t, nil)), row.want)
		})
	}
}

// TestAttackShape: everything that is no compact JWS. A JSON serialisation
// could have one payload signed and another one read.
// (CVE-2022-39227)
func TestAttackShape(t *testing.T) {
	t.Parallel()
	v := newJWT(t, nil)
	good := rs256(t, goodClaims(t, nil))
	p := strings.Split(good, ".")
	flattened := `{"protected":"` + p[0] + `","payload":"` + p[1] + `","signature":"` + p[2] + `"`
	for name, token := range map[string]string{
		"empty":                  "",
		"two parts":              p[0] + "." + p[1],
		"four parts":             good + ".AAAA",
		"JWE":                    p[0] + "." + p[1] + "." + p[2] + ".AAAA.AAAA",
		"flattened":              flattened + "}",
		"flattened with claims":  flattened + `,"sub":"root"}`,
		"flattened with dots":    flattened + `,"a..":1}`,
		"general":                `{"payload":"` + p[1] + `","signatures":[{"protected":"` + p[0] + `","signature":"` + p[2] + `"}]}`,
		"unsigned claims":        goodClaims(t, nil),
		"padding":                p[0] + "." + p[1] + "=." + p[2],
		"space in front":         " " + good,
		"space behind":           good + " ",
		"newline behind":         good + "\n",
		"newline inside":         p[0] + ".\n" + p[1] + "." + p[2],
		"CR LF inside":           good[:10] + "\r\n" + good[10:],
		"NUL":                    good + "\x00",
		"standard alphabet":      p[0] + "." + p[1] + ".a+b/",
		"empty header":           "." + p[1] + "." + p[2],
		"empty payload":          p[0] + ".." + p[2],
		"no characters of one":   p[0] + "." + p[1] + ".A",
		"stray bits at the end":  p[0] + "." + p[1] + "." + p[2][:len(p[2])-1] + strayBits(p[2]),
		"a million dots":         strings.Repeat(".", 1_000_000),
		"1 MiB":                  good + strings.Repeat("A", 1<<20),
		"kid of 1 MiB":           sign(t, "RS256", rsaKey(), `{"alg":"RS256","kid":"`+strings.Repeat("k", 1<<20)+`"}`, "{}"),
		"one byte over the size": p[0] + "." + strings.Repeat("A", MaxTokenSize-len(p[0])-len(p[2])-1) + "." + p[2],
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantReason(t, v, token, ReasonMalformed)
		})
	}
	wantReason(t, v, good, "")
}

// strayBits returns another last character for a part that decodes to the
// same bytes where a decoder is not strict.
func strayBits(part string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return alphabet[strings.IndexByte(alphabet, part[len(part)-1])|1:][:1]
}

// TestAttackHugeTokenCost: refusing a huge token allocates next to
// nothing. (CVE-2025-30204)
func TestAttackHugeTokenCost(t *testing.T) {
	v := newJWT(t, nil)
	token := strings.Repeat("a.", 4<<20)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 10 {
		if _, err := v.Verify(t.Context(), token, testNow); err == nil {
			t.Fatal("accepted")
		}
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
		t.Errorf("ten refusals allocate %d bytes", used)
	}
}

// TestAttackECDSASignature: zeros, other lengths and DER. (CVE-2022-21449)
func TestAttackECDSASignature(t *testing.T) {
	t.Parallel()
	v := newJWT(t, nil)
	good := sign(t, "ES256", p256Key(), `{"alg":"ES256","kid":"e1"}`, goodClaims(t, nil))
	wantReason(t, v, good, "")
	signed := good[:strings.LastIndexByte(good, '.')]
	sum := sha256.Sum256([]byte(signed))
	der := must(ecdsa.SignASN1(rand.Reader, p256Key(), sum[:]))
	order := p256Key().Curve.Params().N
	zero, n := make([]byte, 32), order.FillBytes(make([]byte, 32))
	raw := must(b64url.DecodeString(good[len(signed)+1:]))
	for name, sig := range map[string][]byte{
		"zeros": make([]byte, 64), "r zero": append(zero, raw[32:]...), "s zero": append(raw[:32:32], zero...),
		"r and s the order": append(n, n...), "63 bytes": raw[:63], "65 bytes": append(raw[:64:64], 0),
		"DER": der, "4 kB": make([]byte, 4096), "one byte": {1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantReason(t, v, signed+"."+b64url.EncodeToString(sig), ReasonSignature)
		})
	}
	wantReason(t, v, signed+"."+b64url.EncodeToString(make([]byte, 20_000)), ReasonMalformed)
}

// TestAttackPSSSalt: RFC 7518 section 3.5 fixes the length of the salt.
func TestAttackPSSSalt(t *testing.T) {
	t.Parallel()
	v := newJWT(t, nil)
	signed := b64url.EncodeToString([]byte(`{"alg":"PS256","kid":"r1"}`)) + "." + b64url.EncodeToString([]byte(goodClaims(t, nil)))
	sum := sha256.Sum256([]byte(signed))
	for salt, want := range map[int]Reason{32: "", 1: ReasonSignature, 20: ReasonSignature, 222: ReasonSignature} {
		opts := &rsa.PSSOptions{SaltLength: salt}
		sig := must(rsa.SignPSS(rand.Reader, rsaKey(), crypto.SHA256, sum[:], opts))
		wantReason(t, v, signed+"."+b64url.EncodeToString(sig), want)
	}
}

// TestAttackForeignKid: the kid of another key of the set does not help, and
// an RSA signature does not pass for PSS.
func TestAttackForeignKid(t *testing.T) {
	t.Parallel()
	v := newJWT(t, nil)
	wantReason(t, v, sign(t, "ES256", p256Key(), `{"alg":"ES256","kid":"r1"}`, goodClaims(t, nil)), ReasonAlgorithm)
	wantReason(t, v, sign(t, "RS256", rsaKey(), `{"alg":"PS256","kid":"r1"}`, goodClaims(t, nil)), ReasonSignature)
	wantReason(t, v, sign(t, "RS256", otherRSA(), `{"alg":"RS256","kid":"r1"}`, goodClaims(t, nil)), ReasonSignature)
}
