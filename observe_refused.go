package websocketauth

import (
	"net/http"

	"go.uber.org/zap"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

// place is where something is refused, and so by which metric it is counted.
type place int

const (
	placeHandshake place = iota
	placeHTTP            // a request that is no handshake
	placeLogin           // by message
	placeRenewal
	placeMessage // of an open socket
	placeSocket  // counted when the socket ends
)

// placeOf returns where a request is refused.
func (h *Handler) placeOf(r *http.Request, q *request) place {
	switch {
	case q.accepted:
		return placeSocket
	case q.kind == kindUpgrade:
		return placeHandshake
	case h.isRenewal(r, proxy.KindPlain):
		return placeRenewal
	}
	return placeHTTP
}

// placeOfLocked returns where something is refused on an accepted socket. The
// caller holds s.mu.
func (s *socket) placeOfLocked(reason auth.Reason) place {
	if s.identity == nil {
		return placeLogin
	}
	switch reason {
	case reasonBadMessage, reasonMessageSize, reasonMessageText, reasonHoldFull,
		reasonUpstream, reasonInternal, auth.ReasonMissing:
		return placeMessage
	default: // it is of a credential, or of none having come in time
		return placeRenewal
	}
}

// countRefused counts a refusal.
func (h *Handler) countRefused(q *request, at place, reason auth.Reason) {
	word := string(reason)
	switch at {
	case placeHandshake:
		counts.handshakes.WithLabelValues(resultRefused, q.presented, word).Inc()
	case placeHTTP:
		counts.requests.WithLabelValues(resultRefused, q.presented, word).Inc()
	case placeLogin:
		counts.logins.WithLabelValues(resultRefused, h.loginSource(), word).Inc()
	case placeRenewal:
		counts.renewals.WithLabelValues(resultRefused, word).Inc()
	case placeMessage:
		counts.messagesRefused.WithLabelValues(word).Inc()
	case placeSocket:
	}
}

// loginSource returns where h looks for credentials in messages.
func (h *Handler) loginSource() string {
	if h.every != nil {
		return sourceEveryMessage
	}
	return sourceFirstMessage
}

// sourcePolling stands for the source where a client logs in, or has logged in,
// by the body of a request of the polling transport.
const sourcePolling = "polling"

// source returns where the credential of the socket's identity was.
func (s *socket) source() string {
	s.request.mu.Lock()
	defer s.request.mu.Unlock()
	return s.request.source
}

// verifierName returns what the configuration calls who has vouched for id. A
// verifier may write anything into an identity: only configured names are
// labels.
func (h *Handler) verifierName(id *auth.Identity) string {
	if id == nil {
		return ""
	}
	for _, v := range h.verifiers {
		if v.name == id.Verifier {
			return v.name
		}
	}
	return "other"
}

// requestFields are what each line about a request has that is no socket yet,
// or is one of an identity that does not count.
func (h *Handler) requestFields(r *http.Request, q *request) []zap.Field {
	q.mu.Lock()
	id, source := q.identity, q.source
	q.mu.Unlock()
	if source == "" {
		source = q.presented
	}
	return lineFields(q.session, h.site(r), q.clientIP, source, h.dialectName, id)
}

// fields are what each line about the socket has.
func (s *socket) fields() []zap.Field {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fieldsLocked()
}

func (s *socket) fieldsLocked() []zap.Field {
	fields := lineFields(s.session.ID, s.session.Site, s.request.clientIP, s.source(), s.handler.dialectName, s.identity)
	if s.identity != nil {
		fields = append(fields, zap.Time("valid_until", s.validUntilLocked()))
	}
	return fields
}

// lineFields are what each line has. What is not known is left out. Control
// characters are replaced: the encoders leave some of them as they are, which a
// terminal obeys.
func lineFields(session, site, ip, source, dialect string, id *auth.Identity) []zap.Field {
	if id == nil {
		id = new(auth.Identity)
	}
	texts := [...]struct{ name, text string }{
		{"session", session},
		{"site", site},
		{"client_ip", ip},
		{"source", source},
		{"dialect", dialect},
		{"verifier", id.Verifier},
		{"user", id.User},
		{"subject", id.Subject},
		{"issuer", id.Issuer},
	}
	fields := make([]zap.Field, 0, len(texts)+8)
	for _, t := range texts {
		if t.text != "" {
			fields = append(fields, zap.String(t.name, auth.HeaderSafe(t.text)))
		}
	}
	return fields
}
