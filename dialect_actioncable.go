package websocketauth //nolint:dupl // a module each, whose documentation is made from its type

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/dialect"
)

func init() {
	caddy.RegisterModule(ActionCableDialect{})
}

// ActionCableDialect is how the clients and servers of Action Cable (Rails)
// and AnyCable speak. The protocol has no place for a credential: it comes
// with the request, unless `credential` says where an application puts one.
// The server speaks first, so that `from first_message` needs `early`.
type ActionCableDialect struct {
	// Where commands carry a credential: JSON pointers, which also lead
	// into the JSON within a text. `/identifier/token` is a parameter of a
	// channel, `/data/token` one of an action. Only one of them may hold
	// one. Default: empty (none does)
	Credential []string `json:"credential,omitempty"`

	// What the application sees of it: `forward` leaves the credential in,
	// `strip` takes it out, which nothing can be of an identifier. Default:
	// forward
	Pass string `json:"pass,omitempty"`

	spoken
}

// CaddyModule returns the Caddy module information.
func (ActionCableDialect) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.websocket_auth.dialects.actioncable",
		New: func() caddy.Module { return new(ActionCableDialect) },
	}
}

// Provision sets up the dialect.
func (a *ActionCableDialect) Provision(caddy.Context) error {
	d, err := dialect.NewActionCable(dialect.ActionCableConfig{Credential: a.Credential, Pass: a.Pass})
	return a.speak("actioncable", d, err)
}

// UnmarshalCaddyfile sets up the dialect from Caddyfile tokens. Syntax:
//
//	dialect actioncable {
//	    credential <pointer>...
//	    pass       forward|strip
//	}
func (a *ActionCableDialect) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return unmarshalPlaced(d, "actioncable", &a.Credential, &a.Pass, passForward, passStrip)
}

// Interface guards
var (
	_ caddy.Provisioner     = (*ActionCableDialect)(nil)
	_ caddyfile.Unmarshaler = (*ActionCableDialect)(nil)
	_ dialect.Dialect       = (*ActionCableDialect)(nil)
)
