package proxy

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// slowly returns a handler that switches protocols after some time, unless the
// request ends before.
func slowly(r **acceptRig, after time.Duration) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, request *http.Request) error {
		timer := time.NewTimer(after)
		defer timer.Stop()
		select {
		case <-request.Context().Done():
			return request.Context().Err()
		case <-timer.C:
			return switchTo(w, request, (*r).back)
		}
	}
}

// whileDialled runs f for a client that has logged in, while the application
// is being dialled, which takes a time. over: nothing is read behind the login.
func whileDialled(t *testing.T, after time.Duration, f func(t *testing.T, r *acceptRig)) {
	t.Helper()
	t.Parallel()
	for name, over := range map[string]bool{"read on": false, "only watched": true} {
		t.Run(name, func(t *testing.T) {
			var rig *acceptRig
			o := acceptOptions{serve: func(w http.ResponseWriter, request *http.Request) error { return slowly(&rig, after)(w, request) }}
			for shape, stream := range map[string]bool{"HTTP/1.1": false, "stream": true} {
				t.Run(shape, func(t *testing.T) {
					inOneBubble(t, func(t *testing.T) {
						o.stream = stream
						rig = newAcceptRig(t, o)
						login := rig.reader.client
						rig.reader.client = func(m Message) Verdict {
							v := login(m)
							if over && string(m.Data) == "login" {
								rig.gate.StopReading()
							}
							return v
						}
						rig.clientSends(msg("login"))
						if rig.asked() == nil {
							t.Fatal("the application is not being dialled")
						}
						rig.atClientIs("welcome")
						f(t, rig)
					})
				})
			}
		})
	}
}

// endsWithin: the socket ends and the request's context with it.
func (r *acceptRig) endsWithin(c Cause, limit time.Duration) {
	r.t.Helper()
	start := time.Now()
	f := <-r.finished
	if took := time.Since(start); took > limit {
		r.t.Errorf("the end took %v", took)
	}
	if f.end.Cause != c || f.err != nil {
		r.t.Errorf("finished with %+v, want %q", f, c)
	}
	if <-r.ctx == nil {
		r.t.Error("the request's context outlives the socket")
	}
}

const forever = time.Hour

func TestClientClosesWhileTheApplicationIsDialled(t *testing.T) {
	whileDialled(t, forever, func(t *testing.T, r *acceptRig) {
		r.clientSends(fromClient(finClose, closePayload(4001, "bye")))
		r.atClientIs("close 4001")
		r.endsNow(CauseClientClosed)
		r.atAppIs()
	})
}

// A client that says something and leaves by the rules loses nothing, if the
// application comes in time; if it does not, nobody waits for long.
func TestClientSpeaksAndClosesWhileTheApplicationIsDialled(t *testing.T) {
	whileDialled(t, time.Second, func(t *testing.T, r *acceptRig) {
		r.clientSends(join(msg("c1"), fromClient(finClose, closePayload(4001, "bye"))))
		time.Sleep(2 * time.Second)
		r.atAppIs("c1", "close 4001 bye")
		r.endsNow(CauseClientClosed)
	})
	t.Run("in vain", func(t *testing.T) {
		whileDialled(t, forever, func(t *testing.T, r *acceptRig) {
			r.clientSends(join(msg("c1"), fromClient(finClose, closePayload(4001, "bye"))))
			r.endsWithin(CauseClientClosed, closeTimeout)
			r.atClientIs("close 4001")
			r.atAppIs()
		})
	})
}

// H10 of a socket whose application is still being dialled.
func TestClientGoneWhileTheApplicationIsDialled(t *testing.T) {
	for _, words := range []string{"", "said before"} {
		t.Run(words, func(t *testing.T) {
			whileDialled(t, forever, func(t *testing.T, r *acceptRig) {
				if words != "" {
					r.clientSends(msg(words))
				}
				r.client.Close()
				r.endsWithin(CauseClientGone, halfCloseGrace)
			})
		})
	}
}

func TestPingsWhileTheApplicationIsDialled(t *testing.T) {
	whileDialled(t, time.Minute, func(t *testing.T, r *acceptRig) {
		for i := range 5 {
			r.clientSends(fromClient(finPing, fmt.Sprint(i)), fromClient(finPong, ""))
			r.atClientIs(fmt.Sprint("pong ", i))
			time.Sleep(time.Second)
		}
		r.clientSends(fromClient(1, "c"), fromClient(finPing, "in a message"), fromClient(0x80, "1"))
		r.atClientIs("pong in a message")
		time.Sleep(time.Minute)
		r.atAppIs("…c", ".1")
		r.clientSends(fromClient(finPing, "for the application"))
		r.atAppIs("ping for the application")
	})
}

// What is said meanwhile gets there once and in order, wherever the
// application comes.
func TestMessagesWhileTheApplicationIsDialled(t *testing.T) {
	p := join(msg("c1"), fromClient(2, "c"), fromClient(0, "2"), fromClient(0x80, "."), msg("c3"))
	want := []string{"c1", "binary …c", "…2", "..", "c3"}
	t.Parallel()
	for i := range p {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			whileDialled(t, time.Second, func(t *testing.T, r *acceptRig) {
				r.clientSends(p[:i])
				r.atAppIs()
				time.Sleep(2 * time.Second)
				r.clientSends(p[i:])
				r.atAppIs(want...)
			})
		})
	}
}

// What is kept for the application is bounded: the client has to wait with
// more, and not for long.
func TestTooMuchWhileTheApplicationIsDialled(t *testing.T) {
	const n = 300
	say := func(r *acceptRig) {
		for i := range n {
			if _, err := r.client.Write(msg(fmt.Sprint(i, strings.Repeat("x", 500)))); err != nil {
				return
			}
		}
	}
	whileDialled(t, halfCloseGrace-time.Second, func(t *testing.T, r *acceptRig) {
		go say(r)
		time.Sleep(time.Second)
		if kept := r.gate.in.bytes.Load(); kept > 10*theLimit+3*largeBuffer {
			t.Errorf("%d bytes are read", kept)
		}
		time.Sleep(halfCloseGrace)
		got := r.atApp.take()
		for i, s := range got {
			if !strings.HasPrefix(s, fmt.Sprint(i, "x")) {
				t.Fatalf("message %d is %.10q", i, s)
			}
		}
		if len(got) != n {
			t.Errorf("the application got %d messages", len(got))
		}
	})
	t.Run("in vain", func(t *testing.T) {
		whileDialled(t, forever, func(t *testing.T, r *acceptRig) {
			go say(r)
			r.endsWithin("broken", halfCloseGrace+closeTimeout)
			r.atClientIs("close 1008 " + ErrHoldFull.Error())
		})
	})
}

// The end of the credential, say, does not wait for the application.
func TestEndWhileTheApplicationIsDialled(t *testing.T) {
	whileDialled(t, forever, func(t *testing.T, r *acceptRig) {
		r.clientSends(msg("c1"))
		r.gate.End(expired)
		r.atClientIs("close 3000 token expired")
		r.endsNow("expired")
		r.atAppIs()
	})
}

// What the client does wrong ends the socket at once, too.
func TestBadFrameWhileTheApplicationIsDialled(t *testing.T) {
	whileDialled(t, forever, func(t *testing.T, r *acceptRig) {
		r.clientSends(fromClient(0x83, "bad"))
		r.atClientIs("close 1002 " + ErrReservedOpcode.Error())
		r.client.Close()
		r.endsNow(CauseClientBroke)
	})
}

// A renewal is heard meanwhile.
func TestSuspendedWhileTheApplicationIsDialled(t *testing.T) {
	t.Parallel()
	inOneBubble(t, func(t *testing.T) {
		var rig *acceptRig
		rig = newAcceptRig(t, acceptOptions{serve: func(w http.ResponseWriter, request *http.Request) error {
			return slowly(&rig, time.Minute)(w, request)
		}})
		rig.clientSends(msg("login"))
		rig.atClientIs("welcome")
		rig.gate.Suspend()
		rig.clientSends(msg("held"), msg("login"), msg("c1"))
		rig.atClientIs("welcome")
		time.Sleep(2 * time.Minute)
		rig.atAppIs("held", "c1")
	})
}
