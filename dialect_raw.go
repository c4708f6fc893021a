package websocketauth

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/dialect"
)

func init() {
	caddy.RegisterModule(RawDialect{})
}

// RawDialect is for applications whose clients send the bare token as their
// first message, as text. There is no word for anything else: a later token
// could not be told from data, so that none can renew, and clients are told
// by close codes alone.
type RawDialect struct {
	// What the application sees of it: `consume` keeps the message,
	// `forward` lets it through. Default: consume
	Pass string `json:"pass,omitempty"`

	spoken
}

// CaddyModule returns the Caddy module information.
func (RawDialect) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.websocket_auth.dialects.raw",
		New: func() caddy.Module { return new(RawDialect) },
	}
}

// Provision sets up the dialect.
func (r *RawDialect) Provision(caddy.Context) error {
	d, err := dialect.NewRaw(dialect.RawConfig{Pass: r.Pass})
	return r.speak("raw", d, err)
}

// UnmarshalCaddyfile sets up the dialect from Caddyfile tokens. Syntax:
//
//	dialect raw {
//	    pass consume|forward
//	}
func (r *RawDialect) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return unmarshalDialect(d, nil, r.unmarshalWord)
}

// unmarshalWord reads one subdirective.
func (r *RawDialect) unmarshalWord(d *caddyfile.Dispenser) error {
	switch d.Val() {
	case "pass":
		return wordArg(d, &r.Pass, passConsume, passForward)
	}
	return d.Errf("unrecognized subdirective '%s' of dialect raw: use pass", d.Val())
}

// Interface guards
var (
	_ caddy.Provisioner     = (*RawDialect)(nil)
	_ caddyfile.Unmarshaler = (*RawDialect)(nil)
	_ dialect.Dialect       = (*RawDialect)(nil)
)
