package websocketauth

import (
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/dialect"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

// maxRejecting is how many refused sockets may at one time be waited for until
// they have answered the close frame. Beyond it, refusals are HTTP statuses.
const maxRejecting = 1000

// refuse tells both sides: the client what its kind of client can understand,
// the operator which check has failed. answer is the subprotocol that the
// client would be answered. The request is disarmed before Caddy's error
// handling gets it.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, q *request, answer string, err error) error {
	reason := reasonOf(err)
	q.mu.Lock()
	q.reason = reason
	q.mu.Unlock()
	h.observeRefused(r, q, h.placeOf(r, q), reason, err)
	if !isAccepted(r) && h.rejectsByClose(q) && h.refuseByClose(w, r, q, answer, err) {
		return nil
	}
	proxy.Disarm(r)
	return refuseStatus(w.Header(), r, reason, err)
}

// rejectsByClose tells how h refuses: a handler without verifiers as the outer
// one, unless it says.
func (h *Handler) rejectsByClose(q *request) bool {
	if h.Reject == "" && len(h.verifiers) == 0 {
		return q.reject == rejectClose
	}
	return h.Reject == rejectClose
}

// refuseByClose accepts the handshake and closes the socket, and reports
// whether it did: not everything that is refused is a proper handshake.
func (h *Handler) refuseByClose(w http.ResponseWriter, r *http.Request, q *request, answer string, err error) bool {
	reason := reasonOf(err)
	as := refusals[reason]
	proper := q.kind == kindUpgrade && proxy.Classify(r) == proxy.KindWebSocket && proxy.CheckRequest(r) == nil
	if !proper || as.code == proxy.CloseNone {
		return false
	}
	if h.state.socketsRefusing.Add(1) > maxRejecting {
		h.state.socketsRefusing.Add(-1)
		return false
	}
	defer h.state.socketsRefusing.Add(-1)
	if answer == "" {
		answer = proxy.FirstProtocol(r.Header)
	}
	defer liftReadTimeout(r)()
	end := proxy.End{Code: refusalCode(err), Reason: as.word}
	if h.dialect != nil {
		speaker := h.dialect.Start(h.opening(r, q))
		words := speaker.Say(eventOf(reason), dialect.Facts{Now: time.Now(), Reason: as.word})
		end.Farewell = words.Messages
		if words.Code != proxy.CloseNone {
			end.Code = words.Code
		}
	}
	if err := proxy.Refuse(w, r, answer, end); err != nil {
		h.logger.Warn("refused socket could not be closed", zap.Error(err))
	}
	return true
}

// liftReadTimeout lifts Caddy's idle time-out, which would end a WebSocket
// over HTTP/2 or HTTP/3 that is quiet for a minute. What it returns puts it
// back. Writes are bounded in time as before.
func liftReadTimeout(r *http.Request) (restore func()) {
	const year = 365 * 24 * time.Hour
	reader, _ := caddyhttp.IdleTimeoutsFromContext(r.Context())
	if reader == nil {
		return func() {}
	}
	return reader.Override(year, 0)
}
