package websocketauth

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/dialect"
)

func init() {
	caddy.RegisterModule(MQTTDialect{})
}

// MQTTDialect is MQTT 3.1, 3.1.1 and 5.0 over WebSockets. The credential is
// in the CONNECT packet. Only clients of MQTT 5.0 that use `auth_method` can
// renew; others come back with a new connection.
type MQTTDialect struct {
	// Where CONNECT has the credential: `password`, `username` or
	// `auth_data`, the Authentication Data of MQTT 5.0. Default: password
	Credential string `json:"credential,omitempty"`

	// The Authentication Method of MQTT 5.0, such as `OAUTH2-JWT`, with
	// which clients send a credential as Authentication Data: in CONNECT
	// instead of the field above, and in AUTH to renew it. Default: any
	// with `credential auth_data`, else none
	AuthMethod string `json:"auth_method,omitempty"`

	// What the application sees of it: `forward` leaves every packet as it
	// came, so that the application has to know the method; `strip` takes
	// the field out of CONNECT, and the method and its data, and answers
	// AUTH here. Default: forward
	Pass string `json:"pass,omitempty"`

	spoken
}

// CaddyModule returns the Caddy module information.
func (MQTTDialect) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.websocket_auth.dialects.mqtt",
		New: func() caddy.Module { return new(MQTTDialect) },
	}
}

// Provision sets up the dialect.
func (m *MQTTDialect) Provision(caddy.Context) error {
	d, err := dialect.NewMQTT(dialect.MQTTConfig{Credential: m.Credential, AuthMethod: m.AuthMethod, Pass: m.Pass})
	return m.speak("mqtt", d, err)
}

// UnmarshalCaddyfile sets up the dialect from Caddyfile tokens. Syntax:
//
//	dialect mqtt {
//	    credential  password|username|auth_data
//	    auth_method <method>
//	    pass        forward|strip
//	}
func (m *MQTTDialect) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return unmarshalDialect(d, nil, m.unmarshalWord)
}

// unmarshalWord reads one subdirective.
func (m *MQTTDialect) unmarshalWord(d *caddyfile.Dispenser) error {
	switch d.Val() {
	case "credential":
		return wordArg(d, &m.Credential, "password", "username", "auth_data")
	case "auth_method":
		return stringArg(d, &m.AuthMethod)
	case "pass":
		return wordArg(d, &m.Pass, passForward, passStrip)
	}
	return d.Errf("unrecognized subdirective '%s' of dialect mqtt: use credential, auth_method or pass", d.Val())
}

// Interface guards
var (
	_ caddy.Provisioner     = (*MQTTDialect)(nil)
	_ caddyfile.Unmarshaler = (*MQTTDialect)(nil)
	_ dialect.Dialect       = (*MQTTDialect)(nil)
)
