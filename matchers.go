package websocketauth

import (
	"bytes"
	"fmt"
	"net/textproto"
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// checkMatchers refuses a route to us whose matcher looks at what makes a
// request a WebSocket handshake. Each HTTP version has its own shape of it, in
// any letter case, so such a matcher is a way around us.
func checkMatchers(ctx caddy.Context) error {
	for _, route := range routesHere(ctx) {
		for _, set := range route.MatcherSets {
			if name := handshakeMatcher(set); name != "" {
				return fmt.Errorf("a matcher in front of websocket_auth looks at %s: it would be a way around it, "+
					"because HTTP/1.1, HTTP/2 and HTTP/3 handshakes look different; remove the matcher "+
					"(other requests pass anyway, see http) or match on a path", name)
			}
		}
	}
	return nil
}

// routesHere returns the routes that lead to the handler that is being
// provisioned: those up to the server's have their matchers already and their
// handlers still as text.
func routesHere(ctx caddy.Context) []caddyhttp.Route {
	var here []caddyhttp.Route
	add := func(routes caddyhttp.RouteList) {
		for _, route := range routes {
			if leadsHere(route) {
				here = append(here, route)
			}
		}
	}
	for _, module := range ctx.Modules() {
		switch m := module.(type) {
		case *caddyhttp.App:
			for _, server := range m.Servers {
				add(server.Routes)
				here = append(here, invokersOf(server)...)
			}
		case *caddyhttp.Subroute:
			add(m.Routes)
		}
	}
	return here
}

// leadsHere tells whether a handler of ours is in the route.
func leadsHere(route caddyhttp.Route) bool {
	for _, raw := range route.HandlersRaw {
		if bytes.Contains(raw, []byte(`"websocket_auth"`)) {
			return true
		}
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

// handshakeMatcher returns the name of what a matcher in set looks at and must
// not, or "".
func handshakeMatcher(set caddyhttp.MatcherSet) string {
	for _, matcher := range set {
		var name string
		switch m := matcher.(type) {
		case *caddyhttp.MatchHeader:
			name = handshakeHeader(*m)
		case *caddyhttp.MatchHeaderRE:
			name = handshakeHeader(*m)
		case *caddyhttp.MatchProtocol, caddyhttp.MatchProtocol:
			name = "the protocol"
		case *caddyhttp.MatchMethod:
			name = "the method"
		case *caddyhttp.MatchExpression:
			name = handshakeExpression(m.Expr)
		case *caddyhttp.VarsMatcher:
			name = handshakeVars(*m)
		case *caddyhttp.MatchVarsRE:
			name = handshakeVars(*m)
		case *caddyhttp.MatchNot:
			for _, inner := range m.MatcherSets {
				if name = handshakeMatcher(inner); name != "" {
					break
				}
			}
		}
		if name != "" {
			return name
		}
	}
	return ""
}

func handshakeHeader[V any](fields map[string]V) string {
	for field := range fields {
		if name := textproto.CanonicalMIMEHeaderKey(field); isHandshakeHeader(name) {
			return "the header " + name
		}
	}
	return ""
}

// handshakeVars looks at the names of variables, which may be placeholders.
func handshakeVars[V any](vars map[string]V) string {
	for variable := range vars {
		if name := handshakeExpression(variable); name != "" && strings.HasPrefix(variable, "{") {
			return name
		}
	}
	return ""
}

func isHandshakeHeader(canonical string) bool {
	return canonical == "Upgrade" || canonical == "Connection" || strings.HasPrefix(canonical, "Sec-Websocket-")
}

// handshakeWords are what a CEL expression, or a placeholder, can tell
// handshakes from other requests by: the matchers protocol and method, and
// headers and placeholders of such names.
var handshakeWords = regexp.MustCompile(`(?i)\b(?:protocol|method)\s*\(|` +
	`\{(?:proto|method)\}|http\.request\.(?:proto|method)|` +
	`header[^)}]*?(?:upgrade|connection|sec-websocket)`)

func handshakeExpression(expression string) string {
	if word := handshakeWords.FindString(expression); word != "" {
		return "'" + word + "'"
	}
	return ""
}
