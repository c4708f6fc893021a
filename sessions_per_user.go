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

// makeRoom sees to it that s, which is registered as id's, has room beside
// those that were opened before it. Those count only that came before, so that
// of two at the same moment one gets in.
func (s *socket) makeRoom(id *auth.Identity) error {
	limit := s.handler.perUser
	if limit == nil || id.Subject == "" {
		return nil
	}
	earlier := sockets.Before(&s.session)
	if len(earlier) < limit.max {
		return nil
	}
	if !limit.replace {
		return auth.Refuse(reasonTooMany, "this user has as many sockets as sessions_per_user allows")
	}
	for _, old := range earlier[:len(earlier)-limit.max+1] {
		if other, ok := old.Socket.(*socket); ok {
			other.mu.Lock()
			end := other.translateLocked(dialect.Forbidden, "replaced", endReplaced, nil)
			other.mu.Unlock()
			other.endAs(end)
		}
	}
	return nil
}
