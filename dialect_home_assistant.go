package websocketauth

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/dialect"
)

func init() {
	caddy.RegisterModule(HomeAssistantDialect{})
}

// HomeAssistantDialect is the WebSocket API of Home Assistant, in which
// `{"type":"auth","access_token":"…"}` logs in. The same message renews,
// which the application never sees. The server speaks first, so that `from
// first_message` needs `early`, except with `pass consume`.
type HomeAssistantDialect struct {
	// What the application sees of the login: `forward` leaves it as it
	// came, `strip` takes the credential out, `consume` keeps all of it and
	// speaks to the client in its stead. Default: forward
	Pass string `json:"pass,omitempty"`

	// What clients are told for `ha_version` where this speaks to them.
	// Default: 2022.1.0, with which they ask for no features
	Version string `json:"version,omitempty"`

	spoken
}

// CaddyModule returns the Caddy module information.
func (HomeAssistantDialect) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.websocket_auth.dialects.home_assistant",
		New: func() caddy.Module { return new(HomeAssistantDialect) },
	}
}

// Provision sets up the dialect.
func (h *HomeAssistantDialect) Provision(caddy.Context) error {
	d, err := dialect.NewHomeAssistant(dialect.HomeAssistantConfig{Pass: h.Pass, Version: h.Version})
	return h.speak("home_assistant", d, err)
}

// UnmarshalCaddyfile sets up the dialect from Caddyfile tokens. Syntax:
//
//	dialect home_assistant {
//	    pass    forward|strip|consume
//	    version <version>
//	}
func (h *HomeAssistantDialect) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return unmarshalDialect(d, nil, h.unmarshalWord)
}

// unmarshalWord reads one subdirective.
func (h *HomeAssistantDialect) unmarshalWord(d *caddyfile.Dispenser) error {
	switch d.Val() {
	case "pass":
		return wordArg(d, &h.Pass, passForward, passStrip, passConsume)
	case "version":
		return stringArg(d, &h.Version)
	}
	return d.Errf("unrecognized subdirective '%s' of dialect home_assistant: use pass or version", d.Val())
}

// Interface guards
var (
	_ caddy.Provisioner     = (*HomeAssistantDialect)(nil)
	_ caddyfile.Unmarshaler = (*HomeAssistantDialect)(nil)
	_ dialect.Dialect       = (*HomeAssistantDialect)(nil)
)
