package websocketauth

import (
	"fmt"
	"slices"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// matcherCheck is what is the same for all handlers of a configuration. It is
// found out once: there may be hundreds.
type matcherCheck struct {
	once  sync.Once
	known *derived
	err   error // of a route of a server
}

// checkMatchers refuses a route to us whose matcher looks at what makes a
// request a WebSocket handshake. Each HTTP version has its own shape of it, in
// any letter case, so such a matcher is a way around us.
func (a *App) checkMatchers(ctx caddy.Context) error {
	a.matchers.once.Do(func() { a.matchers.known, a.matchers.err = checkServers(serversOf(ctx)) })
	if a.matchers.err != nil {
		return a.matchers.err
	}
	known := *a.matchers.known
	here, lists := routesHere(ctx)
	known.uri = or(known.uri, known.rewritten(lists))
	return known.check(here)
}

// checkServers judges the routes of servers that lead to a handler of ours.
func checkServers(servers []*caddyhttp.Server) (known *derived, err error) {
	known = derivedIn(servers)
	var here []caddyhttp.Route
	var lists []caddyhttp.RouteList
	for _, server := range servers {
		lists = append(lists, server.Routes)
		here = append(here, leadingHere(server.Routes)...)
	}
	known.uri = known.rewritten(lists)
	return known, known.check(here)
}

// check refuses what matches by a handshake in the routes that lead here.
func (d *derived) check(here []caddyhttp.Route) error {
	for _, route := range here {
		for _, set := range viewOf(route).matchers {
			for _, m := range set {
				if what := d.seenBy(m); what != "" {
					return fmt.Errorf("the matcher '%s' in front of websocket_auth looks at %s: it would be a way around it, "+
						"because HTTP/1.1, HTTP/2 and HTTP/3 handshakes look different; remove the matcher "+
						"(other requests pass anyway, see http) or match on a path", m.name, what)
				}
			}
		}
	}
	return nil
}

// serversOf returns the servers that are being provisioned.
func serversOf(ctx caddy.Context) (servers []*caddyhttp.Server) {
	for _, module := range ctx.Modules() {
		if app, ok := module.(*caddyhttp.App); ok {
			for _, server := range app.Servers {
				servers = append(servers, server)
			}
		}
	}
	return servers
}

// routesHere returns the routes that lead to the handler that is being
// provisioned, other than those of servers, and the lists in which they stand,
// the outermost first: they have their matchers already and their handlers still
// as text.
func routesHere(ctx caddy.Context) (here []caddyhttp.Route, lists []caddyhttp.RouteList) {
	for _, module := range ctx.Modules() {
		switch m := module.(type) {
		case *caddyhttp.App:
			for _, server := range m.Servers {
				here = append(here, invokersOf(server)...)
			}
		case *caddyhttp.Subroute:
			lists = append(lists, m.Routes)
			here = append(here, leadingHere(m.Routes)...)
		}
	}
	return here, lists
}

// leadingHere returns those of routes in which a handler of ours is.
func leadingHere(routes caddyhttp.RouteList) (here []caddyhttp.Route) {
	for _, route := range routes {
		if leadsHere(route) {
			here = append(here, route)
		}
	}
	return here
}

// leadsHere tells whether a handler of ours is in the route.
func leadsHere(route caddyhttp.Route) bool {
	for _, raw := range route.HandlersRaw {
		if holdsUs(decoded(raw)) {
			return true
		}
	}
	return false
}

// holdsUs tells whether a handler of ours is anywhere in what is decoded JSON:
// not only subroutes have routes.
func holdsUs(config any) bool {
	switch c := config.(type) {
	case map[string]any:
		if c["handler"] == "websocket_auth" {
			return true
		}
		for _, member := range c {
			if holdsUs(member) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(c, holdsUs)
	}
	return false
}

// invokersOf returns the routes of the server that invoke a named route, if
// we are in one. Those are provisioned after all others, and which of them is
// invoked makes no difference: it may invoke another one.
func invokersOf(server *caddyhttp.Server) []caddyhttp.Route {
	named := false
	var routes caddyhttp.RouteList
	for _, route := range server.NamedRoutes {
		named = named || leadsHere(*route)
		routes = append(routes, *route)
	}
	if !named {
		return nil
	}
	return invokers(append(routes, server.Routes...))
}

// invokers returns those of routes that invoke a named route, in themselves or
// in what is in them, and the latter, too.
func invokers(routes caddyhttp.RouteList) (found []caddyhttp.Route) {
	for _, route := range routes {
		var inside []caddyhttp.Route
		leads := false
		for _, handler := range route.Handlers {
			switch h := handler.(type) {
			case *caddyhttp.Invoke:
				leads = true
			case *caddyhttp.Subroute:
				inside = append(inside, invokers(h.Routes)...)
			}
		}
		if leads || len(inside) > 0 {
			found = append(append(found, route), inside...)
		}
	}
	return found
}
