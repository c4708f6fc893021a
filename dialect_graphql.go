package websocketauth //nolint:dupl // a module each, whose documentation is made from its type

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/dialect"
)

func init() {
	caddy.RegisterModule(GraphQLDialect{})
}

// GraphQLDialect is graphql-transport-ws, the protocol of the library
// graphql-ws. The credential is in `connection_init`. The protocol cannot
// renew one: at its end the socket is closed with a code on which clients
// come back with a new one.
type GraphQLDialect struct {
	// Where `connection_init` carries the credential: JSON pointers. Only
	// one of them may hold one, or all the same. Default:
	// `/payload/Authorization`, `/payload/authorization`, `/payload/token`,
	// `/payload/authToken`, `/payload/access_token`,
	// `/payload/headers/Authorization`
	Credential []string `json:"credential,omitempty"`

	// What the application sees of it: `strip` takes the credential out,
	// `forward` leaves it in. Default: strip
	Pass string `json:"pass,omitempty"`

	spoken
}

// CaddyModule returns the Caddy module information.
func (GraphQLDialect) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.websocket_auth.dialects.graphql",
		New: func() caddy.Module { return new(GraphQLDialect) },
	}
}

// Provision sets up the dialect.
func (g *GraphQLDialect) Provision(caddy.Context) error {
	d, err := dialect.NewGraphQL(dialect.GraphQLConfig{Credential: g.Credential, Pass: g.Pass})
	return g.speak("graphql", d, err)
}

// UnmarshalCaddyfile sets up the dialect from Caddyfile tokens. Syntax:
//
//	dialect graphql {
//	    credential <pointer>...
//	    pass       strip|forward
//	}
func (g *GraphQLDialect) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return unmarshalPlaced(d, "graphql", &g.Credential, &g.Pass, passStrip, passForward)
}

// Interface guards
var (
	_ caddy.Provisioner     = (*GraphQLDialect)(nil)
	_ caddyfile.Unmarshaler = (*GraphQLDialect)(nil)
	_ dialect.Dialect       = (*GraphQLDialect)(nil)
)
