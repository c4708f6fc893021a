package websocketauth

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/dialect"
)

func init() {
	caddy.RegisterModule(GraphQLLegacyDialect{})
}

// GraphQLLegacyDialect is the protocol of the library
// subscriptions-transport-ws, whose subprotocol is called graphql-ws. The
// credential is in `connection_init`. The protocol cannot renew one: at its
// end the socket is closed, and clients come back with a new one if they are
// set to reconnect.
type GraphQLLegacyDialect struct {
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
func (GraphQLLegacyDialect) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.websocket_auth.dialects.graphql_legacy",
		New: func() caddy.Module { return new(GraphQLLegacyDialect) },
	}
}

// Provision sets up the dialect.
func (g *GraphQLLegacyDialect) Provision(caddy.Context) error {
	d, err := dialect.NewGraphQL(dialect.GraphQLConfig{Credential: g.Credential, Pass: g.Pass, Legacy: true})
	return g.speak("graphql_legacy", d, err)
}

// UnmarshalCaddyfile sets up the dialect from Caddyfile tokens. Syntax:
//
//	dialect graphql_legacy {
//	    credential <pointer>...
//	    pass       strip|forward
//	}
func (g *GraphQLLegacyDialect) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return unmarshalPlaced(d, "graphql_legacy", &g.Credential, &g.Pass, passStrip, passForward)
}

// Interface guards
var (
	_ caddy.Provisioner     = (*GraphQLLegacyDialect)(nil)
	_ caddyfile.Unmarshaler = (*GraphQLLegacyDialect)(nil)
	_ dialect.Dialect       = (*GraphQLLegacyDialect)(nil)
)
