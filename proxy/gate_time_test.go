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

// A client that does not answer the close frame is not waited for for ever.
func TestClientNeverAnswersTheClose(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, o rigOptions) {
		r, _ := newRig(t, o)
		synctest.Wait()
		took := elapsed(func() {
			r.gate.End(expired)
			r.clientGetsClose(3000, "token expired")
			r.appGetsClose(CloseGoingAway)
			r.sends(r.app, fromApp(finClose, closePayload(CloseGoingAway, "")))
			r.clientGone()
			r.appGone()
		})
		if took != closeTimeout {
			t.Errorf("took %v, want %v", took, closeTimeout)
		}
		r.endsWith("expired")
	})
}

// An application that does not answer does not keep the client standing.
func TestApplicationNeverAnswersTheClose(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, o rigOptions) {
		r, _ := newRig(t, o)
		synctest.Wait()
		r.gate.End(expired)
		r.clientGetsClose(3000, "token expired")
		r.appGetsClose(CloseGoingAway)
		r.sends(r.client, answerClose)
		var most time.Duration
		if o.stream {
			most = upstreamGrace
		}
		if took := elapsed(r.clientGone); took > most {
			t.Errorf("the client stood for %v, want at most %v", took, most)
		}
		if took := elapsed(r.appGone); took > closeTimeout {
			t.Errorf("the application stood for %v", took)
		}
	})
}

// A client that does not read is cut, in the middle of a frame if need be.
func TestEndOfClientThatDoesNotRead(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, o rigOptions) {
		r, _ := newRig(t, o)
		go r.app.Write(fromApp(finText, "nobody reads this"))
		synctest.Wait()
		took := elapsed(func() {
			if took := elapsed(func() { r.gate.End(expired) }); took != 0 {
				t.Errorf("End took %v", took)
			}
			r.appGetsClose(CloseGoingAway)
			r.appGone()
			r.endsWith("expired")
		})
		if took != closeTimeout {
			t.Errorf("took %v, want %v", took, closeTimeout)
		}
	})
}

// The same client when nothing is being relayed: then the close frame itself
// is what blocks, and End must not wait for that either, because whoever ends
// many sockets does so one after another.
func TestEndDoesNotWaitForTheClient(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, o rigOptions) {
		r, _ := newRig(t, o)
		synctest.Wait()
		if took := elapsed(func() { r.gate.End(expired) }); took != 0 {
			t.Errorf("End took %v", took)
		}
		took := elapsed(func() {
			r.appGetsClose(CloseGoingAway)
			r.endsWith("expired")
		})
		if took != closeTimeout {
			t.Errorf("took %v, want %v", took, closeTimeout)
		}
	})
}

func TestCloseNeverBlocks(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, o rigOptions) {
		r, _ := newRig(t, o)
		go r.app.Write(fromApp(finText, "nobody reads this"))
		synctest.Wait()
		took := elapsed(func() {
			for range 3 {
				if err := r.gate.Close(); err != nil {
					t.Error(err)
				}
			}
		})
		if took != 0 {
			t.Errorf("Close took %v", took)
		}
		if took := elapsed(func() { r.endsWith(CauseProxyClosed) }); took > closeTimeout {
			t.Errorf("ended after %v", took)
		}
	})
}

// One who floods cannot put the end off.
func TestFloodsDoNotPutTheEndOff(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, o rigOptions) {
		r, _ := newRig(t, o)
		flood := func(c net.Conn, p []byte) {
			for {
				if _, err := c.Write(p); err != nil {
					return
				}
			}
		}
		go flood(r.client, fromClient(finText, "in"))
		go flood(r.app, fromApp(finText, "out"))
		count := func(f func() (byte, error)) (messages int) {
			for {
				first, err := f()
				if err != nil || first == finClose {
					return messages
				}
				messages++
				if messages == 100 {
					go r.gate.End(expired)
				}
			}
		}
		seen := make(chan int)
		go func() {
			seen <- count(func() (byte, error) { first, _, _, err := readFrame(r.appFrames); return first, err })
		}()
		client := count(func() (byte, error) { first, _, _, err := readFrame(r.clientFrames); return first, err })
		if app := <-seen; app < 100 && client < 100 {
			t.Errorf("%d messages in, %d out before the end", app, client)
		}
		r.client.Close() // the flood holds no answer to the close frame
		r.app.Close()
		r.endsWith("expired")
	})
}

// halfConn has a CloseWrite that its peer does not notice: an application that
// does not care that the client is gone.
type halfConn struct{ net.Conn }

func (halfConn) CloseWrite() error { return nil }

// When the client is gone, an application that stays is cut.
func TestClientGoneApplicationStays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pair := func() (a, b net.Conn) { a, b = net.Pipe(); return halfConn{a}, b }
		r, _ := newRig(t, rigOptions{pair: pair})
		synctest.Wait()
		took := elapsed(func() {
			r.client.Close()
			r.appGone()
			r.endsWith(CauseClientGone)
		})
		if took != halfCloseGrace {
			t.Errorf("the application stood for %v, want %v", took, halfCloseGrace)
		}
	})
}

// When the application is gone, the client is not kept: a gate that could
// close its half only would leave it standing.
func TestApplicationGoneClientStays(t *testing.T) {
	t.Parallel()
	if _, ok := any(new(Gate)).(interface{ CloseWrite() error }); ok {
		t.Error("the gate has CloseWrite: reverse_proxy would wait for the client")
	}
	inBubble(t, func(t *testing.T, o rigOptions) {
		r, _ := newRig(t, o)
		synctest.Wait()
		took := elapsed(func() {
			r.app.Close()
			r.clientGone()
		})
		if took != 0 {
			t.Errorf("the client stood for %v", took)
		}
		r.end()
	})
}

// Both have sent their close frames and neither ends its connection.
func TestClosedSocketThatStands(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, o rigOptions) {
		r, _ := newRig(t, o)
		r.sends(r.client, fromClient(finClose, ""))
		r.appGets(fromClient(finClose, ""))
		r.sends(r.app, fromApp(finClose, ""))
		r.clientGets(fromApp(finClose, ""))
		took := elapsed(func() {
			r.clientGone()
			r.appGone()
			r.endsWith(CauseClientClosed)
		})
		if took != halfCloseGrace {
			t.Errorf("stood for %v, want %v", took, halfCloseGrace)
		}
	})
}

// A client that stops reading is cut after 30 s to 60 s, however long the
// socket has been good.
func TestStalledClientIsCut(t *testing.T) {
	t.Parallel()
	for _, quiet := range []time.Duration{0, 29 * time.Second, 31 * time.Second, time.Hour} {
		t.Run(quiet.String(), func(t *testing.T) {
			t.Parallel()
			inBubble(t, func(t *testing.T, o rigOptions) {
				r, _ := newRig(t, o)
				frame := fromApp(finText, "x")
				r.sends(r.app, frame)
				r.clientGets(frame)
				time.Sleep(quiet)
				took := elapsed(func() {
					go r.app.Write(frame)
					r.endsWith(CauseClientStalled)
				})
				if took < writeTimeout/2 || took > writeTimeout {
					t.Errorf("cut after %v", took)
				}
				r.appGone()
				if !o.stream { // that is reset
					r.clientGone()
				}
			})
		})
	}
}

// A client that reads slowly, but reads, is not cut: the deadline is renewed.
func TestSlowClientIsNotCut(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, o rigOptions) {
		r, _ := newRig(t, o)
		frame := fromApp(finText, "slow")
		for range 20 {
			go r.sends(r.app, frame)
			time.Sleep(20 * time.Second)
			r.clientGets(frame)
			synctest.Wait()
		}
		r.client.Close()
		r.appGone()
	})
}

// A handler that takes its own write deadline back leaves the gate's.
func TestWriteStaysBoundedWithoutTheHandlersDeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		front, client := net.Pipe()
		defer client.Close()
		g := newGate(front, nil, false, func() {})
		go io.CopyN(io.Discard, client, 3)
		if _, err := g.Write(fromApp(finText, "x")); err != nil {
			t.Fatal(err)
		}
		_ = g.SetWriteDeadline(time.Now().Add(time.Second))
		_ = g.SetWriteDeadline(time.Time{})
		watchdog := time.AfterFunc(time.Hour, func() { client.Close() })
		took := elapsed(func() {
			if _, err := g.Write(fromApp(finText, "x")); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("Write: %v, want the deadline", err)
			}
		})
		watchdog.Stop()
		if took > writeTimeout {
			t.Errorf("Write took %v, want at most %v", took, writeTimeout)
		}
		g.Close()
		if e := g.finish(); e.Cause != CauseClientStalled {
			t.Errorf("cause %q", e.Cause)
		}
	})
}
