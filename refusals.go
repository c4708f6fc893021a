package websocketauth

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

// The reasons for a refusal that are not found in package auth.
const (
	reasonPlaintext   auth.Reason = "plaintext"
	reasonEarlyData   auth.Reason = "early_data"
	reasonHandshake   auth.Reason = "bad_handshake"
	reasonVersion     auth.Reason = "unsupported_version"
	reasonUpgrade     auth.Reason = "upgrade_required"
	reasonUnavailable auth.Reason = "verification_unavailable"
	reasonUpstream    auth.Reason = "upstream_handshake"
	reasonInternal    auth.Reason = "internal_error"

	reasonRevoked        auth.Reason = "revoked"
	reasonLockout        auth.Reason = "locked_out"
	reasonTooMany        auth.Reason = "too_many_sessions"
	reasonLoginTimeout   auth.Reason = "login_timeout"
	reasonRenewalTimeout auth.Reason = "renewal_timeout"
	reasonPendingFull    auth.Reason = "pending_full"
	reasonHoldFull       auth.Reason = "hold_full"
	reasonOtherIdentity  auth.Reason = "other_identity"
	reasonNotNewer       auth.Reason = "not_newer"
	reasonUnknownSession auth.Reason = "unknown_session"
	reasonBadMessage     auth.Reason = "bad_message"
	reasonMessageSize    auth.Reason = "message_too_big"
	reasonMessageText    auth.Reason = "message_not_text"
)

// retryAfter is what a client is told when nobody can say when it is worth
// trying again.
const retryAfter = 5 * time.Second

// refusal is how a reason looks on the wire.
type refusal struct {
	status int
	code   proxy.CloseCode
	// bearer is the error code of RFC 6750 section 3.1; empty where the
	// client has sent no credential.
	bearer string
	// word is the reason of the close frame. It tells the client what to do,
	// and not which check has failed.
	word string
}

var (
	unauthorized = refusal{http.StatusUnauthorized, proxy.CloseUnauthorized, "invalid_token", "invalid_token"}
	forbidden    = refusal{http.StatusForbidden, proxy.CloseForbidden, "", "forbidden"}
	unavailable  = refusal{http.StatusServiceUnavailable, proxy.CloseTryAgainLater, "", "temporarily_unavailable"}
	late         = refusal{http.StatusTooManyRequests, proxy.CloseTimeout, "", "timeout"}
	busy         = refusal{http.StatusTooManyRequests, proxy.CloseTryAgainLater, "", "try_again_later"}
	internal     = refusal{http.StatusInternalServerError, proxy.CloseInternalError, "", "internal_error"}
)

// refusals is the one table of what a refused client is told. What is not in
// it is an error of ours. A close code of CloseNone: there is no handshake
// that could be accepted, whatever reject says.
var refusals = map[auth.Reason]refusal{
	auth.ReasonMissing:     {http.StatusUnauthorized, proxy.CloseUnauthorized, "", "missing_credential"},
	auth.ReasonAmbiguous:   {http.StatusBadRequest, proxy.CloseNone, "invalid_request", "invalid_request"},
	auth.ReasonMalformed:   unauthorized,
	auth.ReasonAlgorithm:   unauthorized,
	auth.ReasonUnknownKey:  unauthorized,
	auth.ReasonSignature:   unauthorized,
	auth.ReasonExpired:     unauthorized,
	auth.ReasonNotYetValid: unauthorized,
	auth.ReasonIssuer:      unauthorized,
	auth.ReasonAudience:    unauthorized,
	auth.ReasonType:        unauthorized,
	auth.ReasonClaims:      unauthorized,
	auth.ReasonLifetime:    unauthorized,
	auth.ReasonUnproved:    unauthorized,
	auth.ReasonBinding:     unauthorized,
	auth.ReasonScope:       {http.StatusForbidden, proxy.CloseForbidden, "insufficient_scope", "insufficient_scope"},
	auth.ReasonClaimRule:   forbidden,
	auth.ReasonOrigin:      forbidden,
	reasonPlaintext:        forbidden,
	reasonEarlyData:        {http.StatusTooEarly, proxy.CloseNone, "", ""},
	reasonHandshake:        {http.StatusBadRequest, proxy.CloseNone, "", ""},
	reasonVersion:          {http.StatusUpgradeRequired, proxy.CloseNone, "", ""},
	reasonUpgrade:          {http.StatusUpgradeRequired, proxy.CloseNone, "", ""},
	reasonUnavailable:      unavailable,
	reasonUpstream:         {http.StatusBadGateway, proxy.CloseTryAgainLater, "", "bad_gateway"},
	reasonInternal:         internal,
	reasonRevoked:          unauthorized,
	reasonLockout:          busy,
	reasonTooMany:          busy,
	reasonLoginTimeout:     late,
	reasonRenewalTimeout:   late,
	reasonPendingFull:      {http.StatusTooManyRequests, proxy.CloseTimeout, "", "too_many_pending"},
	reasonHoldFull:         {http.StatusTooManyRequests, proxy.CloseTimeout, "", "too_many_messages"},
	reasonOtherIdentity:    forbidden,
	reasonNotNewer:         unauthorized,
	reasonUnknownSession:   {http.StatusNotFound, proxy.CloseNone, "", ""},
	reasonBadMessage:       {http.StatusBadRequest, proxy.ClosePolicyViolation, "", "bad_message"},
	reasonMessageSize:      {http.StatusRequestEntityTooLarge, proxy.CloseMessageTooBig, "", "message_too_big"},
	reasonMessageText:      {http.StatusBadRequest, proxy.CloseInvalidPayload, "", "message_not_text"},
}

// reasonOf returns the reason word of an error that means deny.
func reasonOf(err error) auth.Reason {
	if refused, ok := errors.AsType[*auth.RefusedError](err); ok {
		if _, known := refusals[refused.Reason]; known {
			return refused.Reason
		}
		return reasonInternal
	}
	if _, ok := errors.AsType[*auth.OutageError](err); ok {
		return reasonUnavailable
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return reasonUnavailable
	}
	if bad, ok := errors.AsType[*proxy.HandshakeError](err); ok {
		if bad.Status == http.StatusUpgradeRequired {
			return reasonVersion
		}
		return reasonHandshake
	}
	if _, ok := errors.AsType[*proxy.UpstreamError](err); ok {
		return reasonUpstream
	}
	return reasonInternal
}

// refusalCode returns the close code for an error that means deny.
func refusalCode(err error) proxy.CloseCode {
	if bad, ok := errors.AsType[*proxy.UpstreamError](err); ok && bad.Final {
		return proxy.CloseInternalError
	}
	return refusals[reasonOf(err)].code
}

// detailOf returns what the operator's log says beside the reason.
func detailOf(err error) error {
	if refused, ok := errors.AsType[*auth.RefusedError](err); ok {
		return refused.Err
	}
	if outage, ok := errors.AsType[*auth.OutageError](err); ok {
		return outage.Err
	}
	return err
}

// refuseStatus returns the error for Caddy and sets the headers that go with
// it. Caddy gets the reason word only: an error page may print it.
func refuseStatus(h http.Header, r *http.Request, reason auth.Reason, err error) error {
	as := refusals[reason]
	h.Set("Cache-Control", "no-store")
	switch {
	case as.status == http.StatusUnauthorized || as.bearer != "":
		h.Set("WWW-Authenticate", challenge(as))
	case as.status == http.StatusServiceUnavailable, as == busy:
		h.Set("Retry-After", strconv.Itoa(int(waitFor(err)/time.Second)))
	case reason == reasonVersion:
		h.Set("Sec-WebSocket-Version", "13")
	case r.ProtoMajor > 1: // the following are headers of the connection
	case reason == reasonUpgrade:
		h.Set("Upgrade", "websocket")
		h.Set("Connection", "Upgrade")
	case reason == reasonHandshake, reason == reasonUpstream:
		// What follows on the connection may be the rest of a smuggled request,
		// or frames for a tunnel that is none.
		h.Set("Connection", "close")
	}
	return caddyhttp.Error(as.status, &auth.RefusedError{Reason: reason, Err: detailOf(err)})
}

// challenge returns the WWW-Authenticate of RFC 6750 section 3.
func challenge(r refusal) string {
	if r.bearer == "" {
		return `Bearer realm="websocket"`
	}
	return `Bearer realm="websocket", error="` + r.bearer + `"`
}

// waitFor returns when a client should try again, in whole seconds.
func waitFor(err error) time.Duration {
	if outage, ok := errors.AsType[*auth.OutageError](err); ok && outage.RetryAfter > 0 {
		return wholeSeconds(outage.RetryAfter)
	}
	if locked, ok := errors.AsType[*lockedOutError](err); ok {
		return wholeSeconds(time.Until(locked.until))
	}
	return retryAfter
}

// wholeSeconds rounds up, so that nobody comes back too early.
func wholeSeconds(d time.Duration) time.Duration {
	return max((d + time.Second - 1).Truncate(time.Second), time.Second)
}
