package proxy

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// inBubble runs f in all modes, on a clock of its own.
func inBubble(t *testing.T, f func(t *testing.T, o rigOptions)) {
	t.Helper()
	inAllModes(t, func(t *testing.T, o rigOptions) {
		synctest.Test(t, func(t *testing.T) { f(t, o) })
	})
}

func TestMessagesPass(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, o rigOptions) {
		r, _ := newRig(t, o)
		for range 3 {
			hello := join(fromClient(finText, "hello"), fromClient(finPing, ""))
			go r.sends(r.client, hello)
			r.appGets(hello)
			hello = join(fromApp(finBinary, "hello, too"), fromApp(finPong, "x"))
			go r.sends(r.app, hello)
			r.clientGets(hello)
		}
		r.client.Close()
		r.appGone()
		r.endsWith(CauseClientGone)
	})
}

func TestEndWhenIdle(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, o rigOptions) {
		r, _ := newRig(t, o)
		synctest.Wait()
		took := elapsed(func() {
			if !r.gate.End(expired) {
				t.Error("End says that it was not this call")
			}
			r.clientGetsClose(3000, "token expired")
			r.appGetsClose(CloseGoingAway)
			r.sends(r.client, answerClose)
			r.sends(r.app, fromApp(finClose, closePayload(CloseGoingAway, "")))
			r.clientGone()
			r.appGone()
			r.endsWith("expired")
		})
		if took != 0 {
			t.Errorf("took %v", took)
		}
	})
}

// The frame that the application has begun is finished, the message of which
// it is a part is not, and no other begins.
func TestEndInFrameOfApplication(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, o rigOptions) {
		r, _ := newRig(t, o)
		frame := fromApp(byte(OpText), "a fragment that is cut in the middle")
		go r.sends(r.app, frame[:10])
		r.clientGets(frame[:10])
		r.gate.End(expired)
		r.appGetsClose(CloseGoingAway)
		go func() {
			r.sends(r.app, frame[10:20], frame[20:])
			_, _ = r.app.Write(fromApp(0x80, "the rest"))
			_, _ = r.app.Write(fromApp(finText, "another"))
		}()
		r.clientGets(frame[10:])
		r.clientGetsClose(3000, "token expired")
		r.sends(r.client, answerClose)
		r.clientGone()
	})
}

// The same in one piece: what follows the frame in the same read is another.
func TestEndInFrameOfApplicationInOnePiece(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, o rigOptions) {
		r, _ := newRig(t, o)
		frame := fromApp(finText, "a frame that is cut in the middle")
		go r.sends(r.app, frame[:10])
		r.clientGets(frame[:10])
		r.gate.End(expired)
		r.appGetsClose(CloseGoingAway)
		go r.app.Write(join(frame[10:], fromApp(finText, "another"), fromApp(finText, "and another")))
		r.clientGets(frame[10:])
		r.clientGetsClose(3000, "token expired")
		r.sends(r.client, answerClose)
		r.clientGone()
	})
}

func TestEndInFrameOfClient(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, o rigOptions) {
		r, _ := newRig(t, o)
		frame := fromClient(byte(OpBinary), "a fragment that is cut in the middle")
		go r.sends(r.client, frame[:12])
		r.appGets(frame[:12])
		r.gate.End(expired)
		r.clientGetsClose(3000, "token expired")
		go r.sends(r.client, frame[12:20], join(frame[20:], fromClient(0x80, "the rest")), fromClient(finText, "more"), answerClose)
		r.appGets(frame[12:])
		r.appGetsClose(CloseGoingAway)
		r.clientGone()
		r.app.Close()
		r.endsWith("expired")
	})
}

// A client that leaves its frame unfinished gets its close frame all the same;
// nothing may be put into the frame on its way to the application.
func TestEndInFrameThatIsNeverFinished(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, o rigOptions) {
		r, _ := newRig(t, o)
		frame := fromClient(finText, "cut")
		go r.sends(r.client, frame[:7])
		r.appGets(frame[:7])
		took := elapsed(func() {
			r.gate.End(expired)
			r.clientGetsClose(3000, "token expired")
			r.clientGone()
			r.appGone()
		})
		if took != closeTimeout {
			t.Errorf("took %v, want %v", took, closeTimeout)
		}
		r.endsWith("expired")
	})
}

// A header that is not whole when the end comes has not begun a message.
func TestEndWithUnfinishedHeaders(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, o rigOptions) {
		r, _ := newRig(t, o)
		r.sends(r.client, fromClient(finText, "x")[:5])
		r.sends(r.app, fromApp(finText, string(make([]byte, 300)))[:3])
		synctest.Wait()
		r.gate.End(expired)
		r.clientGetsClose(3000, "token expired")
		r.appGetsClose(CloseGoingAway)
		r.sends(r.client, fromClient(finText, "x")[5:], answerClose)
		r.clientGone()
		r.app.Close()
		r.endsWith("expired")
	})
}

// A close frame that is held back because it is not whole yet.
func TestEndWithUnfinishedCloseFrame(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, o rigOptions) {
		r, _ := newRig(t, o)
		answer := fromClient(finClose, closePayload(1000, "bye"))
		r.sends(r.client, answer[:8])
		r.sends(r.app, fromApp(finClose, closePayload(1000, "bye"))[:3])
		synctest.Wait()
		r.gate.End(expired)
		r.clientGetsClose(3000, "token expired")
		r.appGetsClose(CloseGoingAway)
		r.sends(r.client, answer[8:])
		r.sends(r.app, fromApp(finClose, closePayload(1000, "bye"))[3:])
		r.clientGone()
		r.appGone()
		r.endsWith("expired")
	})
}

func TestEndTwice(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, o rigOptions) {
		r, _ := newRig(t, o)
		synctest.Wait()
		r.gate.End(expired)
		if r.gate.End(End{Cause: "revoked", Code: CloseForbidden}) {
			t.Error("the second End says that it ended the socket")
		}
		r.clientGetsClose(3000, "token expired")
		r.appGetsClose(CloseGoingAway)
		r.sends(r.client, answerClose)
		r.clientGone()
		r.app.Close()
		r.endsWith("expired")
		if r.gate.End(expired) {
			t.Error("End after the end says that it ended the socket")
		}
	})
}

// The time may be over before the handler behind has read anything; what came
// with the handshake must not pass then.
func TestEndBeforeAnyRead(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, o rigOptions) {
		o.idle, o.early = true, fromClient(finText, "early")
		r, relay := newRig(t, o)
		go r.gate.End(expired)
		r.clientGetsClose(3000, "token expired")
		relay()
		r.appGetsClose(CloseGoingAway)
		r.sends(r.client, answerClose)
		r.clientGone()
		r.app.Close()
		r.endsWith("expired")
	})
}

func TestEarlyBytesPassOnceAndInOrder(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, o rigOptions) {
		early := join(fromClient(finText, "one"), fromClient(finText, "two"))
		rest := fromClient(finText, "three")
		o.early = join(early, rest[:3])
		r, _ := newRig(t, o)
		r.appGets(early)
		r.sends(r.client, rest[3:])
		r.appGets(rest)
		want := Stats{BytesIn: int64(len(early) + len(rest)), MessagesIn: 3}
		if got := r.gate.Stats(); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
		r.client.Close()
		r.appGone()
	})
}

func TestEarlyBytesAreJudged(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, o rigOptions) {
		o.early = join(fromClient(finText, "one"), []byte("GET /internal HTTP/1.1\r\n\r\n"))
		r, _ := newRig(t, o)
		r.appGets(fromClient(finText, "one"))
		r.clientGetsClose(CloseProtocolError, ErrReservedOpcode.Error())
		r.appGetsClose(CloseGoingAway)
		r.client.Close()
		r.app.Close()
		r.endsWith(CauseClientBroke)
	})
}

// A message that has passed the gate's eye but not left it is not let out
// after the end: what a handler with a small buffer has not read yet.
func TestEndWithMessagesNotYetRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		front, client := net.Pipe()
		defer client.Close()
		g := newGate(front, nil, false, func() {})
		one, two := fromClient(finText, "one"), fromClient(finText, "two")
		go client.Write(join(one, two, two, two))
		half := make([]byte, 4)
		if n, err := g.Read(half); n != 4 || err != nil {
			t.Fatal(n, err)
		}
		go g.End(expired)
		go io.Copy(io.Discard, client)
		synctest.Wait()
		var rest []byte
		for buf := make([]byte, 4); len(rest) < len(one)-4; {
			n, err := g.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			rest = append(rest, buf[:n]...)
		}
		buf := make([]byte, 100)
		n, err := g.Read(buf)
		if n < 1 || err != nil || buf[0] != finClose {
			t.Errorf("after the frame that had begun: %q, %v; want the close frame", buf[:n], err)
		}
		client.Close()
		g.Close()
		g.finish()
	})
}

// The handler behind may set deadlines of its own.
func TestDeadlinesOfTheHandler(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		front, client := net.Pipe()
		defer client.Close()
		g := newGate(front, nil, false, func() {})
		deadline := time.Now().Add(time.Second)
		if err := g.SetDeadline(deadline); err != nil {
			t.Fatal(err)
		}
		took := elapsed(func() {
			if _, err := g.Read(make([]byte, 10)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Read: %v, want the deadline", err)
			}
			if _, err := g.Write(fromApp(finText, "x")); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Write: %v, want the deadline", err)
			}
		})
		if took != time.Second {
			t.Errorf("took %v, want 1s", took)
		}
		if g.ending.Load() {
			t.Error("the handler's deadline has ended the socket")
		}
		_ = g.SetDeadline(time.Time{})
		go client.Write(fromClient(finText, "x"))
		if n, err := g.Read(make([]byte, 100)); n != 7 || err != nil {
			t.Errorf("Read after the deadline was lifted: %d, %v", n, err)
		}
		g.Close()
		g.finish()
	})
}

// Once the gate is closing, the deadlines are its own.
func TestDeadlinesOfTheHandlerAfterTheEnd(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, o rigOptions) {
		r, _ := newRig(t, o)
		synctest.Wait()
		took := elapsed(func() {
			go r.gate.End(expired)
			synctest.Wait()
			_ = r.gate.SetDeadline(time.Time{})
			_ = r.gate.SetDeadline(time.Now().Add(time.Hour))
			_ = r.gate.SetDeadline(past)
			r.clientGetsClose(3000, "token expired")
			r.appGetsClose(CloseGoingAway)
			r.clientGone()
		})
		if took != closeTimeout {
			t.Errorf("took %v, want %v", took, closeTimeout)
		}
	})
}

// hookedConn calls hook when something has been read.
type hookedConn struct {
	net.Conn
	hook func()
}

func (c *hookedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.hook()
	}
	return n, err
}

// What is read in the very moment of the end does not pass, and a close frame
// in it counts as the answer.
func TestEndInTheMomentOfARead(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, o rigOptions) {
		if o.stream {
			return // it has a goroutine that reads ahead
		}
		var r *rig
		o.wrap = func(front net.Conn) net.Conn {
			return &hookedConn{front, func() { r.gate.End(expired) }}
		}
		o.idle = true
		r, relay := newRig(t, o)
		relay()
		took := elapsed(func() {
			go r.client.Write(join(fromClient(finText, "too late"), answerClose))
			r.clientGetsClose(3000, "token expired")
			r.appGetsClose(CloseGoingAway)
			r.clientGone()
		})
		if took != 0 {
			t.Errorf("took %v", took)
		}
	})
}
