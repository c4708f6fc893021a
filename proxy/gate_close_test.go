package proxy

import (
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// The two sides close among themselves: nothing is added.
func TestClientCloses(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, o rigOptions) {
		r, _ := newRig(t, o)
		bye := fromClient(finClose, closePayload(1000, "bye"))
		go r.sends(r.client, join(bye, []byte("nobody's")))
		r.appGets(bye)
		answer := fromApp(finClose, closePayload(1000, "bye"))
		go r.sends(r.app, answer)
		r.clientGets(answer)
		r.app.Close()
		r.clientGone()
		r.endsWith(CauseClientClosed)
	})
}

// The application ends its connection with its close frame, as it may; the
// client's answer is awaited, then its connection is ended.
func TestApplicationCloses(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, o rigOptions) {
		r, _ := newRig(t, o)
		bye := fromApp(finClose, closePayload(1000, "bye"))
		go func() {
			r.sends(r.app, bye)
			r.app.Close()
		}()
		r.clientGets(bye)
		r.sends(r.client, fromClient(finText, "late"), fromClient(finClose, closePayload(1000, "")))
		took := elapsed(r.clientGone)
		r.endsWith(CauseUpstreamClosed)
		if took != 0 {
			t.Errorf("ended %v after the answer", took)
		}
	})
}

// Nothing follows a close frame, whoever sent it.
func TestNothingAfterTheApplicationsCloseFrame(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, o rigOptions) {
		r, _ := newRig(t, o)
		bye := fromApp(finClose, "")
		go r.app.Write(join(bye, fromApp(finText, "more")))
		r.clientGets(bye)
		go r.app.Write(fromApp(finText, "and more"))
		synctest.Wait()
		r.gate.End(expired) // no second close frame, either
		r.appGetsClose(CloseGoingAway)
		r.sends(r.client, fromClient(finClose, ""))
		r.clientGone()
		r.app.Close()
		r.endsWith("expired")
	})
}

// The client's close frame crosses ours: it counts as the answer, and the
// application gets one close frame, not two.
func TestClientsCloseFrameCrossesOurs(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, o rigOptions) {
		r, _ := newRig(t, o)
		bye := fromClient(finClose, closePayload(1000, ""))
		r.sends(r.client, bye)
		r.appGets(bye)
		synctest.Wait()
		r.gate.End(expired)
		r.clientGetsClose(3000, "token expired")
		r.clientGone()
		go r.app.Write(fromApp(finClose, ""))
		r.appGone()
		r.endsWith("expired")
	})
}

// The application's close frame crosses ours: the client has one already.
func TestApplicationsCloseFrameCrossesOurs(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, o rigOptions) {
		r, _ := newRig(t, o)
		bye := fromApp(finClose, closePayload(1000, ""))
		r.sends(r.app, bye)
		r.clientGets(bye)
		synctest.Wait()
		r.gate.End(expired)
		r.appGetsClose(CloseGoingAway)
		r.sends(r.client, fromClient(finClose, closePayload(1000, "")))
		r.clientGone()
		r.appGone()
		r.endsWith("expired")
	})
}

// A client that breaks the protocol is told so; the application sees its good
// frames, a close frame, and not a byte of the bad one.
func TestClientBreaksTheProtocol(t *testing.T) {
	t.Parallel()
	for _, tt := range scanTests() {
		if !tt.client || tt.err == nil || tt.deflate {
			continue
		}
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T, o rigOptions) {
				r, _ := newRig(t, o)
				go r.client.Write(tt.frames)
				r.appGets(tt.frames[:tt.pass])
				r.clientGetsClose(CloseProtocolError, tt.err.Error())
				r.appGetsClose(CloseGoingAway)
				r.client.Close()
				r.app.Close()
				r.endsWith(CauseClientBroke)
			})
		})
	}
}

// The same for an application: the client learns that it was not its fault.
func TestApplicationBreaksTheProtocol(t *testing.T) {
	t.Parallel()
	for _, tt := range scanTests() {
		if tt.client || tt.err == nil || tt.deflate {
			continue
		}
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T, o rigOptions) {
				r, _ := newRig(t, o)
				go r.app.Write(join(tt.frames, fromApp(finText, "more")))
				r.clientGets(tt.frames[:tt.pass])
				r.clientGetsClose(CloseTryAgainLater, "bad frame from the application")
				r.appGetsClose(CloseProtocolError)
				r.sends(r.client, answerClose)
				r.clientGone()
				r.app.Close()
				r.endsWith(CauseUpstreamBroke)
			})
		})
	}
}

// reverse_proxy writes a close frame of its own at a reload, whatever is being
// relayed. It goes out at a border, and nobody waits for that.
func TestCloseFrameOfTheProxy(t *testing.T) {
	t.Parallel()
	injected := fromApp(finClose, closePayload(CloseGoingAway, ""))
	synctest.Test(t, func(t *testing.T) {
		r, _ := newRig(t, rigOptions{})
		frame := fromApp(finText, "a frame that is cut in the middle")
		r.sends(r.app, frame[:10])
		r.clientGets(frame[:10])
		took := elapsed(func() {
			if n, err := r.gate.Write(injected); n != len(injected) || err != nil {
				t.Errorf("Write: %d, %v", n, err)
			}
		})
		if took != 0 {
			t.Errorf("Write took %v", took)
		}
		r.appGetsClose(CloseGoingAway)
		go r.app.Write(join(frame[10:], fromApp(finText, "another")))
		r.clientGets(frame[10:])
		r.clientGets(injected)
		r.sends(r.client, fromClient(finClose, closePayload(CloseGoingAway, "")))
		r.clientGone()
		r.endsWith(CauseProxyClosed)
	})
}

// The same where the client does not read, which blocks Caddy alone for ever.
func TestCloseFrameOfTheProxyToStalledClient(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, _ := newRig(t, rigOptions{})
		go r.app.Write(fromApp(finText, "nobody reads this"))
		synctest.Wait()
		took := elapsed(func() {
			_, _ = r.gate.Write(fromApp(finClose, closePayload(CloseGoingAway, "")))
			r.gate.Close()
		})
		if took != 0 {
			t.Errorf("Write and Close took %v", took)
		}
		took = elapsed(func() { r.endsWith(CauseProxyClosed) })
		if took > closeTimeout {
			t.Errorf("ended after %v, want at most %v", took, closeTimeout)
		}
	})
}

// While ReadFrom runs, nothing but a whole close frame can be put in.
func TestOtherFramesOfTheProxyAreRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, _ := newRig(t, rigOptions{})
		synctest.Wait()
		for name, p := range map[string][]byte{
			"text":                fromApp(finText, "x"),
			"ping":                fromApp(finPing, ""),
			"two close frames":    join(fromApp(finClose, ""), fromApp(finClose, "")),
			"half a close":        fromApp(finClose, closePayload(1001, ""))[:3],
			"a masked close":      fromClient(finClose, closePayload(1001, "")),
			"one with a zero key": {0x88, 0x82, 0, 0, 0, 0, 0x03, 0xE9},
			"a code of nobody":    fromApp(finClose, closePayload(1006, "")),
			"one byte of close":   fromApp(finClose, "x"),
			"nothing":             nil,
		} {
			if n, err := r.gate.Write(p); err == nil {
				t.Errorf("%s: Write = %d, nil; want an error", name, n)
			}
		}
		if r.gate.ending.Load() {
			t.Error("the socket is being ended")
		}
		r.client.Close()
		r.appGone()
	})
}

// Where the handler behind closes without a word, as reverse_proxy does with
// stream_timeout, what is left of the application's frames does not come out
// in pieces.
func TestHandlerClosesWhileTheApplicationSends(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		front, client := net.Pipe()
		back, app := net.Pipe()
		g := newGate(front, nil, false, func() {})
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = g.ReadFrom(back)
		}()
		synctest.Wait()
		g.Close()
		frame := fromApp(finText, "a frame in pieces")
		for _, p := range [][]byte{frame[:5], frame[5:9], frame[9:]} {
			_ = app.SetWriteDeadline(time.Now().Add(time.Second))
			_, _ = app.Write(p)
		}
		got := make(chan []byte)
		go func() {
			p, _ := io.ReadAll(client)
			got <- p
		}()
		app.Close()
		<-done
		if end := g.finish(); end.Cause != CauseProxyClosed {
			t.Errorf("cause %q", end.Cause)
		}
		if p := <-got; len(p) > 0 {
			t.Errorf("the client got %q of a frame that began after the end", p)
		}
	})
}

// After a write that was cut short nobody knows where the client stands: a
// close frame would land in a frame.
func TestNoCloseFrameAfterBrokenWrite(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		front, client := net.Pipe()
		g := newGate(front, nil, false, func() {})
		_ = g.SetWriteDeadline(time.Now().Add(time.Second))
		frame := fromApp(finText, "a frame in pieces")
		start := make([]byte, 6)
		go io.ReadFull(client, start)
		if _, err := g.Write(frame); err == nil {
			t.Fatal("the write was not cut short")
		}
		synctest.Wait()
		got := make(chan []byte)
		go func() {
			p, _ := io.ReadAll(client)
			got <- p
		}()
		_ = g.SetWriteDeadline(time.Time{})
		if n, err := g.Write(frame); err == nil {
			t.Errorf("the next Write = %d, nil", n)
		}
		g.End(expired)
		synctest.Wait()
		g.Close()
		g.finish()
		if p := <-got; len(p) > 0 {
			t.Errorf("after %q the client got %q", start, p)
		}
	})
}
