package auth

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"maps"
	"net/url"
	"strings"
	"testing"
	"time"
)

// awayKeys cannot be had.
type awayKeys struct{ KeySet }

func (awayKeys) Find(context.Context, string, string) ([]*Key, error) {
	return nil, &OutageError{Err: errors.New("away")}
}

// TestAttackLogoutReplay: a token counts once, for its whole life and longer,
// unless the logout has failed.
func TestAttackLogoutReplay(t *testing.T) {
	t.Parallel()
	v := newLogoutVerifier(t)
	token := logoutToken(t, nil)
	out, err := v.Verify(t.Context(), token, testNow, admitAll)
	if err != nil {
		t.Fatal(err)
	}
	keys := &countingKeys{KeySet: v.cfg.Keys}
	v.cfg.Keys = keys
	for after := time.Duration(0); after < 10*time.Minute; after += time.Second {
		_, err := v.Verify(t.Context(), token, testNow.Add(after), admitAll)
		if r := reasonOf(err); r != ReasonReplayed && r != ReasonExpired {
			t.Fatalf("after %v: %q", after, r)
		}
	}
	// In another token: the jti is what counts.
	if _, err := v.Verify(t.Context(), logoutToken(t, map[string]any{"sub": "bob"}), testNow, admitAll); reasonOf(err) != ReasonReplayed {
		t.Errorf("another token with this jti: %v", err)
	}
	if keys.finds != 0 {
		t.Errorf("%d signatures of replayed tokens checked", keys.finds)
	}
	v.Forget(out)
	if _, err := v.Verify(t.Context(), token, testNow, admitAll); err != nil {
		t.Errorf("after a logout that has failed: %v", err)
	}
}

// TestAttackLogoutReplayWhileWaiting: a verification that began in time and
// waited for keys is no second use, also if the token has ended meanwhile.
func TestAttackLogoutReplayWhileWaiting(t *testing.T) {
	t.Parallel()
	v := newLogoutVerifier(t)
	token := logoutToken(t, nil)
	late := testNow.Add(148 * time.Second) // the last second
	waited := func() error {
		if _, err := v.Verify(t.Context(), token, late, admitAll); err != nil {
			t.Errorf("first use: %v", err)
		}
		// Something else is added after the token's end, which is when what
		// is over is forgotten.
		v.seen.Add("i", "other", late.Add(time.Hour), late.Add(15*time.Second))
		return nil
	}
	if _, err := v.Verify(t.Context(), token, late, waited); reasonOf(err) != ReasonReplayed {
		t.Errorf("second use: %v", err)
	}
}

// TestAttackLogoutForgedFillsNothing: who cannot sign can neither fill the
// memory nor have the provider's token taken for a replayed one.
func TestAttackLogoutForgedFillsNothing(t *testing.T) {
	t.Parallel()
	v := newLogoutVerifier(t)
	forged := sign(t, "RS256", otherRSA(), logoutHeader, goodLogout(t, nil))
	if _, err := v.Verify(t.Context(), forged, testNow, admitAll); reasonOf(err) != ReasonSignature {
		t.Errorf("forged: %v", err)
	}
	if _, err := v.Verify(t.Context(), logoutToken(t, nil), testNow, admitAll); err != nil {
		t.Errorf("the provider's, after it: %v", err)
	}
}

// TestAttackOtherTokenAsLogout: an ID token or an access token of the same
// provider, which its user has, even with the event in it. (section 4.1,
// ASVS 10.5.5)
func TestAttackOtherTokenAsLogout(t *testing.T) {
	t.Parallel()
	now := testNow.Unix()
	id := map[string]any{
		"iss": "https://id.example.com", "aud": "chat", "sub": "alice", "sid": "s1", "jti": "t1",
		"iat": now - 1, "exp": now + 300, "auth_time": now - 5,
	}
	for name, extra := range map[string]map[string]any{
		"ID token":                  {"nonce": "n", "at_hash": "h"},
		"ID token without nonce":    {"at_hash": "h"},
		"ID token of the code flow": {},
		"hybrid ID token":           {"c_hash": "h", "s_hash": "h"},
		"access token":              {"scope": "openid chat:write", "client_id": "chat"},
		"access token with scp":     {"scp": []string{"chat:write"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			claims := make(map[string]any)
			for _, from := range []map[string]any{id, extra} {
				maps.Copy(claims, from)
			}
			for _, header := range []string{
				`{"alg":"RS256","kid":"r1"}`, `{"alg":"RS256","kid":"r1","typ":"JWT"}`,
				`{"alg":"RS256","kid":"r1","typ":"at+jwt"}`, logoutHeader,
			} {
				wantLogout(t, sign(t, "RS256", rsaKey(), header, string(must(json.Marshal(claims)))), ReasonType)
			}
			if len(extra) > 0 {
				claims["events"] = map[string]any{logoutEvent: map[string]any{}}
				wantLogout(t, sign(t, "RS256", rsaKey(), logoutHeader, string(must(json.Marshal(claims)))), ReasonType)
			}
		})
	}
}

// TestAttackLogoutAsCredential: a logout token logs nobody in, whatever its
// typ.
func TestAttackLogoutAsCredential(t *testing.T) {
	t.Parallel()
	for _, v := range []*JWT{newJWT(t, nil), newJWT(t, func(c *JWTConfig) { c.IDTokens = true }), newJWT(t, func(c *JWTConfig) { c.Types = []string{"jwt"} })} {
		for _, header := range []string{logoutHeader, `{"alg":"RS256","kid":"r1"}`, `{"alg":"RS256","kid":"r1","typ":"JWT"}`} {
			wantReason(t, v, sign(t, "RS256", rsaKey(), header, goodLogout(t, nil)), ReasonType)
		}
	}
	wantReason(t, newJWT(t, nil), rs256(t, goodClaims(t, map[string]any{"events": map[string]any{"a": 1}})), "")
}

// TestAttackLogoutUnsigned: nobody's token, or one that a known public key
// seems to sign. (section 2.6)
func TestAttackLogoutUnsigned(t *testing.T) {
	t.Parallel()
	claims := b64url.EncodeToString([]byte(goodLogout(t, nil)))
	for _, alg := range []string{"none", "None", "nOnE"} {
		head := b64url.EncodeToString([]byte(`{"alg":"` + alg + `","kid":"r1","typ":"logout+jwt"}`))
		wantLogout(t, head+"."+claims+".", ReasonMalformed)
		wantLogout(t, head+"."+claims, ReasonMalformed)
		wantLogout(t, head+"."+claims+".AAAA", ReasonAlgorithm)
	}
	good := logoutToken(t, nil)
	wantLogout(t, good[:strings.LastIndexByte(good, '.')+1]+strings.Repeat("A", 342), ReasonSignature)
	pub := &rsaKey().PublicKey
	der := must(x509.MarshalPKIXPublicKey(pub))
	for _, secret := range [][]byte{
		pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), der, pub.N.Bytes(),
		must(json.Marshal(jwkOf(pub, "r1", nil))),
	} {
		header := `{"alg":"HS256","kid":"r1","typ":"logout+jwt"}`
		token := sign(t, "HS256", secret, header, goodLogout(t, nil))
		wantLogout(t, token, ReasonAlgorithm)
		_, _ = newLogoutVerifier(t).Verify(t.Context(), token, testNow, func() error {
			t.Error("a token that anybody can sign gets as far as a key")
			return nil
		})
	}
}

// TestAttackLogoutShape: extensions, duplicate members, other serialisations,
// encryption, size.
func TestAttackLogoutShape(t *testing.T) {
	t.Parallel()
	good := logoutToken(t, nil)
	p := strings.Split(good, ".")
	for name, token := range map[string]string{
		"empty":         "",
		"JWE":           p[0] + "." + p[1] + "." + p[2] + ".AAAA.AAAA",
		"flattened":     `{"protected":"` + p[0] + `","payload":"` + p[1] + `","signature":"` + p[2] + `"}`,
		"newline":       good + "\n",
		"padding":       p[0] + "." + p[1] + "=." + p[2],
		"over 8 KiB":    logoutToken(t, map[string]any{"x": strings.Repeat("x", 8<<10)}),
		"crit":          sign(t, "RS256", rsaKey(), `{"alg":"RS256","kid":"r1","typ":"logout+jwt","crit":["x"],"x":1}`, goodLogout(t, nil)),
		"empty crit":    sign(t, "RS256", rsaKey(), `{"alg":"RS256","kid":"r1","typ":"logout+jwt","crit":[]}`, goodLogout(t, nil)),
		"b64":           sign(t, "RS256", rsaKey(), `{"alg":"RS256","kid":"r1","typ":"logout+jwt","b64":false}`, goodLogout(t, nil)),
		"alg twice":     sign(t, "RS256", rsaKey(), `{"alg":"none","alg":"RS256","kid":"r1","typ":"logout+jwt"}`, goodLogout(t, nil)),
		"sub twice":     sign(t, "RS256", rsaKey(), logoutHeader, `{"sub":"bob",`+goodLogout(t, nil)[1:]),
		"event twice":   sign(t, "RS256", rsaKey(), logoutHeader, strings.Replace(goodLogout(t, nil), `"`+logoutEvent+`":{}`, `"`+logoutEvent+`":{},"`+logoutEvent+`":{}`, 1)),
		"bytes behind":  sign(t, "RS256", rsaKey(), logoutHeader, goodLogout(t, nil)+"{}"),
		"claims array":  sign(t, "RS256", rsaKey(), logoutHeader, "["+goodLogout(t, nil)+"]"),
		"lone escape":   sign(t, "RS256", rsaKey(), logoutHeader, `{"x":"\ud800",`+goodLogout(t, nil)[1:]),
		"nested 40":     sign(t, "RS256", rsaKey(), logoutHeader, `{"x":`+strings.Repeat("[", 40)+strings.Repeat("]", 40)+`,`+goodLogout(t, nil)[1:]),
		"header number": sign(t, "RS256", rsaKey(), `1`, goodLogout(t, nil)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantLogout(t, token, ReasonMalformed)
		})
	}
	wantLogout(t, sign(t, "RS256", rsaKey(), `{"alg":"RS256","kid":"r1","cty":"JWT"}`, goodLogout(t, nil)), ReasonType)
	wantLogout(t, sign(t, "RS256", otherRSA(), `{"alg":"RS256","kid":"unknown","typ":"logout+jwt"}`, goodLogout(t, nil)), ReasonUnknownKey)
	own := string(must(json.Marshal(jwkOf(&otherRSA().PublicKey, "r1", nil))))
	wantLogout(t, sign(t, "RS256", otherRSA(), `{"alg":"RS256","kid":"r1","typ":"logout+jwt","jwk":`+own+`}`, goodLogout(t, nil)), ReasonSignature)
}

// FuzzLogoutClaims has a provider sign any bytes: there is no panic, and what
// is accepted says whom it is about.
func FuzzLogoutClaims(f *testing.F) {
	for _, claims := range []string{
		goodLogout(f, nil), goodLogout(f, map[string]any{"sid": nil}), "", "{}", "null", `{"events":{}}`,
		goodLogout(f, map[string]any{"sub": 1}), goodLogout(f, map[string]any{"nonce": "n"}),
		goodLogout(f, map[string]any{"iat": 1e300}), goodLogout(f, map[string]any{"aud": []any{nil, 1, "chat"}}),
	} {
		f.Add(claims)
	}
	header := `{"alg":"EdDSA","kid":"d1","typ":"logout+jwt"}`
	f.Fuzz(func(t *testing.T, claims string) {
		v := newLogoutVerifier(t)
		out, err := v.Verify(t.Context(), sign(t, "EdDSA", edKey(), header, claims), testNow, admitAll)
		if err != nil {
			if strings.HasPrefix(string(reasonOf(err)), "other error") {
				t.Errorf("error of ours: %v", err)
			}
			return
		}
		age := testNow.Sub(out.IssuedAt)
		if out.Issuer != "https://id.example.com" || out.TokenID == "" || out.Subject+out.SessionID == "" ||
			age > maxLogoutAge+clockSkew || age < -clockSkew || !out.until.After(testNow) {
			t.Errorf("accepted %+v", out)
		}
	})
}

// FuzzLogoutForm gives any bytes as a body: what is accepted is the one token
// that another parser sees, too.
func FuzzLogoutForm(f *testing.F) {
	for _, body := range []string{
		"", "logout_token=a.b.c", "logout_token=a&logout_token=b", "logout_token", "a=b;logout_token=c",
		"logout%5ftoken=x", "logout_token=%", "&&&=", strings.Repeat("a=b&", 5000), "logout_token=a+b%20c",
	} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		token, err := ParseLogoutForm(body)
		if err != nil {
			if reasonOf(err) != ReasonLogoutRequest || token != "" {
				t.Errorf("%v with token %q", err, token)
			}
			return
		}
		seen := 0
		for pair := range strings.SplitSeq(body, "&") {
			name, value, _ := strings.Cut(pair, "=")
			if name, err := url.QueryUnescape(name); err != nil || name != "logout_token" || pair == "" {
				continue
			}
			seen++
			if value, err := url.QueryUnescape(value); err != nil || value != token {
				t.Errorf("token %q, the body has %q (%v)", token, value, err)
			}
		}
		if seen != 1 {
			t.Errorf("accepted a body with %d tokens", seen)
		}
	})
}
