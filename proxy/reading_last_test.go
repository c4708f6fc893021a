package proxy

import (
	"fmt"
	"testing"
)

// Whole good messages that come in the same write as what ends the socket
// reach the application, as they do where the gate only watches.
func TestGoodMessagesBeforeABadFrame(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		talk  Reading
		bad   []byte
		close string
	}{
		{"a reserved opcode", Reading{}, fromClient(0x83, "bad"), "close 1002 " + ErrReservedOpcode.Error()},
		{"no mask", Reading{}, appMsg("bad"), "close 1002 " + ErrNotMasked.Error()},
		{"in a message", Reading{}, join(fromClient(1, "a"), msg("bad")), "close 1002 " + ErrMessageNotFinished.Error()},
		{"no UTF-8", Reading{}, msg("\xFF"), "close 1008 " + ErrNotUTF8.Error()},
		{"too long", Reading{Strict: true}, msg(overlong("bad")), "close 1008 " + ErrMessageTooBig.Error()},
		{
			"too long, in fragments",
			Reading{Strict: true},
			join(fromClient(1, "bad"), fromClient(0, overlong(""))), "close 1008 " + ErrMessageTooBig.Error(),
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inReading(t, tt.talk, func(t *testing.T, r *readingRig) {
				var good []string
				var p []byte
				for i := range 50 {
					good = append(good, fmt.Sprint("good ", i))
					p = append(p, msg(good[i])...)
				}
				r.clientSends(join(p, tt.bad, msg("behind")))
				r.atAppIs(append(good, "close 1001")...)
				r.atClientIs(tt.close)
			})
		})
	}
}

// The same holds for what comes in front of a message that is refused, but for what
// is held.
func TestGoodMessagesBeforeARefusal(t *testing.T) {
	for _, suspended := range []bool{false, true} {
		t.Run(fmt.Sprint("suspended ", suspended), func(t *testing.T) {
			inReading(t, Reading{}, func(t *testing.T, r *readingRig) {
				r.reader.client = func(m Message) Verdict {
					if string(m.Data) != "bad" {
						return Verdict{Whole: true}
					}
					r.gate.End(End{Cause: "refused", Code: ClosePolicyViolation, Reason: "refused"})
					return Verdict{Ends: true}
				}
				want := []string{"one", "two", "close 1001"}
				if suspended {
					r.suspend()
					want = want[2:]
				}
				r.clientSends(join(msg("one"), msg("two"), msg("bad"), msg("behind")))
				r.atAppIs(want...)
				r.atClientIs("close 1008 refused")
			})
		})
	}
}

// What the gate has taken in part, or holds, goes nowhere all the same.
func TestHeldMessagesBeforeABadFrame(t *testing.T) {
	inReading(t, Reading{}, func(t *testing.T, r *readingRig) {
		r.suspend()
		r.clientSends(join(msg("held"), fromClient(0x83, "bad")))
		r.atAppIs("close 1001")
		r.atClientIs("close 1002 " + ErrReservedOpcode.Error())
		r.endsWith(CauseClientBroke)
	})
}

// The gate has no words for an application that has got the client's close
// frame.
func TestNoWordsBehindTheCloseFrameOfTheClient(t *testing.T) {
	inReading(t, Reading{}, func(t *testing.T, r *readingRig) {
		r.mute.Store(true)
		r.clientSends(fromClient(finClose, closePayload(4001, "")))
		r.gate.SayToApp(Text("too late"))
		r.atAppIs("close 4001")
	})
}
