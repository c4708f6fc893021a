package proxy

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
)

// partingReader says farewell when it ends a socket.
type partingReader struct{ testReader }

func (r *partingReader) Broken(err error) End {
	end := brokenEnd(err)
	end.Farewell = []Message{Text("farewell")}
	return end
}

// The gate's own words at the end never stand inside a message of which the
// client has got a part, although the rest of it is held and never comes; and
// they do come where what has begun is only held.
func TestFarewellAndTheMessageThatIsHeld(t *testing.T) {
	t.Parallel()
	full := "close 1008 " + ErrHoldFull.Error()
	for _, tt := range []struct {
		name         string
		before, held [][]byte
		client       []string
	}{
		{
			"the rest is held",
			[][]byte{fromApp(1, "a")},
			[][]byte{fromApp(0x80, "b"), appMsg("c"), appMsg("d"), appMsg("e")},
			[]string{"…a", full},
		},
		{
			"the rest is held in one segment",
			[][]byte{fromApp(1, "a")},
			[][]byte{join(fromApp(0x80, "b"), appMsg("c"), appMsg("d"), appMsg("e"))},
			[]string{"…a", full},
		},
		{
			"a message is held in part",
			[][]byte{appMsg("a")},
			[][]byte{appMsg("b"), appMsg("c"), fromApp(1, strings.Repeat("d", 3*theLimit))},
			[]string{"a", "farewell", full},
		},
		{
			"whole messages",
			[][]byte{fromApp(1, "a"), fromApp(0x80, "b")},
			[][]byte{appMsg("b"), appMsg("c"), appMsg("d"), fromApp(1, "e")},
			[]string{"…a", ".b", "farewell", full},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inReading(t, Reading{Reader: &partingReader{}, HoldMessages: 2, HoldBytes: 2 * theLimit}, func(t *testing.T, r *readingRig) {
				r.appSends(tt.before...)
				r.suspend()
				r.appSends(tt.held...)
				r.atClientIs(tt.client...)
				r.endsNow("broken")
			})
		})
	}
}

// The same where the socket is ended while the application is sending a
// message that the client gets in frames.
func TestFarewellAndTheMessageThatPasses(t *testing.T) {
	t.Parallel()
	for _, reads := range []bool{false, true} {
		t.Run(fmt.Sprint("reads ", reads), func(t *testing.T) {
			inBubble(t, func(t *testing.T, o rigOptions) {
				o.idle = true
				r, relay := newRig(t, o)
				if reads {
					r.gate.read(&Reading{Reader: &testReader{}, Limit: theLimit, HoldMessages: 9, HoldBytes: theLimit})
				}
				relay()
				atClient := listen(t, r.clientFrames, false, func() {})
				listen(t, r.appFrames, true, func() {})
				first, last := fromApp(1, "the first"), fromApp(0x80, "the last")
				go r.app.Write(first[:5])
				atClient.take()
				end := expired
				end.Farewell = []Message{Text("farewell")}
				r.gate.End(end)
				go r.app.Write(join(first[5:], last, appMsg("more")))
				if got := atClient.take(); !slices.Equal(got, []string{"…the first", "close 3000 token expired"}) {
					t.Errorf("the client got %q", got)
				}
			})
		})
	}
}

// reverse_proxy may end the socket at a reload in the moment in which it begins
// to copy. The race detector sees what the two share.
func TestReloadInTheMomentTheCopyBegins(t *testing.T) {
	t.Parallel()
	for range 200 {
		g := newGate(&scriptConn{}, nil, false, func() {})
		var both sync.WaitGroup
		both.Go(func() { _, _ = g.Write(fromApp(finClose, closePayload(CloseGoingAway, ""))) })
		both.Go(func() {
			_, _ = g.ReadFrom(&scriptConn{pieces: [][]byte{appMsg("a")[:1], appMsg("a")[1:], fromApp(finPing, "?")}})
		})
		both.Wait()
		_, _ = io.Copy(io.Discard, g)
		_ = g.Close()
		g.finish()
	}
}
