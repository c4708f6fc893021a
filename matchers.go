package websocketauth

import (
	"bytes"
	"fmt"
	"net/textproto"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// checkMatchers refuses a route to us whose matcher looks at what makes a
// request a WebSocket handshake. Each HTTP version has its own shape of it, in
// any letter case, so such a matcher is a way around us.
//
// It runs while the handler is provisioned: the routes that lead to it, up to
// the server's, have their matchers already and their handlers still as text.
func checkMatchers(ctx caddy.Context) error {
	for _, module := range ctx.Modules() {
		var routes caddyhttp.RouteList
		switch m := module.(type) {
		case *caddyhttp.App:
			for _, server := range m.Servers {
				routes = append(routes, server.Routes...)
			}
		case *caddyhttp.Subroute:
			routes = m.Routes
		}
		for _, route := range routes {
			if !leadsHere(route) {
				continue
			}
			for _, set := range route.MatcherSets {
				if name := handshakeMatcher(set); name != "" {
					return fmt.Errorf("a matcher in front of websocket_auth looks at %s: it would be a way around it, "+
						"because HTTP/1.1, HTTP/2 and HTTP/3 handshakes look different; remove the matcher "+
						"(other requests pass anyway, see http) or match on a path", name)
				}
			}
		}
	}
	return nil
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

func isHandshakeHeader(canonical string) bool {
	return canonical == "Upgrade" || canonical == "Connection" || strings.HasPrefix(canonical, "Sec-Websocket-")
}

// handshakeExpression looks for the words by which a CEL expression can tell
// handshakes from other requests.
func handshakeExpression(expression string) string {
	lower := strings.ToLower(expression)
	for _, word := range []string{"upgrade", "connection", "sec-websocket", "protocol(", "http.request.proto", "method"} {
		if strings.Contains(lower, word) {
			return "'" + word + "' in an expression"
		}
	}
	return ""
}
