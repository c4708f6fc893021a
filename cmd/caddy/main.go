// Command caddy is Caddy with its standard modules, the WebSocket
// authentication of this repository with the store redis, and its
// demonstration: for building without xcaddy, and for trying it out with
// `caddy websocket-auth demo`.
package main

import (
	_ "time/tzdata"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-websocket-auth/caddy-websocket-auth"
	_ "github.com/caddy-websocket-auth/caddy-websocket-auth/cmd/caddy/http2xconnect"
	_ "github.com/caddy-websocket-auth/caddy-websocket-auth/demo"
	_ "github.com/caddy-websocket-auth/caddy-websocket-auth/redisstore"
)

func main() {
	caddycmd.Main()
}
