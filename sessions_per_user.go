package websocketauth

import (
	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/dialect"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
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
func (s *socket) checkRoom(id *auth.Identity) error {
	limit := s.handler.perUser
	if limit == nil || limit.replace || id.Subject == "" || len(s.earlier()) < limit.max {
		return nil
	}
	return auth.Refuse(reasonTooMany, "this user has as many sockets as sessions_per_user allows")
}

// makeRoom ends the user's oldest sockets, if there are too many with s. It is
// called when the application has taken s: one that comes to nothing must not
// cost a socket that works. The caller holds no lock.
func (s *socket) makeRoom() {
	limit, id := s.handler.perUser, s.current()
	if limit == nil || !limit.replace || id == nil || id.Subject == "" || s.isOver() {
		return
	}
	earlier := s.earlier()
	for _, old := range earlier[:max(len(earlier)-limit.max+1, 0)] {
		old.mu.Lock()
		end := old.translateLocked(dialect.Forbidden, "replaced", endReplaced, nil)
		old.mu.Unlock()
		old.endAs(end)
	}
}

// earlier returns the sockets of the same user and site that became the user's
// before s, the oldest first. Those do not count that are being ended. It takes
// their locks, while the caller may hold that of s: always of later ones first.
func (s *socket) earlier() (live []*socket) {
	for _, found := range sockets.Before(&s.session) {
		if old, ok := found.Socket.(*socket); ok && !old.isEnding() {
			live = append(live, old)
		}
	}
	return live
}

// isEnding tells whether no message passes any more.
func (s *socket) isEnding() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over || s.gate != nil && s.gate.Ending()
}
