package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestJWTAlgorithms(t *testing.T) {
	t.Parallel()
	secret := []byte(strings.Repeat("0123456789abcdef", 4))
	p384 := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	p521 := must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader))
	secrets := must(NewSecretKeys(secret))
	public, _, err := NewStaticKeys(jwksOf(jwkOf(&rsaKey().PublicKey, "", nil), jwkOf(&p256Key().PublicKey, "", nil),
		jwkOf(&p384.PublicKey, "", nil), jwkOf(&p521.PublicKey, "", nil), jwkOf(edKey().Public(), "", nil)))
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		alg  string
		key  any
		keys KeySet
	}{
		{"RS256", rsaKey(), public},
		{"RS384", rsaKey(), public},
		{"RS512", rsaKey(), public},
		{"PS256", rsaKey(), public},
		{"PS384", rsaKey(), public},
		{"PS512", rsaKey(), public},
		{"ES256", p256Key(), public},
		{"ES384", p384, public},
		{"ES512", p521, public},
		{"EdDSA", edKey(), public},
		{"Ed25519", edKey(), public},
		{"HS256", secret, secrets},
		{"HS384", secret, secrets},
		{"HS512", secret, secrets},
	} {
		t.Run(row.alg, func(t *testing.T) {
			t.Parallel()
			v := newJWT(t, func(c *JWTConfig) { c.Keys, c.Algorithms = row.keys, []string{row.alg} })
			token := sign(t, row.alg, row.key, `{"alg":"`+row.alg+`"}`, goodClaims(t, nil))
			wantReason(t, v, token, "")
			forged := token[:len(token)-8] + "AAAAAAA" + token[len(token)-1:]
			if forged != token {
				wantReason(t, v, forged, ReasonSignature)
			}
			other := newJWT(t, func(c *JWTConfig) {
				c.Keys = row.keys
				c.Algorithms = []string{map[bool]string{true: "HS256", false: "RS256"}[row.keys == secrets]}
			})
			if !slices.Contains(other.cfg.Algorithms, row.alg) {
				wantReason(t, other, token, ReasonAlgorithm)
			}
		})
	}
}

func TestJWTIdentity(t *testing.T) {
	t.Parallel()
	v := newJWT(t, func(c *JWTConfig) {
		c.Leeway = 10 * time.Second
		c.UserClaim = must(ParseClaimPath("profile.names.0"))
	})
	id, err := v.Verify(t.Context(), rs256(t, goodClaims(t, map[string]any{
		"sub": 42, "profile": map[string]any{"names": []string{"Alice"}},
	})), testNow)
	if err != nil {
		t.Fatal(err, detailOf(err))
	}
	if id.Verifier != "jwt" || id.Issuer != "https://id.example.com" || id.Subject != "42" || id.User != "Alice" ||
		id.TokenID != "t1" || id.SessionID != "s1" || !slices.Equal(id.Scopes, []string{"chat:read", "chat:write"}) {
		t.Errorf("identity %+v", id)
	}
	if want := testNow.Add(-10 * time.Second); !id.IssuedAt.Equal(want) {
		t.Errorf("issued at %v, want %v", id.IssuedAt, want)
	}
	if want := testNow.Add(310 * time.Second); !id.ValidUntil.Equal(want) {
		t.Errorf("valid until %v, want exp plus leeway, %v", id.ValidUntil, want)
	}
}

func TestJWTScopes(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, claims string
		want         []string
	}{
		{"text", `{"scope":"a b"}`, []string{"a", "b"}},
		{"two spaces", `{"scope":" a  b "}`, []string{"a", "b"}},
		{"only spaces separate, and a tab is in no scope", `{"scope":"a\tb c"}`, []string{"c"}},
		{"array", `{"scope":["a","b"]}`, []string{"a", "b"}},
		{"in an array, two scopes in one are none: the app would see both", `{"scope":["a","b c"]}`, []string{"a"}},
		{"in an array, a control character", `{"scp":["a\u0000","b\u0085"]}`, nil},
		{"in an array, a space of another kind", `{"scope":["a\u00a0b"]}`, nil},
		{"what is no text grants nothing", `{"scope":["a",1,null,{}]}`, []string{"a"}},
		{"scp", `{"scp":"a b"}`, []string{"a", "b"}},
		{"scp array", `{"scp":["a"]}`, []string{"a"}},
		{"scope before scp", `{"scope":"a","scp":"b"}`, []string{"a"}},
		{"number", `{"scope":1}`, nil},
		{"none", `{}`, nil},
	} {
		claims := must(decodeObject([]byte(row.claims)))
		if got := readScopes(claims); !slices.Equal(got, row.want) {
			t.Errorf("%s: %q, want %q", row.name, got, row.want)
		}
	}
}

// TestJWTClaims has the claims that are refused and those that are not.
func TestJWTClaims(t *testing.T) {
	t.Parallel()
	raw := func(text string) any { return json.RawMessage(text) }
	now := testNow.Unix()
	for _, row := range []struct {
		name   string
		change map[string]any
		want   Reason
	}{
		{"good", nil, ""},
		{"iss with a slash more", map[string]any{"iss": "https://id.example.com/"}, ReasonIssuer},
		{"iss in another case", map[string]any{"iss": "https://ID.example.com"}, ReasonIssuer},
		{"iss with a look-alike", map[string]any{"iss": "https://id.ex\u0430mple.com"}, ReasonIssuer},
		{"iss absent", map[string]any{"iss": nil}, ReasonIssuer},
		{"iss array", map[string]any{"iss": []string{"https://id.example.com"}}, ReasonIssuer},
		{"aud absent", map[string]any{"aud": nil}, ReasonAudience},
		{"aud another", map[string]any{"aud": "mail"}, ReasonAudience},
		{"aud prefix", map[string]any{"aud": "cha"}, ReasonAudience},
		{"aud with a space", map[string]any{"aud": "chat mail"}, ReasonAudience},
		{"aud array without us", map[string]any{"aud": []string{"mail", "chat/x"}}, ReasonAudience},
		{"aud object", map[string]any{"aud": map[string]any{"chat": true}}, ReasonAudience},
		{"aud null", map[string]any{"aud": raw("null")}, ReasonAudience},
		{"aud array with us", map[string]any{"aud": []any{"mail", "chat2", 7}}, ""},
		{"exp absent", map[string]any{"exp": nil}, ReasonClaims},
		{"exp null", map[string]any{"exp": raw("null")}, ReasonClaims},
		{"exp text", map[string]any{"exp": "1800000300"}, ReasonClaims},
		{"exp RFC 3339", map[string]any{"exp": "2027-01-15T08:05:00Z"}, ReasonClaims},
		{"exp true", map[string]any{"exp": true}, ReasonClaims},
		{"exp negative", map[string]any{"exp": -1}, ReasonClaims},
		{"exp 1e30", map[string]any{"exp": raw("1e30")}, ReasonClaims},
		{"exp 1e308", map[string]any{"exp": raw("1e308")}, ReasonClaims},
		{"exp 1e999", map[string]any{"exp": raw("1e999")}, ReasonClaims},
		{"exp 9e18", map[string]any{"exp": raw("9e18")}, ReasonClaims},
		{"exp array", map[string]any{"exp": []int64{now + 300}}, ReasonClaims},
		{"exp with exponent", map[string]any{"exp": raw("1.8000003e9")}, ""},
		{"exp with fraction", map[string]any{"exp": raw("1800000000.5")}, ""},
		{"exp now", map[string]any{"exp": now}, ReasonExpired},
		{"exp past", map[string]any{"exp": now - 1}, ReasonExpired},
		{"exp zero", map[string]any{"exp": 0}, ReasonExpired},
		{"nbf 30 s ahead", map[string]any{"nbf": now + 30}, ""},
		{"nbf 31 s ahead", map[string]any{"nbf": now + 31}, ReasonNotYetValid},
		{"nbf text", map[string]any{"nbf": "0"}, ReasonClaims},
		{"nbf null", map[string]any{"nbf": raw("null")}, ReasonClaims},
		{"nbf 1e308", map[string]any{"nbf": raw("1e308")}, ReasonClaims},
		{"iat 30 s ahead", map[string]any{"iat": now + 30}, ""},
		{"iat 31 s ahead", map[string]any{"iat": now + 31}, ReasonNotYetValid},
		{"iat text", map[string]any{"iat": "0"}, ReasonClaims},
		{"iat negative", map[string]any{"iat": -5}, ReasonClaims},
		{"iat absent", map[string]any{"iat": nil}, ""},
		{"sub empty", map[string]any{"sub": ""}, ReasonClaims},
		{"sub absent", map[string]any{"sub": nil}, ReasonClaims},
		{"sub null", map[string]any{"sub": raw("null")}, ReasonClaims},
		{"sub whole number", map[string]any{"sub": raw("12345678901234567890")}, ""},
		{"sub fraction", map[string]any{"sub": raw("1.5")}, ReasonClaims},
		{"sub exponent", map[string]any{"sub": raw("1e3")}, ReasonClaims},
		{"sub true", map[string]any{"sub": true}, ReasonClaims},
		{"sub object", map[string]any{"sub": map[string]any{}}, ReasonClaims},
		{"sub with a space behind, which a header would lose", map[string]any{"sub": "alice "}, ReasonClaims},
		{"sub that is data", map[string]any{"sub": "{env.HOME}"}, ""},
		{"sub that is a line of a header", map[string]any{"sub": "{env.HOME}\r\nX-User: root"}, ReasonClaims},
		{"sub with the character that stands for others", map[string]any{"sub": "alice\ufffd"}, ""},
		{"jti object", map[string]any{"jti": map[string]any{}}, ReasonClaims},
		{"sid array", map[string]any{"sid": []string{"s"}}, ReasonClaims},
		{"ID token by at_hash", map[string]any{"at_hash": "x"}, ReasonType},
		{"ID token by c_hash", map[string]any{"c_hash": "x"}, ReasonType},
		{"ID token by nonce", map[string]any{"nonce": "x", "scope": nil}, ReasonType},
		{"nonce with scope", map[string]any{"nonce": "x"}, ""},
		{"nonce with scp", map[string]any{"nonce": "x", "scope": nil, "scp": "a"}, ""},
		{"deep", map[string]any{"x": raw(strings.Repeat("[", 31) + strings.Repeat("]", 31))}, ""},
		{"too deep", map[string]any{"x": raw(strings.Repeat("[", 32) + strings.Repeat("]", 32))}, ReasonMalformed},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			wantReason(t, newJWT(t, nil), rs256(t, goodClaims(t, row.change)), row.want)
		})
	}
}

// TestJWTPayloadText has payloads that are JSON to somebody, but not one
// clean object.
func TestJWTPayloadText(t *testing.T) {
	t.Parallel()
	good := goodClaims(t, nil)
	inside := strings.TrimSuffix(good, "}")
	many := inside
	for i := range 260 {
		many += `,"m` + string(rune('a'+i%26)) + strings.Repeat("x", i/26) + `":0`
	}
	for _, row := range []struct{ name, payload string }{
		{"sub twice", inside + `,"sub":"root"}`},
		{"sub twice by an escape", inside + `,"\u0073ub":"root"}`},
		{"exp twice", inside + `,"exp":1}`},
		{"twice further in", inside + `,"x":[{"a":1,"a":2}]}`},
		{"bytes behind", good + "x"},
		{"object behind", good + good},
		{"array", "[" + good + "]"},
		{"text", `"` + "x" + `"`},
		{"null", "null"},
		{"nothing", " "},
		{"open", inside},
		{"comma at the end", inside + ",}"},
		{"no UTF-8", strings.Replace(good, "alice", "al\xffice", 1)},
		{"lone surrogate", strings.Replace(good, "alice", `al\ud800ice`, 1)},
		{"lone low surrogate", strings.Replace(good, "alice", `al\udc00ice`, 1)},
		{"surrogates in the wrong order", strings.Replace(good, "alice", `\udc00\ud800`, 1)},
		{"260 members", many + "}"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			wantReason(t, newJWT(t, nil), rs256(t, row.payload), ReasonMalformed)
		})
	}
	wantReason(t, newJWT(t, nil), rs256(t, strings.Replace(good, "alice", `\ud83d\ude00\\ud800`, 1)), "")
	wantReason(t, newJWT(t, nil), rs256(t, " \n"+good+"\t"), "")
}

// TestJWTType tells access tokens from other kinds.
func TestJWTType(t *testing.T) {
	t.Parallel()
	full := goodClaims(t, map[string]any{"client_id": "app"})
	for _, row := range []struct {
		name, typ string // typ is JSON, empty for none
		types     []string
		claims    string
		want      Reason
	}{
		{"none", "", nil, full, ""},
		{"JWT", `"JWT"`, nil, full, ""},
		{"at+jwt", `"at+jwt"`, nil, full, ""},
		{"logout", `"logout+jwt"`, nil, full, ReasonType},
		{"logout in another case", `"Application/LOGOUT+jwt"`, nil, full, ReasonType},
		{"dpop", `"dpop+jwt"`, nil, full, ReasonType},
		{"security event", `"secevent+jwt"`, nil, full, ReasonType},
		{"introspection", `"token-introspection+jwt"`, nil, full, ReasonType},
		{"another kind", `"kb+jwt"`, nil, full, ReasonType},
		{"another kind, named", `"my+jwt"`, []string{"my+jwt"}, full, ""},
		{"strict", `"at+jwt"`, []string{"at+jwt"}, full, ""},
		{"strict, long form", `"application/AT+jwt"`, []string{"at+jwt"}, full, ""},
		{"strict, configured in the long form", `"at+jwt"`, []string{"application/at+JWT"}, full, ""},
		{"strict with another", `"JWT"`, []string{"at+jwt"}, full, ReasonType},
		{"strict with none", "", []string{"at+jwt"}, full, ReasonType},
		{"strict without client_id", `"at+jwt"`, []string{"at+jwt"}, goodClaims(t, nil), ReasonClaims},
		{"one slash too many", `"application/at+jwt/x"`, []string{"at+jwt"}, full, ReasonType},
		{"number", `7`, nil, full, ReasonMalformed},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			header := `{"alg":"RS256","kid":"r1"}`
			if row.typ != "" {
				header = `{"alg":"RS256","kid":"r1","typ":` + row.typ + `}`
			}
			v := newJWT(t, func(c *JWTConfig) { c.Types = row.types })
			wantReason(t, v, sign(t, "RS256", rsaKey(), header, row.claims), row.want)
		})
	}
	// No advice to name such a type: the configuration would be refused.
	_, err := newJWT(t, nil).Verify(t.Context(), sign(t, "RS256", rsaKey(), `{"alg":"RS256","typ":"logout+jwt"}`, full), testNow)
	if !strings.Contains(detailOf(err), "never") {
		t.Errorf("logout token: %q", detailOf(err))
	}
	v := newJWT(t, func(c *JWTConfig) { c.IDTokens = true })
	wantReason(t, v, rs256(t, goodClaims(t, map[string]any{"at_hash": "x", "nonce": "y"})), "")
}

// TestJWTTimes has the leeway and the longest lifetime.
func TestJWTTimes(t *testing.T) {
	t.Parallel()
	now := testNow.Unix()
	for _, row := range []struct {
		name        string
		leeway, max time.Duration
		change      map[string]any
		want        Reason
	}{
		{"in the leeway", 30 * time.Second, 0, map[string]any{"exp": now - 29}, ""},
		{"at the end of the leeway", 30 * time.Second, 0, map[string]any{"exp": now - 30}, ReasonExpired},
		{"leeway is not for nbf", 5 * time.Minute, 0, map[string]any{"nbf": now + 31}, ReasonNotYetValid},
		{"short enough", 0, time.Hour, map[string]any{"iat": now - 60, "exp": now + 3540}, ""},
		{"too long", 0, time.Hour, map[string]any{"iat": now - 60, "exp": now + 3541}, ReasonLifetime},
		{"too long without iat", 0, time.Hour, map[string]any{"iat": nil, "exp": now + 3601}, ReasonClaims},
		{"what is left is short enough, without iat", 0, time.Hour, map[string]any{"iat": nil, "exp": now + 60}, ReasonClaims},
		{"without iat, and nbf does not stand for it", 0, time.Hour, map[string]any{"iat": nil, "nbf": now - 60, "exp": now + 60}, ReasonClaims},
		{"without iat, any lifetime", 0, 0, map[string]any{"iat": nil, "exp": now + 1e9}, ""},
		{"year 9999 overflows nothing", 0, time.Hour, map[string]any{"iat": 0, "exp": 253402300799}, ReasonLifetime},
		{"year 9999", 0, 0, map[string]any{"exp": 253402300799}, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			v := newJWT(t, func(c *JWTConfig) { c.Leeway, c.MaxLifetime = row.leeway, row.max })
			wantReason(t, v, rs256(t, goodClaims(t, row.change)), row.want)
		})
	}
}

func TestJWTExplain(t *testing.T) {
	t.Parallel()
	v := newJWT(t, nil)
	token := rs256(t, goodClaims(t, map[string]any{"aud": "mail", "exp": testNow.Unix() - 3600}))
	got := make(map[string]Check)
	for _, check := range v.Explain(t.Context(), token, testNow) {
		got[check.Name] = check
	}
	for name, ok := range map[string]bool{
		"shape": true, "header": true, "payload": true, "algorithm": true, "issuer": true,
		"key": true, "signature": true, "type": true, "audience": false, "times": false, "claims": false,
	} {
		if got[name].OK != ok || got[name].Name == "" || got[name].Detail == "" {
			t.Errorf("check %s: %+v, want OK %v and a detail", name, got[name], ok)
		}
	}
	if detail := got["times"].Detail; !strings.Contains(detail, "ended 1h0m0s ago") {
		t.Errorf("times: %q does not say when it ended", detail)
	}
	for name, check := range maps.All(got) {
		if name == "claims" && !strings.Contains(check.Detail, "not checked") {
			t.Errorf("claims: %q does not say that it was not checked", check.Detail)
		}
	}
	checks := v.Explain(t.Context(), "nonsense", testNow)
	if len(checks) != len(got) || checks[0].OK {
		t.Errorf("nonsense: %+v", checks)
	}
}

// panickingKeys stands for a bug.
type panickingKeys struct{ KeySet }

func (panickingKeys) Find(context.Context, string, string) ([]*Key, error) { panic("secret text") }

// TestJWTPanicDenies: a panic while verifying is an error without its text.
func TestJWTPanicDenies(t *testing.T) {
	t.Parallel()
	v := newJWT(t, func(c *JWTConfig) { c.Keys = panickingKeys{c.Keys} })
	id, err := v.Verify(t.Context(), rs256(t, goodClaims(t, nil)), testNow)
	if id != nil || err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v, %v", id, err)
	}
	if _, refused := errors.AsType[*RefusedError](err); refused {
		t.Error("a bug counts as a refusal")
	}
}
