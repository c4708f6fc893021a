package websocketauth

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/session"
)

// logoutRig is a websocket_logout for a provider on the loopback, with a fleet
// that only takes notes.
type logoutRig struct {
	*LogoutHandler
	provider *keyProvider
	logs     *observer.ObservedLogs

	mu      sync.Mutex // guards the following
	revoked []session.Revocation
	ended   int           // sockets, with each call
	left    time.Duration // that the last call had
	fail    func() error  // what calls return, nil for none
}

// Revoke implements revoker.
func (g *logoutRig) Revoke(ctx context.Context, r session.Revocation) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := r.Check(); err != nil {
		return 0, err
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	deadline, _ := ctx.Deadline()
	g.left = time.Until(deadline)
	if g.fail != nil {
		if err := g.fail(); err != nil {
			return 0, err
		}
	}
	g.revoked = append(g.revoked, r)
	return g.ended, nil
}

// Longest implements revoker.
func (g *logoutRig) Longest() time.Duration { return 7 * time.Hour }

func (g *logoutRig) setFail(fail func() error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.fail = fail
}

func (g *logoutRig) all() []session.Revocation {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]session.Revocation(nil), g.revoked...)
}

func newLogoutRig(t *testing.T) *logoutRig {
	t.Helper()
	p := newKeyProvider(t, httptest.NewServer)
	return newLogoutRigOf(t, p, `{"issuer":"`+p.URL+`","audiences":["app","app2"]}`)
}

func newLogoutRigOf(t *testing.T, p *keyProvider, config string) *logoutRig {
	t.Helper()
	h, err := loadLogout(t, config)
	if err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zapcore.DebugLevel)
	g := &logoutRig{LogoutHandler: h, provider: p, logs: logs, ended: 1}
	h.logger, h.revoker, h.state.flood = zap.New(core), g, new(floodLimit)
	return g
}

// loadLogout provisions the handler as a configuration does.
func loadLogout(t *testing.T, config string) (*LogoutHandler, error) {
	t.Helper()
	base, err := testCaddy()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := caddy.NewContext(base)
	t.Cleanup(cancel)
	loaded, err := ctx.LoadModuleByID("http.handlers.websocket_logout", json.RawMessage(config))
	if err != nil {
		return nil, err
	}
	return loaded.(*LogoutHandler), nil
}

var lastJTI atomic.Int64

// token returns a good logout token, with members changed or, if nil, removed.
func (g *logoutRig) token(change map[string]any) string {
	return g.signed(`{"alg":"EdDSA","kid":"k","typ":"logout+jwt"}`, change)
}

func (g *logoutRig) signed(header string, change map[string]any) string {
	now := time.Now().Unix()
	claims := map[string]any{
		"iss": g.provider.URL, "aud": "app", "sub": "alice-secret", "sid": "sid-secret",
		"jti": fmt.Sprint("jti-secret-", lastJTI.Add(1)), "iat": now, "exp": now + 120,
		"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
	}
	maps.Copy(claims, change)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	text, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	enc := base64.RawURLEncoding.EncodeToString
	signed := enc([]byte(header)) + "." + enc(text)
	return signed + "." + enc(ed25519.Sign(g.provider.key, []byte(signed)))
}

// request returns a proper request with a body.
func logoutRequest(body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/logout", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

func logoutForm(tokens ...string) string { return url.Values{"logout_token": tokens}.Encode() }

// from makes r come from a client.
func from(r *http.Request, ip string) *http.Request {
	vars := map[string]any{caddyhttp.ClientIPVarKey: ip}
	return r.WithContext(context.WithValue(r.Context(), caddyhttp.VarsCtxKey, vars))
}

// send has the handler answer r, and checks what all answers have in common.
func (g *logoutRig) send(t *testing.T, r *http.Request) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	next := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error {
		t.Error("the next handler was called")
		return nil
	})
	if err := g.ServeHTTP(w, r, next); err != nil {
		t.Errorf("error %v for Caddy", err)
	}
	if w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("status %d may be stored", w.Code)
	}
	if w.Code == http.StatusOK {
		if w.Body.Len() > 0 {
			t.Errorf("body %q", w.Body)
		}
		return w
	}
	var answer struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	dec := json.NewDecoder(strings.NewReader(w.Body.String()))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&answer); err != nil || answer.Error == "" || answer.Description == "" ||
		w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("status %d with %q (%v)", w.Code, w.Body, err)
	}
	if w.Code == http.StatusBadRequest && answer.Error != "invalid_request" {
		t.Errorf("error %q", answer.Error)
	}
	return w
}

// lastReason returns the reason in the last line of the log.
func (g *logoutRig) lastReason() string {
	lines := g.logs.All()
	if len(lines) == 0 {
		return ""
	}
	reason, _ := lines[len(lines)-1].ContextMap()["reason"].(string)
	return reason
}
