package handshake

import (
	"net/http"
	"testing"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

const pathsConfig = `
http://{$SITE} {
	websocket_auth /ws* {$JWKS} chat
	handle /ws* {
		reverse_proxy {$BACKEND}
	}
	handle /public/* {
		respond "public"
	}
	handle {
		respond "no app here" 404
	}
}`

// Spellings of a path by which a request could come to the app and not past
// the guard, where both are chosen by the same path (CVE-2026-27587 and its
// kin). Without a token none of them is answered by the app.
func TestAttackPathSpellings(t *testing.T) {
	t.Parallel()
	i, b := rig.NewIssuer(t), rig.NewBackend(t)
	p := rig.StartCaddy(t, pathsConfig, rig.WithEnv("JWKS", i.JWKSURL()), rig.WithEnv("BACKEND", b.Addr))
	for _, path := range []string{
		"/ws", "/WS", "/Ws/a", "//ws", "/./ws", "/public/../ws", "/public/%2e%2e/ws", "/public/%2E%2E/ws",
		"/%77s", "/ws%2f", "/ws%2Fx", "/ws;x", "/ws%00", "/%2fws", "/public/..%2fws", "/ws/../ws", "/public/..;/ws",
		"/ws/%2e%2e/public",
	} {
		conn := rig.DialRaw(t, p.Addr)
		conn.Send(t, rig.Upgrade(p.Addr, path))
		resp := conn.Response(t)
		if resp.StatusCode == http.StatusSwitchingProtocols {
			t.Errorf("%s: %s without a token", path, resp.Status)
		}
		conn.Finish(t)
	}
	if b.Received("GET ") {
		t.Error("the app saw a request without a token")
	}
	conn, _ := rig.MustDial(t, p.Addr, rig.Bearer("/ws/good", i.Token()))
	rig.MustEcho(t, conn, "hello")
	if !b.Received("GET /ws/good") {
		t.Error("what the app gets is not recorded")
	}
}
