package proxy

import (
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// notOpen are the states in which a gate holds messages.
func notOpen(t *testing.T, f func(t *testing.T, r *readingRig)) {
	t.Helper()
	for name, pending := range map[string]bool{"pending": true, "suspended": false} {
		t.Run(name, func(t *testing.T) {
			inReading(t, Reading{Pending: pending}, func(t *testing.T, r *readingRig) {
				if !pending {
					r.suspend()
				}
				f(t, r)
			})
		})
	}
}

// A side that closes while messages are held is answered, the other one is
// told, without the reason, and what is held goes nowhere.
func TestClientClosesWhileHeld(t *testing.T) {
	notOpen(t, func(t *testing.T, r *readingRig) {
		r.clientSends(join(msg("held"), fromClient(finClose, closePayload(4001, "secret")), msg("late")))
		r.appSends(appMsg("held"))
		r.atClientIs("close 4001")
		r.atAppIs("close 4001")
		r.endsNow(CauseClientClosed)
	})
}

func TestApplicationClosesWhileHeld(t *testing.T) {
	notOpen(t, func(t *testing.T, r *readingRig) {
		r.clientSends(msg("held"))
		r.appSends(join(appMsg("held"), fromApp(finClose, closePayload(4001, "secret")), appMsg("late")))
		r.atClientIs("close 4001")
		r.atAppIs("close 4001")
		r.endsNow(CauseUpstreamClosed)
	})
}

func TestCloseWithoutCodeWhileHeld(t *testing.T) {
	notOpen(t, func(t *testing.T, r *readingRig) {
		r.clientSends(fromClient(finClose, ""))
		r.atClientIs("close 1000")
		r.atAppIs("close 1000")
		r.endsNow(CauseClientClosed)
	})
}

func TestEndWhileHeld(t *testing.T) {
	notOpen(t, func(t *testing.T, r *readingRig) {
		r.clientSends(msg("held"), msg("held, too"))
		r.appSends(appMsg("held"), appMsg("held, too"))
		end := expired
		end.Farewell = []Message{Text("fare"), {Binary: true, Data: []byte("well")}}
		r.gate.End(end)
		r.gate.Resume(time.Now().Add(time.Hour), Text("too late"))
		r.clientSends(msg("late"))
		r.appSends(appMsg("late"))
		r.atClientIs("fare", "binary well", "close 3000 token expired")
		r.atAppIs("close 1001")
		r.endsNow("expired")
	})
}

func TestConnectionsEndWhileHeld(t *testing.T) {
	notOpen(t, func(t *testing.T, r *readingRig) {
		r.clientSends(msg("held"))
		r.appSends(appMsg("held"))
		r.client.Close()
		r.endsWith(CauseClientGone)
		r.atAppIs()
	})
	notOpen(t, func(t *testing.T, r *readingRig) {
		r.clientSends(msg("held"))
		r.appSends(appMsg("held"))
		r.app.Close()
		if cause := r.end().Cause; cause != CauseUpstreamGone && cause != CauseProxyClosed {
			t.Errorf("ended with %q", cause)
		}
		r.atClientIs()
	})
}

// A broken frame ends the socket in whatever state.
func TestProtocolErrorsWhileHeld(t *testing.T) {
	notOpen(t, func(t *testing.T, r *readingRig) {
		r.clientSends(fromClient(0x91, "RSV3"))
		r.atClientIs("close 1002 " + ErrReservedBits.Error())
		r.atAppIs("close 1001")
		r.client.Close()
		r.endsNow(CauseClientBroke)
	})
	notOpen(t, func(t *testing.T, r *readingRig) {
		r.appSends(join(appMsg("held"), msg("masked"), appMsg("late")))
		r.atClientIs("close 1013 " + endUpstreamBroke.Reason)
		r.atAppIs("close 1002")
		r.endsNow(CauseUpstreamBroke)
	})
}

// No farewell gets into a message of the application's.
func TestFarewellNotInsideMessage(t *testing.T) {
	for name, suspended := range map[string]bool{"open": false, "suspended": true} {
		t.Run(name, func(t *testing.T) {
			inReading(t, Reading{}, func(t *testing.T, r *readingRig) {
				r.appSends(fromApp(1, "half of"))
				if suspended {
					r.suspend()
					r.appSends(fromApp(0, "a message"))
				}
				end := expired
				end.Farewell = []Message{Text("farewell")}
				r.gate.End(end)
				r.atClientIs("…half of", "close 3000 token expired")
				r.atAppIs("close 1001")
				r.endsNow("expired")
			})
		})
	}
}

// The client's close frame has been read and not gone out when the socket is
// ended: the application still gets one.
func TestEndBeforeTheClientsCloseFrameIsOut(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, o rigOptions) {
		r, relay := newRig(t, rigOptions{plain: o.plain, buffer: o.buffer, stream: o.stream, idle: true})
		r.gate.read(&Reading{Reader: &testReader{}, Limit: theLimit})
		relay()
		long := msg(strings.Repeat("m", 100))
		go r.client.Write(join(long, fromClient(finClose, closePayload(4001, ""))))
		if _, err := io.ReadFull(r.app, make([]byte, 7)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		r.gate.End(expired)
		r.clientGetsClose(3000, "token expired")
		r.appGets(long[7:])
		r.appGetsClose(CloseGoingAway)
		r.client.Close()
		r.app.Close()
		r.endsWith("expired")
	})
}

// A message that has been judged but not left the gate is not let out after
// the end, nor while the gate is suspended, whatever a handler with a small
// buffer has read of the one before.
func TestJudgedMessagesNotYetRead(t *testing.T) {
	t.Parallel()
	for _, end := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			front, client := net.Pipe()
			defer client.Close()
			g := newGate(front, nil, false, func() {})
			g.read(&Reading{Reader: &testReader{}, Limit: theLimit, HoldMessages: 9, HoldBytes: theLimit})
			one, two := msg("one"), msg("two")
			go client.Write(join(one, two, two, msg("instead"), two))
			p := make([]byte, 100)
			if n, err := g.Read(p[:4]); n != 4 || err != nil {
				t.Fatal(n, err)
			}
			if end {
				g.End(expired)
			} else {
				g.Suspend()
			}
			go io.Copy(io.Discard, client)
			synctest.Wait()
			n, err := g.Read(p)
			if n != len(one)-4 || err != nil {
				t.Errorf("read %q, %v; want the rest of the message that had begun", p[:n], err)
			}
			if !end {
				g.SayToApp(Text("said"))
			}
			n, err = g.Read(p)
			if want := map[bool]byte{true: finClose, false: finText}[end]; n < 1 || err != nil || p[0] != want {
				t.Errorf("then %q, %v", p[:n], err)
			}
			if !end {
				g.Resume(time.Now().Add(time.Hour))
				held := len(join(two, two, msg("first of "), msg("second of "), two))
				if _, err := io.ReadFull(g, make([]byte, held)); err != nil {
					t.Error(err)
				}
			}
			client.Close()
			g.Close()
			g.finish()
		})
	}
}

// writeHook calls hook with each frame that goes out to the client.
type writeHook struct {
	net.Conn
	hook func(p []byte)
}

func (c *writeHook) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.hook(p)
	return n, err
}

// hooked runs f with a gate whose writes to the client call hook.
func hooked(t *testing.T, talk Reading, hook func(r *readingRig, p []byte), f func(t *testing.T, r *readingRig)) {
	t.Helper()
	t.Parallel()
	inBubble(t, func(t *testing.T, o rigOptions) {
		if o.stream {
			return // is a connection like any other here
		}
		var r *readingRig
		o.wrap = func(front net.Conn) net.Conn {
			return &writeHook{front, func(p []byte) { hook(r, p) }}
		}
		o.idle = true
		r = newReadingRig(t, o, talk)
		r.relay()
		f(t, r)
	})
}

// Once ended, nothing more of what is held begins to pass.
func TestEndWhileTheHeldIsDelivered(t *testing.T) {
	for name, parts := range map[string][][]byte{
		"messages":         {appMsg("one"), appMsg("two"), appMsg("three")},
		"in a cut message": {fromApp(0, "one"), fromApp(0, "two"), fromApp(0x80, "three")},
		"too long":         {fromApp(1, "one"), fromApp(0, overlong("two")), fromApp(0, overlong("three"))[:700]},
	} {
		t.Run(name, func(t *testing.T) {
			end := expired
			end.Farewell = []Message{Text("farewell")}
			hook := func(r *readingRig, p []byte) {
				if strings.Contains(string(p), "one") {
					r.gate.End(end)
				}
			}
			hooked(t, Reading{}, hook, func(t *testing.T, r *readingRig) {
				if name == "in a cut message" {
					r.appSends(fromApp(1, "zero"))
					r.atClientIs("…zero")
				}
				r.suspend()
				r.appSends(parts...)
				r.resume()
				switch name {
				case "messages":
					r.atClientIs("one", "farewell", "close 3000 token expired")
				case "in a cut message":
					r.atClientIs("…one", "close 3000 token expired")
				default:
					r.atClientIs("…one", "…"+overlong("two"), "close 3000 token expired")
				}
				r.atAppIs("close 1001")
				r.endsNow("expired")
			})
		})
	}
}

// A frame of which a part was held is finished, whatever happens in the moment
// in which that part is delivered.
func TestHeldPartOfFrameIsFinished(t *testing.T) {
	for name, f := range map[string]func(g *Gate){
		"end":     func(g *Gate) { g.End(expired) },
		"suspend": func(g *Gate) { g.Suspend() },
	} {
		t.Run(name, func(t *testing.T) {
			hook := func(r *readingRig, p []byte) {
				if strings.Contains(string(p), "part") {
					f(r.gate)
				}
			}
			hooked(t, Reading{}, hook, func(t *testing.T, r *readingRig) {
				r.mute.Store(true)
				r.appSends(fromApp(1, "zero"))
				r.suspend()
				frame := fromApp(0, "a part and the rest")
				r.appSends(frame[:10])
				r.resume()
				r.atClientIs("…zero")
				r.appSends(join(frame[10:], fromApp(0x80, "late")))
				want := []string{"…a part and the rest", "close 3000 token expired"}
				if name == "suspend" {
					want = want[:1]
				}
				r.atClientIs(want...)
				r.resume()
				if name == "suspend" {
					r.atClientIs(".late")
				}
			})
		})
	}
}

// A gate that is suspended again while the held is delivered keeps the rest.
func TestSuspendWhileTheHeldIsDelivered(t *testing.T) {
	hook := func(r *readingRig, p []byte) {
		if strings.Contains(string(p), "one") {
			r.gate.Suspend()
			r.gate.Queue(Text("said"))
		}
	}
	hooked(t, Reading{}, hook, func(t *testing.T, r *readingRig) {
		r.appSends(fromApp(1, "zero"))
		r.suspend()
		last := appMsg("last")
		r.appSends(fromApp(0, "one"), fromApp(0, "two"), fromApp(0x80, "three"), appMsg("four"), last[:4])
		r.resume()
		r.atClientIs("…zero", "…one")
		r.appSends(last[4:], appMsg("now"))
		r.atClientIs()
		r.resume()
		r.atClientIs("…two", ".three", "four", "last", "now", "said")
		// What is collected of a message stays, too.
		r.suspend()
		r.appSends(appMsg("one"), last[:4])
		r.resume()
		r.atClientIs("one", "said")
		r.appSends(last[4:])
		r.atClientIs()
		r.resume()
		r.atClientIs("last")
	})
}

// The client's close frame has been passed on: what follows it is nobody's,
// and an end gives the application no second one.
func TestEndAfterTheClientsCloseFrame(t *testing.T) {
	inReading(t, Reading{}, func(t *testing.T, r *readingRig) {
		r.mute.Store(true)
		r.clientSends(join(fromClient(finClose, closePayload(4001, "")), msg("late")), msg("later"))
		r.atAppIs("close 4001")
		r.gate.End(expired)
		r.atClientIs("close 3000 token expired")
		r.atAppIs()
		r.app.Close()
		r.endsNow("expired")
	})
}
