package websocketauth

import (
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/session"
)

// lockedOutError says until when a client address is locked out.
type lockedOutError struct{ until time.Time }

func (e *lockedOutError) Error() string { return "too many failures from this address" }

// lockoutRule returns when an address is locked out; the zero rule is never.
func (a *App) lockoutRule() session.LockoutRule {
	if a.Lockout == nil {
		return session.LockoutRule{}
	}
	return session.LockoutRule{
		Failures: a.Lockout.Failures,
		Window:   time.Duration(a.Lockout.Window),
		Duration: time.Duration(a.Lockout.Duration),
	}
}

// checkLockout refuses a client address that is locked out, before anything is
// verified.
func (a *App) checkLockout(ip string) error {
	if a.Lockout == nil {
		return nil
	}
	if until := lockouts.Until(clientNetwork(ip), time.Now()); !until.IsZero() {
		return &auth.RefusedError{Reason: reasonLockout, Err: &lockedOutError{until}}
	}
	return nil
}

// countFailure counts what cannot be honest against an address: a bad
// signature, or what is no credential at all. What is missing, has ended, is
// for others, or is signed with a key that nobody could look up may be a
// mistake.
func (a *App) countFailure(ip string, err error) {
	switch reasonOf(err) {
	case auth.ReasonSignature, auth.ReasonMalformed:
	default:
		return
	}
	rule := a.lockoutRule()
	if rule.IsZero() {
		return
	}
	address := clientNetwork(ip)
	if lockouts.Fail(address, 1, rule, time.Now()) {
		a.observeLockedOut(address, rule)
	}
	if f := a.fleet(); f != nil {
		f.store.Fail(address, 1, rule)
	}
}

// warnForwarded says once that a proxy in front is not trusted, because then
// all of its clients are one address; or that it is believed too much, because
// then each of them may choose one.
func (h *Handler) warnForwarded(r *http.Request) {
	forwarded := r.Header["X-Forwarded-For"]
	if len(forwarded) == 0 || h.app.lockoutRule().IsZero() {
		return
	}
	several := len(forwarded) > 1 || strings.Contains(forwarded[0], ",")
	switch {
	case !fromTrustedProxy(r):
		h.state.warnForwarded.Do(func() {
			h.logger.Warn("X-Forwarded-For comes from a proxy that is not trusted, so that all its clients count as one " +
				"address in lockouts: name it in the server's trusted_proxies, or ignore this if clients come directly")
		})
	case several && !isStrict(r):
		h.state.warnChosen.Do(func() {
			h.logger.Warn("X-Forwarded-For has several addresses, of which the first counts in lockouts, and clients may have " +
				"sent that themselves: set the server's trusted_proxies_strict, see docs/limits.md")
		})
	}
}

// isStrict tells whether Caddy takes the client's address from the end of
// X-Forwarded-For, where the trusted proxies write.
func isStrict(r *http.Request) bool {
	server, ok := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	return ok && server.TrustedProxiesStrict > 0
}
