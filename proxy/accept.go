package proxy

import (
	"errors"
	"net/http"
)

// Accept answers the client's handshake before the application has been
// asked, and returns the gate, in which nobody has logged in. protocol is the
// subprotocol to answer, or empty; only that one is then offered to the
// application, and what the application answers goes nowhere.
// [Options.Reading] must be set. The caller reads with [Gate.AwaitLogin], has
// the next handler serve, and calls [Tunnel.Finish].
func (t *Tunnel) Accept(protocol string) (*Gate, error) {
	if t.options.Reading == nil || t.state != tunnelWaiting {
		return nil, errors.New("only a gate that reads messages can accept a client by itself")
	}
	acceptHandshake(t.w, t.client, protocol)
	conn, early, err := t.connection()
	if err != nil {
		t.state, t.failed = tunnelFailed, err
		return nil, err
	}
	deleteHeader(t.request.Header, "Sec-WebSocket-Protocol")
	if protocol != "" {
		t.request.Header["Sec-Websocket-Protocol"] = []string{protocol}
	}
	t.offer = newOffer(t.request.Header)
	t.accepted, t.header = true, http.Header{}
	t.gate = newGate(conn, early, false, t.cancel)
	t.gate.read(t.options.Reading)
	if t.options.OnOpen != nil {
		t.options.OnOpen(t.gate)
	}
	return t.gate, nil
}

// acceptHandshake answers the handshake of r, which [CheckRequest] has passed.
func acceptHandshake(w http.ResponseWriter, r *http.Request, protocol string) {
	h := w.Header()
	if protocol != "" {
		h["Sec-Websocket-Protocol"] = []string{protocol}
	}
	if r.Method == http.MethodConnect {
		w.WriteHeader(http.StatusOK)
		return
	}
	h["Upgrade"] = []string{"websocket"}
	h["Connection"] = []string{"Upgrade"}
	h["Sec-Websocket-Accept"] = []string{acceptKey(newOffer(r.Header).key)}
	w.WriteHeader(http.StatusSwitchingProtocols)
}

// endUnopened is for an accepted client whose application cannot be reached.
var endUnopened = End{Cause: CauseUpstreamRefused, Code: CloseTryAgainLater, Reason: "bad_gateway"}

// finishUnopened ends the socket of an accepted client that no handler has
// taken over. If nobody has ended it, the application is to blame, for what why
// says.
func (t *Tunnel) finishUnopened(why error) End {
	end := endUnopened
	if bad, ok := errors.AsType[*UpstreamError](why); ok && bad.Final {
		end.Code = CloseInternalError
	}
	if !t.gate.Ending() {
		t.gate.End(t.translate(end))
	}
	t.gate.takeOver()
	_ = t.gate.Close()
	return t.gate.finish()
}

// translate returns end in the words of the client's protocol.
func (t *Tunnel) translate(end End) End {
	if t.options.Translate == nil {
		return end
	}
	return t.options.Translate(end)
}
