package websocketauth

import (
	"net"
	"net/http"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// site returns what logs, limits and the admin API call where r came in.
func (h *Handler) site(r *http.Request) string {
	if h.Name != "" {
		return h.Name
	}
	return h.state.sites.of(h, r)
}

// siteNames are what the places of one handler are called that has no name of
// its own: the server, and the first host of the route that leads to the
// handler. The host that a client asks for does not count, because where many
// lead to one route, a client could be at a site of its own each time.
type siteNames struct {
	mu     sync.Mutex // guards the following
	places map[*caddyhttp.Server][]sitePlace
}

// sitePlace is one way to a handler.
type sitePlace struct {
	hosts caddyhttp.MatchHost // nil for any
	site  string
}

// of returns the site of handler at which r came in.
func (n *siteNames) of(handler caddyhttp.MiddlewareHandler, r *http.Request) string {
	server, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if server == nil {
		return ""
	}
	places := n.placesIn(server, handler)
	for _, p := range places {
		if len(places) == 1 || p.hosts == nil || p.hosts.Match(r) {
			return p.site
		}
	}
	return server.Name()
}

// placesIn looks for the handler in the routes of a server, once.
func (n *siteNames) placesIn(server *caddyhttp.Server, handler caddyhttp.MiddlewareHandler) []sitePlace {
	n.mu.Lock()
	defer n.mu.Unlock()
	if known, ok := n.places[server]; ok {
		return known
	}
	search := placeSearch{server: server, handler: handler}
	search.routes(server.Routes, nil)
	search.errors(server.Errors, nil)
	if n.places == nil {
		n.places = make(map[*caddyhttp.Server][]sitePlace)
	}
	n.places[server] = search.found
	return search.found
}

// placeSearch looks for a handler in all routes of a server.
type placeSearch struct {
	server  *caddyhttp.Server
	handler caddyhttp.MiddlewareHandler
	invoked int // named routes that are being looked at
	found   []sitePlace
}

// routes looks at routes that requests for these hosts come to.
func (s *placeSearch) routes(routes caddyhttp.RouteList, hosts caddyhttp.MatchHost) {
	for _, route := range routes {
		within := hosts
		if own := routeHosts(route); own != nil {
			within = own
		}
		for _, handler := range route.Handlers {
			s.look(handler, within)
		}
	}
}

func (s *placeSearch) look(handler caddyhttp.MiddlewareHandler, hosts caddyhttp.MatchHost) {
	switch m := handler.(type) {
	case *caddyhttp.Subroute:
		s.routes(m.Routes, hosts)
		s.errors(m.Errors, hosts)
	case *caddyhttp.Invoke:
		named := s.server.NamedRoutes[m.Name]
		if named == nil || s.invoked >= maxInvoked {
			return
		}
		s.invoked++
		s.routes(caddyhttp.RouteList{*named}, hosts)
		s.invoked--
	default:
		if handler == s.handler {
			s.found = append(s.found, sitePlace{hosts, siteName(s.server, hosts)})
		}
	}
}

func (s *placeSearch) errors(pages *caddyhttp.HTTPErrorConfig, hosts caddyhttp.MatchHost) {
	if pages != nil {
		s.routes(pages.Routes, hosts)
	}
}

// routeHosts returns the hosts that lead into a route, nil if any may.
func routeHosts(route caddyhttp.Route) (hosts caddyhttp.MatchHost) {
	for _, set := range route.MatcherSets {
		var own caddyhttp.MatchHost
		for _, matcher := range set {
			switch m := matcher.(type) {
			case caddyhttp.MatchHost:
				own = m
			case *caddyhttp.MatchHost:
				own = *m
			}
		}
		if own == nil {
			return nil
		}
		hosts = append(hosts, own...)
	}
	return hosts
}

func siteName(server *caddyhttp.Server, hosts caddyhttp.MatchHost) string {
	if len(hosts) == 0 {
		return server.Name()
	}
	return server.Name() + "/" + hosts[0]
}

// hostOf returns the host that r asks for, as far as Caddy tells hosts apart.
func hostOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil { // it has no port
		host = strings.TrimSuffix(strings.TrimPrefix(r.Host, "["), "]")
	}
	return strings.ToLower(strings.ToUpper(host)) // as strings.EqualFold, by which Caddy matches
}
