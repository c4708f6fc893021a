package proxy

import "errors"

// Cause says why a socket ended. It is a closed set of snake_case words: safe
// as a metric label, and what the access log shows as websocket_end.
type Cause string

// The causes the gate finds out by itself. Whoever calls [Gate.End] gives one
// of its own.
const (
	// CauseClientClosed: the client sent the first close frame.
	CauseClientClosed Cause = "client_closed"
	// CauseUpstreamClosed: the application sent the first close frame.
	CauseUpstreamClosed Cause = "upstream_closed"
	// CauseClientGone: the client's connection ended without a close frame.
	CauseClientGone Cause = "client_gone"
	// CauseUpstreamGone: the application's connection ended without one.
	CauseUpstreamGone Cause = "upstream_gone"
	// CauseUpstreamRefused: the application refused the handshake of a client
	// that had been accepted, or could not be reached.
	CauseUpstreamRefused Cause = "upstream_refused"
	// CauseClientStalled: the client did not read for too long.
	CauseClientStalled Cause = "client_stalled"
	// CauseClientBroke: the client sent a frame that RFC 6455 forbids.
	CauseClientBroke Cause = "client_protocol_error"
	// CauseUpstreamBroke: the application did.
	CauseUpstreamBroke Cause = "upstream_protocol_error"
	// CauseProxyClosed: the handler behind the gate ended the socket on its
	// own account, as reverse_proxy does with stream_timeout and at a reload.
	CauseProxyClosed Cause = "proxy_closed"
)

// End is how a socket is ended: what each side is told, and why.
type End struct {
	Cause Cause
	// Code and Reason are for the client. CloseNone sends no close frame.
	// The reason is cut to 123 bytes.
	Code   CloseCode
	Reason string
	// UpstreamCode is for the application. CloseNone means CloseGoingAway
	// where the client is sent a close frame, and no close frame otherwise.
	UpstreamCode CloseCode
	// Farewell goes to the client before the close frame, unless a message of
	// the application's is in the way.
	Farewell []Message
}

// endUpstreamBroke is for an application that breaks the protocol.
var endUpstreamBroke = End{
	Cause: CauseUpstreamBroke, Code: CloseTryAgainLater, Reason: "bad frame from the application",
	UpstreamCode: CloseProtocolError,
}

// upstreamFrame returns the masked close frame for the application, or nil.
func (e End) upstreamFrame() []byte {
	code := e.UpstreamCode
	if code == CloseNone {
		if e.Code == CloseNone {
			return nil
		}
		code = CloseGoingAway
	}
	return closeFrame(code, "", true)
}

// errEnded is what the handler behind the gate reads once the gate has ended
// the socket. It is not io.EOF, which reverse_proxy takes for a half-close.
var errEnded = errors.New("the gate has ended the socket")
