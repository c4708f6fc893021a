package websocketauth

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
)

// TestRecheckLeavesHandshakes: a handshake that the handlers behind still have
// is not looked at from elsewhere, because they may be changing it: a map that is
// read meanwhile ends the process. The socket is judged when they are done.
func TestRecheckLeavesHandshakes(t *testing.T) {
	t.Parallel()
	own := &App{held: new(atomic.Pointer[fleet])}
	own.held.Store(new(fleet)) // it serves yet
	h := &Handler{recheck: true, logger: zap.NewNop(), state: new(handlerState), app: own}
	s := &socket{
		handler: h, request: new(request), identity: &auth.Identity{Subject: "alice"},
		handshake: httptest.NewRequest(http.MethodGet, "/", nil),
	}
	newer := &App{rechecks: new(atomic.Bool)}
	s.recheckBy(newer)
	if s.isOver() {
		t.Error("a handshake was judged that is under way")
	}
	s.taken()
	s.recheckBy(newer)
	if !s.isOver() {
		t.Error("a socket without a guard lives on")
	}
}

// TestRefusedBesideHandlers: a socket that waits for its login, and has to make
// room for another, may be refused while the handlers behind run, which set
// variables of the request: a map that is read meanwhile ends the process.
func TestRefusedBesideHandlers(t *testing.T) {
	t.Parallel()
	server := new(caddyhttp.Server)
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), nil, server)
	h := &Handler{logger: zap.NewNop(), state: new(handlerState)}
	q, err := newRequest(r, kindUpgrade)
	if err != nil {
		t.Fatal(err)
	}
	s := h.newSocket(r, q)
	handled := make(chan bool)
	go func() {
		defer close(handled)
		caddyhttp.SetVar(r.Context(), "behind", "set")
	}()
	s.refuse(auth.Refuse(reasonPendingFull, "newer sockets are waiting"), nil)
	<-handled
	if !s.isOver() {
		t.Error("the socket goes on")
	}
}
