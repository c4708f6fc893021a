package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"
)

// Nothing reaches anybody before somebody has logged in; then come the
// messages that were harmless, in order, and all that follows the login, be it
// in the same segment or not, once.
func TestLogin(t *testing.T) {
	t.Parallel()
	inBothShapes(t, acceptOptions{}, func(t *testing.T, r *acceptRig) {
		r.clientSends(msg("h1"), join(msg("drop"), fromClient(1, "h"), fromClient(0x80, "2")), msg("instead h3"))
		time.Sleep(time.Hour)
		r.atClientIs()
		if r.asked() != nil {
			t.Fatal("the application was asked")
		}
		last := msg("c3")
		r.clientSends(join(msg("h4"), msg("login"), msg("c1"), fromClient(finBinary, "c2"), fromClient(finPing, "?"), last[:7]))
		r.atClientIs("welcome")
		r.atAppIs("h1", "…h", ".2", "first of h3", "binary second of h3", "h4", "c1", "binary c2", "ping ?")
		r.clientSends(last[7:], msg("c4"))
		r.atAppIs("c3", "c4")
		go r.app.Write(join(appMsg("a1"), fromApp(finPong, "?")))
		r.atClientIs("a1", "pong ?")
		r.gate.End(expired)
		r.atClientIs("close 3000 token expired")
		r.atAppIs("close 1001")
		if f := r.endsNow("expired"); f.err != nil {
			t.Errorf("finished with %v", f.err)
		}
	})
}

// A login message that is forwarded comes behind what was harmless before it.
func TestLoginIsForwarded(t *testing.T) {
	t.Parallel()
	inBothShapes(t, acceptOptions{}, func(t *testing.T, r *acceptRig) {
		// "now" is no reason for it to get lost where nobody is behind yet.
		r.clientSends(msg("h1"), msg("now h2"), join(msg("now h3"), msg("login, forward"), msg("c1")))
		r.atClientIs("welcome")
		r.atAppIs("h1", "now h2", "now h3", "login, forward", "c1")
		r.client.Close()
		r.endsNow(CauseClientGone)
	})
}

// Bytes that come with the handshake are the first ones, wherever they are
// cut.
func TestLoginComesWithTheHandshake(t *testing.T) {
	t.Parallel()
	p := join(msg("h"), msg("login"), msg("c1"), fromClient(1, "c"), fromClient(0x80, "2"))
	for cut := range len(p) + 1 {
		synctest.Test(t, func(t *testing.T) {
			r := newAcceptRig(t, acceptOptions{early: bytes.Clone(p[:cut])})
			if cut < len(p) {
				r.clientSends(p[cut:])
			}
			r.atClientIs("welcome")
			r.atAppIs("h", "c1", "…c", ".2")
		})
	}
}

// Reading that is over with the login hands the rest over unread.
func TestLoginThatIsTheLastToBeRead(t *testing.T) {
	t.Parallel()
	p := join(msg("h"), msg("login"), msg("drop\xFF"), fromClient(1, overlong("c")), fromClient(finPing, ""), fromClient(0x80, "."))
	for _, cut := range cuts(len(p)) {
		synctest.Test(t, func(t *testing.T) {
			r := newAcceptRig(t, acceptOptions{talk: Reading{Strict: true}})
			r.reader.client = func(m Message) Verdict {
				v := logsIn(r.gate, m)
				if string(m.Data) == "login" {
					r.gate.SayToApp(Text("said"))
					r.gate.StopReading()
				}
				return v
			}
			r.clientSends(p[:cut], p[cut:])
			got := r.atApp.take()
			data := slices.DeleteFunc(slices.Clone(got), func(s string) bool { return s == "said" })
			if !slices.Equal(data, []string{"h", "drop\xFF", "…" + overlong("c"), "ping ", ".."}) || len(got) != len(data)+1 {
				t.Errorf("cut at %d: the application got %q", cut, got)
			}
			if r.gate.in.read.on {
				t.Error("is still read")
			}
		})
	}
}

func TestSignsOfLifeBeforeTheLogin(t *testing.T) {
	t.Parallel()
	inBothShapes(t, acceptOptions{}, func(t *testing.T, r *acceptRig) {
		for range 200 { // they do not count as messages
			r.clientSends(fromClient(finPing, "?"), fromClient(finPong, "x"))
			r.atClientIs("pong ?")
		}
		r.gate.Say(Text("log in, please"))
		r.clientSends(fromClient(1, "log"), fromClient(finPing, ""), fromClient(0x80, "in"))
		r.atClientIs("log in, please", "pong ", "welcome")
		r.atAppIs()
		r.client.Close()
		r.endsNow(CauseClientGone)
	})
}

func TestClientLeavesBeforeTheLogin(t *testing.T) {
	for name, tt := range map[string]struct {
		p     []byte
		cause Cause
		want  []string
	}{
		"close":              {join(msg("h"), fromClient(finClose, closePayload(4001, "x"))), CauseClientClosed, []string{"close 4001"}},
		"close without code": {fromClient(finClose, ""), CauseClientClosed, []string{"close 1000"}},
		"bad close":          {fromClient(finClose, "x"), CauseClientBroke, []string{"close 1002 " + ErrClosePayload.Error()}},
		"not masked":         {appMsg("login"), CauseClientBroke, []string{"close 1002 " + ErrNotMasked.Error()}},
		"compressed":         {fromClient(0xC1, "login"), CauseClientBroke, []string{"close 1002 " + ErrReservedBits.Error()}},
		"not UTF-8":          {msg("login\xFF"), "broken", []string{"close 1008 " + ErrNotUTF8.Error()}},
		"too long":           {msg(overlong("h"))[:8], "broken", []string{"close 1008 " + ErrMessageTooBig.Error()}},
		"too long in a fragment": {
			join(fromClient(1, overlong("")), fromClient(0x80, "h")), "broken", []string{"close 1008 " + ErrMessageTooBig.Error()},
		},
		"too many fragments": {fragmented(maxFragments+1, true, ""), "broken", []string{"close 1008 " + ErrTooManyFragments.Error()}},
		"refused":            {join(msg("h"), msg("refuse"), msg("login")), "expired", []string{"close 3000 token expired"}},
		"in a frame":         {msg("login")[:9], CauseClientGone, nil},
		"at once":            {nil, CauseClientGone, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBothShapes(t, acceptOptions{}, func(t *testing.T, r *acceptRig) {
				r.clientSends(tt.p)
				r.atClientIs(tt.want...)
				if tt.cause != CauseClientClosed {
					r.client.Close()
				}
				if f := r.endsNow(tt.cause); f.err != nil {
					t.Errorf("finished with %v", f.err)
				}
				if r.asked() != nil {
					t.Error("the application was asked")
				}
				r.atAppIs()
			})
		})
	}
}

// Whoever waits for the login ends it when its time is over, wherever the
// client is; its answer to the close frame is found.
func TestEndBeforeTheLogin(t *testing.T) {
	p := join(fromClient(1, "log"), fromClient(finPing, "?"), fromClient(0x80, "in"))
	for cut := range len(p) {
		t.Run(fmt.Sprint(cut), func(t *testing.T) {
			t.Parallel()
			inBothShapes(t, acceptOptions{}, func(t *testing.T, r *acceptRig) {
				r.mute.Store(true)
				r.clientSends(msg("h"), p[:cut])
				r.atClient.take()
				time.AfterFunc(5*time.Second, func() {
					r.gate.End(End{Cause: "timeout", Code: CloseTimeout, Farewell: []Message{Text("bye")}})
				})
				time.Sleep(5 * time.Second)
				r.atClientIs("bye", "close 3008")
				// It finishes the frame in which it is, and answers.
				r.clientSends(p[cut:], answerClose)
				r.endsNow("timeout")
				if r.asked() != nil {
					t.Error("the application was asked")
				}
			})
		})
	}
}

func TestMessagesBeforeTheLoginAreCounted(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"h", "drop"} {
		t.Run(text, func(t *testing.T) {
			inBothShapes(t, acceptOptions{}, func(t *testing.T, r *acceptRig) {
				var p []byte
				for range maxPendingMessages - 1 {
					p = append(p, msg(text)...)
				}
				r.clientSends(p)
				r.atClientIs()
				r.clientSends(msg("login"))
				r.atClientIs("welcome")
				if got := r.atApp.take(); len(got) != (maxPendingMessages-1)*map[string]int{"h": 1, "drop": 0}[text] {
					t.Errorf("the application got %d messages", len(got))
				}
				r.client.Close()
				r.endsNow(CauseClientGone)
			})
			inBothShapes(t, acceptOptions{}, func(t *testing.T, r *acceptRig) {
				for range maxPendingMessages {
					r.clientSends(msg(text))
				}
				r.atClientIs()
				r.clientSends(msg("login"))
				r.atClientIs("close 1008 " + ErrTooManyMessages.Error())
				r.client.Close()
				r.endsNow("broken")
			})
		})
	}
}

// What is kept for the application is bounded.
func TestHoldBeforeTheLoginIsBounded(t *testing.T) {
	t.Parallel()
	inBothShapes(t, acceptOptions{talk: Reading{Limit: 6 * theLimit}}, func(t *testing.T, r *acceptRig) {
		r.clientSends(msg(strings.Repeat("h", 5*theLimit)))
		r.atClientIs()
		r.clientSends(msg(strings.Repeat("h", 5*theLimit)))
		r.atClientIs("close 1008 " + ErrHoldFull.Error())
		r.client.Close()
		r.endsNow("broken")
	})
}

// A handler that hijacks before it answers, as gorilla/websocket does, gets the
// same gate.
func TestLoginBeforeHandlerThatHijacks(t *testing.T) {
	t.Parallel()
	serve := func(w http.ResponseWriter, r *http.Request) error {
		conn, err := new(websocket.Upgrader).Upgrade(w, r, nil)
		if err != nil {
			return err
		}
		defer conn.Close()
		for {
			kind, p, err := conn.ReadMessage()
			if err != nil {
				if !websocket.IsCloseError(err, 4001) {
					t.Errorf("the application read %v", err)
				}
				return nil
			}
			if err := conn.WriteMessage(kind, append(p, '!')); err != nil {
				return err
			}
		}
	}
	inBothShapes(t, acceptOptions{serve: serve}, func(t *testing.T, r *acceptRig) {
		r.clientSends(join(msg("h"), msg("login"), msg("c1")), msg("c2"))
		r.atClientIs("welcome", "h!", "c1!", "c2!")
		r.clientSends(fromClient(finClose, closePayload(4001, "")))
		r.atClientIs("close 4001")
		if f := r.endsNow(CauseClientClosed); f.err != nil {
			t.Errorf("finished with %v", f.err)
		}
	})
}

// Early: the application is there before the login. Only what its verdict says
// passes out at once, and likewise in.
func TestApplicationThatSpeaksFirst(t *testing.T) {
	inReading(t, Reading{Pending: true}, func(t *testing.T, r *readingRig) {
		r.appSends(join(appMsg("a1"), appMsg("now greeting"), fromApp(1, "a"), fromApp(0x80, "2"), appMsg("drop")))
		r.atClientIs("now greeting")
		r.clientSends(msg("c1"), msg("now c2"), msg("drop"), msg("instead now"))
		r.atAppIs("now c2", "first of now")
		r.appSends(fromApp(finPing, "a"), fromApp(finPong, ""))
		r.clientSends(fromClient(finPing, "c"), fromClient(finPong, ""))
		r.atClientIs("pong c")
		r.atAppIs("pong a")
		if r.gate.State() != StatePending {
			t.Errorf("state %v", r.gate.State())
		}
		r.gate.Say(Text("log in, please"))
		r.atClientIs("log in, please")
		r.reader.client = func(m Message) Verdict { return logsIn(r.gate, m) }
		r.clientSends(join(msg("login, forward"), msg("c3")))
		r.atClientIs("welcome", "a1", "…a", ".2")
		r.atAppIs("c1", "binary second of now", "login, forward", "c3")
		r.appSends(appMsg("a3"))
		r.atClientIs("a3")
		r.suspend()
		r.resume()
	})
}

func TestMessagesBeforeTheLoginAreCountedEarly(t *testing.T) {
	inReading(t, Reading{Pending: true}, func(t *testing.T, r *readingRig) {
		for range maxPendingMessages {
			r.clientSends(msg("drop"))
		}
		r.atClientIs()
		r.clientSends(msg("drop"))
		r.atClientIs("close 1008 " + ErrTooManyMessages.Error())
		r.atAppIs("close 1001")
		r.client.Close()
		r.endsNow("broken")
	})
}

// A message that is too long ends a socket in which nobody has logged in.
func TestTooLongMessageEarly(t *testing.T) {
	inReading(t, Reading{Pending: true}, func(t *testing.T, r *readingRig) {
		r.clientSends(msg(overlong("now"))[:20])
		r.atAppIs("close 1001")
		r.atClientIs("close 1008 " + ErrMessageTooBig.Error())
		r.client.Close()
		r.endsNow("broken")
	})
}

// Tunnel without Accept: the application's answer is what the client gets.
func TestTunnelOfApplicationThatSpeaksFirst(t *testing.T) {
	t.Parallel()
	o := Options{Reading: &Reading{Reader: &testReader{}, Pending: true, Limit: theLimit, HoldMessages: 9, HoldBytes: theLimit}}
	url, finished := serveTunnel(t, o, func(w http.ResponseWriter, r *http.Request) {
		if h := headerValues(r.Header, "Sec-WebSocket-Extensions"); len(h) > 0 {
			t.Errorf("the application is offered %v", h)
		}
		answerWith(w, r)
		w.WriteHeader(http.StatusSwitchingProtocols)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = conn.Write(join(appMsg("held"), appMsg("now greeting")))
	})
	_, _, frames := rawClient(t, url)
	if first, _, payload, err := readFrame(frames); err != nil || first != finText || string(payload) != "now greeting" {
		t.Errorf("the client read %X %q, %v", first, payload, err)
	}
	if _, err := frames.ReadByte(); err == nil {
		t.Error("more than the greeting")
	}
	if f := wait(t, finished); !f.opened || errors.Is(f.err, http.ErrAbortHandler) {
		t.Errorf("finished with %+v", f)
	}
}

// What came behind the login waits for the application in memory of its own:
// the buffer that it was read into is other sockets' meanwhile.
func TestWhatWaitsForTheApplicationIsKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var buffer *[smallBuffer]byte
		var r *acceptRig
		asked := make(chan struct{})
		r = newAcceptRig(t, acceptOptions{serve: func(w http.ResponseWriter, request *http.Request) error {
			copy(buffer[:], bytes.Repeat([]byte{0xEE}, smallBuffer))
			close(asked)
			return switchTo(w, request, r.back)
		}})
		r.reader.client = func(m Message) Verdict {
			buffer = r.gate.in.chunks.small
			return logsIn(r.gate, m)
		}
		r.clientSends(join(msg("h"), msg("login, forward"), msg("c1"), fromClient(finBinary, "c2")))
		<-asked
		r.atAppIs("h", "login, forward", "c1", "binary c2")
	})
}
