package proxy

import (
	"math/rand/v2"

	"github.com/gorilla/websocket"
)

// CloseCode is a WebSocket close code, RFC 6455 section 7.4 and the IANA
// registry of close codes. The word after each says what a client should do:
// retry (come back, perhaps later) or final (not unchanged).
type CloseCode uint16

// The close codes the gate sends. No other file invents one.
const (
	// CloseNone stands for no close frame at all. It is never sent.
	CloseNone CloseCode = 0
	// CloseNormal: all is done. Only the dialects send it on their own.
	CloseNormal CloseCode = websocket.CloseNormalClosure
	// CloseGoingAway: this server stops. Retry.
	CloseGoingAway CloseCode = websocket.CloseGoingAway
	// CloseProtocolError: frames that RFC 6455 forbids. Final.
	CloseProtocolError CloseCode = websocket.CloseProtocolError
	// CloseInvalidPayload: a text message that is no UTF-8. Final.
	CloseInvalidPayload CloseCode = websocket.CloseInvalidFramePayloadData
	// ClosePolicyViolation: a message that is not allowed. Final.
	ClosePolicyViolation CloseCode = websocket.ClosePolicyViolation
	// CloseMessageTooBig: a message that is too long to be read. Final.
	CloseMessageTooBig CloseCode = websocket.CloseMessageTooBig
	// CloseInternalError: an error of ours, or of the application's that a
	// second try does not mend. Retry.
	CloseInternalError CloseCode = websocket.CloseInternalServerErr
	// CloseTryAgainLater: nobody can tell now, too much at once, or the
	// application behind cannot be reached or broke the protocol. Retry.
	CloseTryAgainLater CloseCode = websocket.CloseTryAgainLater
	// CloseUnauthorized: no credential, a bad one, or one whose time is over.
	// Retry with a new one. IANA registry, like HTTP 401.
	CloseUnauthorized CloseCode = 3000
	// CloseForbidden: a rule refuses. Final. IANA registry, like HTTP 403.
	CloseForbidden CloseCode = 3003
	// CloseTimeout: no login, or no renewal, in time. Retry. IANA registry,
	// like HTTP 408.
	CloseTimeout CloseCode = 3008
)

// badGateway is never sent. The IANA registry has it, and gorilla/websocket and
// tungstenite call it a protocol error, so that their users see 1006.
const badGateway CloseCode = 1014

// maxCloseReason is what a control frame leaves for the reason, in bytes:
// 125 less the two of the code. RFC 6455 section 5.5.
const maxCloseReason = 123

// closeFrame returns a whole close frame. reason is cut to what a control
// frame holds, at a rune's border. Frames to a server are masked, RFC 6455
// section 5.3. In the place of 1014, which one side may have sent, goes what it
// asks for.
func closeFrame(code CloseCode, reason string, masked bool) []byte {
	if code == badGateway {
		code = CloseTryAgainLater
	}
	payload := websocket.FormatCloseMessage(int(code), cutReason(reason))
	frame := make([]byte, 0, 2+4+len(payload))
	frame = append(frame, finBit|byte(OpClose))
	if !masked {
		frame = append(frame, byte(len(payload)))
		return append(frame, payload...)
	}
	frame = append(frame, maskBit|byte(len(payload)))
	mask := newMask()
	frame = append(frame, mask[:]...)
	for i, b := range payload {
		frame = append(frame, b^mask[i%4])
	}
	return frame
}

// newMask returns a key that cannot be foreseen: the runtime's generator is
// ChaCha8, seeded by the system.
func newMask() [4]byte {
	key := rand.Uint32() //nolint:gosec // see above
	return [4]byte{byte(key), byte(key >> 8), byte(key >> 16), byte(key >> 24)}
}

// cutReason shortens reason to maxCloseReason bytes of whole UTF-8.
func cutReason(reason string) string {
	if len(reason) <= maxCloseReason {
		return reason
	}
	end := 0
	for i := range reason {
		if i > maxCloseReason {
			break
		}
		end = i
	}
	return reason[:end]
}

// validCloseCode tells whether a peer may send code in a close frame: RFC 6455
// section 7.4.1 and 7.4.2. The codes up to 1014 that the registry names are
// allowed; 1004, 1005, 1006 and 1015 never travel.
func validCloseCode(code uint16) bool {
	switch {
	case code >= 1000 && code <= 1003, code >= 1007 && code <= 1014:
		return true
	default:
		return code >= 3000 && code <= 4999
	}
}
