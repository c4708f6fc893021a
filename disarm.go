package websocketauth

import (
	"context"
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

// disarm takes from a request that has failed with err what makes it a
// handshake, or could, so that an error page with a reverse_proxy opens no
// tunnel with it, not even one that asks for an upgrade by itself. It returns
// what Caddy is to be told: err, or nil if the client has been answered.
func (h *Handler) disarm(w http.ResponseWriter, r *http.Request, q *request, err error) error {
	if err == nil {
		return nil
	}
	proxy.Disarm(r)
	// Caddy puts the method back before it runs the error page.
	original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	if ok && original.Method == http.MethodConnect {
		original.Method = http.MethodGet
		*r = *r.WithContext(context.WithValue(r.Context(), caddyhttp.OriginalRequestCtxKey, original))
	}
	if !q.armed() || isAccepted(r) {
		return err
	}
	return h.answer(w, err)
}

// armed tells whether Caddy's own request still can open a tunnel. A handler in
// front, tracing for instance, may have handed on a copy: what is done to that
// does not reach the error page.
func (q *request) armed() bool {
	method, _ := q.repl.GetString("http.request.method")
	upgrade, _ := q.repl.GetString("http.request.header.Upgrade")
	key, _ := q.repl.GetString("http.request.header.Sec-Websocket-Key")
	return method == http.MethodConnect || upgrade != "" || key != ""
}

// answer answers err without an error page.
func (h *Handler) answer(w http.ResponseWriter, err error) error {
	status := http.StatusInternalServerError
	if handlerErr, ok := errors.AsType[caddyhttp.HandlerError](err); ok {
		status = handlerErr.StatusCode
	}
	if _, refused := errors.AsType[*auth.RefusedError](err); !refused { // else it is in the log
		h.logger.Error("request failed", zap.Int("status", status), zap.Error(err))
	}
	w.WriteHeader(status)
	return nil
}
