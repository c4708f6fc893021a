package proxy

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Between the end of a credential and its renewal no data frame crosses, in
// either direction; then all do, once and in order, behind what is said.
func TestSuspendHoldsBothDirections(t *testing.T) {
	inReading(t, Reading{}, func(t *testing.T, r *readingRig) {
		r.clientSends(msg("c1"))
		r.appSends(appMsg("a1"))
		r.suspend()
		r.clientSends(msg("c2"), join(msg("drop"), fromClient(1, "c3"), msg("")[:0], fromClient(0x80, "…")), msg("instead c4"))
		r.appSends(join(appMsg("a2"), appMsg("drop")), fromApp(1, "a3"), fromApp(0x80, "…"), appMsg("instead a4"))
		time.Sleep(time.Hour)
		r.atAppIs("c1")
		r.atClientIs("a1")
		r.judgedIs("client c1", "client c2", "client drop", "client c3…", "client instead c4",
			"app a2", "app drop", "app a3…", "app instead a4")
		r.resume(Text("welcome"), Message{Binary: true, Data: []byte("back")})
		r.atAppIs("c2", "…c3", ".…", "first of c4", "binary second of c4")
		r.atClientIs("welcome", "binary back", "a2", "…a3", ".…", "first of a4", "binary second of a4")
		r.clientSends(msg("c5"))
		r.appSends(appMsg("a5"))
		r.atAppIs("c5")
		r.atClientIs("a5")
		r.judgedIs("client c5")
		// And again.
		r.suspend()
		r.clientSends(msg("c6"))
		r.appSends(appMsg("a6"))
		r.atAppIs()
		r.atClientIs()
		r.resume()
		r.atAppIs("c6")
		r.atClientIs("a6")
	})
}

func TestPingsAreAnsweredWhileSuspended(t *testing.T) {
	inReading(t, Reading{}, func(t *testing.T, r *readingRig) {
		r.clientSends(fromClient(finPing, "open"))
		r.appSends(fromApp(finPing, "open"))
		r.atAppIs("ping open")
		r.atClientIs("ping open")
		r.suspend()
		for range 100 {
			time.Sleep(time.Second)
			r.clientSends(fromClient(finPing, "?c"), fromClient(finPong, "open"))
			r.appSends(fromApp(finPing, "?a"), fromApp(finPong, "open"))
			r.atClientIs("pong ?c")
			r.atAppIs("pong ?a")
		}
		// Inside a fragmented message, too.
		r.clientSends(fromClient(1, "c"), fromClient(finPing, strings.Repeat("x", 125)), fromClient(0x80, "."))
		r.appSends(fromApp(1, "a"), fromApp(finPing, ""), fromApp(0x80, "."))
		r.atClientIs("pong " + strings.Repeat("x", 125))
		r.atAppIs("pong ")
		r.resume()
		r.atAppIs("…c", "..")
		r.atClientIs("…a", "..")
		r.clientSends(fromClient(finPing, "again"))
		r.atAppIs("ping again")
	})
}

// A frame that has begun is finished; the message of which it is a part is
// not.
func TestSuspendInFrameOfApplication(t *testing.T) {
	for _, first := range []byte{1, finText} {
		t.Run(fmt.Sprintf("%X", first), func(t *testing.T) {
			inReading(t, Reading{}, func(t *testing.T, r *readingRig) {
				frame, next := fromApp(first, "a frame that is cut"), fromApp(0x80, "the rest")
				after := []string{"…a frame that is cut", ".the rest"}
				if first == finText {
					next, after = appMsg("another"), []string{"a frame that is cut", "another"}
				}
				r.appSends(frame[:10])
				r.suspend()
				r.gate.Say(Text("said"))
				r.appSends(join(frame[10:], next), appMsg("last"))
				if first == finText {
					r.atClientIs(after[0], "said")
				} else {
					r.atClientIs(after[0])
				}
				r.clientSends(fromClient(finPing, "?"))
				r.atClientIs("pong ?")
				r.resume()
				if first == finText {
					r.atClientIs(after[1], "last")
				} else {
					r.atClientIs(after[1], "last", "said")
				}
			})
		})
	}
}

// The same from the client, whose frames pass in pieces only where they are
// too long to be read.
func TestSuspendInFrameOfClient(t *testing.T) {
	inReading(t, Reading{}, func(t *testing.T, r *readingRig) {
		frame := fromClient(2, overlong("a"))
		r.clientSends(frame[:600])
		r.suspend()
		r.clientSends(join(frame[600:], fromClient(0x80, "b"), msg("c")))
		r.atAppIs("binary …" + overlong("a"))
		r.resume()
		r.atAppIs(".b", "c")
	})
}

// A message of the gate's own, or one that may pass at any time, does not get
// into another that has gone out in part.
func TestNothingGetsIntoMessageThatIsCut(t *testing.T) {
	inReading(t, Reading{}, func(t *testing.T, r *readingRig) {
		r.clientSends(fromClient(2, overlong("c")))
		r.appSends(fromApp(1, "a"))
		r.atAppIs("binary …" + overlong("c"))
		r.atClientIs("…a")
		r.gate.Say(Text("open"))
		r.gate.SayToApp(Text("open"))
		r.atAppIs()
		r.atClientIs()
		r.suspend()
		r.gate.Say(Text("suspended"))
		r.gate.SayToApp(Text("suspended"))
		r.clientSends(join(fromClient(0x80, "."), msg("now c")), msg("instead now"))
		r.appSends(join(fromApp(0x80, "."), appMsg("now a")), appMsg("instead now"), fromApp(finPing, "?"))
		r.atAppIs("pong ?")
		r.atClientIs()
		r.resume()
		r.atAppIs("..", "now c", "first of now", "binary second of now", "open", "suspended")
		r.atClientIs("..", "now a", "first of now", "binary second of now", "open", "suspended")
	})
}

// A word for the application that is said while a part of a frame is held goes
// before that or behind the whole of it.
func TestWordsAndHeldPartOfFrame(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, o rigOptions) {
		o.idle = true
		r, relay := newRig(t, o)
		r.gate.read(&Reading{Reader: &testReader{}, Limit: 10, HoldMessages: 9, HoldBytes: theLimit})
		relay()
		synctest.Wait()
		r.gate.Suspend()
		text := "too long to be read" + strings.Repeat(".", peekSize)
		long := msg(text)
		go r.sends(r.client, join(msg("held"), long[:peekSize+10]))
		synctest.Wait()
		// The first word waits for the application to read, the others for it.
		r.gate.SayToApp(Text("one"), Text("two"), Text("three"))
		synctest.Wait()
		r.gate.Resume(time.Now().Add(time.Hour))
		got := listen(t, r.appFrames, true, func() {})
		before := got.take()
		go r.sends(r.client, long[peekSize+10:])
		if all := append(before, got.take()...); !slices.Equal(all, []string{"one", "held", text, "two", "three"}) {
			t.Errorf("the application got %q", all)
		}
	})
}

func TestNowPassesWhileSuspended(t *testing.T) {
	inReading(t, Reading{}, func(t *testing.T, r *readingRig) {
		r.suspend()
		r.clientSends(msg("held"), msg("now c"), join(msg("held"), fromClient(1, "now"), fromClient(0x80, " c"), msg("instead now")))
		r.atAppIs("now c", "…now", ". c", "first of now")
		r.appSends(appMsg("held"), appMsg("now a"), join(appMsg("held"), fromApp(1, "now"), fromApp(0x80, " a"), appMsg("instead now")))
		r.atClientIs("now a", "…now", ". a", "first of now")
		r.gate.SayToApp(Text("to the application"), Message{Binary: true})
		r.gate.Say(Text("to the client"), Message{Binary: true})
		r.atAppIs("to the application", "binary ")
		r.atClientIs("to the client", "binary ")
		r.resume()
		r.atAppIs("held", "held", "binary second of now")
		r.atClientIs("held", "held", "binary second of now")
	})
}

// heldTest is what fills a hold of 5 messages and 900 bytes to the last.
type heldTest struct {
	name   string
	masked bool
	texts  []string
}

func heldTests() []heldTest {
	var tests []heldTest
	for _, masked := range []bool{true, false} {
		header := 4
		if masked {
			header = 8
		}
		x, y := strings.Repeat("x", 300), strings.Repeat("y", 300)
		tests = append(tests,
			heldTest{"messages", masked, []string{"1", "2", "", "4", "5"}},
			heldTest{"bytes", masked, []string{x, y, strings.Repeat("z", 900-600-3*header)}},
		)
	}
	return tests
}

// What is held is bounded, in messages and in bytes, in each direction.
func TestHoldIsBounded(t *testing.T) {
	for _, tt := range heldTests() {
		for _, together := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, client %v, in one segment %v", tt.name, tt.masked, together), func(t *testing.T) {
				inReading(t, Reading{HoldMessages: 5, HoldBytes: 900}, func(t *testing.T, r *readingRig) {
					var p [][]byte
					for _, s := range tt.texts {
						p = append(p, rawFrame(finText, tt.masked, []byte(s)))
					}
					if together {
						p = [][]byte{join(p...)}
					}
					send, is := r.appSends, r.atClientIs
					if tt.masked {
						send, is = r.clientSends, r.atAppIs
					}
					for range 3 {
						r.suspend()
						send(p...)
						is()
						r.resume()
						is(tt.texts...)
					}
					r.suspend()
					send(append(p, rawFrame(finText, tt.masked, nil))...)
					r.atClientIs("close 1008 " + ErrHoldFull.Error())
					r.atAppIs("close 1001")
					r.endsNow("broken")
				})
			})
		}
	}
}

// An application that has said too much is told and heard like any other: its
// answer to the close frame is found.
func TestAnswerOfTheApplicationThatSaidTooMuch(t *testing.T) {
	for _, tt := range []struct {
		name        string
		sends       []byte
		client, app string
		cause       Cause
	}{
		{
			"more than is held", join(appMsg("1"), appMsg("2"), appMsg("3")),
			"close 1008 " + ErrHoldFull.Error(), "close 1001", "broken",
		},
		{
			"no UTF-8", appMsg("\xFF"),
			"close 1013 bad frame from the application", "close 1002", CauseUpstreamBroke,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inReading(t, Reading{HoldMessages: 2, HoldBytes: theLimit}, func(t *testing.T, r *readingRig) {
				r.mute.Store(true)
				r.suspend()
				r.appSends(join(tt.sends, appMsg("late")))
				r.atClientIs(tt.client)
				r.atAppIs(tt.app)
				r.clientSends(answerClose)
				r.appSends(answerOfApp)
				r.endsNow(tt.cause)
			})
		})
	}
}

// What is too long to be read is held as well, and within the same bounds.
func TestHoldOfUnreadMessages(t *testing.T) {
	inReading(t, Reading{HoldMessages: 2, HoldBytes: 4 * theLimit}, func(t *testing.T, r *readingRig) {
		r.suspend()
		long := overlong("held")
		r.clientSends(msg(long)[:100], msg(long)[100:200], join(msg(long)[200:], msg("c")))
		r.appSends(appMsg(long)[:100], appMsg(long)[100:200], join(appMsg(long)[200:], appMsg("a")))
		r.atAppIs()
		r.atClientIs()
		r.resume()
		r.atAppIs(long, "c")
		r.atClientIs(long, "a")
	})
	for _, masked := range []bool{true, false} {
		t.Run(fmt.Sprintf("too much, client %v", masked), func(t *testing.T) {
			inReading(t, Reading{HoldMessages: 5, HoldBytes: 900, Limit: 100}, func(t *testing.T, r *readingRig) {
				send := r.appSends
				if masked {
					send = r.clientSends
				}
				r.suspend()
				p := rawFrame(finText, masked, make([]byte, 2000))
				send(p[:800])
				r.atClientIs()
				send(p[800:])
				r.atClientIs("close 1008 " + ErrHoldFull.Error())
				r.atAppIs("close 1001")
				r.endsNow("broken")
			})
		})
	}
}

func TestSuspendOnlyWhatIsOpen(t *testing.T) {
	inReading(t, Reading{Pending: true}, func(t *testing.T, r *readingRig) {
		if r.gate.Suspend() {
			t.Error("a pending gate was suspended")
		}
		r.gate.Resume(time.Now(), Text("too late"))
		r.gate.Resume(time.Now().Add(-time.Hour), Text("too late"))
		if r.gate.State() != StatePending {
			t.Errorf("state %v after its time", r.gate.State())
		}
		r.resume()
		r.suspend()
		if r.gate.Suspend() {
			t.Error("suspended twice")
		}
		r.gate.Resume(time.Now(), Text("too late"))
		if r.gate.State() != StateSuspended {
			t.Errorf("state %v after its time", r.gate.State())
		}
		r.atClientIs()
	})
	g := newGate(&scriptConn{}, nil, false, func() {})
	if g.Suspend() {
		t.Error("a gate that does not read was suspended")
	}
	_ = g.Close()
	g.finish()
}

// A reader may suspend the gate: what has not gone out is held, what may pass
// at any time is not, although they lie side by side.
func TestReaderSuspends(t *testing.T) {
	inReading(t, Reading{}, func(t *testing.T, r *readingRig) {
		r.reader.client = func(m Message) Verdict {
			if string(m.Data) == "now suspend" {
				r.gate.Suspend()
			}
			return byWord(m)
		}
		r.clientSends(join(msg("one"), msg("instead"), msg("now suspend"), msg("two"), msg("now three"), msg("four")))
		r.atAppIs("now suspend", "now three")
		r.resume()
		r.atAppIs("one", "first of ", "binary second of ", "two", "four")
	})
}

// A reader that ends the socket for what the application says lets nothing
// more of it pass.
func TestReaderEndsForTheApplication(t *testing.T) {
	inReading(t, Reading{Pending: true}, func(t *testing.T, r *readingRig) {
		r.reader.app = func(m Message) Verdict {
			if string(m.Data) == "end" {
				r.gate.End(expired)
				return Verdict{Whole: true, Now: true}
			}
			return byWord(m)
		}
		r.appSends(join(appMsg("now one"), appMsg("end"), appMsg("now two"), fromApp(finPing, "?")))
		r.atClientIs("now one", "close 3000 token expired")
		r.atAppIs("close 1001")
		r.judgedIs("app now one", "app end")
		r.endsNow("expired")
	})
}
