package websocketauth

import (
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
)

// warnUnfiltered says once that credentials are in the log, the first time
// that one travels where Caddy's log would print it.
func (h *Handler) warnUnfiltered(found auth.Found) {
	if h.filtered || found.Source == "" || found.Source == sourceCookie ||
		found.Source == sourceHeader && !h.hasNamedHeader() {
		return
	}
	h.state.warnFilter.Do(func() {
		h.logger.Warn("credentials travel where Caddy's logs print them, and no log has the websocket_credential " +
			"filter: add it to the site's log and to the default one, see docs/logs.md")
	})
}

// hasNamedHeader tells whether credentials are looked for in a header that
// Caddy's log does not redact by itself.
func (h *Handler) hasNamedHeader() bool {
	return slices.ContainsFunc(h.Sources, func(s Source) bool {
		return s.Source == sourceHeader && len(s.Names) > 0 && !strings.EqualFold(s.Names[0], "Authorization")
	})
}

// warnCloseDelay says once that a reload will end the sockets, if the
// reverse_proxy behind us has no stream_close_delay.
func (h *Handler) warnCloseDelay(r *http.Request) {
	h.state.warnDelay.Do(func() {
		server, ok := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
		if !ok {
			return
		}
		walk := proxyWalk{from: h, request: asItCame(r, server)}
		walk.routes(server.Routes)
		if walk.found {
			h.logger.Warn("reverse_proxy ends all WebSockets when the configuration is reloaded: " +
				"set stream_close_delay in it to let them live on, see docs/reload.md")
		}
	})
}

// proxyWalk goes the way of a request through the routes, as far as it can be
// foreseen, and looks for a reverse_proxy behind a handler that has no
// stream_close_delay.
type proxyWalk struct {
	from    *Handler
	request *http.Request
	behind  bool
	found   bool
}

func (p *proxyWalk) routes(routes caddyhttp.RouteList) {
	walkRoutes(routes, p.request, func(handler caddyhttp.MiddlewareHandler) {
		switch m := handler.(type) {
		case *Handler:
			p.behind = p.behind || m == p.from
		case *reverseproxy.Handler:
			p.found = p.found || p.behind && m.StreamCloseDelay == 0
		}
	})
}
