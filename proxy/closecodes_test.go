package proxy

import (
	"fmt"
	"testing"
)

// gorilla/websocket and tungstenite call 1014 a protocol error, so that their
// users see 1006: whatever code a close frame of ours is asked for, it has
// another.
func TestBadGatewayIsNotSent(t *testing.T) {
	t.Parallel()
	for _, masked := range []bool{false, true} {
		for code := range 5000 {
			frame := closeFrame(CloseCode(code), "", masked)
			h, size, err := ParseHeader(frame)
			if err != nil {
				t.Fatal(err)
			}
			want := CloseCode(code)
			if code == 1014 {
				want = CloseTryAgainLater
			}
			payload := unmasked(h, frame[size:])
			if code == 1005 && len(payload) == 0 { // stands for none
				continue
			}
			if got := closeCodeOf(payload); got != want {
				t.Fatalf("asked for %d, masked %v: sent %d", code, masked, got)
			}
		}
	}
}

// The same where a close frame of one side is said again to the other.
func TestBadGatewayOfOneSideIsNotRepeated(t *testing.T) {
	notOpen(t, func(t *testing.T, r *readingRig) {
		r.appSends(fromApp(finClose, closePayload(1014, "")))
		r.atClientIs("close 1013")
	})
	notOpen(t, func(t *testing.T, r *readingRig) {
		r.clientSends(fromClient(finClose, closePayload(1014, "")))
		r.atClientIs("close 1013")
		r.atAppIs("close 1013")
	})
}

// An end that the tunnel finds out by itself is said in the words of the
// client's protocol.
func TestUnopenedEndIsTranslated(t *testing.T) {
	for final, want := range map[bool]CloseCode{false: CloseTryAgainLater, true: CloseInternalError} {
		t.Run(fmt.Sprint(final), func(t *testing.T) {
			var asked End
			tunnel := &Tunnel{gate: newGate(&scriptConn{}, nil, false, func() {}), options: Options{Translate: func(e End) End {
				asked = e
				e.Code = 4999
				return e
			}}}
			end := tunnel.finishUnopened(&UpstreamError{Err: ErrNoMessage, Final: final})
			if asked.Code != want || end.Code != 4999 || end.Cause != CauseUpstreamRefused {
				t.Errorf("asked for %+v, ended with %+v", asked, end)
			}
		})
	}
}
