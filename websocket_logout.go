package websocketauth

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/session"
)

func init() {
	caddy.RegisterModule(LogoutHandler{})
}

const (
	// revokeTimeout is how long a logout may take.
	revokeTimeout = 5 * time.Second
	// revocationReason is what people who list revocations read.
	revocationReason = "logged out at the provider"
)

// LogoutHandler ends WebSockets when their user has logged out at the identity
// provider, and refuses the tokens of that login from then on: it is the
// endpoint of OpenID Connect Back-Channel Logout 1.0. It answers all requests
// that reach it, so it needs a route of its own.
//
// The provider sends a signed logout token. If that names a session (`sid`),
// the sockets whose tokens have this `sid` end, else all of the user's (`sub`),
// always of that issuer only.
type LogoutHandler struct {
	// The `iss` of the provider's tokens, compared exactly. Its keys are
	// found by OpenID Connect discovery unless a `jwks_url` is given.
	// Placeholders are resolved when the config is loaded. Default: none, it
	// is required
	Issuer string `json:"issuer,omitempty"`

	// The URL of the provider's JSON Web Key Set. Placeholders are resolved
	// when the config is loaded. Default: empty
	JWKSURL string `json:"jwks_url,omitempty"`

	// The client ids with which users log in, of which the token's `aud` must
	// name one. Placeholders are resolved when the config is loaded. Default:
	// none, it is required
	Audiences []string `json:"audiences,omitempty"`

	// A PEM file with the certificates to trust when keys are fetched. It is
	// read when the config is loaded. Placeholders are resolved when the
	// config is loaded. Default: those of the system
	CA string `json:"ca,omitempty"`

	// End all of the user's sockets, also where the logout token names one
	// session: for providers whose access tokens have no `sid`. Default: false
	AllSessions bool `json:"all_sessions,omitempty"`

	verifier *auth.LogoutVerifier
	revoker  revoker
	acquired *heldKeys
	logger   *zap.Logger
	state    *logoutState
}

// logoutState is what changes while a handler serves.
type logoutState struct {
	sites       siteNames
	refusalLog  logLimit
	flood       *floodLimit
	warnUnnamed sync.Once
}

// revoker ends what was vouched for, on all nodes.
type revoker interface {
	// Revoke returns how many sockets of this node end. Without an error,
	// every node knows, or will as soon as it can be told.
	Revoke(ctx context.Context, r session.Revocation) (ended int, err error)
	// Longest returns how long a token may live, of all that are accepted.
	Longest() time.Duration
}

// usedLogoutTokens are those of all configurations: a reload does not make one
// count again.
var usedLogoutTokens auth.SeenTokens

// CaddyModule returns the Caddy module information.
func (LogoutHandler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.websocket_logout",
		New: func() caddy.Module { return new(LogoutHandler) },
	}
}

// Provision sets up the handler. It does not wait for the network.
func (h *LogoutHandler) Provision(ctx caddy.Context) error {
	h.logger = ctx.Logger()
	h.state = &logoutState{flood: &logoutFlood}
	if err := h.setUp(caddy.NewReplacer()); err != nil {
		return fmt.Errorf("websocket_logout: %w", err)
	}
	app, err := appOf(ctx)
	if err != nil {
		return err
	}
	h.revoker = app
	return nil
}

// setUp makes the verifier.
func (h *LogoutHandler) setUp(repl *caddy.Replacer) error {
	cfg := auth.LogoutConfig{Seen: &usedLogoutTokens}
	var source keySource
	var err error
	if cfg.Issuer, err = repl.ReplaceOrErr(h.Issuer, true, true); err != nil {
		return fmt.Errorf("issuer: %w", err)
	}
	if source.url, err = repl.ReplaceOrErr(h.JWKSURL, true, true); err != nil {
		return fmt.Errorf("jwks_url: %w", err)
	}
	for _, text := range h.Audiences {
		audience, err := repl.ReplaceOrErr(text, true, true)
		if err != nil {
			return fmt.Errorf("audience: %w", err)
		}
		cfg.Audiences = append(cfg.Audiences, audience)
	}
	if source.url == "" {
		source.issuer = cfg.Issuer
	}
	if cfg.Issuer != "" { // else the verifier says what is missing
		if cfg.Keys, err = h.acquire(source, repl); err != nil {
			return err
		}
	}
	h.verifier, err = auth.NewLogoutVerifier(cfg)
	return err
}

// acquire takes the key set of source from the pool.
func (h *LogoutHandler) acquire(source keySource, repl *caddy.Replacer) (auth.KeySet, error) {
	path, err := repl.ReplaceOrErr(h.CA, true, true)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	var ca *x509.CertPool
	if path != "" {
		if ca, source.ca, err = loadCA(path); err != nil {
			return nil, err
		}
	}
	keys, err := acquireKeys(source, ca, h.logger)
	if err != nil {
		return nil, err // never a typed nil: that would count as a set
	}
	h.acquired = new(heldKeys)
	h.acquired.add(keys)
	return keys, nil
}

// Cleanup gives the keys back.
func (h *LogoutHandler) Cleanup() error {
	return h.acquired.release(h.logger)
}

// ServeHTTP implements caddyhttp.MiddlewareHandler. It never calls the next
// handler.
func (h *LogoutHandler) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	done, err := h.serve(w, r)
	if err != nil {
		h.refuse(w, r, err)
		return nil
	}
	h.logDone(r, done)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	return nil
}

// logoutDone says what a logout has done.
type logoutDone struct {
	revoked session.Revocation
	ended   int // sockets of this node
}

// serve reads and verifies the token of r and does what it says. A panic is an
// error.
func (h *LogoutHandler) serve(w http.ResponseWriter, r *http.Request) (done logoutDone, err error) {
	defer func() {
		if p := recover(); p != nil {
			done, err = logoutDone{}, fmt.Errorf("panic while logging out: %T", p)
		}
	}()
	token, err := readLogoutToken(w, r)
	if err != nil {
		return logoutDone{}, err
	}
	out, err := h.verify(r, token)
	if err != nil {
		return logoutDone{}, err
	}
	return h.revoke(r.Context(), out)
}

// verify verifies the token. Tokens that turn out to be forged count against
// whoever sends them: at some number of them in a second no more signatures are
// checked.
func (h *LogoutHandler) verify(r *http.Request, token string) (*auth.Logout, error) {
	now := time.Now()
	client := clientNetwork(clientIP(r))
	admitted := false
	out, err := h.verifier.Verify(r.Context(), token, now, func() error {
		if !h.state.flood.allow(client, now) {
			return auth.Refuse(reasonFlood, "too many forged logout tokens in this second")
		}
		admitted = true
		return nil
	})
	_, refused := errors.AsType[*auth.RefusedError](err)
	switch {
	case err == nil:
		h.state.flood.succeed(client)
	case refused && admitted:
		h.state.flood.fail(client, now)
	}
	return out, err
}

// revoke does what a logout token says. If that fails, the provider may send
// the token again.
func (h *LogoutHandler) revoke(ctx context.Context, out *auth.Logout) (done logoutDone, err error) {
	succeeded := false
	defer func() {
		if !succeeded { // also when it panics
			h.verifier.Forget(out)
		}
	}()
	// A provider that does not wait for the answer means it nonetheless.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokeTimeout)
	defer cancel()
	done.revoked = h.revocationOf(out, time.Now())
	if done.ended, err = h.revoker.Revoke(ctx, done.revoked); err != nil {
		return logoutDone{}, &auth.OutageError{Err: fmt.Errorf("revoking: %w", err)}
	}
	succeeded = true
	h.warnUnnamed(out, done)
	return done, nil
}

// revocationOf returns what is no longer good: the provider's session, or all
// that the user was given up to the logout. A logout token that names both means
// the session (section 2.4 of the specification), unless h is to end them all.
func (h *LogoutHandler) revocationOf(out *auth.Logout, now time.Time) session.Revocation {
	r := session.Revocation{Issuer: out.Issuer, Until: now.Add(h.revoker.Longest()), Reason: revocationReason}
	if out.SessionID != "" && (!h.AllSessions || out.Subject == "") {
		r.SessionID = out.SessionID
		return r
	}
	// By the provider's clock, as the tokens are: somebody who has logged in
	// again while the logout token was on its way, or before it was replayed at
	// another node, stays.
	r.Subject, r.IssuedBefore = out.Subject, out.IssuedAt
	return r
}

// Interface guards
var (
	_ caddy.Provisioner           = (*LogoutHandler)(nil)
	_ caddy.CleanerUpper          = (*LogoutHandler)(nil)
	_ caddyhttp.MiddlewareHandler = (*LogoutHandler)(nil)
	_ caddyfile.Unmarshaler       = (*LogoutHandler)(nil)
	_ revoker                     = (*App)(nil)
)
