package websocketauth

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/session"
)

// The reasons for a refusal that only websocket_logout gives.
const (
	reasonMethod auth.Reason = "method_not_allowed"
	reasonFlood  auth.Reason = "too_many_logouts"
)

// logoutAnswer is how a refused logout looks to the provider: a status, and a
// JSON object with these texts, which hold nothing of the request.
type logoutAnswer struct {
	status      int
	Error       string `json:"error"`
	Description string `json:"error_description"`
}

// badLogout is the answer to what the provider must not send unchanged again
// (section 2.8 of OpenID Connect Back-Channel Logout 1.0).
func badLogout(description string) logoutAnswer {
	return logoutAnswer{http.StatusBadRequest, "invalid_request", description}
}

// logoutAnswers is the one table of what a refused provider is told.
var logoutAnswers = map[auth.Reason]logoutAnswer{
	reasonMethod:             {http.StatusMethodNotAllowed, "invalid_request", "use POST"},
	auth.ReasonLogoutRequest: badLogout("not a form with exactly one logout_token"),
	auth.ReasonMalformed:     badLogout("logout_token is not a signed JWT"),
	auth.ReasonAlgorithm:     badLogout("alg is not accepted"),
	auth.ReasonUnknownKey:    badLogout("kid is not known"),
	auth.ReasonSignature:     badLogout("the signature is bad"),
	auth.ReasonIssuer:        badLogout("iss is not accepted"),
	auth.ReasonAudience:      badLogout("aud is not accepted"),
	auth.ReasonType:          badLogout("not a logout token"),
	auth.ReasonExpired:       badLogout("exp is over, or iat too long ago"),
	auth.ReasonNotYetValid:   badLogout("iat or nbf is in the future"),
	auth.ReasonClaims:        badLogout("a claim is missing or malformed"),
	auth.ReasonReplayed:      badLogout("jti has been used before"),
	reasonFlood:              {http.StatusTooManyRequests, "temporarily_unavailable", "too many requests"},
	reasonUnavailable:        {http.StatusServiceUnavailable, "temporarily_unavailable", "try again later"},
	reasonInternal:           {http.StatusInternalServerError, "server_error", "internal error"},
}

// logoutReasonOf returns the reason word of an error.
func logoutReasonOf(err error) auth.Reason {
	if refused, ok := errors.AsType[*auth.RefusedError](err); ok {
		if _, known := logoutAnswers[refused.Reason]; known {
			return refused.Reason
		}
		return reasonInternal
	}
	_, outage := errors.AsType[*auth.OutageError](err)
	if outage || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return reasonUnavailable
	}
	return reasonInternal
}

// refuse tells both sides: the provider what it can do about it, the operator
// which check has failed.
func (h *LogoutHandler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	reason := logoutReasonOf(err)
	answer := logoutAnswers[reason]
	h.logRefusal(r, reason, answer.status, err)
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Type", "application/json")
	switch answer.status {
	case http.StatusMethodNotAllowed:
		header.Set("Allow", http.MethodPost)
	case http.StatusTooManyRequests:
		header.Set("Retry-After", "1")
	case http.StatusServiceUnavailable:
		header.Set("Retry-After", strconv.Itoa(int(waitFor(err)/time.Second)))
	}
	if r.ProtoMajor == 1 {
		// Else the server reads on, to find the next request behind a body.
		header.Set("Connection", "close")
	}
	w.WriteHeader(answer.status)
	_ = json.NewEncoder(w).Encode(answer) // there is nobody left to tell
}

// logRefusal writes one line; of one client's only some in a second.
func (h *LogoutHandler) logRefusal(r *http.Request, reason auth.Reason, status int, err error) {
	level := zapcore.InfoLevel
	if status >= http.StatusInternalServerError {
		level = zapcore.ErrorLevel
	}
	ip := clientIP(r)
	suppressed, ok := h.state.refusalLog.allow(clientNetwork(ip), time.Now())
	if !ok {
		return
	}
	if c := h.logger.Check(level, "logout refused"); c != nil {
		fields := []zap.Field{
			zap.String("reason", string(reason)),
			zap.String("site", h.state.sites.of(h, r)),
			zap.String("client_ip", ip),
			zap.Error(detailOf(err)),
		}
		if suppressed > 0 {
			fields = append(fields, zap.Uint32("suppressed", suppressed))
		}
		c.Write(fields...)
	}
}

// warnUnnamed says once that logouts name sessions that access tokens do not.
// Then the sockets of somebody who has logged out live on.
func (h *LogoutHandler) warnUnnamed(out *auth.Logout, done logoutDone) {
	if done.revoked.SessionID == "" || done.ended > 0 || out.Subject == "" {
		return
	}
	ofUser := sockets.Find(session.Filter{Issuer: out.Issuer, OfIssuer: true, Subject: out.Subject})
	if slices.ContainsFunc(ofUser, func(s *session.Session) bool { return sockets.IdentityOf(s).SessionID == "" }) {
		h.state.warnUnnamed.Do(func() {
			h.logger.Warn("a logout names a session by its sid, and has ended no socket, because tokens of this user have " +
				"no sid: set all_sessions, or have the provider put the sid into access tokens, see docs/logout.md")
		})
	}
}

// logDone writes what a logout has done. Who it was stays out of the log:
// sockets that end have lines of their own.
func (h *LogoutHandler) logDone(r *http.Request, done logoutDone) {
	c := h.logger.Check(zapcore.InfoLevel, "logout done")
	if c == nil {
		return
	}
	by := "subject"
	if done.revoked.SessionID != "" {
		by = "sid"
	}
	c.Write(
		zap.String("site", h.state.sites.of(h, r)),
		zap.String("client_ip", clientIP(r)),
		zap.String("issuer", done.revoked.Issuer),
		zap.String("by", by),
		zap.Int("ended", done.ended),
	)
}
