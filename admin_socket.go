package websocketauth

import (
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/dialect"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/session"
)

// What a socket does, as the admin API calls it.
const (
	stateOpening   = "opening"   // the application has not answered the handshake
	statePending   = "pending"   // nobody has logged in
	stateOpen      = "open"      // messages pass
	stateSuspended = "suspended" // they wait for a new credential
	stateClosing   = "closing"   // none passes any more
)

// causeAdmin is why a socket ends that an operator has ended.
const causeAdmin proxy.Cause = "closed_by_admin"

// endAdmin is how it ends unless the operator says. Clients should not come
// back by themselves.
var endAdmin = proxy.End{Cause: causeAdmin, Code: proxy.CloseForbidden, Reason: string(causeAdmin)}

// sessionInfo is a socket as the admin API shows it. It holds no credential.
type sessionInfo struct {
	ID          string     `json:"id"`
	Site        string     `json:"site"`
	Subject     string     `json:"subject"`
	Issuer      string     `json:"issuer"`
	TokenID     string     `json:"jti"`
	SessionID   string     `json:"sid"`
	Source      string     `json:"source"`
	Verifier    string     `json:"verifier"`
	Dialect     string     `json:"dialect"`
	State       string     `json:"state"`
	ClientIP    string     `json:"client_ip"`
	OpenedAt    time.Time  `json:"opened_at"`
	ValidUntil  *time.Time `json:"valid_until"` // nil before login
	BytesIn     int64      `json:"bytes_in"`
	BytesOut    int64      `json:"bytes_out"`
	MessagesIn  int64      `json:"messages_in"`
	MessagesOut int64      `json:"messages_out"`
}

// info returns how the socket is at this moment.
func (s *socket) info() sessionInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := sessionInfo{
		ID: s.session.ID, Site: s.session.Site, Dialect: s.handler.dialectName,
		Source: s.source(), State: s.stateLocked(), ClientIP: s.request.clientIP, OpenedAt: s.session.Opened.UTC(),
	}
	if id := s.identity; id != nil {
		until := s.validUntilLocked().UTC()
		i.ValidUntil = &until
		i.Subject, i.Issuer, i.TokenID, i.SessionID = id.Subject, id.Issuer, id.TokenID, id.SessionID
		i.Verifier = id.Verifier
	}
	if s.gate != nil {
		stats := s.gate.Stats()
		i.BytesIn, i.BytesOut = stats.BytesIn, stats.BytesOut
		i.MessagesIn, i.MessagesOut = stats.MessagesIn, stats.MessagesOut
	}
	return i
}

func (s *socket) stateLocked() string {
	switch {
	case s.over:
		return stateClosing
	case s.identity == nil:
		return statePending
	case s.gate == nil:
		return stateOpening
	case s.gate.State() == proxy.StateSuspended:
		return stateSuspended
	}
	return stateOpen
}

// validUntilLocked returns until when the identity counts: no longer than an
// operator has let it.
func (s *socket) validUntilLocked() time.Time {
	if !s.due.IsZero() {
		return s.due
	}
	return s.identity.ValidUntil
}

// expiryUnderLocked returns when the credential counts as ended, within the
// jitter of p. What an operator has ended has no jitter: the grace begins at
// that moment.
func (s *socket) expiryUnderLocked(p *session.Policy) time.Time {
	if !s.due.IsZero() {
		return s.due
	}
	return p.Expiry(s.since, s.identity.ValidUntil, s.random)
}

// endByAdmin ends the socket, and reports whether it had not been ended
// before. With a code of the operator's own the dialect is not asked: its
// words might say something else. It does not wait.
func (s *socket) endByAdmin(code proxy.CloseCode, reason string) bool {
	end, first := s.endOfAdmin(code, reason)
	if first {
		s.endAs(end)
	}
	return first
}

// endOfAdmin returns how the socket ends, unless it has been ended before.
func (s *socket) endOfAdmin(code proxy.CloseCode, reason string) (end proxy.End, first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return proxy.End{}, false
	}
	end = endAdmin
	if code == proxy.CloseNone {
		end = s.translateLocked(dialect.Forbidden, end.Reason, end, nil)
	} else {
		end.Code = code
	}
	if reason != "" {
		end.Reason = reason
	}
	s.over = true
	return end, true
}

// queue has the client told m, and returns the gate that is to be flushed for
// it. It returns nil where nothing may be said: nobody has logged in, or the
// credential has ended. It does not wait.
func (s *socket) queue(m proxy.Message) *proxy.Gate {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stateLocked() != stateOpen {
		return nil
	}
	s.gate.Queue(m)
	return s.gate
}

// expireNow has the credential count as ended, so that the expiry policy acts:
// the socket is closed or, where it may be renewed, suspended until a
// credential comes that ends later than this one would have. acted tells
// whether there was anything to do: not before login, nor where expiry is
// ignored or the time is up already. The gate, if there is one, is to be
// flushed. It does not wait.
func (s *socket) expireNow() (g *proxy.Gate, acted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now().Round(0)
	if s.over || s.identity == nil || !now.Before(s.expiryLocked()) {
		return nil, false
	}
	s.due = now
	renew, at, limit := s.limitsLocked()
	if renew == nil && (limit != session.ByExpiry || now.Before(at)) {
		s.due = time.Time{}
		return nil, false
	}
	if s.gate == nil {
		return nil, true // open sees it
	}
	if renew != nil && renew.Warn > 0 && !s.prompted {
		s.prompted = true
		s.gate.Queue(s.wordsLocked(dialect.Prompt, "expiring", nil).Messages...)
	}
	s.tickLocked()
	return s.gate, true
}

// flush sends what is to be said, which may take as long as the client lets
// it. A panic, which a dialect that is no part of this module may cause, ends
// the socket.
func (s *socket) flush(g *proxy.Gate) {
	defer func() {
		if p := recover(); p != nil {
			s.handler.log().Error("panic while telling a client", zap.String("type", fmt.Sprintf("%T", p)), zap.String("session", s.session.ID))
			_ = g.Close()
		}
	}()
	g.Flush()
}
