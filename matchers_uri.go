package websocketauth

import (
	"regexp"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// A URI that was rewritten by what a handshake looks like tells handshakes
// apart as well. Unlike variables, which have names, there is one URI, and many
// rewrite it for reasons of theirs: only what stands in front of us, and goes on
// to us, counts.

// rewritten returns by what of a handshake the URI was rewritten that comes
// through lists to us, "" if by nothing.
func (d *derived) rewritten(lists []caddyhttp.RouteList) string {
	for _, routes := range lists {
		var earlier []rewriting
		for _, route := range routes {
			if leadsHere(route) {
				for _, r := range earlier {
					if r.group == "" || r.group != route.Group { // else who has come through it does not come to us
						return r.what
					}
				}
			}
			if what := d.rewrittenBy([]routeView{viewOf(route)}, ""); what != "" && !route.Terminal {
				earlier = append(earlier, rewriting{route.Group, what})
			}
		}
	}
	return ""
}

// rewriting is a route that rewrites the URI by what a handshake looks like, and
// goes on to those behind it.
type rewriting struct{ group, what string }

// rewrittenBy returns by what of a handshake routes rewrite the URI, to which
// only requests come that were told apart by what.
func (d *derived) rewrittenBy(routes []routeView, what string) string {
	for _, route := range routes {
		by := what
		for _, set := range route.matchers {
			for _, m := range set {
				by = or(by, d.seenBy(m))
			}
		}
		for _, h := range route.handlers {
			from := d.rewrittenBy(h.routes, by)
			if h.name == "rewrite" && rewritesURI(h) {
				from = d.in(by, h.config)
			}
			if from != "" {
				return from
			}
		}
	}
	return ""
}

// rewritesURI tells whether a rewrite is of more than the method.
func rewritesURI(h handlerView) bool {
	for name := range members(h.config) {
		if name != "handler" && name != "method" {
			return true
		}
	}
	return false
}

// uriWords are what in a text shows the URI, but the original one.
var uriWords = regexp.MustCompile(`\{(?:%?uri|%?path|%?query|\?query|dir|file)(?:\.[^{}]*)?\}|http\.request\.uri|` +
	`\b(?:path|path_regexp|query|file)\s*\(`)

// looksAtURI tells whether a matcher looks at the URI.
func looksAtURI(m matcherView) bool {
	switch m.name {
	case "path", "path_regexp", "query", "file":
		return true
	}
	return eachText(m.config, uriWords.MatchString)
}
