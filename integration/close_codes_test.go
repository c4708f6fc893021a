package integration

import (
	"net/http"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// closeInternal is for what a second try does not mend.
const closeInternal = 1011

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
		{"refuses", "", login, func(*http.Request) string {
			return "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
		}, 1013},
		{"wrong key", "", login, func(r *http.Request) string {
			return switching(r, "Sec-WebSocket-Accept: wrong")
		}, 1013},
		{"bad frame", "", login, func(r *http.Request) string {
			return switching(r, "Sec-WebSocket-Protocol: chat.v1") + "\x83\x01x"
		}, 1013},
		{"another subprotocol", "", login, func(r *http.Request) string {
			return switching(r, "Sec-WebSocket-Protocol: chat.v2")
		}, 1011},
		{"another subprotocol, graphql", "dialect graphql", connectionInit, func(r *http.Request) string {
			return switching(r, "Sec-WebSocket-Protocol: chat.v2")
		}, 1013},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			app := newRawBackend(t, tt.answer)
			o := firstMessage(tt.directives)
			o.env = []startOption{withEnv("APP", app.addr)}
			s := startSite(t, o)
			conn, _ := mustDial(t, s.site, handshake{subprotocols: []string{"chat.v1", "graphql-transport-ws"}})
			text := tt.login(s.issuer.expiring(time.Now().Add(time.Hour)))
			if err := conn.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
				t.Fatal(err)
			}
			if got := closeOf(t, conn); got.Code != tt.code {
				t.Errorf("closed with %d %q, want %d", got.Code, got.Text, tt.code)
			}
		})
	}
}
