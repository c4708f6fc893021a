package websocketauth

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gorilla/websocket"
	"go.uber.org/zap"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

// TestEndedBeforeOpen: a socket that was ended before its handshake was done,
// as by too many others that wait, is being ended when the handler behind gets it: not one
// message passes.
func TestEndedBeforeOpen(t *testing.T) {
	t.Parallel()
	end := proxy.End{Cause: "test", Code: proxy.CloseUnauthorized, Reason: "revoked"}
	ended := make(chan bool, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := &socket{
			handler: &Handler{logger: zap.NewNop(), state: new(handlerState)}, handshake: r,
			request: &request{kind: kindUpgrade}, over: true, endsAs: &end,
		}
		tunnel := proxy.NewTunnel(w, r, proxy.Options{OnOpen: func(g *proxy.Gate) {
			s.open(g)
			ended <- !g.End(proxy.End{Cause: "late", Code: proxy.CloseNormal})
		}})
		upgrader := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
		if conn, err := upgrader.Upgrade(tunnel, tunnel.Request(), nil); err == nil {
			_, _, _ = conn.ReadMessage()
			_ = conn.Close()
		}
		_, _, _ = tunnel.Finish(nil)
		s.uncount()
	}))
	defer server.Close()
	client, _, err := websocket.DefaultDialer.DialContext(t.Context(), "ws"+server.URL[len("http"):], nil)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if !<-ended {
		t.Error("the socket is open")
	}
	if _, _, err := client.ReadMessage(); !websocket.IsCloseError(err, int(proxy.CloseUnauthorized)) {
		t.Errorf("ended with %v", err)
	}
}
