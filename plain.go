package websocketauth

import (
	"errors"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

// extendedVar is the variable in which reverse_proxy keeps the body of an
// extended CONNECT. While it is there, reverse_proxy makes a tunnel of that
// body, whatever has become of the request since.
const extendedVar = "extended_connect_websocket_body"

// isExtended tells whether a reverse_proxy has taken r for an extended CONNECT.
func isExtended(r *http.Request) bool { return caddyhttp.GetVar(r.Context(), extendedVar) != nil }

// forgetExtended takes away what a reverse_proxy in front, as forward_auth is
// one, has left of an extended CONNECT.
func forgetExtended(r *http.Request) {
	if isExtended(r) {
		caddyhttp.SetVar(r.Context(), extendedVar, nil)
	}
}

// servePlain has next serve a request that goes on as an ordinary one. An
// application or a handler that makes a tunnel of it, because the configuration
// has asked it to, is answered for: nobody would guard that.
func (h *Handler) servePlain(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, q *request) error {
	plain := proxy.NewPlain(w, func() bool { return isExtended(r) })
	err := serveUnless(plain.Failed, next, plain, r)
	tried := plain.Err()
	if tried == nil {
		return err
	}
	tried = &tunnelledError{h.routeOf(r), tried}
	if plain.Answered() {
		h.observeRefused(r, q, placeSocket, reasonOf(tried), tried)
		return err
	}
	forgetExtended(r)
	return h.refuse(w, r, q, "", tried)
}

// serveUnless has next serve a request. reverse_proxy panics when it cannot
// write an answer: where that is because none is taken, after what has failed,
// the client can still be told.
func serveUnless(failed func() bool, next caddyhttp.Handler, w http.ResponseWriter, r *http.Request) error {
	returned := false
	defer func() {
		if returned || !failed() {
			return
		}
		p := recover()
		if err, ok := p.(error); p != nil && !(ok && errors.Is(err, http.ErrAbortHandler)) {
			panic(p)
		}
	}()
	err := next.ServeHTTP(w, r)
	returned = true
	return err
}

// tunnelledError says that an ordinary request was to become a tunnel.
type tunnelledError struct {
	route string
	err   error
}

// Error tells the operator what to look for.
func (e *tunnelledError) Error() string {
	return e.err.Error() + ": look behind websocket_auth for header_up and request_header lines that set Upgrade or " +
		"Connection, or for a handler that takes connections over, and leave them out (WebSockets need none of them)"
}

// Unwrap returns the cause.
func (e *tunnelledError) Unwrap() error { return e.err }

// tunnelledFields are what a line about err has beside all others.
func tunnelledFields(err error) []zap.Field {
	if tunnelled, ok := errors.AsType[*tunnelledError](err); ok {
		return []zap.Field{zap.String("route", tunnelled.route)}
	}
	return nil
}

// routeOf returns by which paths the configuration leads r to h: the operator
// is told where to look, and nothing of what a client has sent.
func (h *Handler) routeOf(r *http.Request) string {
	server, ok := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok {
		return ""
	}
	search := routeSearch{server: server, handler: h}
	way, found := search.in(server.Routes)
	if !found && server.Errors != nil {
		way, _ = search.in(server.Errors.Routes)
	}
	if len(way) == 0 {
		return "*"
	}
	return strings.Join(way, " ")
}

// routeSearch looks for the way to a handler of a server.
type routeSearch struct {
	server  *caddyhttp.Server
	handler *Handler
	invoked int // named routes that are being looked at
}

// in returns the paths on the way through routes, the outermost first.
func (s *routeSearch) in(routes caddyhttp.RouteList) (way []string, found bool) {
	for _, route := range routes {
		for _, handler := range route.Handlers {
			if inner, found := s.through(handler); found {
				return append(routePaths(route), inner...), true
			}
		}
	}
	return nil, false
}

func (s *routeSearch) through(handler caddyhttp.MiddlewareHandler) (way []string, found bool) {
	switch m := handler.(type) {
	case *Handler:
		return nil, m == s.handler
	case *caddyhttp.Subroute:
		return s.in(m.Routes)
	case *caddyhttp.Invoke:
		named := s.server.NamedRoutes[m.Name]
		if named == nil || s.invoked >= maxInvoked {
			return nil, false
		}
		s.invoked++
		defer func() { s.invoked-- }()
		return s.in(caddyhttp.RouteList{*named})
	}
	return nil, false
}

// routePaths returns the paths that lead into a route.
func routePaths(route caddyhttp.Route) (paths []string) {
	for _, set := range route.MatcherSets {
		for _, matcher := range set {
			switch m := matcher.(type) {
			case caddyhttp.MatchPath:
				paths = append(paths, m...)
			case *caddyhttp.MatchPath:
				paths = append(paths, *m...)
			}
		}
	}
	return paths
}
