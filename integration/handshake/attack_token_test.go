package handshake

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// refusesToken sends the token in each source that can hold it, to the site.
func refusesToken(t testing.TB, f *rig.Fixture, site, token string, reasons ...string) {
	t.Helper()
	f.Refuses(t, site, rig.Bearer(rig.PathOf(t)+"/header", token), token, http.StatusUnauthorized, reasons...)
	f.Refuses(t, site, rig.Handshake{Path: rig.PathOf(t) + "/query?access_token=" + token}, token,
		http.StatusUnauthorized, reasons...)
	f.Refuses(t, site, rig.Handshake{Path: rig.PathOf(t) + "/subprotocol", Subprotocols: []string{"bearer", token}}, token,
		http.StatusUnauthorized, reasons...)
}

// accepts checks that the token is good for the site: what the attacks below
// change must be all that is wrong with theirs.
func accepts(t testing.TB, f *rig.Fixture, site, token string) {
	t.Helper()
	conn, _ := rig.MustDial(t, site, rig.Bearer(rig.PathOf(t)+"/good", token))
	rig.MustEcho(t, conn, "hello")
	_ = conn.Close()
}

// A token that says of itself that it needs no signature (CVE-2015-9235 and
// its family; RFC 8725 section 3.2).
func TestAttackAlgNone(t *testing.T) {
	t.Parallel()
	f := rig.Shared(t)
	for _, alg := range []string{"none", "None", "NONE", "nOnE", ""} {
		for _, signature := range [][]byte{{}, []byte("x"), make([]byte, 256)} {
			token := rig.Sign(rig.JWT{Alg: "RS256", Header: map[string]any{"alg": alg}, Claims: f.Issuer.Claims(), Signature: signature})
			refusesToken(t, f, f.Addr, token, "algorithm_not_allowed", "malformed_token")
		}
	}
	noAlg := rig.Sign(rig.JWT{Header: map[string]any{"alg": rig.Absent}, Claims: f.Issuer.Claims()})
	f.Refuses(t, f.Addr, rig.Bearer(rig.PathOf(t), noAlg), noAlg, http.StatusUnauthorized, "malformed_token", "algorithm_not_allowed")
	accepts(t, f, f.Addr, f.Issuer.Token())
}

// The public key, which everybody knows, taken for the secret of an HMAC
// (RFC 8725 section 2.1): in every form in which a library might hand it on.
func TestAttackHS256WithPublicKey(t *testing.T) {
	t.Parallel()
	f := rig.Shared(t)
	public := &rig.RSAKey().PublicKey
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	jwk, err := json.Marshal(rig.RSAJWK(public, rig.RSAKid))
	if err != nil {
		t.Fatal(err)
	}
	pkix := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	for name, secret := range map[string][]byte{
		"PEM":                   pkix,
		"PEM without line feed": pkix[:len(pkix)-1],
		"PEM of PKCS 1":         pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(public)}),
		"DER":                   der,
		"DER of PKCS 1":         x509.MarshalPKCS1PublicKey(public),
		"modulus":               public.N.Bytes(),
		"modulus in base64":     []byte(rig.Base64URL(public.N.Bytes())),
		"JWK":                   jwk,
		"empty":                 {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			token := rig.Sign(rig.JWT{Alg: "HS256", Key: secret, Claims: f.Issuer.Claims()})
			refusesToken(t, f, f.Addr, token, "algorithm_not_allowed")
		})
	}
}

// A key that comes with the token, or an address where one can be had
// (CVE-2018-0114; RFC 8725 section 3.10): the address must not even be asked.
func TestAttackKeyInHeader(t *testing.T) {
	t.Parallel()
	f := rig.Shared(t)
	stranger := &rig.StrangerKey().PublicKey
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var connections atomic.Int64
	server := &http.Server{ReadHeaderTimeout: rig.Patience, ConnState: func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			connections.Add(1)
		}
	}, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		rig.WriteJSON(w, map[string]any{"keys": []any{rig.RSAJWK(stranger, rig.RSAKid)}})
	})}
	go server.Serve(listener)
	t.Cleanup(func() { // after all of the following
		_ = server.Close()
		if n := connections.Load(); n > 0 {
			t.Errorf("the address in the token was asked %d times", n)
		}
	})
	url := "http://" + listener.Addr().String()

	for name, header := range map[string]map[string]any{
		"jwk":                  {"jwk": rig.RSAJWK(stranger, "mine"), "kid": "mine"},
		"jwk with our kid":     {"jwk": rig.RSAJWK(stranger, rig.RSAKid)},
		"jwk without kid":      {"jwk": rig.RSAJWK(stranger, ""), "kid": rig.Absent},
		"jku":                  {"jku": url + "/jwks.json", "kid": "mine"},
		"jku with our kid":     {"jku": url + "/jwks.json"},
		"jku, ours and theirs": {"jku": f.Issuer.JWKSURL() + "@" + listener.Addr().String()},
		"x5u":                  {"x5u": url + "/cert.pem"},
		"x5c":                  {"x5c": []string{base64.StdEncoding.EncodeToString(selfSigned(t))}},
		"kid that is an URL":   {"kid": url + "/key"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			token := rig.Sign(rig.JWT{Key: rig.StrangerKey(), Header: header, Claims: f.Issuer.Claims()})
			path := rig.PathOf(t)
			resp := refusedWith(t, f.Addr, rig.Bearer(path, token), http.StatusUnauthorized, http.StatusServiceUnavailable)
			body, _ := io.ReadAll(resp.Body)
			switch string(body) {
			case "bad_signature", "unknown_key", "verification_unavailable":
			default:
				t.Errorf("refused with reason %q, want one about the key", body)
			}
			if len(f.Backend.Seen(path)) > 0 {
				t.Error("it has reached the application")
			}
		})
	}
	// The same headers do no harm where the issuer has signed them.
	accepts(t, f, f.Addr, rig.Sign(rig.JWT{Claims: f.Issuer.Claims(), Header: map[string]any{"jku": url, "jwk": rig.RSAJWK(stranger, "mine")}}))
}

// refusedWith is rig.Refused for one of several statuses.
func refusedWith(t testing.TB, addr string, h rig.Handshake, statuses ...int) *http.Response {
	t.Helper()
	_, resp, err := rig.Dial(t, addr, h)
	if err == nil {
		t.Fatalf("handshake accepted, want one of %v", statuses)
	}
	for _, status := range statuses {
		if resp != nil && resp.StatusCode == status {
			return resp
		}
	}
	t.Fatalf("got %v, want one of %v", rig.Describe(resp, err), statuses)
	return nil
}

// selfSigned returns a certificate of the test's authority, which no token
// may be verified with.
func selfSigned(t testing.TB) []byte {
	t.Helper()
	block, _ := pem.Decode(rig.OwnTLS().CertPEM)
	if block == nil {
		t.Fatal("no certificate")
	}
	return block.Bytes
}

// A header extension that must be understood and is not (RFC 7515 section
// 4.1.11): whoever ignores it takes a token for another than it is.
func TestAttackUnknownCrit(t *testing.T) {
	t.Parallel()
	f := rig.Shared(t)
	for name, header := range map[string]map[string]any{
		"unknown":          {"crit": []string{"https://example.com/limit"}, "https://example.com/limit": 1},
		"not there":        {"crit": []string{"exp"}},
		"of the standard":  {"crit": []string{"alg"}},
		"empty":            {"crit": []string{}},
		"twice":            {"crit": []string{"b64", "b64"}, "b64": true},
		"text":             {"crit": "exp"},
		"null":             {"crit": nil},
		"unencoded":        {"crit": []string{"b64"}, "b64": false},
		"unencoded, quiet": {"b64": false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refusesToken(t, f, f.Addr, rig.Sign(rig.JWT{Header: header, Claims: f.Issuer.Claims()}), "malformed_token")
		})
	}
}

// A token that costs memory or time before it is looked at.
func TestAttackHugeToken(t *testing.T) {
	t.Parallel()
	f := rig.Shared(t)
	padded := func(size int) string {
		return f.Issuer.Token(map[string]any{"padding": strings.Repeat("x", size*3/4)})
	}
	accepts(t, f, f.Addr, padded(4<<10))
	for _, size := range []int{9 << 10, 1 << 20} {
		refusesToken(t, f, f.Addr, padded(size), "malformed_token")
	}
	// Whoever splits at the dots allocates for each of them (CVE-2025-30204).
	dots := strings.Repeat(".", 1<<20)
	f.Refuses(t, f.Addr, rig.Bearer(rig.PathOf(t), dots), dots, http.StatusUnauthorized, "malformed_token")
}

// A token of the same provider that is for another app, from another
// provider, or of another kind (RFC 8725 sections 3.8, 3.9, 3.11).
func TestAttackWrongAudienceIssuerType(t *testing.T) {
	t.Parallel()
	f := rig.Shared(t)
	at := map[string]any{"typ": "at+jwt"}
	full := map[string]any{"client_id": "app"}
	accepts(t, f, f.Addr2, rig.Sign(rig.JWT{Header: at, Claims: f.Issuer.Claims(full)}))
	accepts(t, f, f.Addr2, rig.Sign(rig.JWT{Header: at, Claims: f.Issuer.Claims(full, map[string]any{"aud": []any{"other", "chat"}})}))
	for _, tc := range []struct {
		name, reason string
		header       map[string]any
		claims       map[string]any
	}{
		{"aud of another app", "wrong_audience", at, map[string]any{"aud": "other"}},
		{"aud that begins with ours", "wrong_audience", at, map[string]any{"aud": "chat2"}},
		{"aud in other case", "wrong_audience", at, map[string]any{"aud": "Chat"}},
		{"aud in an array without us", "wrong_audience", at, map[string]any{"aud": []any{"a", "b"}}},
		{"aud in an object", "wrong_audience", at, map[string]any{"aud": map[string]any{"chat": "chat"}}},
		{"aud empty", "wrong_audience", at, map[string]any{"aud": ""}},
		{"no aud", "bad_claims", at, map[string]any{"aud": rig.Absent}},
		{"iss of another provider", "wrong_issuer", at, map[string]any{"iss": "https://evil.example"}},
		{"iss with a slash more", "wrong_issuer", at, map[string]any{"iss": f.Issuer.URL + "/"}},
		{"iss in an array", "wrong_issuer", at, map[string]any{"iss": []any{f.Issuer.URL}}},
		{"no iss", "wrong_issuer", at, map[string]any{"iss": rig.Absent}},
		{"typ of a logout token", "wrong_token_type", map[string]any{"typ": "logout+jwt"}, nil},
		{"typ of a proof of possession", "wrong_token_type", map[string]any{"typ": "dpop+jwt"}, nil},
		{"typ of any token", "wrong_token_type", map[string]any{"typ": "JWT"}, nil},
		{"no typ", "wrong_token_type", map[string]any{"typ": rig.Absent}, nil},
		{"an access token without client_id", "bad_claims", at, map[string]any{"client_id": rig.Absent}},
		{"too long a life", "lifetime_too_long", at, map[string]any{"exp": time.Now().Add(3 * time.Hour).Unix()}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			refusesToken(t, f, f.Addr2, rig.Sign(rig.JWT{Header: tc.header, Claims: f.Issuer.Claims(full, tc.claims)}), tc.reason)
		})
	}
	// The one-line form takes any typ but those of other kinds of token.
	for _, typ := range []string{"logout+jwt", "secevent+jwt", "dpop+jwt", "token-introspection+jwt", "LOGOUT+JWT", "application/logout+jwt"} {
		refusesToken(t, f, f.Addr, rig.Sign(rig.JWT{Header: map[string]any{"typ": typ}, Claims: f.Issuer.Claims()}), "wrong_token_type")
	}
	refusesToken(t, f, f.Addr, f.Issuer.Token(map[string]any{"aud": rig.Absent}), "wrong_audience")
	refusesToken(t, f, f.Addr, f.Issuer.Token(map[string]any{"at_hash": "x"}), "wrong_token_type")
	refusesToken(t, f, f.Addr, f.Issuer.Token(map[string]any{"nonce": "x", "scope": rig.Absent}), "wrong_token_type")
}

// A token without an end, or with one that a program might read as none.
func TestAttackExp(t *testing.T) {
	t.Parallel()
	f := rig.Shared(t)
	claims := func(exp string) string {
		if exp != "" {
			exp = `,"exp":` + exp
		}
		return fmt.Sprintf(`{"iss":%q,"aud":"chat","sub":"alice"%s}`, f.Issuer.URL, exp)
	}
	soon := time.Now().Add(time.Hour).Unix()
	accepts(t, f, f.Addr, rig.Sign(rig.JWT{RawPayload: claims(fmt.Sprint(soon))}))
	accepts(t, f, f.Addr, rig.Sign(rig.JWT{RawPayload: claims(fmt.Sprintf("%d.5", soon))}))
	accepts(t, f, f.Addr, rig.Sign(rig.JWT{RawPayload: claims(fmt.Sprintf("%d.%de9", soon/1e9, soon%1e9))}))
	for name, exp := range map[string]string{
		"missing": "", "text": fmt.Sprintf(`"%d"`, soon), "date": `"2999-01-01T00:00:00Z"`, "null": "null",
		"true": "true", "array": fmt.Sprintf("[%d]", soon), "object": "{}", "1e308": "1e308", "1e30": "1e30",
		"9e18": "9e18", "negative": "-1", "negative and huge": "-1e308", "infinite": "1e999",
		"zero": "0", "past": fmt.Sprint(time.Now().Add(-time.Second).Unix()),
		"twice": fmt.Sprintf(`1,"exp":%d`, soon), "not JSON": "NaN",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refusesToken(t, f, f.Addr, rig.Sign(rig.JWT{RawPayload: claims(exp)}), "bad_claims", "expired", "malformed_token")
		})
	}
}

// A token that is not good yet.
func TestAttackNotBefore(t *testing.T) {
	t.Parallel()
	f := rig.Shared(t)
	in := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
	accepts(t, f, f.Addr, f.Issuer.Token(map[string]any{"nbf": in(10 * time.Second), "iat": in(10 * time.Second)}))
	for name, claims := range map[string]map[string]any{
		"nbf in the future": {"nbf": in(30 * time.Minute)},
		"iat in the future": {"iat": in(30 * time.Minute)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refusesToken(t, f, f.Addr, f.Issuer.Token(claims), "not_yet_valid")
		})
	}
	for name, nbf := range map[string]any{"text": "1", "null": nil, "array": []any{1}} {
		t.Run("nbf that is "+name, func(t *testing.T) {
			t.Parallel()
			refusesToken(t, f, f.Addr, f.Issuer.Token(map[string]any{"nbf": nbf}), "bad_claims")
		})
	}
}

// The signature of another key, of another token, or none.
func TestAttackSignature(t *testing.T) {
	t.Parallel()
	f := rig.Shared(t)
	good := f.Issuer.Token()
	stolen := good[strings.LastIndexByte(good, '.')+1:]
	body := rig.Sign(rig.JWT{Claims: f.Issuer.Claims(map[string]any{"sub": "admin"})})
	body = body[:strings.LastIndexByte(body, '.')+1]
	for name, token := range map[string]string{
		"of a stranger":                 rig.Sign(rig.JWT{Key: rig.StrangerKey(), Claims: f.Issuer.Claims()}),
		"of another token":              body + stolen,
		"empty":                         body,
		"cut":                           body + stolen[:len(stolen)-4],
		"RSA key under the EC key's id": rig.Sign(rig.JWT{Header: map[string]any{"kid": rig.ECKid}, Claims: f.Issuer.Claims()}),
		"ES256 of zeros":                rig.Sign(rig.JWT{Alg: "ES256", Claims: f.Issuer.Claims(), Signature: make([]byte, 64)}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f.Refuses(t, f.Addr, rig.Bearer(rig.PathOf(t), token), token, http.StatusUnauthorized,
				"bad_signature", "malformed_token", "algorithm_not_allowed")
		})
	}
	accepts(t, f, f.Addr, rig.Sign(rig.JWT{Alg: "ES256", Claims: f.Issuer.Claims()}))
}
