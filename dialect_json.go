package websocketauth

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/dialect"
)

func init() {
	caddy.RegisterModule(JSONDialect{})
}

// JSONDialect is for applications whose messages are JSON, in a protocol of
// their own. Every word that is not given keeps its default, also where others
// are given; a text that is empty is silence.
//
// Without any word, `{"type":"auth","token":"…"}` logs in and renews. The
// application never sees it. The client is told
// `{"type":"auth_ok","expires_in":3600}`,
// `{"type":"auth_error","reason":"expired"}` or, before the end,
// `{"type":"auth_required","expires_in":30}`. With `from every_message` each
// message is an object with `token`, which is taken out.
//
// What the client is told may hold these placeholders. They become JSON text,
// quotes included, and are not Caddy's:
//
// Placeholder | Description
// ------------|------------
// `{expires_in}` | The seconds until the credential ends
// `{expires_at}` | When it ends, in seconds since 1970
// `{reason}` | Why, in a word
// `{subject}` | The `sub` claim
// `{session}` | The id of the socket
// `{message.<path>}` | A value of the message that is answered
type JSONDialect struct {
	dialect.JSONConfig
	spoken
}

// CaddyModule returns the Caddy module information.
func (JSONDialect) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.websocket_auth.dialects.json",
		New: func() caddy.Module { return new(JSONDialect) },
	}
}

// Provision sets up the dialect.
func (j *JSONDialect) Provision(caddy.Context) error {
	d, err := dialect.NewJSON(j.JSONConfig)
	return j.speak("json", d, err)
}

// Interface guards
var (
	_ caddy.Provisioner     = (*JSONDialect)(nil)
	_ caddyfile.Unmarshaler = (*JSONDialect)(nil)
	_ dialect.Dialect       = (*JSONDialect)(nil)
)
