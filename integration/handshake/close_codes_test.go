package handshake

import (
	"net/http"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// TestCloseCodesThatLibrariesKnow: gorilla's client, which calls 1014 a
// protocol error, sees the code that is meant for what the application does
// wrong, and so does that of a dialect whose clients give up on 1011.
func TestCloseCodesThatLibrariesKnow(t *testing.T) {
	t.Parallel()
	connectionInit := func(token string) string {
		return `{"type":"connection_init","payload":{"Authorization":"` + token + `"}}`
	}
	for _, tt := range []struct {
		name, directives string
		login            func(token string) string
		answer           func(r *http.Request) string
		code             int
	}{
		{"refuses", "", rig.Login, func(*http.Request) string {
			return "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
		}, 1013},
		{"wrong key", "", rig.Login, func(r *http.Request) string {
			return rig.Switching(r, "Sec-WebSocket-Accept: wrong")
		}, 1013},
		{"bad frame", "", rig.Login, func(r *http.Request) string {
			return rig.Switching(r, "Sec-WebSocket-Protocol: chat.v1") + "\x83\x01x"
		}, 1013},
		{"another subprotocol", "", rig.Login, func(r *http.Request) string {
			return rig.Switching(r, "Sec-WebSocket-Protocol: chat.v2")
		}, 1011},
		{"another subprotocol, graphql", "dialect graphql", connectionInit, func(r *http.Request) string {
			return rig.Switching(r, "Sec-WebSocket-Protocol: chat.v2")
		}, 1013},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			app := rig.NewRawBackend(t, tt.answer)
			o := rig.FirstMessage(tt.directives)
			o.Env = []rig.StartOption{rig.WithEnv("APP", app.Addr)}
			s := rig.StartSite(t, o)
			conn, _ := rig.MustDial(t, s.Addr, rig.Handshake{Subprotocols: []string{"chat.v1", "graphql-transport-ws"}})
			text := tt.login(s.Issuer.Expiring(time.Now().Add(time.Hour)))
			if err := conn.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
				t.Fatal(err)
			}
			if got := rig.CloseOf(t, conn); got.Code != tt.code {
				t.Errorf("closed with %d %q, want %d", got.Code, got.Text, tt.code)
			}
		})
	}
}
