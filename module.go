// Package websocketauth is a Caddy HTTP handler that stands in front of a
// WebSocket app that knows nothing of tokens. It finds the credential wherever
// a browser can put one, verifies it, gives the claims to later handlers as
// placeholders, and ends the socket when its credential does.
package websocketauth

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/dialect"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/session"
)

func init() {
	caddy.RegisterModule(Handler{})
}

// What a new configuration does with the sockets of older ones.
const (
	reloadKeep    = "keep"
	reloadRecheck = "recheck"
)

// Handler lets only holders of a valid credential open a WebSocket, and ends
// the socket when the credential ends. It does not proxy: it hands the request
// to the next handler, usually `reverse_proxy`, which needs no change.
//
// A handler without verifiers is for use behind another one: it tightens the
// rules for what that one has authenticated, and refuses everything else.
//
// These placeholders are available to the handlers after it. They resolve for
// every request that comes through it, and are empty where there is nothing to
// say:
//
// Placeholder | Description
// ------------|------------
// `{http.auth.user.id}` | The user claim; Caddy's access log has it as `user_id`
// `{http.websocket_auth.claims.<path>}` | A claim, by name, dotted path or JSON pointer; objects and arrays as JSON
// `{http.websocket_auth.subject}` | The `sub` claim
// `{http.websocket_auth.issuer}` | The `iss` claim
// `{http.websocket_auth.jti}` | The `jti` claim
// `{http.websocket_auth.sid}` | The `sid` claim
// `{http.websocket_auth.scopes}` | The scopes, separated by spaces
// `{http.websocket_auth.source}` | Where the credential was: `subprotocol`, `query`, `header`, `cookie`, `first_message`, `every_message`, or `polling`: in the body of a plain request
// `{http.websocket_auth.verifier}` | The verifier that vouched, such as `jwt`
// `{http.websocket_auth.expires_at}` | When the credential ends, RFC 3339 in UTC
// `{http.websocket_auth.session}` | The id of the socket, or of the login by polling
// `{http.websocket_auth.error}` | On a refusal, the reason word
type Handler struct {
	// What logs call this site. Default: the name of the server and the first
	// host of the route
	Name string `json:"name,omitempty"`

	// Who vouches for credentials, tried in order.
	VerifiersRaw []json.RawMessage `json:"verifiers,omitempty" caddy:"namespace=http.websocket_auth.verifiers inline_key=verifier"`

	// Where credentials travel. The first source that holds one decides, and
	// all of them are removed from the request; messages are read where the
	// request holds none. Default: `subprotocol`, `query` with `access_token`,
	// and `header`
	Sources []Source `json:"sources,omitempty"`

	// How the application speaks: which message carries a credential, and how
	// its clients are told what becomes of it. Default: `json` where messages
	// carry credentials or credentials are renewed, else none
	DialectRaw json.RawMessage `json:"dialect,omitempty" caddy:"namespace=http.websocket_auth.dialects inline_key=dialect"`

	// The origins of the pages that may connect, such as
	// `https://app.example.com`, compared exactly. Default: same origin where
	// the credential came in a cookie, else any
	Origins []string `json:"origins,omitempty"`

	// What the identity must be, all of it.
	Require []Requirement `json:"require,omitempty"`

	// What happens when the credential ends. Default: close; without
	// verifiers, what the outer handler says
	OnExpiry OnExpiry `json:"on_expiry,omitzero"`

	// The longest a socket may live, whatever its credential says. Default: 0
	// (no limit)
	MaxSession caddy.Duration `json:"max_session,omitempty"`

	// The share of a socket's life, in percent from 0 to 50, by which it may
	// be ended early, so that sockets that began together do not end together.
	// Default: 0
	Jitter float64 `json:"jitter,omitempty"`

	// How a proper handshake is refused: `status` with an HTTP status, or
	// `close` by accepting it and closing with a code and a reason, which a
	// browser can read. Default: status; without verifiers, what the outer
	// handler says
	Reject string `json:"reject,omitempty"`

	// What happens to requests that are no WebSocket handshake: `pass` treats
	// them as if this handler were not there, `authenticate` demands the same
	// credential, `reject` answers 426. Default: pass
	HTTP string `json:"http,omitempty"`

	// What a reload does with sockets that were opened before: `keep` lets
	// them live on by the rules that they were opened under, `recheck` ends
	// those that this handler would refuse, or, when it is gone, those that it
	// has let in. Default: keep
	OnReload string `json:"on_reload,omitempty"`

	// How clients are found that are gone without a word.
	Ping Ping `json:"ping,omitzero"`

	// How many sockets may be open that have not logged in.
	Pending Pending `json:"pending,omitzero"`

	// How many sockets a user may have open.
	SessionsPerUser SessionsPerUser `json:"sessions_per_user,omitzero"`

	// Take credentials over plain http from clients that are not on this
	// machine. Whoever is on the way can read and use them. Default: false
	InsecurePlaintext bool `json:"insecure_plaintext,omitempty"`

	verifiers []namedVerifier
	sources   auth.Sources
	origins   auth.Origins
	rules     []auth.Rule
	policy    session.Policy

	first       *firstMessage // nil unless messages log in
	every       *everyMessage // nil unless each message has a credential
	dialect     dialect.Dialect
	dialectName string                   // both are empty where none is needed
	transport   dialect.PollingTransport // nil unless the dialect has one
	poller      dialect.PollingTransport // the same if its requests are let in by their credential
	renew       *renewal                 // nil unless credentials may be renewed
	trust       [sha256.Size]byte        // stands for the verifiers

	pendingMax, pendingPerAddress int

	perUser *perUserLimit // nil unless there is a limit
	ping    *pinging      // nil unless clients are pinged
	recheck bool          // what this configuration would refuse ends

	app      *App
	logger   *zap.Logger
	filtered bool            // a log of this config has the credential filter
	retired  <-chan struct{} // closed when the config is replaced
	state    *handlerState
}

// handlerState is what changes while a handler serves.
type handlerState struct {
	refusalLog      logLimit
	warnFilter      sync.Once
	warnDelay       sync.Once
	warnForwarded   sync.Once
	warnChosen      sync.Once
	socketsRefusing atomic.Int64
	pending         session.Pending
	sites           siteNames
}

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.websocket_auth",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision sets up the handler. It does not wait for the network.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.logger = ctx.Logger()
	h.filtered = credentialFilterConfigured(ctx)
	h.state = new(handlerState)
	h.retired = ctx.Done()
	app, err := appOf(ctx)
	if err != nil {
		return err
	}
	h.app = app
	if err := app.checkMatchers(ctx); err != nil {
		return err
	}
	if err := h.checkWords(); err != nil {
		return err
	}
	if err := h.provisionRules(); err != nil {
		return err
	}
	if err := h.provisionVerifiers(ctx); err != nil {
		return err
	}
	if err := h.provisionDialect(ctx); err != nil {
		return err
	}
	return nil
}

// checkWords refuses what no verifier is needed to judge.
func (h *Handler) checkWords() error {
	if err := h.OnExpiry.check(); err != nil {
		return err
	}
	switch {
	case h.Reject != "" && h.Reject != rejectStatus && h.Reject != rejectClose:
		return fmt.Errorf("reject '%s' is unknown: use status or close", h.Reject)
	case h.HTTP != "" && h.HTTP != httpPass && h.HTTP != httpAuthenticate && h.HTTP != httpReject:
		return fmt.Errorf("http '%s' is unknown: use pass, authenticate or reject", h.HTTP)
	case h.OnReload != "" && h.OnReload != reloadKeep && h.OnReload != reloadRecheck:
		return fmt.Errorf("on_reload '%s' is unknown: use keep or recheck", h.OnReload)
	case h.MaxSession < 0:
		return errors.New("max_session is negative: use a duration such as 8h, or leave it out")
	case math.IsNaN(h.Jitter) || h.Jitter < 0 || h.Jitter > 50:
		return fmt.Errorf("jitter %v is not from 0 to 50 percent", h.Jitter)
	}
	return nil
}

func (h *Handler) provisionRules() (err error) {
	if h.sources, err = provisionSources(h.Sources); err != nil {
		return err
	}
	if h.first, h.every, err = provisionMessages(h.Sources); err != nil {
		return err
	}
	if h.pendingMax, h.pendingPerAddress, err = h.Pending.limits(); err != nil {
		return err
	}
	if h.perUser, err = h.SessionsPerUser.limit(); err != nil {
		return err
	}
	if h.ping, err = h.Ping.pinging(); err != nil {
		return err
	}
	if h.recheck = h.OnReload == reloadRecheck; h.recheck {
		h.app.rechecks.Store(true)
	}
	h.renew = h.OnExpiry.renewal()
	if h.origins, err = auth.NewOrigins(h.Origins); err != nil {
		return fmt.Errorf("origins: %w", err)
	}
	for _, requirement := range h.Require {
		rule, err := requirement.rule()
		if err != nil {
			return err
		}
		h.rules = append(h.rules, rule)
	}
	h.policy = session.Policy{
		IgnoreExpiry: h.OnExpiry.Policy == expiryIgnore || h.OnExpiry.Policy == "" && len(h.VerifiersRaw) == 0,
		Max:          time.Duration(h.MaxSession),
		Jitter:       h.Jitter / 100,
	}
	if h.renew != nil {
		h.policy.Renew, h.policy.Warn, h.policy.Grace = true, h.renew.warn, h.renew.grace
	}
	return nil
}

func (h *Handler) provisionVerifiers(ctx caddy.Context) error {
	if len(h.VerifiersRaw) == 0 {
		return h.checkNested()
	}
	configured := h.VerifiersRaw // which are gone when they are loaded
	modules, err := ctx.LoadModule(h, "VerifiersRaw")
	if err != nil {
		return err
	}
	for i, module := range modules.([]any) {
		v, err := namedVerifierOf(module, configured[i])
		if err != nil {
			return err
		}
		h.verifiers = append(h.verifiers, v)
	}
	h.trust = trustOf(h.verifiers)
	return keepApart(h.verifiers)
}

// checkNested judges a handler without verifiers: it can only tighten another
// one, and what only that one decides would be without effect here.
func (h *Handler) checkNested() error {
	const outer = "websocket_auth has no verifier, so it can only tighten another one in front of it: "
	closes := h.OnExpiry.Policy == expiryClose
	switch {
	case len(h.Sources) > 0:
		return errors.New(outer + "add one with verify, e.g. verify jwt <jwks_url>, or remove 'from'")
	case len(h.Require) == 0 && len(h.Origins) == 0 && h.MaxSession == 0 && !closes:
		return errors.New("websocket_auth has no verifier: add one with verify, " +
			"e.g. verify jwt <jwks_url> { audience <aud> }; to tighten another one in front of it, " +
			"add origins, require, max_session or on_expiry close")
	case h.HTTP != "":
		return errors.New(outer + "remove 'http', which is the other one's")
	case h.InsecurePlaintext:
		return errors.New(outer + "remove 'insecure_plaintext', which is the other one's")
	case h.DialectRaw != nil:
		return errors.New(outer + "remove 'dialect', which is the other one's")
	case h.Pending != (Pending{}):
		return errors.New(outer + "remove 'pending', which is the other one's")
	case h.SessionsPerUser != (SessionsPerUser{}):
		return errors.New(outer + "remove 'sessions_per_user', which is the other one's")
	case h.Ping != (Ping{}):
		return errors.New(outer + "remove 'ping', which is the other one's")
	case h.OnReload != "":
		return errors.New(outer + "remove 'on_reload', which is the other one's")
	case h.OnExpiry.Policy == expiryRenew:
		return errors.New(outer + "remove 'on_expiry renew', which is the other one's")
	case h.OnExpiry.Policy == expiryIgnore:
		return errors.New(outer + "remove 'on_expiry ignore', which would loosen it")
	case h.Jitter > 0 && h.MaxSession == 0 && !closes:
		return errors.New(outer + "remove 'jitter', or add the 'max_session' or 'on_expiry close' that it is for")
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
