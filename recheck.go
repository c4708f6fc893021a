package websocketauth

import (
	"context"
	"net/http"
	"slices"
	"time"

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
	for _, one := range livesOf(session.Filter{}) {
		one.recheckBy(a)
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

// recheckLate judges a socket that has become somebody's after a reload, or
// whose handshake was still under way, under the configuration of before it:
// recheck may not have seen it.
func (s *socket) recheckLate() {
	own, current := s.handler.app, announced.app.Load()
	switch {
	case current == nil && own.held.Load() == nil && s.handler.recheck:
		s.endRechecked()
	case current != nil && current.generation > own.generation:
		s.recheckBy(current)
	}
}

// endUnguarded ends the sockets that ask to be checked again, when nothing is
// left that would guard them.
func endUnguarded() {
	for _, one := range livesOf(session.Filter{}) {
		one.endUnguarded()
	}
}

func (s *socket) endUnguarded() {
	if s.handler.recheck {
		s.endRechecked()
	}
}

// recheckBy judges the socket by the handlers of a newer configuration. A panic
// ends it.
func (s *socket) recheckBy(a *App) {
	if s.handler.app == a || !s.handler.recheck && !a.rechecks.Load() {
		return // it is a's own, or nobody asks for it
	}
	defer func() {
		if p := recover(); p != nil {
			s.refuse(auth.Refuse(reasonInternal, "panic while checking a socket again"), nil)
		}
	}()
	s.mu.Lock()
	id, settled := s.identity, s.settled
	s.mu.Unlock()
	if id == nil || !settled {
		// It has to log in yet; or the handlers behind have the handshake, and may
		// be changing it. It is judged when it has, and when they are done.
		return
	}
	guard := guardOf(s.handshake, a.servers())
	switch {
	case guard == nil && s.handler.recheck:
	case guard != nil && guard.recheck && !guard.wouldAdmit(s.handshake, s.source(), id):
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
	server := serverOf(r, servers)
	if server == nil {
		return nil
	}
	walk := guardWalk{request: asItCame(r, server)}
	walk.routes(server.Routes)
	return walk.found
}

// serverOf returns the server that the handshake r would come to: the one that
// listens where its own did, because the names that a Caddyfile gives servers
// move when a site is added; else the one of the same name.
func serverOf(r *http.Request, servers *caddyhttp.App) *caddyhttp.Server {
	old, ok := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok || servers == nil {
		return nil
	}
	for _, address := range old.Listen {
		for _, server := range servers.Servers {
			if slices.Contains(server.Listen, address) {
				return server
			}
		}
	}
	return servers.Servers[old.Name()]
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

// wouldAdmit tells whether h would let in what r has opened, which is id's by a
// credential of this source, as far as can be told without the credential.
func (h *Handler) wouldAdmit(r *http.Request, source string, id *auth.Identity) bool {
	ambient := source == sourceCookie || h.sources.AmbientBefore(source) && isFromPage(r)
	if !h.InsecurePlaintext && !isPrivate(r) ||
		h.origins.Check(r, scheme(r), ambient) != nil || meet(h.rules, id) != nil {
		return false
	}
	return h.vouchesStill(r.Context(), id) == nil
}

// errCannotTell is for the verifiers that cannot tell.
var errCannotTell = auth.Refuse(auth.ReasonUnknownKey, "no configured verifier can tell whether the credential counts")

// vouchesStill asks the verifier of id whether it would vouch again, as far as
// can be told without the credential.
func (h *Handler) vouchesStill(ctx context.Context, id *auth.Identity) error {
	now := time.Now()
	refusal := error(errCannotTell)
	for _, v := range h.verifiers {
		// Of those of this name, it knows itself whether it is the one.
		checker, ok := v.Verifier.(auth.Rechecker)
		if !ok || v.name != id.Verifier {
			continue
		}
		err := checker.Recheck(ctx, id, now)
		if err == nil {
			return nil
		}
		refusal = err
	}
	return refusal
}
