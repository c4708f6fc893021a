package websocketauth

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/dialect"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

// opening is what a dialect is told of a handshake. The credential has been
// taken out of it.
func (h *Handler) opening(r *http.Request, q *request) dialect.Opening {
	return dialect.Opening{
		Subprotocol: h.agreed(r, ""),
		Query:       r.URL.RawQuery,
		Early:       q.identity != nil || h.first != nil && h.first.early,
		Every:       h.every != nil,
	}
}

// agreed returns the subprotocol that the gate answers by itself: the
// dialect's if the client offers one, else answer, or the first offered.
func (h *Handler) agreed(r *http.Request, answer string) string {
	if h.dialect != nil {
		offered := proxy.Protocols(r.Header)
		for _, protocol := range h.dialect.Traits().Subprotocols {
			if slices.Contains(offered, protocol) {
				return protocol
			}
		}
	}
	if answer == "" {
		answer = proxy.FirstProtocol(r.Header)
	}
	return answer
}

// wordsLocked returns what the dialect says when event happens. A panic, which
// a dialect that is no part of this module may cause, is silence: whoever calls
// this holds the lock without which the socket could not be ended any more.
func (s *socket) wordsLocked(event dialect.Event, reason string, context any) (words dialect.Words) {
	if s.speaker == nil {
		return dialect.Words{}
	}
	defer func() {
		if p := recover(); p != nil {
			words = dialect.Words{}
			s.handler.log().Error("panic in a dialect", zap.String("type", fmt.Sprintf("%T", p)), zap.String("session", s.session.ID))
		}
	}()
	facts := dialect.Facts{Now: time.Now(), Reason: reason, Session: s.session.ID, Context: context}
	if s.identity != nil {
		facts.ExpiresAt, facts.Subject = s.validUntilLocked(), s.identity.Subject
	}
	return s.speaker.Say(event, facts)
}

// translateLocked has the dialect say how the socket ends. The dialect's close
// code counts, because clients differ in what they make of one. reason is the
// word for it.
func (s *socket) translateLocked(event dialect.Event, reason string, e proxy.End, context any) proxy.End {
	words := s.wordsLocked(event, reason, context)
	e.Farewell = words.Messages
	if words.Code != proxy.CloseNone {
		e.Code = words.Code
	}
	return e
}

// translate has the dialect say an end that the gate finds out by itself.
func (s *socket) translate(e proxy.End) proxy.End {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.translateLocked(dialect.Failed, e.Reason, e, nil)
}

// eventOf returns what a refusal is to a dialect.
func eventOf(reason auth.Reason) dialect.Event {
	if reason == reasonUpstream {
		return dialect.Failed // it says nothing of the credential
	}
	switch refusals[reason].code { //nolint:exhaustive // all others are failures
	case proxy.CloseUnauthorized:
		return dialect.Refused
	case proxy.CloseForbidden:
		return dialect.Forbidden
	case proxy.CloseTimeout:
		return dialect.Timeout
	case proxy.CloseTryAgainLater:
		return dialect.Unavailable
	}
	return dialect.Failed
}

// refuse ends a socket that was accepted, because of err. context is of the
// message that is answered, nil if none is. It never waits.
func (s *socket) refuse(err error, context any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuseLocked(err, context)
}

func (s *socket) refuseLocked(err error, context any) {
	if s.over {
		return
	}
	s.over = true
	end := s.endOfLocked(err, context)
	if s.gate == nil {
		if s.endsAs == nil {
			s.endsAs = &end
		}
		return
	}
	s.gate.End(end)
}

// endOfLocked returns how the socket ends because of err, and writes it down.
func (s *socket) endOfLocked(err error, context any) proxy.End {
	reason := reasonOf(err)
	q := s.request
	q.mu.Lock()
	q.reason = reason
	q.mu.Unlock()
	s.handler.observeRefused(s.handshake, q, s.placeOfLocked(reason), reason, err)
	return s.endForLocked(reason, context)
}

// endRefused ends a socket whose client was accepted, if a handler further in
// has refused it, and reports whether it did. That handler has written it
// down.
func (s *socket) endRefused(err error) bool {
	if _, ok := errors.AsType[*auth.RefusedError](err); !ok || !s.request.accepted {
		return false
	}
	s.mu.Lock()
	end := s.endForLocked(reasonOf(err), nil)
	s.mu.Unlock()
	s.endAs(end)
	return true
}

// endForLocked returns how the socket ends for a reason.
func (s *socket) endForLocked(reason auth.Reason, context any) proxy.End {
	as := refusals[reason]
	end := proxy.End{Cause: proxy.Cause(reason), Code: as.code, Reason: as.word}
	if end.Code == proxy.CloseNone {
		end.Code, end.Reason = proxy.ClosePolicyViolation, "bad_message"
	}
	switch end.Code {
	case proxy.CloseInvalidPayload, proxy.ClosePolicyViolation, proxy.CloseMessageTooBig:
		return end // the client is to blame, in any dialect
	default:
		return s.translateLocked(eventOf(reason), end.Reason, end, context)
	}
}

// brokenBy returns the refusal for what a gate says of a message that it
// cannot read.
func brokenBy(err error) error {
	reason := reasonInternal
	switch {
	case errors.Is(err, proxy.ErrMessageTooBig):
		reason = reasonMessageSize
	case errors.Is(err, proxy.ErrNotUTF8):
		reason = reasonMessageText
	case errors.Is(err, proxy.ErrHoldFull):
		reason = reasonHoldFull
	case errors.Is(err, proxy.ErrTooManyFragments), errors.Is(err, proxy.ErrTooManyMessages),
		errors.Is(err, dialect.ErrAmbiguous), errors.Is(err, dialect.ErrProtocol):
		reason = reasonBadMessage
	}
	return &auth.RefusedError{Reason: reason, Err: err}
}
