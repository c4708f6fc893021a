package websocketauth

import (
	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/dialect"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/session"
)

// perUserLimit is how many sockets of a site one identity may have.
type perUserLimit struct {
	max     int
	replace bool // the oldest goes, instead of the new one being refused
}

// endReplaced is how a socket ends for the sake of a newer one. Its client must
// not come back by itself: it would replace the newer one in turn.
var endReplaced = proxy.End{Cause: "replaced", Code: proxy.CloseForbidden, Reason: "replaced"}

// checkRoom refuses s, which is registered as id's, if there is no room beside
// those that became the user's before it: of two at the same moment one gets in.
func (h *Handler) checkRoom(s *session.Session, id *auth.Identity) error {
	limit := h.perUser
	if limit == nil || limit.replace || id.Subject == "" || len(earlierThan(s)) < limit.max {
		return nil
	}
	return auth.Refuse(reasonTooMany, "this user has as many sockets as sessions_per_user allows")
}

// makeRoom ends the user's oldest sockets, if there are too many with s. It is
// called when the application has taken s: one that comes to nothing must not
// cost a socket that works. The caller holds no lock.
func (s *socket) makeRoom() {
	if id := s.current(); id != nil && !s.isOver() {
		s.handler.makeRoom(&s.session, id)
	}
}

// makeRoom is that of a socket for any session s, which is id's.
func (h *Handler) makeRoom(s *session.Session, id *auth.Identity) {
	limit := h.perUser
	if limit == nil || !limit.replace || id.Subject == "" {
		return
	}
	earlier := earlierThan(s)
	for _, old := range earlier[:max(len(earlier)-limit.max+1, 0)] {
		old.replace()
	}
}

// replace ends the socket for the sake of a newer one.
func (s *socket) replace() bool {
	s.mu.Lock()
	end, first := s.translateLocked(dialect.Forbidden, "replaced", endReplaced, nil), !s.over
	s.mu.Unlock()
	s.endAs(end)
	return first
}

// earlierThan returns the sessions of the same user and site that became the
// user's before s, the oldest first. Those do not count that are being ended. It
// takes the locks of sockets, while the caller may hold that of s: always of
// later ones first.
func earlierThan(s *session.Session) (all []live) {
	for _, found := range sockets.Before(s) {
		if old, ok := found.Socket.(live); ok && !old.isEnding() {
			all = append(all, old)
		}
	}
	return all
}

// isEnding tells whether no message passes any more.
func (s *socket) isEnding() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over || s.gate != nil && s.gate.Ending()
}
