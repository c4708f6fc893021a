package websocketauth

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/dialect"
)

func init() {
	caddy.RegisterModule(SignalRDialect{})
}

// SignalRDialect is how the clients and servers of ASP.NET Core SignalR speak.
// No message of theirs carries a credential: it comes with the negotiation and
// in the handshake, usually in the query. At its end clients with automatic
// reconnect come back with a new one. Negotiation is a plain request, so that
// `http` has to be set. It has no settings.
type SignalRDialect struct {
	spoken
}

// CaddyModule returns the Caddy module information.
func (SignalRDialect) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.websocket_auth.dialects.signalr",
		New: func() caddy.Module { return new(SignalRDialect) },
	}
}

// Provision sets up the dialect.
func (s *SignalRDialect) Provision(caddy.Context) error {
	d, err := dialect.NewSignalR(dialect.SignalRConfig{})
	return s.speak("signalr", d, err)
}

// UnmarshalCaddyfile sets up the dialect from Caddyfile tokens. Syntax:
//
//	dialect signalr
func (s *SignalRDialect) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return unmarshalDialect(d, nil, func(d *caddyfile.Dispenser) error {
		return d.Errf("unrecognized subdirective '%s' of dialect signalr, which has none: remove it", d.Val())
	})
}

// Interface guards
var (
	_ caddy.Provisioner     = (*SignalRDialect)(nil)
	_ caddyfile.Unmarshaler = (*SignalRDialect)(nil)
	_ dialect.Dialect       = (*SignalRDialect)(nil)
)
