package websocketauth

import (
	"encoding/json"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	maphandler "github.com/caddyserver/caddy/v2/modules/caddyhttp/map"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/rewrite"
)

// While we are provisioned, some routes have their matchers and handlers
// already, and others are still text. Both are looked at as the same.

// routeView is a route.
type routeView struct {
	matchers [][]matcherView
	handlers []handlerView
}

// matcherView is a matcher: its name and its configuration as decoded JSON. Of
// not it has what is negated.
type matcherView struct {
	name   string
	config any
	not    [][]matcherView
}

// handlerView is a handler that sets something for matchers, or has routes.
type handlerView struct {
	name   string
	config any
	routes []routeView
}

func viewOf(route caddyhttp.Route) routeView {
	v := routeView{matchers: viewSets(route.MatcherSets)}
	if len(route.MatcherSets) == 0 {
		for _, set := range route.MatcherSetsRaw {
			v.matchers = append(v.matchers, rawSet(set))
		}
	}
	for _, handler := range route.Handlers {
		v.handlers = append(v.handlers, viewHandler(handler))
	}
	if len(route.Handlers) == 0 {
		for _, raw := range route.HandlersRaw {
			v.handlers = append(v.handlers, rawHandler(raw))
		}
	}
	return v
}

func viewsOf(routes caddyhttp.RouteList) (views []routeView) {
	for _, route := range routes {
		views = append(views, viewOf(route))
	}
	return views
}

func viewSets(sets caddyhttp.MatcherSets) (views [][]matcherView) {
	for _, set := range sets {
		var view []matcherView
		for _, m := range set {
			view = append(view, viewMatcher(m))
		}
		views = append(views, view)
	}
	return views
}

func viewMatcher(m any) matcherView {
	var v matcherView
	if module, ok := m.(caddy.Module); ok {
		v.name = module.CaddyModule().ID.Name()
	}
	switch not := m.(type) {
	case caddyhttp.MatchNot:
		v.not = viewSets(not.MatcherSets)
	case *caddyhttp.MatchNot:
		v.not = viewSets(not.MatcherSets)
	default:
		v.config = encoded(m)
	}
	return v
}

func rawSet(set map[string]json.RawMessage) (views []matcherView) {
	for name, raw := range set {
		v := matcherView{name: name, config: decoded(raw)}
		if name == "not" {
			var sets []map[string]json.RawMessage
			_ = json.Unmarshal(raw, &sets) // what is wrong with it is said elsewhere
			for _, inner := range sets {
				v.not = append(v.not, rawSet(inner))
			}
		}
		views = append(views, v)
	}
	return views
}

func viewHandler(handler caddyhttp.MiddlewareHandler) handlerView {
	switch h := handler.(type) {
	case *caddyhttp.Subroute:
		return handlerView{name: "subroute", routes: viewsOf(h.Routes)}
	case caddyhttp.VarsMiddleware, *caddyhttp.VarsMiddleware:
		return handlerView{name: "vars", config: encoded(h)}
	case maphandler.Handler, *maphandler.Handler:
		return handlerView{name: "map", config: encoded(h)}
	case headers.Handler, *headers.Handler:
		return handlerView{name: "headers", config: encoded(h)}
	case rewrite.Rewrite, *rewrite.Rewrite:
		return handlerView{name: "rewrite", config: encoded(h)}
	}
	return handlerView{}
}

func rawHandler(raw json.RawMessage) handlerView {
	var h struct {
		Handler string              `json:"handler"`
		Routes  caddyhttp.RouteList `json:"routes"`
	}
	_ = json.Unmarshal(raw, &h) // see rawSet
	return handlerView{name: h.Handler, config: decoded(raw), routes: viewsOf(h.Routes)}
}

// encoded returns the configuration of a module as decoded JSON; nil if it has
// none.
func encoded(module any) any {
	text, err := json.Marshal(module)
	if err != nil {
		return nil
	}
	return decoded(text)
}

func decoded(text []byte) (config any) {
	_ = json.Unmarshal(text, &config) // see rawSet
	return config
}

// members returns an object, nil if there is none.
func members(config any) map[string]any {
	object, _ := config.(map[string]any)
	return object
}

// eachText calls f for all texts in config, names of members as well, until it
// returns true.
func eachText(config any, f func(string) bool) bool {
	switch c := config.(type) {
	case string:
		return f(c)
	case []any:
		for _, element := range c {
			if eachText(element, f) {
				return true
			}
		}
	case map[string]any:
		for name, member := range c {
			if f(name) || eachText(member, f) {
				return true
			}
		}
	}
	return false
}
