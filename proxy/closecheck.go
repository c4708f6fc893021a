package proxy

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/gorilla/websocket"
)

// CheckClose returns what keeps an operator's code and reason from being sent
// in a close frame, or nil. RFC 6455 section 5.5.1 and 7.4.
func CheckClose(code CloseCode, reason string) error {
	switch {
	case code == badGateway:
		return errors.New("close code 1014 is not sent, because gorilla/websocket and tungstenite call it a protocol error: use 1013")
	case !validCloseCode(uint16(code)), code == websocket.CloseMandatoryExtension: // which clients alone send
		return errors.New("a close code is 1000 to 1003, 1007 to 1009, 1011 to 1013, or 3000 to 4999")
	case len(reason) > maxCloseReason:
		return fmt.Errorf("a close reason has at most %d bytes", maxCloseReason)
	case !utf8.ValidString(reason):
		return errors.New("a close reason is UTF-8")
	}
	return nil
}
