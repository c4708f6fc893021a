package websocketauth

import (
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

// isRenewal tells whether r is a request that renews the credential of a
// socket, for protocols that cannot carry one in a message.
func (h *Handler) isRenewal(r *http.Request, wanted proxy.Kind) bool {
	return h.renew != nil && h.renew.path != "" && wanted == proxy.KindPlain &&
		r.Method == http.MethodPost && r.URL.Path == h.renew.path
}

// serveRenewal gives the socket that the query's session names the credential
// of the request. All is checked as in the socket's own handshake, under the
// rules that it was opened under.
func (h *Handler) serveRenewal(w http.ResponseWriter, r *http.Request) error {
	q, err := newRequest(r, kindHTTP)
	if err != nil {
		return caddyhttp.Error(http.StatusInternalServerError, err)
	}
	found, takeErr := takeFrom(r, append(slices.Clip(h.sources), auth.NewBearerSource()))
	h.warnUnfiltered(found)
	s := h.socketOf(r, r.URL.Query().Get("session"))
	if s == nil {
		return h.refuse(w, r, q, "", auth.Refuse(reasonUnknownSession, "no socket of this site has this id"))
	}
	q.session = s.session.ID
	if err := s.handler.checkOrigin(r, q, found); err != nil {
		return h.refuse(w, r, q, "", err)
	}
	if takeErr != nil { // a later message is no help
		return h.refuse(w, r, q, "", takeErr)
	}
	id, err := s.handler.identify(r, q, found, nil)
	if err == nil {
		err = s.request.meetsRules(id)
	}
	if err == nil { // the socket will use it, too
		err = id.CheckBinding(s.handshake.Context())
	}
	if err != nil {
		return h.refuse(w, r, q, "", err)
	}
	until, err := s.renewBy(id, true, nil)
	if err != nil {
		return h.refuse(w, r, q, "", err)
	}
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Cache-Control", "no-store")
	return json.NewEncoder(w).Encode(struct {
		ExpiresIn int64 `json:"expires_in"` // seconds
	}{int64(time.Until(until) / time.Second)})
}

// socketOf returns the socket with this id, nil unless it came in at the site
// of r.
func (h *Handler) socketOf(r *http.Request, id string) *socket {
	found := sockets.Get(id)
	if found == nil || found.Site != h.site(r) {
		return nil
	}
	s, _ := found.Socket.(*socket)
	return s
}
