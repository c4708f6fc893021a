package proxy

import "net/http"

// Refuse accepts the handshake of r, which [CheckRequest] has passed, only to
// end the socket with a close code and a reason: a browser shows those to the
// page, and never the status of a handshake that has failed. protocol is the
// subprotocol to answer, or empty. It returns when the client has answered the
// close frame, at most five seconds later.
func Refuse(w http.ResponseWriter, r *http.Request, protocol string, code CloseCode, reason string) error {
	h := w.Header()
	if protocol != "" {
		h["Sec-Websocket-Protocol"] = []string{protocol}
	}
	t := &Tunnel{w: w, client: r, extended: r.Method == http.MethodConnect}
	if t.extended {
		w.WriteHeader(http.StatusOK)
	} else {
		h["Upgrade"] = []string{"websocket"}
		h["Connection"] = []string{"Upgrade"}
		h["Sec-Websocket-Accept"] = []string{acceptKey(newOffer(r.Header).key)}
		w.WriteHeader(http.StatusSwitchingProtocols)
	}
	conn, early, err := t.connection()
	if err != nil {
		return err
	}
	g := newGate(conn, early, true, func() {})
	g.End(End{Code: code, Reason: reason})
	_ = g.Close()
	g.finish()
	return nil
}
