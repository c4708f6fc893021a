package websocketauth

import (
	"net/http"
	"net/url"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	maphandler "github.com/caddyserver/caddy/v2/modules/caddyhttp/map"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/rewrite"
)

// maxInvoked is how deep named routes are followed that invoke one another.
const maxInvoked = 16

// asItCame returns r as it has come to server, but for the credential, for
// asking routes about it: handlers in front of us may have rewritten it since.
// Matchers write what they find into the request's placeholders and variables,
// so it has its own.
func asItCame(r *http.Request, server *caddyhttp.Server) *http.Request {
	own := r.Clone(r.Context())
	original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	if ok && original.URL != nil {
		own.Method, own.RequestURI, own.URL = original.Method, original.RequestURI, new(url.URL)
		*own.URL = *original.URL
	}
	return caddyhttp.PrepareRequest(own, caddy.NewReplacer(), nil, server)
}

// walkRoutes calls f for the handlers that r comes to, in order, also those in
// subroutes and named routes, as far as that can be foreseen: what rewrites,
// and what sets variables, is run. r must be one of [asItCame].
func walkRoutes(routes caddyhttp.RouteList, r *http.Request, f func(caddyhttp.MiddlewareHandler)) {
	w := routeWalk{request: r, visit: f}
	w.walk(routes)
}

type routeWalk struct {
	request *http.Request
	visit   func(caddyhttp.MiddlewareHandler)
	invoked int // named routes that are being walked
}

// walk reports whether the way of the request ends in routes.
func (w *routeWalk) walk(routes caddyhttp.RouteList) (ends bool) {
	taken := make(map[string]bool) // of a group only the first route that matches
	for _, route := range routes {
		matches, err := route.MatcherSets.AnyMatchWithError(w.request)
		if err != nil || !matches || route.Group != "" && taken[route.Group] {
			continue
		}
		taken[route.Group] = true
		if slices.ContainsFunc(route.Handlers, w.handle) || route.Terminal {
			return true
		}
	}
	return false
}

// handle goes through one handler.
func (w *routeWalk) handle(handler caddyhttp.MiddlewareHandler) (ends bool) {
	switch h := handler.(type) {
	case *caddyhttp.Subroute:
		return w.walk(h.Routes)
	case *caddyhttp.Invoke:
		server, _ := w.request.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
		if server == nil || server.NamedRoutes[h.Name] == nil || w.invoked >= maxInvoked {
			return false
		}
		w.invoked++
		defer func() { w.invoked-- }()
		return w.walk(caddyhttp.RouteList{*server.NamedRoutes[h.Name]})
	case *rewrite.Rewrite: // not by ServeHTTP, which would log it
		if repl, ok := w.request.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
			h.Rewrite(w.request, repl)
		}
	case *caddyhttp.VarsMiddleware, *maphandler.Handler:
		// They write nothing to the client, and cannot fail.
		_ = handler.ServeHTTP(nil, w.request, caddyhttp.HandlerFunc(noHandler))
	default:
		w.visit(handler)
	}
	return false
}

// noHandler does nothing.
func noHandler(http.ResponseWriter, *http.Request) error { return nil }
