package websocketauth //nolint:dupl // a module each, whose documentation is made from its type

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/dialect"
)

func init() {
	caddy.RegisterModule(PhoenixDialect{})
}

// PhoenixDialect is how the clients and servers of Phoenix Channels, and of
// Supabase Realtime, speak. The credential is in what a client joins a topic
// with; each further one renews, as does the event `access_token`. Clients
// fall back to plain requests, so that `http` has to be set.
type PhoenixDialect struct {
	// Where the credential is: JSON pointers into what a client joins with.
	// Only one of them may hold one, or all the same. Default: `/token`,
	// `/access_token`, `/user_token`
	Credential []string `json:"credential,omitempty"`

	// What the application sees of it: `forward` leaves the credential in,
	// `strip` takes it out. Default: forward
	Pass string `json:"pass,omitempty"`

	spoken
}

// CaddyModule returns the Caddy module information.
func (PhoenixDialect) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.websocket_auth.dialects.phoenix",
		New: func() caddy.Module { return new(PhoenixDialect) },
	}
}

// Provision sets up the dialect.
func (p *PhoenixDialect) Provision(caddy.Context) error {
	d, err := dialect.NewPhoenix(dialect.PhoenixConfig{Credential: p.Credential, Pass: p.Pass})
	return p.speak("phoenix", d, err)
}

// UnmarshalCaddyfile sets up the dialect from Caddyfile tokens. Syntax:
//
//	dialect phoenix {
//	    credential <pointer>...
//	    pass       forward|strip
//	}
func (p *PhoenixDialect) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return unmarshalPlaced(d, "phoenix", &p.Credential, &p.Pass, passForward, passStrip)
}

// Interface guards
var (
	_ caddy.Provisioner     = (*PhoenixDialect)(nil)
	_ caddyfile.Unmarshaler = (*PhoenixDialect)(nil)
	_ dialect.Dialect       = (*PhoenixDialect)(nil)
)
