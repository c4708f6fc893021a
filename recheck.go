package websocketauth

import (
	"context"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/dialect"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/session"
)

// endRechecked is how a socket ends that the configuration would refuse.
var endRechecked = proxy.End{Cause: "rechecked", Code: proxy.CloseForbidden, Reason: "forbidden"}

// recheck ends the sockets of before a reload that this configuration would
// refuse, where either configuration asks for that. It looks for the handler
// that their handshakes would come to now; a socket whose handshake would come
// to none has lost its guard, and ends.
func (a *App) recheck() {
	servers := a.servers()
	if servers == nil {
		return
	}
	for _, found := range sockets.Find(session.Filter{}) {
		if s, ok := found.Socket.(*socket); ok && s.handler.app != a {
			s.recheckBy(servers)
		}
	}
}

// servers returns the HTTP app of a's configuration, nil if there is none.
func (a *App) servers() *caddyhttp.App {
	loaded, err := a.ctx.AppIfConfigured("http")
	if err != nil {
		return nil
	}
	servers, _ := loaded.(*caddyhttp.App)
	return servers
}

// recheckLate judges a socket that has become somebody's after a reload,
// under the configuration of before it: recheck may not have seen it.
func (s *socket) recheckLate() {
	own, current := s.handler.app, announced.app.Load()
	switch {
	case current == nil && own.held.Load() == nil && s.handler.recheck:
		s.endRechecked()
	case current != nil && current.generation > own.generation:
		if servers := current.servers(); servers != nil {
			s.recheckBy(servers)
		}
	}
}

// endUnguarded ends the sockets that ask to be checked again, when nothing is
// left that would guard them.
func endUnguarded() {
	for _, found := range sockets.Find(session.Filter{}) {
		if s, ok := found.Socket.(*socket); ok && s.handler.recheck {
			s.endRechecked()
		}
	}
}

// recheckBy judges the socket by the handlers of other servers. A panic ends
// it.
func (s *socket) recheckBy(servers *caddyhttp.App) {
	defer func() {
		if p := recover(); p != nil {
			s.refuse(auth.Refuse(reasonInternal, "panic while checking a socket again"), nil)
		}
	}()
	id := s.current()
	if id == nil {
		return // it has to log in yet, and will not for long
	}
	guard := guardOf(s.handshake, servers)
	switch {
	case guard == nil && s.handler.recheck:
	case guard != nil && guard.recheck && !guard.wouldAdmit(s.handshake.Context(), id):
	default:
		return
	}
	s.endRechecked()
}

// endRechecked ends the socket.
func (s *socket) endRechecked() {
	s.mu.Lock()
	end := s.translateLocked(dialect.Forbidden, "forbidden", endRechecked, nil)
	s.mu.Unlock()
	s.handler.log().Info("socket refused by the new configuration", zap.String("session", s.session.ID))
	s.endAs(end)
}

// guardOf returns the handler that the handshake r would come to, nil if it
// would come to none.
func guardOf(r *http.Request, servers *caddyhttp.App) *Handler {
	old, ok := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok {
		return nil
	}
	server := servers.Servers[old.Name()]
	if server == nil {
		return nil
	}
	walk := guardWalk{request: caddyhttp.PrepareRequest(r.Clone(r.Context()), caddy.NewReplacer(), nil, server)}
	walk.routes(server.Routes)
	return walk.found
}

// guardWalk goes the way of a request through the routes, as far as it can be
// foreseen, and looks for the first handler that verifies.
type guardWalk struct {
	request *http.Request
	found   *Handler
}

func (g *guardWalk) routes(routes caddyhttp.RouteList) {
	walkRoutes(routes, g.request, func(handler caddyhttp.MiddlewareHandler) {
		if h, ok := handler.(*Handler); ok && g.found == nil && len(h.verifiers) > 0 {
			g.found = h
		}
	})
}

// wouldAdmit tells whether h would let id in, as far as can be told without
// the credential.
func (h *Handler) wouldAdmit(ctx context.Context, id *auth.Identity) bool {
	if meet(h.rules, id) != nil {
		return false
	}
	now := time.Now()
	for _, v := range h.verifiers {
		if checker, ok := v.Verifier.(auth.Rechecker); ok && v.name == id.Verifier && checker.Recheck(ctx, id, now) == nil {
			return true
		}
	}
	return false
}
