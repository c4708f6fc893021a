package websocketauth

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/session"
)

// TestLogoutRevokes what the token names, of its issuer, and nothing else.
// (section 2.7)
func TestLogoutRevokes(t *testing.T) {
	t.Parallel()
	g := newLogoutRig(t)
	for _, row := range []struct {
		name    string
		change  map[string]any
		all     bool // all_sessions
		sub     string
		sid     string
		forever bool // no issued_before
	}{
		{"both", nil, false, "", "sid-secret", true},
		{"sid", map[string]any{"sub": nil}, false, "", "sid-secret", true},
		{"sub", map[string]any{"sid": nil}, false, "alice-secret", "", false},
		{"sub from a clock ahead", map[string]any{"sid": nil, "iat": time.Now().Unix() + 20}, false, "alice-secret", "", false},
		{"both, all sessions", nil, true, "alice-secret", "", false},
		{"sid, all sessions", map[string]any{"sub": nil}, true, "", "sid-secret", true},
		{"sub, all sessions", map[string]any{"sid": nil}, true, "alice-secret", "", false},
	} {
		before := time.Now()
		g.AllSessions = row.all
		if w := g.send(t, logoutRequest(logoutForm(g.token(row.change))+"&other=1&other=2")); w.Code != http.StatusOK {
			t.Fatalf("%s: status %d %s", row.name, w.Code, w.Body)
		}
		all := g.all()
		r := all[len(all)-1]
		if r.Issuer != g.provider.URL || r.Subject != row.sub || r.SessionID != row.sid || r.TokenID != "" {
			t.Errorf("%s: %+v", row.name, r)
		}
		issued := before.Unix()
		if iat, ok := row.change["iat"].(int64); ok {
			issued = iat
		}
		switch at := r.IssuedBefore.Unix(); {
		case row.forever && !r.IssuedBefore.IsZero():
			t.Errorf("%s: only what was issued before %v", row.name, r.IssuedBefore)
		case !row.forever && (at < issued || at > issued+60):
			t.Errorf("%s: what was issued before %v, want the token's iat", row.name, r.IssuedBefore)
		}
		if left := r.Until.Sub(before); left < 7*time.Hour || left > 7*time.Hour+time.Minute {
			t.Errorf("%s: until in %v, want the longest lifetime", row.name, left)
		}
	}
	if n := len(g.all()); n != 7 {
		t.Errorf("%d revocations, want 7", n)
	}
}

// TestLogoutNamesWhatTokensDoNot: where access tokens have no sid, a logout by
// sid ends nothing, and the log says once what to do.
func TestLogoutNamesWhatTokensDoNot(t *testing.T) {
	t.Parallel()
	g := newLogoutRig(t)
	open := func(user, sid string) {
		s := &session.Session{ID: t.Name() + user + sid}
		if !sockets.Add(s) {
			t.Fatal("the registry takes nothing more")
		}
		t.Cleanup(func() { sockets.Remove(s) })
		sockets.Identify(s, session.Identity{Issuer: g.provider.URL, Subject: user, SessionID: sid})
	}
	open("alice", "")
	open("bob", "another")
	for _, row := range []struct {
		name   string
		change map[string]any
		ended  int
		warns  int
	}{
		{"other sockets have a sid", map[string]any{"sub": "bob"}, 0, 0},
		{"it has ended some", map[string]any{"sub": "alice"}, 1, 0},
		{"by subject", map[string]any{"sub": "alice", "sid": nil}, 0, 0},
		{"nobody named", map[string]any{"sub": nil}, 0, 0},
		{"no sid in the tokens", map[string]any{"sub": "alice"}, 0, 1},
		{"again", map[string]any{"sub": "alice"}, 0, 1},
	} {
		g.ended = row.ended
		if w := g.send(t, logoutRequest(logoutForm(g.token(row.change)))); w.Code != http.StatusOK {
			t.Fatalf("%s: status %d %s", row.name, w.Code, w.Body)
		}
		if n := g.logs.FilterMessageSnippet("set all_sessions").Len(); n != row.warns {
			t.Errorf("%s: %d warnings, want %d", row.name, n, row.warns)
		}
	}
}

// TestLogoutOwnCA trusts the file's certificate and no other, and shares the
// keys with a verifier that does the same.
func TestLogoutOwnCA(t *testing.T) {
	p := newKeyProvider(t, httptest.NewTLSServer)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("LOGOUT_TEST_CA", ca)
	g := newLogoutRigOf(t, p, `{"issuer":"`+p.URL+`","audiences":["app"],"ca":"{env.LOGOUT_TEST_CA}"}`)
	if w := g.send(t, logoutRequest(logoutForm(g.token(nil)))); w.Code != http.StatusOK {
		t.Errorf("with its CA: status %d %s", w.Code, w.Body)
	}
	if _, _, err := loadJWT(t, `{"issuers":["`+p.URL+`"],"ca":"`+ca+`"}`); err != nil {
		t.Fatal(err)
	}
	if n, _ := keyPool.References(keySource{issuer: p.URL, ca: sha256.Sum256(block)}); n != 2 {
		t.Errorf("%d references, want 2", n)
	}
	g = newLogoutRigOf(t, p, `{"issuer":"`+p.URL+`","audiences":["app"]}`)
	if w := g.send(t, logoutRequest(logoutForm(g.token(nil)))); w.Code != http.StatusServiceUnavailable {
		t.Errorf("without: status %d %s, want 503", w.Code, w.Body)
	}
}

// TestLogoutOfAnAbsentProvider: a provider that hangs up means its logout
// nonetheless, and the fleet has a bounded time.
func TestLogoutOfAnAbsentProvider(t *testing.T) {
	t.Parallel()
	g := newLogoutRig(t)
	if w := g.send(t, logoutRequest(logoutForm(g.token(nil)))); w.Code != http.StatusOK { // has the keys fetched
		t.Fatal(w.Code)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if w := g.send(t, logoutRequest(logoutForm(g.token(nil))).WithContext(ctx)); w.Code != http.StatusOK {
		t.Errorf("status %d %s", w.Code, w.Body)
	}
	if g.left <= 0 || g.left > revokeTimeout {
		t.Errorf("%v to revoke, want at most %v", g.left, revokeTimeout)
	}
}

// TestLogoutOutage: what is not the provider's fault is no 400, and the same
// token counts when it is sent again.
func TestLogoutOutage(t *testing.T) {
	t.Parallel()
	p := newKeyProvider(t, httptest.NewServer)
	away := newLogoutRigOf(t, p, `{"issuer":"`+p.URL+`","jwks_url":"`+p.URL+`/none","audiences":["app"]}`)
	w := away.send(t, logoutRequest(logoutForm(away.token(nil))))
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || away.lastReason() != "verification_unavailable" {
		t.Errorf("without keys: status %d, Retry-After %q, reason %q", w.Code, w.Header().Get("Retry-After"), away.lastReason())
	}
	if len(away.all()) != 0 {
		t.Error("without keys, something was revoked")
	}

	g := newLogoutRigOf(t, p, `{"issuer":"`+p.URL+`","audiences":["app"]}`)
	form := logoutForm(g.token(nil))
	for _, row := range []struct {
		fail   func() error
		status int
		reason string
	}{
		{func() error { return errors.New("the fleet is away") }, http.StatusServiceUnavailable, "verification_unavailable"},
		{func() error { return context.DeadlineExceeded }, http.StatusServiceUnavailable, "verification_unavailable"},
		{func() error { panic("alice-secret") }, http.StatusInternalServerError, "internal_error"},
	} {
		g.setFail(row.fail)
		w := g.send(t, logoutRequest(form))
		if w.Code != row.status || g.lastReason() != row.reason {
			t.Errorf("status %d, reason %q, want %d, %s", w.Code, g.lastReason(), row.status, row.reason)
		}
		if row.status == http.StatusServiceUnavailable && w.Header().Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	g.setFail(nil)
	if w := g.send(t, logoutRequest(form)); w.Code != http.StatusOK || len(g.all()) != 1 {
		t.Errorf("when it works again: status %d %s, %d revoked", w.Code, w.Body, len(g.all()))
	}
	for _, line := range g.logs.All() {
		if text := fmt.Sprint(line.Message, line.ContextMap()); strings.Contains(text, "secret") {
			t.Errorf("line %s", text)
		}
	}
}

// TestLogoutLogs: one line for what was done and one for what was refused, with
// the words of the other lines and nothing of the token.
func TestLogoutLogs(t *testing.T) {
	t.Parallel()
	g := newLogoutRig(t)
	good, bad := g.token(nil), g.token(map[string]any{"nonce": "nonce-secret"})
	server := &caddyhttp.Server{Routes: caddyhttp.RouteList{at(g.LogoutHandler, "example.com")}}
	for _, r := range []*http.Request{
		from(logoutRequest(logoutForm(good)), "192.0.2.1"), from(logoutRequest(logoutForm(bad)), "192.0.2.2"),
	} {
		g.send(t, r.WithContext(context.WithValue(r.Context(), caddyhttp.ServerCtxKey, server)))
	}
	var got []string
	for _, line := range g.logs.All() {
		fields := line.ContextMap()
		got = append(got, fmt.Sprint(line.Level, " ", line.Message, " ", fields["client_ip"], " ", fields["site"], " ",
			fields["reason"], " ", fields["issuer"], " ", fields["by"], " ", fields["ended"]))
		text := fmt.Sprint(line.Message, fields)
		for _, secret := range append(strings.Split(good, "."), append(strings.Split(bad, "."), "secret")...) {
			if strings.Contains(text, secret) {
				t.Errorf("line %s has %q", text, secret)
			}
		}
	}
	want := "info logout done 192.0.2.1 /example.com <nil> " + g.provider.URL + " sid 1|" +
		"info logout refused 192.0.2.2 /example.com wrong_token_type <nil> <nil> <nil>"
	if strings.Join(got, "|") != want {
		t.Errorf("lines %q\nwant  %q", strings.Join(got, "|"), want)
	}
	for range 100 {
		g.send(t, from(logoutRequest(""), "192.0.2.3"))
	}
	if n := g.logs.FilterMessage("logout refused").Len(); n > 1+2*logsPerSecond {
		t.Errorf("%d lines of one client's flood", n)
	}
}

// TestLogoutConfigurationErrors name the word and the fix; nothing stays in the
// pool of keys.
func TestLogoutConfigurationErrors(t *testing.T) {
	t.Parallel()
	noPEM := filepath.ToSlash(filepath.Join(t.TempDir(), "ca.pem"))
	if err := os.WriteFile(noPEM, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for config, words := range map[string][]string{
		`{}`:                               {"websocket_logout", "issuer is missing", "add issuer"},
		`{"audiences":["a"]}`:              {"issuer is missing"},
		`{"issuer":"https://127.0.0.1:3"}`: {"audience is missing", "add audience"},
		`{"issuer":"https://127.0.0.1:3","audiences":[""]}`:                       {"audience", "empty"},
		`{"issuer":"http://id.example.com","audiences":["a"]}`:                    {"issuer", "https"},
		`{"issuer":"id.example.com","audiences":["a"]}`:                           {"issuer", "https://"},
		`{"issuer":"i","jwks_url":"http://id.example.com/","audiences":["a"]}`:    {"jwks_url", "https"},
		`{"issuer":"i","jwks_url":"{env.LOGOUT_TEST_NONE}","audiences":["a"]}`:    {"jwks_url", "LOGOUT_TEST_NONE"},
		`{"issuer":"{env.LOGOUT_TEST_NONE}","audiences":["a"]}`:                   {"issuer", "LOGOUT_TEST_NONE"},
		`{"issuer":"https://127.0.0.1:3","audiences":["{env.LOGOUT_TEST_NONE}"]}`: {"audience", "LOGOUT_TEST_NONE"},
		`{"issuer":"i","audience":["a"]}`:                                         {"audience"},
		`{"issuer":"https://127.0.0.1:3","audiences":["a"],"ca":"/none.pem"}`:     {"ca", "none.pem"},
		`{"issuer":"https://127.0.0.1:3","audiences":["a"],"ca":"` + noPEM + `"}`: {"ca", "PEM"},
		`{"issuer":"i","audiences":["a"],"ca":"{env.LOGOUT_TEST_NONE}"}`:          {"ca", "LOGOUT_TEST_NONE"},
	} {
		_, err := loadLogout(t, config)
		if err == nil {
			t.Errorf("%s: loads", config)
			continue
		}
		for _, word := range words {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%s: %v, which does not name %q", config, err, word)
			}
		}
	}
	if n, ok := keyPool.References(keySource{issuer: "https://127.0.0.1:3"}); ok {
		t.Errorf("%d references of configurations that were refused", n)
	}
}

// TestLogoutKeysAreShared with the verifiers of the same provider, and given
// back once.
func TestLogoutKeysAreShared(t *testing.T) {
	t.Parallel()
	p := newKeyProvider(t, httptest.NewServer)
	if _, _, err := loadJWT(t, `{"issuers":["`+p.URL+`"]}`); err != nil {
		t.Fatal(err)
	}
	h, err := loadLogout(t, `{"issuer":"`+p.URL+`","audiences":["app"]}`)
	if err != nil {
		t.Fatal(err)
	}
	source := keySource{issuer: p.URL}
	if n, _ := keyPool.References(source); n != 2 {
		t.Errorf("%d references, want 2", n)
	}
	for range 2 {
		if err := h.Cleanup(); err != nil {
			t.Error(err)
		}
	}
	if n, _ := keyPool.References(source); n != 1 {
		t.Errorf("%d references after Cleanup, want the verifier's", n)
	}
	if err := new(LogoutHandler).Cleanup(); err != nil {
		t.Error(err)
	}
}

// TestLogoutPlaceholders are resolved when the config is loaded, and not
// stored.
func TestLogoutPlaceholders(t *testing.T) {
	p := newKeyProvider(t, httptest.NewServer)
	t.Setenv("LOGOUT_TEST_URL", p.URL)
	t.Setenv("LOGOUT_TEST_CLIENT", "app")
	config := `{"issuer":"{env.LOGOUT_TEST_URL}","jwks_url":"{env.LOGOUT_TEST_URL}/jwks","audiences":["{env.LOGOUT_TEST_CLIENT}"]}`
	g := newLogoutRigOf(t, p, config)
	if w := g.send(t, logoutRequest(logoutForm(g.token(nil)))); w.Code != http.StatusOK {
		t.Errorf("status %d %s", w.Code, w.Body)
	}
	if text, err := json.Marshal(g.LogoutHandler); err != nil || !sameJSON(string(text), config) {
		t.Errorf("the configuration has become %s (%v)", text, err)
	}
}
