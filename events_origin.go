package websocketauth

import (
	"fmt"

	"github.com/caddyserver/caddy/v2"
)

func init() {
	caddy.RegisterModule(eventSource{})
}

// eventsModule is whom all events come from: who subscribes to it, or to
// websocket_auth, gets them all.
const eventsModule = "websocket_auth.events"

// eventSource is that module. It is not for configurations.
type eventSource struct{ ctx caddy.Context }

// CaddyModule returns the Caddy module information.
func (eventSource) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "websocket_auth.events",
		New: func() caddy.Module { return new(eventSource) },
	}
}

// Provision notes the context, which is of this module.
func (s *eventSource) Provision(ctx caddy.Context) error {
	s.ctx = ctx
	return nil
}

// eventContext returns a context that lives as long as ctx and is of
// eventsModule. The one that a module gets itself may turn into that of another:
// Caddy keeps whose it is in an array that the modules share which are loaded
// beside it. In a context of its own a module is alone.
func eventContext(ctx caddy.Context) (caddy.Context, error) {
	own, _ := caddy.NewContext(ctx) // it would clean up ctx; its end is enough
	module, err := own.LoadModuleByID(eventsModule, nil)
	if err != nil {
		return caddy.Context{}, err
	}
	source, ok := module.(*eventSource)
	if !ok {
		return caddy.Context{}, fmt.Errorf("the module %s is %T", eventsModule, module)
	}
	return source.ctx, nil
}

// Interface guard
var _ caddy.Provisioner = (*eventSource)(nil)
