package websocketauth //nolint:dupl // a module each, whose documentation is made from its type

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/dialect"
)

func init() {
	caddy.RegisterModule(STOMPDialect{})
}

// STOMPDialect is STOMP 1.0 to 1.2 over WebSockets. The credential is in a
// header of the frame that connects. STOMP has no word for a renewal:
// clients come back with a new connection.
type STOMPDialect struct {
	// The headers that may hold the credential, in any case. Two that do
	// are refused: where clients send a passcode beside a token, name the
	// header of the token only. Default: `Authorization`, `passcode`,
	// `access_token`, `token`
	Credential []string `json:"credential,omitempty"`

	// What the application sees of it: `strip` takes the headers out,
	// `forward` leaves them in. Default: strip
	Pass string `json:"pass,omitempty"`

	spoken
}

// CaddyModule returns the Caddy module information.
func (STOMPDialect) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.websocket_auth.dialects.stomp",
		New: func() caddy.Module { return new(STOMPDialect) },
	}
}

// Provision sets up the dialect.
func (s *STOMPDialect) Provision(caddy.Context) error {
	d, err := dialect.NewSTOMP(dialect.STOMPConfig{Credential: s.Credential, Pass: s.Pass})
	return s.speak("stomp", d, err)
}

// UnmarshalCaddyfile sets up the dialect from Caddyfile tokens. Syntax:
//
//	dialect stomp {
//	    credential <header>...
//	    pass       strip|forward
//	}
func (s *STOMPDialect) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return unmarshalPlaced(d, "stomp", &s.Credential, &s.Pass, passStrip, passForward)
}

// Interface guards
var (
	_ caddy.Provisioner     = (*STOMPDialect)(nil)
	_ caddyfile.Unmarshaler = (*STOMPDialect)(nil)
	_ dialect.Dialect       = (*STOMPDialect)(nil)
)
