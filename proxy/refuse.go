package proxy

import "net/http"

// Refuse accepts the handshake of r, which [CheckRequest] has passed, only to
// end the socket with a close code and a reason: a browser shows those to the
// page, and never the status of a handshake that has failed. protocol is the
// subprotocol to answer, or empty. It returns when the client has answered the
// close frame, at most five seconds later.
func Refuse(w http.ResponseWriter, r *http.Request, protocol string, end End) error {
	t := &Tunnel{w: w, client: r, extended: r.Method == http.MethodConnect}
	acceptHandshake(w, r, protocol)
	conn, early, err := t.connection()
	if err != nil {
		return err
	}
	g := newGate(conn, early, true, func() {})
	g.End(end)
	_ = g.Close()
	g.finish()
	return nil
}
