package websocketauth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// foundHandler is one websocket_auth of a configuration.
type foundHandler struct {
	server   string   // the server's name in JSON
	hosts    []string // of the route around it
	matchers []string // of all routes around it, as JSON
	raw      map[string]any
}

// findHandlers returns the websocket_auth handlers of a JSON configuration, in
// the order in which requests reach them, subroutes and named routes included.
func findHandlers(config []byte) ([]foundHandler, error) {
	var root struct {
		Apps struct {
			HTTP struct {
				Servers map[string]any `json:"servers"`
			} `json:"http"`
		} `json:"apps"`
	}
	decoder := json.NewDecoder(bytes.NewReader(config))
	decoder.UseNumber() // what is found is encoded again
	if err := decoder.Decode(&root); err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	var found []foundHandler
	for _, name := range slices.Sorted(maps.Keys(root.Apps.HTTP.Servers)) {
		found = appendHandlers(found, foundHandler{server: name}, root.Apps.HTTP.Servers[name])
	}
	return found, nil
}

// appendHandlers walks through one part of the configuration. at is where that
// is. It knows nothing of the modules on the way, so that it finds what stands
// in any of them.
func appendHandlers(found []foundHandler, at foundHandler, node any) []foundHandler {
	switch node := node.(type) {
	case []any:
		for _, element := range node {
			found = appendHandlers(found, at, element)
		}
	case map[string]any:
		if node["handler"] == handlerName {
			at.raw = node
			return append(found, at)
		}
		if hosts := hostsOf(node); len(hosts) > 0 {
			at.hosts = hosts
		}
		if match, err := json.Marshal(node["match"]); err == nil && node["match"] != nil {
			at.matchers = append(slices.Clip(at.matchers), string(match))
		}
		for _, key := range slices.Sorted(maps.Keys(node)) {
			found = appendHandlers(found, at, node[key])
		}
	}
	return found
}

// isInFrontOf tells whether whatever reaches inner, which is found later, has
// passed f: no route around f matches less than those around inner do.
func (f foundHandler) isInFrontOf(inner foundHandler) bool {
	return f.server == inner.server && !slices.ContainsFunc(f.matchers, func(match string) bool {
		return !slices.Contains(inner.matchers, match)
	})
}

// hostsOf returns the hosts that a route matches.
func hostsOf(route map[string]any) []string {
	var hosts []string
	sets, _ := route["match"].([]any)
	for _, set := range sets {
		matchers, _ := set.(map[string]any)
		names, _ := matchers["host"].([]any)
		for _, name := range names {
			if host, ok := name.(string); ok {
				hosts = append(hosts, host)
			}
		}
	}
	return hosts
}

// chooseHandlers returns the handlers that site names by their name, host or
// server, or by server and host, as sessions lists them; all of them if it is
// empty.
func chooseHandlers(found []foundHandler, site string) ([]foundHandler, error) {
	if len(found) == 0 {
		return nil, errors.New("the configuration has no websocket_auth")
	}
	if site == "" {
		return found, nil
	}
	var chosen []foundHandler
	var names []string
	for _, f := range found {
		if site == f.name() || site == f.server || slices.Contains(f.hosts, strings.TrimPrefix(site, f.server+"/")) {
			chosen = append(chosen, f)
		}
		names = append(names, f.String())
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("--site %s: the configuration has none of that name, only: %s", site, strings.Join(names, "; "))
	}
	return chosen, nil
}

// name is the handler's own name; empty if it has none.
func (f foundHandler) name() string {
	name, _ := f.raw["name"].(string)
	return name
}

// String says which handler it is, for people.
func (f foundHandler) String() string {
	words := []string{f.server}
	words = append(words, f.hosts...)
	if name := f.name(); name != "" {
		words = append(words, "("+name+")")
	}
	return strings.Join(words, " ")
}

// provision loads the handler into ctx, whose end cleans it up.
func (f foundHandler) provision(ctx caddy.Context) (*Handler, error) {
	config := maps.Clone(f.raw)
	delete(config, "handler") // says which module it is, and is no field of it
	raw, err := json.Marshal(config)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f, err)
	}
	module, err := ctx.LoadModuleByID("http.handlers."+handlerName, raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f, err)
	}
	h, ok := module.(*Handler)
	if !ok {
		return nil, fmt.Errorf("%s: the module is %T", f, module)
	}
	return h, nil
}

// handlerName is the handler's name in JSON, and its directive.
const handlerName = "websocket_auth"

// inspectContext returns a context in which modules can be loaded without
// starting anything. Warnings go to standard error. The caller must call the
// function that it returns.
func inspectContext() (caddy.Context, func(), error) {
	base, err := caddy.ProvisionContext(&caddy.Config{
		Logging: &caddy.Logging{Logs: map[string]*caddy.CustomLog{
			caddy.DefaultLoggerName: {BaseLog: caddy.BaseLog{Level: "WARN"}},
		}},
	})
	if err != nil {
		return caddy.Context{}, nil, fmt.Errorf("preparing to load modules: %w", err)
	}
	ctx, cancel := caddy.NewContext(base)
	return ctx, func() { cancel() }, nil
}
