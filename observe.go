package websocketauth

import (
	"errors"
	"net/http"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/session"
)

// What is worth telling is counted, logged and emitted as an event in this
// file, and under the same words: metrics, lines and events cannot disagree.

// notice is something that happens: what the log calls it, and the events.
type notice struct{ line, event string }

var (
	noticeOpened    = notice{"socket opened", "websocket_auth_opened"}
	noticeRefused   = notice{"request refused", "websocket_auth_refused"}
	noticeRenewed   = notice{"socket renewed", "websocket_auth_renewed"}
	noticeSuspended = notice{"socket suspended", "websocket_auth_suspended"}
	noticeResumed   = notice{"socket resumed", "websocket_auth_resumed"}
	noticeEnded     = notice{"socket ended", "websocket_auth_ended"}
	noticeRevoked   = notice{"credentials revoked", "websocket_auth_revoked"}
	noticeLockedOut = notice{"client address locked out", "websocket_auth_locked_out"}
)

// notify writes the line of n and emits its event. fields are asked for if
// anybody wants them.
func notify(log *zap.Logger, level zapcore.Level, n notice, fields func() []zap.Field) {
	line, wanted := log.Check(level, n.line), announced.wants(n.event)
	if line == nil && !wanted {
		return
	}
	all := fields()
	if line != nil {
		line.Write(zap.Inline(fieldList(all)))
	}
	if wanted {
		announced.emit(n.event, all)
	}
}

// fieldList writes several fields as if each were given to the logger: Caddy's
// filter encoder is copied for every field that it is given.
type fieldList []zap.Field

// MarshalLogObject implements [zapcore.ObjectMarshaler].
func (l fieldList) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	for _, field := range l {
		field.AddTo(enc)
	}
	return nil
}

// tally is what the metrics know of one socket, guarded by the socket's lock.
type tally struct {
	state    proxy.State // that it is counted in,
	counted  bool        // if it is
	finished bool        // it is not to be counted any more
	traffic  *meter
}

// observeUpgradedLocked counts a socket whose handshake is done. The caller
// holds s.mu.
func (s *socket) observeUpgradedLocked() {
	counts.handshakes.WithLabelValues(resultAccepted, s.request.presented, "").Inc()
	s.tally.traffic = counts.traffic.add(s.gate)
	s.countLocked()
}

// countLocked counts the socket in the state that its gate is in. It is called
// after each change of that: the last call is after the last change, whatever
// goes on beside. The caller holds s.mu.
func (s *socket) countLocked() {
	t := &s.tally
	if t.finished || s.gate == nil {
		return
	}
	state := s.gate.State()
	if t.counted && t.state == state {
		return
	}
	if t.counted {
		counts.states[t.state].Add(-1)
	}
	t.state, t.counted = state, true
	counts.states[state].Add(1)
}

// uncount takes the socket out of what there is, whatever has become of it.
func (s *socket) uncount() {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := &s.tally
	t.finished = true
	if t.counted {
		counts.states[t.state].Add(-1)
		counts.traffic.remove(t.traffic)
		t.counted = false
	}
}

// observeFailed counts a handshake that was let on and has come to nothing,
// unless a handler further in has refused it and counted that.
func (s *socket) observeFailed(err error) {
	if _, refused := errors.AsType[*auth.RefusedError](err); refused {
		return
	}
	counts.handshakes.WithLabelValues(resultFailed, s.request.presented, "").Inc()
}

// observeAborted tells of a socket whose handler has panicked.
func (s *socket) observeAborted() {
	s.mu.Lock()
	opened := s.tally.counted
	s.mu.Unlock()
	if opened {
		s.observeEnded(proxy.End{Cause: proxy.CauseProxyClosed, Code: proxy.CloseInternalError})
		return
	}
	s.observeFailed(nil)
}

// observeOpened tells that the socket has an identity, and messages pass.
func (s *socket) observeOpened() {
	s.mu.Lock()
	id := s.identity
	s.mu.Unlock()
	source := s.source()
	counts.opened.WithLabelValues(source, s.handler.dialectName, s.handler.verifierName(id)).Inc()
	if source == sourceFirstMessage || source == sourceEveryMessage {
		counts.logins.WithLabelValues(resultAccepted, source, "").Inc()
	}
	notify(s.handler.log(), zapcore.InfoLevel, noticeOpened, s.fields)
}

// observeRenewed tells that the socket has a credential that ends later.
// suspended: it waited for it.
func (s *socket) observeRenewed(suspended bool) {
	counts.renewals.WithLabelValues(resultAccepted, "").Inc()
	notify(s.handler.log(), zapcore.InfoLevel, noticeRenewed, func() []zap.Field {
		return append(s.fields(), zap.Bool("suspended", suspended))
	})
	if suspended {
		counts.resumed.Inc()
		notify(s.handler.log(), zapcore.InfoLevel, noticeResumed, s.fields)
	}
}

// observeSuspendedLocked tells that messages wait, until graceOver at the
// most. The caller holds s.mu.
func (s *socket) observeSuspendedLocked(graceOver time.Time) {
	s.countLocked()
	counts.suspended.Inc()
	notify(s.handler.log(), zapcore.InfoLevel, noticeSuspended, func() []zap.Field {
		return append(s.fieldsLocked(), zap.Time("until", graceOver))
	})
}

// observeEnded tells how the socket has ended.
func (s *socket) observeEnded(end proxy.End) {
	s.uncount()
	duration := time.Since(s.session.Opened)
	counts.ended.WithLabelValues(string(end.Cause)).Inc()
	counts.durations.Observe(duration.Seconds())
	level := zapcore.InfoLevel
	if s.current() == nil { // nobody has logged in: a refusal has its own line
		level = zapcore.DebugLevel
	}
	notify(s.handler.log(), level, noticeEnded, func() []zap.Field {
		fields := append(s.fields(),
			zap.String("cause", string(end.Cause)),
			zap.Uint16("code", uint16(end.Code)),
			zap.Duration("duration", duration),
		)
		s.mu.Lock()
		g := s.gate
		s.mu.Unlock()
		if g == nil {
			return fields
		}
		stats := g.Stats()
		return append(fields,
			zap.Int64("bytes_in", stats.BytesIn), zap.Int64("bytes_out", stats.BytesOut),
			zap.Int64("messages_in", stats.MessagesIn), zap.Int64("messages_out", stats.MessagesOut),
		)
	})
}

// observeRefused counts a refusal and tells of it: of one client's only of
// some in a second.
func (h *Handler) observeRefused(r *http.Request, q *request, at place, reason auth.Reason, err error) {
	h.countRefused(q, at, reason)
	suppressed, ok := h.state.refusalLog.allow(clientNetwork(q.clientIP), time.Now())
	if !ok {
		return
	}
	level := zapcore.InfoLevel
	if as := refusals[reason]; as.status >= http.StatusInternalServerError {
		level = zapcore.ErrorLevel
	}
	notify(h.log(), level, noticeRefused, func() []zap.Field {
		fields := append(h.requestFields(r, q), zap.String("reason", string(reason)), zap.Error(detailOf(err)))
		fields = append(fields, tunnelledFields(err)...)
		if suppressed > 0 {
			fields = append(fields, zap.Uint32("suppressed", suppressed))
		}
		return fields
	})
}

// observeRefused is the handler's for a message on the socket, which goes on.
func (s *socket) observeRefused(reason auth.Reason, err error) {
	s.mu.Lock()
	at := s.placeOfLocked(reason)
	s.mu.Unlock()
	s.handler.observeRefused(s.handshake, s.request, at, reason, err)
}

// observeRevoked tells of a revocation that was made on this node, and how many
// sockets it has ended here. Others are counted alone.
func (a *App) observeRevoked(r session.Revocation, ended int) {
	notify(a.logger, zapcore.InfoLevel, noticeRevoked, func() []zap.Field {
		fields := []zap.Field{zap.String("issuer", r.Issuer), zap.Int("ended", ended), zap.Time("until", r.Until)}
		for _, field := range []struct{ name, text string }{
			{"subject", r.Subject}, {"jti", r.TokenID}, {"sid", r.SessionID}, {"reason", r.Reason},
		} {
			if field.text != "" {
				fields = append(fields, zap.String(field.name, auth.HeaderSafe(field.text)))
			}
		}
		return fields
	})
}

// observeLockedOut tells that a client address has been locked out now.
func (a *App) observeLockedOut(address string, rule session.LockoutRule) {
	counts.lockouts.Inc()
	notify(a.logger, zapcore.WarnLevel, noticeLockedOut, func() []zap.Field {
		return []zap.Field{zap.String("client_ip", address), zap.Duration("duration", rule.Duration)}
	})
}

// observeAdmitted counts a request that is no handshake and goes on.
func (q *request) observeAdmitted() {
	counts.requests.WithLabelValues(resultAccepted, q.presented, "").Inc()
}

// observeVerified notes how long a verifier has taken to say err.
func (v namedVerifier) observeVerified(since time.Time, err error) {
	took := time.Since(since).Seconds()
	if err == nil {
		v.accepted.Observe(took)
		return
	}
	result := resultRefused
	switch reason := reasonOf(err); reason { //nolint:exhaustive // all others are refusals
	case reasonUnavailable:
		result = resultUnavailable
	case reasonInternal:
		result = resultFailed
	}
	counts.verifications.WithLabelValues(v.name, result).Observe(took)
}
