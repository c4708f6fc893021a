package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const logoutHeader = `{"alg":"RS256","kid":"r1","typ":"logout+jwt"}`

// goodLogout are claims that newLogoutVerifier accepts. Members of change
// replace or, if nil, remove them; a json.RawMessage is taken as is.
func goodLogout(t testing.TB, change map[string]any) string {
	t.Helper()
	claims := map[string]any{
		"iss": "https://id.example.com", "aud": "chat", "sub": "alice", "sid": "s1", "jti": "l1",
		"iat": testNow.Unix() - 1, "exp": testNow.Unix() + 119,
		"events": map[string]any{logoutEvent: map[string]any{}},
	}
	maps.Copy(claims, change)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	return string(must(json.Marshal(claims)))
}

func logoutToken(t testing.TB, change map[string]any) string {
	t.Helper()
	return sign(t, "RS256", rsaKey(), logoutHeader, goodLogout(t, change))
}

func newLogoutVerifier(t testing.TB) *LogoutVerifier {
	t.Helper()
	v, err := NewLogoutVerifier(LogoutConfig{
		Issuer: "https://id.example.com", Audiences: []string{"chat", "chat2"}, Keys: testKeys(t), Seen: new(SeenTokens),
	})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// admitAll lets every signature be checked.
func admitAll() error { return nil }

// wantLogout verifies a token that has not been seen, checks the outcome and
// that the error gives nothing away, and that exactly the good ones are
// remembered.
func wantLogout(t *testing.T, token string, want Reason) *Logout {
	t.Helper()
	v := newLogoutVerifier(t)
	out, err := v.Verify(t.Context(), token, testNow, admitAll)
	if got := reasonOf(err); got != want {
		t.Errorf("Verify: %q (%s), want %q", got, detailOf(err), want)
	}
	if (out == nil) != (err != nil) {
		t.Errorf("Verify returned %v with error %v", out, err)
	}
	if err != nil {
		wantNoToken(t, token, err.Error()+"|"+detailOf(err))
	}
	if remembered := len(v.seen.tokens) == 1; remembered != (err == nil) {
		t.Errorf("token is remembered: %v, with error %v", remembered, err)
	}
	return out
}

func TestLogout(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		change map[string]any
		want   Logout
	}{
		{"sub and sid", nil, Logout{Subject: "alice", SessionID: "s1"}},
		{"sub alone", map[string]any{"sid": nil}, Logout{Subject: "alice"}},
		{"sid alone", map[string]any{"sub": nil}, Logout{SessionID: "s1"}},
		{"other claims", map[string]any{"typ": "Logout", "toe": 1, "x": nil}, Logout{Subject: "alice", SessionID: "s1"}},
	} {
		out := wantLogout(t, logoutToken(t, row.change), "")
		if out == nil {
			continue
		}
		if out.Subject != row.want.Subject || out.SessionID != row.want.SessionID ||
			out.Issuer != "https://id.example.com" || out.TokenID != "l1" || out.IssuedAt.Unix() != testNow.Unix()-1 {
			t.Errorf("%s: %+v", row.name, out)
		}
	}
	for _, row := range []struct {
		alg, kid string
		key      any
	}{{"PS384", "r1", rsaKey()}, {"ES256", "e1", p256Key()}, {"EdDSA", "d1", edKey()}} {
		header := fmt.Sprintf(`{"alg":%q,"kid":%q,"typ":"logout+jwt"}`, row.alg, row.kid)
		wantLogout(t, sign(t, row.alg, row.key, header, goodLogout(t, nil)), "")
	}
}

// TestLogoutChecks turns each check of the specification wrong, and looks at
// the values beside it. (section 2.6)
func TestLogoutChecks(t *testing.T) {
	t.Parallel()
	now := testNow.Unix()
	event := func(value string) any { return json.RawMessage(`{"` + logoutEvent + `":` + value + `}`) }
	for _, row := range []struct {
		name   string
		change map[string]any
		want   Reason
	}{
		{"no iss", map[string]any{"iss": nil}, ReasonIssuer},
		{"other iss", map[string]any{"iss": "https://evil.example.com"}, ReasonIssuer},
		{"iss with a slash more", map[string]any{"iss": "https://id.example.com/"}, ReasonIssuer},
		{"iss in capitals", map[string]any{"iss": "https://ID.example.com"}, ReasonIssuer},
		{"iss array", map[string]any{"iss": []string{"https://id.example.com"}}, ReasonIssuer},

		{"no aud", map[string]any{"aud": nil}, ReasonAudience},
		{"other aud", map[string]any{"aud": "cha"}, ReasonAudience},
		{"other auds", map[string]any{"aud": []string{"a", "b"}}, ReasonAudience},
		{"aud object", map[string]any{"aud": map[string]any{"chat": 1}}, ReasonAudience},
		{"second aud", map[string]any{"aud": "chat2"}, ""},
		{"aud among others", map[string]any{"aud": []string{"a", "chat"}}, ""},

		{"no iat", map[string]any{"iat": nil}, ReasonClaims},
		{"iat text", map[string]any{"iat": fmt.Sprint(now)}, ReasonClaims},
		{"iat null", map[string]any{"iat": json.RawMessage("null")}, ReasonClaims},
		{"iat in the future", map[string]any{"iat": now + 31}, ReasonNotYetValid},
		{"iat ahead by the clocks", map[string]any{"iat": now + 30}, ""},
		{"iat old", map[string]any{"iat": now - 150}, ReasonExpired},
		{"iat not too old", map[string]any{"iat": now - 149}, ""},
		{"iat old with a far exp", map[string]any{"iat": now - 3600, "exp": now + 3600}, ReasonExpired},

		{"no exp", map[string]any{"exp": nil}, ReasonClaims},
		{"exp text", map[string]any{"exp": fmt.Sprint(now + 60)}, ReasonClaims},
		{"exp absurd", map[string]any{"exp": 9e18}, ReasonClaims},
		{"exp over", map[string]any{"exp": now - 30}, ReasonExpired},
		{"exp over by the clocks", map[string]any{"exp": now - 29}, ""},
		{"nbf in the future", map[string]any{"nbf": now + 60}, ReasonNotYetValid},

		{"no jti", map[string]any{"jti": nil}, ReasonClaims},
		{"jti empty", map[string]any{"jti": ""}, ReasonClaims},
		{"jti number", map[string]any{"jti": 1}, ReasonClaims},

		{"nonce", map[string]any{"nonce": "n"}, ReasonType},
		{"nonce null", map[string]any{"nonce": json.RawMessage("null")}, ReasonType},

		{"no events", map[string]any{"events": nil}, ReasonType},
		{"events array", map[string]any{"events": []string{logoutEvent}}, ReasonType},
		{"events text", map[string]any{"events": logoutEvent}, ReasonType},
		{"events empty", map[string]any{"events": map[string]any{}}, ReasonType},
		{"other event", map[string]any{"events": map[string]any{logoutEvent + "s": map[string]any{}}}, ReasonType},
		{"event null", map[string]any{"events": event("null")}, ReasonType},
		{"event true", map[string]any{"events": event("true")}, ReasonType},
		{"event array", map[string]any{"events": event("[]")}, ReasonType},
		{"event with members", map[string]any{"events": event(`{"a":1}`)}, ""},
		{"event beside others", map[string]any{"events": json.RawMessage(`{"a":{},"` + logoutEvent + `":{}}`)}, ""},

		{"neither sub nor sid", map[string]any{"sub": nil, "sid": nil}, ReasonClaims},
		{"sub empty", map[string]any{"sub": ""}, ReasonClaims},
		{"sub empty without sid", map[string]any{"sub": "", "sid": nil}, ReasonClaims},
		{"sub number", map[string]any{"sub": 42, "sid": nil}, ReasonClaims},
		{"sub null", map[string]any{"sub": json.RawMessage("null")}, ReasonClaims},
		{"sid empty", map[string]any{"sid": ""}, ReasonClaims},
		{"sid array", map[string]any{"sid": []string{"s1"}}, ReasonClaims},
		{"sid with NUL", map[string]any{"sid": "s1\x00"}, ReasonClaims},
		{"sub with CR LF", map[string]any{"sub": "a\r\nb"}, ReasonClaims},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			wantLogout(t, logoutToken(t, row.change), row.want)
		})
	}
}

func TestLogoutType(t *testing.T) {
	t.Parallel()
	for typ, want := range map[string]Reason{
		`"logout+jwt"`: "", `"LOGOUT+JWT"`: "", `"application/logout+jwt"`: "",
		// What libraries write that were not told a type; so many providers do.
		`"JWT"`: "", `"jwt"`: "", `"application/jwt"`: "",
		`""`: "", `"at+jwt"`: ReasonType, `"secevent+jwt"`: ReasonType, `"dpop+jwt"`: ReasonType,
		`"x/logout+jwt"`: ReasonType, `1`: ReasonMalformed,
	} {
		header := `{"alg":"RS256","kid":"r1","typ":` + typ + `}`
		wantLogout(t, sign(t, "RS256", rsaKey(), header, goodLogout(t, nil)), want)
	}
	wantLogout(t, sign(t, "RS256", rsaKey(), `{"alg":"RS256","kid":"r1"}`, goodLogout(t, nil)), "")
}

// TestLogoutAdmit: nothing that costs more than reading happens without
// permission, and for nothing that reading refuses is any asked.
func TestLogoutAdmit(t *testing.T) {
	t.Parallel()
	v := newLogoutVerifier(t)
	keys := &countingKeys{KeySet: v.cfg.Keys}
	v.cfg.Keys = keys
	no := errors.New("too many")
	if _, err := v.Verify(t.Context(), logoutToken(t, nil), testNow, func() error { return no }); !errors.Is(err, no) {
		t.Errorf("error %v, want that of admit", err)
	}
	admitted := 0
	admit := func() error { admitted++; return nil }
	for _, token := range []string{"", "a.b.c", logoutToken(t, map[string]any{"aud": "x"}), logoutToken(t, map[string]any{"nonce": "x"})} {
		if _, err := v.Verify(t.Context(), token, testNow, admit); err == nil {
			t.Error("bad token accepted")
		}
	}
	if admitted != 0 || keys.finds != 0 {
		t.Errorf("admitted %d, asked for %d keys, want none", admitted, keys.finds)
	}
	if _, err := v.Verify(t.Context(), logoutToken(t, nil), testNow, admit); err != nil || admitted != 1 || keys.finds != 1 {
		t.Errorf("%v, admitted %d, %d keys, want one of each", err, admitted, keys.finds)
	}
}

func TestLogoutOutage(t *testing.T) {
	t.Parallel()
	v := newLogoutVerifier(t)
	v.cfg.Keys = awayKeys{v.cfg.Keys}
	if _, err := v.Verify(t.Context(), logoutToken(t, nil), testNow, admitAll); reasonOf(err) != "outage" {
		t.Errorf("%v, want an outage", err)
	}
	v.cfg.Keys = nil
	if out, err := v.Verify(t.Context(), logoutToken(t, nil), testNow, admitAll); err == nil || out != nil {
		t.Errorf("panic has become %v, %v", out, err)
	}
}

func TestLogoutConfigErrors(t *testing.T) {
	t.Parallel()
	secret := must(NewSecretKeys(make([]byte, 32)))
	good := func() LogoutConfig {
		return LogoutConfig{Issuer: "i", Audiences: []string{"a"}, Keys: testKeys(t), Seen: new(SeenTokens)}
	}
	for word, change := range map[string]func(*LogoutConfig){
		"issuer is missing":         func(c *LogoutConfig) { c.Issuer = "" },
		"audience is missing":       func(c *LogoutConfig) { c.Audiences = nil },
		"or empty":                  func(c *LogoutConfig) { c.Audiences = []string{"a", ""} },
		"no public keys":            func(c *LogoutConfig) { c.Keys = nil },
		"issuer has no public keys": func(c *LogoutConfig) { c.Keys = secret },
		"nothing remembers":         func(c *LogoutConfig) { c.Seen = nil },
	} {
		cfg := good()
		change(&cfg)
		if _, err := NewLogoutVerifier(cfg); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("error %v, want %q in it", err, word)
		}
	}
	if _, err := NewLogoutVerifier(good()); err != nil {
		t.Error(err)
	}
}

// TestSeenTokens: what is remembered, how long, and how much.
func TestSeenTokens(t *testing.T) {
	t.Parallel()
	var s SeenTokens
	end := testNow.Add(time.Minute)
	if s.Has("i", "a", testNow) || !s.Add("i", "a", end, testNow) || !s.Has("i", "a", testNow) || s.Add("i", "a", end, testNow) {
		t.Error("a token can be used twice, or not once")
	}
	if s.Has("j", "a", testNow) || s.Has("ia", "", testNow) || s.Has("", "ia", testNow) {
		t.Error("tokens of different issuers are taken for one")
	}
	if s.Has("i", "a", end) || !s.Add("i", "a", end.Add(time.Minute), end) || len(s.tokens) != 1 {
		t.Error("a token is remembered beyond its time, or twice")
	}
	s.Forget("i", "a")
	s.Forget("i", "never")
	if s.Has("i", "a", testNow) || s.order.Len() != 0 {
		t.Error("a forgotten token is remembered")
	}
	// Another that lasts longer lies before one whose time is over.
	s.Add("i", "front", end.Add(time.Hour), testNow)
	s.Add("i", "a", end, testNow)
	if !s.Add("i", "a", end.Add(time.Minute), end) || s.order.Len() != 2 {
		t.Errorf("%d entries for two tokens", s.order.Len())
	}
	s.Forget("i", "front")
	s.Forget("i", "a")
	for i := range maxSeenTokens + 10 {
		s.Add("i", fmt.Sprint(i), end, testNow)
	}
	if len(s.tokens) != maxSeenTokens || s.order.Len() != maxSeenTokens {
		t.Errorf("%d remembered, want %d", len(s.tokens), maxSeenTokens)
	}
	if s.Has("i", "9", testNow) || !s.Has("i", "10", testNow) {
		t.Error("not the first was forgotten")
	}
	s.Add("i", "last", end.Add(time.Minute), end)
	if len(s.tokens) != 1 {
		t.Errorf("%d remembered after their time, want the new one", len(s.tokens))
	}
}

// TestSeenTokensAtOnce: of many uses at the same moment one counts.
func TestSeenTokensAtOnce(t *testing.T) {
	t.Parallel()
	v := newLogoutVerifier(t)
	token := logoutToken(t, nil)
	var good atomic.Int32
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() {
			_, err := v.Verify(t.Context(), token, testNow, admitAll)
			switch reasonOf(err) {
			case "":
				good.Add(1)
			case ReasonReplayed:
			default:
				t.Error(err)
			}
		})
	}
	all.Wait()
	if good.Load() != 1 {
		t.Errorf("%d of 32 uses counted", good.Load())
	}
}
