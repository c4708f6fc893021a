package websocketauth

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/dialect"
)

func init() {
	caddy.RegisterModule(SocketIODialect{})
}

// SocketIODialect is how the clients and servers of Socket.IO 3 and 4 speak.
// The credential is in what a client connects to a namespace with, its `auth`.
// The server speaks first, so that `from first_message` needs `early`; clients
// begin with plain requests unless told otherwise, so that `http` has to be
// set. Clients of Socket.IO 2 have no message that could log in.
type SocketIODialect struct {
	// Where the credential is: JSON pointers into `auth`. Only one of them may
	// hold one, or all the same. Default: `/token`, `/access_token`,
	// `/authorization`, `/authToken`
	Credential []string `json:"credential,omitempty"`

	// What the application sees of it: `strip` takes the credential out,
	// `forward` leaves it in. Default: strip
	Pass string `json:"pass,omitempty"`

	// The path to which clients send the plain requests with which they begin.
	// It is compared exactly, since these may come before the login. Default:
	// `/socket.io/`
	Path string `json:"path,omitempty"`

	spoken
}

// CaddyModule returns the Caddy module information.
func (SocketIODialect) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.websocket_auth.dialects.socketio",
		New: func() caddy.Module { return new(SocketIODialect) },
	}
}

// Provision sets up the dialect.
func (s *SocketIODialect) Provision(caddy.Context) error {
	d, err := dialect.NewSocketIO(dialect.SocketIOConfig{Credential: s.Credential, Pass: s.Pass, Path: s.Path})
	return s.speak("socketio", d, err)
}

// UnmarshalCaddyfile sets up the dialect from Caddyfile tokens. Syntax:
//
//	dialect socketio {
//	    credential <pointer>...
//	    pass       strip|forward
//	    path       <path>
//	}
func (s *SocketIODialect) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return unmarshalDialect(d, nil, func(d *caddyfile.Dispenser) error {
		switch d.Val() {
		case "credential":
			return listArg(d, &s.Credential)
		case "pass":
			return wordArg(d, &s.Pass, passStrip, passForward)
		case "path":
			return stringArg(d, &s.Path)
		}
		return d.Errf("unrecognized subdirective '%s' of dialect socketio: use credential, pass or path", d.Val())
	})
}

// Interface guards
var (
	_ caddy.Provisioner     = (*SocketIODialect)(nil)
	_ caddyfile.Unmarshaler = (*SocketIODialect)(nil)
	_ dialect.Dialect       = (*SocketIODialect)(nil)
)
