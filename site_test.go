package websocketauth

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// at returns a route for these hosts, or any.
func at(handler caddyhttp.MiddlewareHandler, hosts ...string) caddyhttp.Route {
	route := caddyhttp.Route{Handlers: []caddyhttp.MiddlewareHandler{handler}}
	if len(hosts) > 0 {
		matcher := caddyhttp.MatchHost(hosts)
		route.MatcherSets = caddyhttp.MatcherSets{{&matcher}}
	}
	return route
}

// TestSiteNames: a site is called by what the configuration says, not by what
// the client does.
func TestSiteNames(t *testing.T) {
	t.Parallel()
	h, other := &Handler{state: new(handlerState)}, &Handler{state: new(handlerState)}
	eitherOf := at(h, "a.example.com")
	eitherOf.MatcherSets = append(eitherOf.MatcherSets, caddyhttp.MatcherSet{caddyhttp.MatchHost{"b.example.com"}})
	orAny := at(h, "a.example.com")
	orAny.MatcherSets = append(orAny.MatcherSets, caddyhttp.MatcherSet{caddyhttp.MatchPath{"/*"}})
	invoke := &caddyhttp.Invoke{Name: "chat"}
	for _, tt := range []struct {
		name   string
		routes caddyhttp.RouteList
		host   string
		want   string
	}{
		{"any host", caddyhttp.RouteList{at(h)}, "made-up.example.com", ""},
		{"wildcard", caddyhttp.RouteList{at(h, "*.example.com")}, "made-up.example.com", "/*.example.com"},
		{"the first of several", caddyhttp.RouteList{at(h, "a.example.com", "b.example.com")}, "b.example.com", "/a.example.com"},
		{"several sets", caddyhttp.RouteList{eitherOf}, "b.example.com", "/a.example.com"},
		{"a set of any host", caddyhttp.RouteList{orAny}, "made-up.example.com", ""},
		{"other handlers", caddyhttp.RouteList{at(other, "a.example.com"), at(h, "b.example.com")}, "b.example.com", "/b.example.com"},
		{
			"innermost",
			caddyhttp.RouteList{at(&caddyhttp.Subroute{Routes: caddyhttp.RouteList{at(h, "a.example.com")}}, "*.example.com")},
			"a.example.com", "/a.example.com",
		},
		{
			"outside",
			caddyhttp.RouteList{at(&caddyhttp.Subroute{Routes: caddyhttp.RouteList{at(h)}}, "*.example.com")},
			"a.example.com", "/*.example.com",
		},
		{
			"named route",
			caddyhttp.RouteList{at(invoke, "a.example.com"), at(invoke, "*.example.org")},
			"x.example.org:8443", "/*.example.org",
		},
		{"error page", nil, "a.example.com", "/errors.example.com"},
		{"nowhere", caddyhttp.RouteList{at(other)}, "a.example.com", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			named := at(h)
			server := &caddyhttp.Server{Routes: tt.routes, NamedRoutes: map[string]*caddyhttp.Route{"chat": &named}}
			if tt.routes == nil {
				server.Errors = &caddyhttp.HTTPErrorConfig{Routes: caddyhttp.RouteList{at(h, "errors.example.com")}}
			}
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.Host = tt.host
			ctx := context.WithValue(r.Context(), caddyhttp.ServerCtxKey, server)
			r = r.WithContext(context.WithValue(ctx, caddy.ReplacerCtxKey, caddy.NewReplacer()))
			var names siteNames
			for range 2 { // the second time from memory
				// The server's own name is empty outside of an app.
				if got := names.of(h, r); got != tt.want {
					t.Errorf("the site is %q, want %q", got, tt.want)
				}
			}
		})
	}
}

// TestHostOf: whatever Caddy takes for the same host is the same.
func TestHostOf(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]string{
		"chats.example.com": "chats.example.com", "Chats.EXAMPLE.com:8443": "chats.example.com",
		"chat\u017f.example.com": "chats.example.com", "chats.example.com:": "chats.example.com",
		"192.0.2.1:443": "192.0.2.1", "[2001:DB8::1]:443": "2001:db8::1", "[2001:db8::1]": "2001:db8::1",
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Host = host
		if got := hostOf(r); got != want {
			t.Errorf("%q is %q, want %q", host, got, want)
		}
	}
}
