package proxy

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

// Words of the gate's own wait for the end of what the application says.
func TestSayAtMessageBorderOnly(t *testing.T) {
	inReading(t, Reading{}, func(t *testing.T, r *readingRig) {
		p := join(fromApp(1, "frag"), fromApp(finPing, "?"), fromApp(0, "men"), fromApp(0x80, "ted"), appMsg("next"))
		r.gate.Say(Text("0"))
		for i := range p {
			r.appSends(p[i : i+1])
			r.gate.Say(Text(fmt.Sprint(i + 1)))
		}
		var data []string
		for _, s := range r.atClient.take() {
			if strings.ContainsAny(s, "0123456789") {
				continue
			}
			data = append(data, s)
		}
		if got := strings.Join(data, " "); got != "…frag ping ? …men .ted next" {
			t.Errorf("the client got %q", got)
		}
	})
	// Whether a number stands inside a message is seen by the frames' order.
	t.Run("order", func(t *testing.T) {
		inReading(t, Reading{}, func(t *testing.T, r *readingRig) {
			r.appSends(fromApp(1, "a"))
			r.gate.Say(Text("said"), Text("too"))
			r.appSends(fromApp(0, "b"), fromApp(finPong, ""))
			r.atClientIs("…a", "…b", "pong ")
			r.appSends(fromApp(0x80, "c"))
			r.atClientIs(".c", "said", "too")
		})
	})
}

// What does not read what it is told is ended.
func TestSayIsBounded(t *testing.T) {
	inReading(t, Reading{}, func(t *testing.T, r *readingRig) {
		r.appSends(fromApp(1, "a"))
		for range maxSays {
			r.gate.Say(Text("x"))
		}
		synctest.Wait()
		if r.gate.ending.Load() {
			t.Error("ended within the bounds")
		}
		r.gate.Say(Text("x"))
		r.atClientIs("…a", "close 1013")
		r.endsNow(CauseClientStalled)
	})
}

// So is what does not read long words, which a client can cause.
func TestSayIsBoundedInBytes(t *testing.T) {
	inReading(t, Reading{}, func(t *testing.T, r *readingRig) {
		r.appSends(fromApp(1, "a"))
		long := Text(strings.Repeat("x", maxSaysBytes/4))
		for range 5 {
			if r.gate.ending.Load() {
				t.Fatal("ended within the bounds")
			}
			r.gate.Say(long)
		}
		r.atClientIs("…a", "close 1013")
		r.endsNow(CauseClientStalled)
	})
}

// What is said in the moment in which another word goes out is not forgotten.
func TestSayWhileSaying(t *testing.T) {
	hook := func(r *readingRig, p []byte) {
		if strings.Contains(string(p), "one") {
			r.gate.Say(Text("two"))
		}
	}
	hooked(t, Reading{}, hook, func(t *testing.T, r *readingRig) {
		r.gate.Say(Text("one"))
		r.atClientIs("one", "two")
		r.suspend()
		r.resume(Text("one"))
		r.atClientIs("one", "two")
		r.appSends(fromApp(1, "x"))
		r.gate.Say(Text("one"))
		r.appSends(fromApp(0x80, "y"))
		r.atClientIs("…x", ".y", "one", "two")
	})
}

// blockedConn is a connection whose peer takes nothing until it is let.
type blockedConn struct {
	net.Conn
	blocked chan struct{}
}

func (c *blockedConn) Write(p []byte) (int, error) {
	<-c.blocked
	return c.Conn.Write(p)
}

// Flush never waits for whoever writes; that one says it after.
func TestSayWhileTheClientDoesNotRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		blocked := make(chan struct{})
		o := rigOptions{wrap: func(c net.Conn) net.Conn { return &blockedConn{c, blocked} }}
		r := newReadingRig(t, o, Reading{})
		r.appSends(appMsg("one"))
		if took := elapsed(func() {
			r.gate.Say(Text("two"))
			r.gate.Queue(Text("three"))
			r.gate.Flush()
			r.clientSends(fromClient(finPing, "?"))
		}); took != 0 {
			t.Errorf("took %v", took)
		}
		r.suspend()
		r.clientSends(fromClient(finPing, "first"), fromClient(finPing, "newest"))
		close(blocked)
		r.atClientIs("one", "pong newest", "two", "three")
		r.atAppIs("ping ?")
	})
}

// Nothing is said to a client that has got a close frame.
func TestNothingIsSaidAfterTheCloseFrame(t *testing.T) {
	inReading(t, Reading{}, func(t *testing.T, r *readingRig) {
		r.mute.Store(true)
		r.appSends(fromApp(finClose, closePayload(4001, "")))
		r.gate.Say(Text("too late"))
		r.clientSends(msg("c"))
		r.suspend()
		r.resume(Text("too late"))
		r.atClientIs("close 4001")
		r.atAppIs("c")
	})
}

// Words for an application that does not read them are left out at some time.
func TestWordsForTheApplicationAreBounded(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, o rigOptions) {
		o.idle = true
		r := newReadingRig(t, o, Reading{})
		for range 10 * maxInjected {
			r.gate.SayToApp(Text("said"))
		}
		r.relay()
		if got := r.atApp.take(); len(got) != maxInjected {
			t.Errorf("the application got %d words", len(got))
		}
		r.clientSends(msg("c"))
		r.atAppIs("c")
	})
}

// Words that wait for the end of a message that passes in pieces are said
// although reading is over before.
func TestStopReadingWhileWordsWait(t *testing.T) {
	inReading(t, Reading{}, func(t *testing.T, r *readingRig) {
		r.clientSends(fromClient(2, overlong("c")))
		r.gate.SayToApp(Text("one"), Text("two"))
		r.gate.StopReading()
		r.clientSends(fromClient(0, "c"), fromClient(finPing, ""))
		r.atAppIs("binary …"+overlong("c"), "…c", "ping ")
		r.clientSends(join(fromClient(0x80, "."), msg("drop")), msg("drop"))
		got := r.atApp.take()
		others := slices.DeleteFunc(slices.Clone(got), func(s string) bool { return s == "one" || s == "two" })
		if !slices.Equal(others, []string{"..", "drop", "drop"}) || len(got) != 5 || got[0] != ".." {
			t.Errorf("the application got %q", got)
		}
		if r.gate.in.read.on {
			t.Error("is still read")
		}
	})
}

// following is a reader that wants to know what the client gets.
type following struct {
	testReader
	mu       sync.Mutex // guards the following
	followed strings.Builder
}

func (f *following) Follow(p []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.followed.Write(p)
}

// AtBorder: packets of this protocol end with a stop.
func (f *following) AtBorder() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.followed.String()
	return s == "" || strings.HasSuffix(s, ".")
}

// A follower is given what the client gets of the application's messages, no
// more and no less, and words of the gate's wait for it.
func TestFollower(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, o rigOptions) {
		f := &following{}
		r := newReadingRig(t, o, Reading{Reader: f})
		long := strings.Repeat("l", 5000) + "."
		p := join(appMsg("one."), fromApp(finPing, "?"), fromApp(2, "two"), fromApp(0x80, "."), fromApp(finBinary, ""), appMsg(long), appMsg("packet, "))
		for i := range p {
			if i < 100 || i > len(p)-20 || i%500 == 0 {
				r.appSends(p[i : i+1])
				continue
			}
			j := i / 500 * 500
			if i == max(100, j+1) {
				r.appSends(p[i:min(j+500, len(p)-19)])
			}
		}
		r.gate.Say(Text("said"))
		r.atClientIs("one.", "ping ?", "binary …two", "..", "binary ", long, "packet, ")
		r.suspend()
		r.appSends(appMsg("held"), appMsg("now 1"), appMsg("instead now"))
		r.atClientIs("now 1", "first of now")
		r.resume()
		r.appSends(appMsg(" and last."))
		r.atClientIs("held", "binary second of now", " and last.", "said")
		want := "one.two." + long + "packet, now 1first of nowheldsecond of now and last."
		if got := f.followed.String(); got != want {
			t.Errorf("followed %d bytes, ending with %q; want %d", len(got), got[max(0, len(got)-60):], len(want))
		}
		// The end in a frame: what is left of it counts.
		r.mute.Store(true)
		frame := appMsg("a packet. And a half")
		r.appSends(frame[:11])
		end := expired
		end.Farewell = []Message{Text("farewell")}
		r.gate.End(end)
		r.appSends(frame[11:])
		r.atClientIs("a packet. And a half", "close 3000 token expired")
	})
}
