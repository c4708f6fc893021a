package logs

import (
	"fmt"
	"strings"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// canaryConfig is a Caddyfile with a site for every flow: over HTTP/1.1, over
// HTTP/2 and HTTP/3, and with tracing in front of all.
func canaryConfig() string {
	return `{
	debug
	metrics
	grace_period 5s
	log default {` + rig.LogFilter + `	}
	websocket_auth {
		lockout 100000 1m 1m
	}
}
(app) {
	reverse_proxy {$BACKEND} {
		stream_close_delay 1h
		header_up X-User {http.auth.user.id}
		header_up X-Error {http.websocket_auth.error}
		header_up X-Claims {http.websocket_auth.claims.iss}
	}
}
(site) {
	log {` + rig.LogFilter + `	}
	websocket_logout /logout {
		issuer {$ISSUER}
		audience chat-client
	}
	` + canaryRoutes() + `
	handle_errors {
		# Another application gets what was refused.
		@sourced path /down /wrong /shown /secret /cable /hub*
		reverse_proxy @sourced {$ERRORS} {
			header_up X-Error "{http.websocket_auth.error} {err.message} {err.status_text}"
			header_up X-Uri "{http.request.uri} {http.request.orig_uri} {http.request.orig_uri.query}"
		}
		reverse_proxy {$ERRORS} {
			header_up X-Error "{http.websocket_auth.error} {err.message} {err.status_text}"
		}
	}
}
http://{$SITE} {
	import site
}
https://{$TLS} {
	tls {$CERT} {$KEY}
	import site
}
http://{$SITE2} {
	tracing {
		span "canary {http.request.uri.path}"
	}
	import site
}
`
}

// canaryRoutes are the routes of a site, the last one for what carries a token
// in a request.
func canaryRoutes() string {
	const auth = "verify jwt {$JWKS} {\naudience chat\n}\n"
	var routes strings.Builder
	route := func(path, directives, rest string) {
		fmt.Fprintf(&routes, "route %s {\nwebsocket_auth {\n%s\n}\n%s\n}\n", path, directives, rest)
	}
	for _, d := range canaryDialects {
		route("/"+d.name, auth+d.lines, "import app")
	}
	for _, onBad := range []string{"close", "tell", "drop"} {
		route("/every-"+onBad, auth+"from every_message {\non_bad "+onBad+"\n}", "import app")
	}
	route("/renewing", auth+`from header
		from first_message
		on_expiry renew {
			path /renewing
		}
		sessions_per_user 3 replace
		ping 1s 1m
		on_reload recheck`, "import app")
	const either = "from header\nfrom query\nfrom first_message"
	route("/panic", auth+either, "reverse_proxy {$PANICS}")
	route("/down", auth+either, "reverse_proxy 127.0.0.1:1")
	route("/wrong", auth+either, "reverse_proxy {$WRONG}")
	route("/socket.io/*", auth+`from header
		from query
		from first_message {
			early
		}
		dialect socketio
		http authenticate`, "import app")
	route("/hub*", auth+"from header\nfrom query\ndialect signalr\nhttp authenticate", "import app")
	route("/cable", auth+"from query\nfrom subprotocol\ndialect actioncable", "import app")
	route("/secret", `verify jwt {
			secret {env.SECRET}
			audience chat
		}
		from header
		from query`, "import app")
	// What other directives see after websocket_auth, in logs without a filter.
	route("/shown", auth+"from subprotocol\nfrom query\nfrom header\nfrom cookie session", `vars seen "{http.request.uri}"
		log_append seen "{http.vars.seen} {http.request.uri} {http.request.uri.query} {http.request.orig_uri}"
		log_append carriers "{http.request.header.Authorization} {http.request.header.Cookie} {http.request.header.Sec-WebSocket-Protocol}"
		import app`)
	route("", auth+`from subprotocol
		from query access_token ticket
		from header
		from header X-Token
		from cookie session
		http authenticate
		reject close`, "import app")
	return routes.String()
}
