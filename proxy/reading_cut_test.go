package proxy

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

// withoutControl returns what of frames is no ping or pong, which the gate may
// have answered itself.
func withoutControl(frames []string) []string {
	return slices.DeleteFunc(frames, func(s string) bool {
		return strings.HasPrefix(s, "ping ") || strings.HasPrefix(s, "pong ")
	})
}

// cutModes are enough where the cuts are many.
func cutModes(t *testing.T, f func(t *testing.T, o rigOptions)) {
	for name, o := range map[string]rigOptions{"": {}, "Read and Write": {plain: true, buffer: 7}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, o)
		})
	}
}

// The socket is suspended after any byte and opened again after any other,
// while one side sends frames of each kind: the other gets all that is no sign
// of life, once and in order, and while the socket is suspended no frame
// begins to pass.
func TestSuspendAndResumeAtAnyByte(t *testing.T) {
	for _, masked := range []bool{true, false} {
		pairs := []any{0x81, "one", 0x01, "frag", 0x89, "?", 0x00, "", 0x80, "ment", 0x82, "long enough to be unread"}
		p := frames(append(pairs, 0x01, "unread, in fr", 0x8A, "!", 0x80, "ames", 0x88, closePayload(4000, "bye"))...)(masked)
		want := []string{"one", "…frag", "…", ".ment", "binary long enough to be unread", "…unread, in fr", ".ames", "close 4000 bye"}
		t.Run(fmt.Sprintf("client %v", masked), func(t *testing.T) {
			cutModes(t, func(t *testing.T, o rigOptions) {
				for i := range len(p) {
					for j := i; j < len(p); j += 1 + (i+j)%4 {
						synctest.Test(t, func(t *testing.T) {
							r := newReadingRig(t, o, Reading{Limit: 12, HoldMessages: 20, HoldBytes: 500})
							send, to := r.appSends, r.atClient
							if masked {
								send, to = r.clientSends, r.atApp
							}
							send(p[:i])
							got := to.take()
							r.suspend()
							send(p[i:j])
							during := to.take()
							if data := withoutControl(slices.Clone(during)); len(data) > 1 || len(data) == 1 && !finishes(p, i, j) {
								t.Errorf("suspended at %d of %d, to %d: %q passed", i, len(p), j, data)
							}
							r.resume(Text("said"))
							send(p[j:])
							got = withoutControl(append(append(got, during...), to.take()...))
							got = slices.DeleteFunc(got, func(s string) bool { return s == "said" })
							if !slices.Equal(got, want) {
								t.Errorf("suspended at %d of %d, to %d: got %q", i, len(p), j, got)
							}
							if !masked {
								return
							}
							if said := withoutControl(r.atClient.take()); said[0] != "said" {
								t.Errorf("suspended at %d, to %d: the client got %q", i, j, said)
							}
						})
						if t.Failed() {
							return
						}
					}
				}
			})
		})
	}
}

// finishes tells whether the frame that has begun before i ends in p[i:j].
func finishes(p []byte, i, j int) bool {
	for at := 0; at < i; {
		h, size, _ := ParseHeader(p[at:])
		end := at + size + int(h.Length)
		if at < i && i < end {
			return end <= j
		}
		at = end
	}
	return false
}

// The same with an end after any byte, of a socket that is open, suspended, or
// was: each side gets whole frames and one close frame, and the client's
// answer is found at once, whatever of a frame was collected.
func TestEndAtAnyByte(t *testing.T) {
	for _, masked := range []bool{true, false} {
		pairs := []any{0x81, "one", 0x01, "frag", 0x89, "?", 0x00, "", 0x80, "ment", 0x82, "long enough to be unread"}
		p := frames(append(pairs, 0x01, "unread, in fr", 0x8A, "!", 0x80, "ames")...)(masked)
		for _, state := range []string{"open", "suspended", "suspended at once", "pending", "was suspended"} {
			t.Run(fmt.Sprintf("client %v, %s", masked, state), func(t *testing.T) {
				inAllModes(t, func(t *testing.T, o rigOptions) {
					t.Parallel()
					for i := range len(p) {
						synctest.Test(t, func(t *testing.T) {
							endAt(t, o, state, masked, p, i)
						})
					}
				})
			})
		}
	}
}

// answerOfApp is an application's answer to a close frame.
var answerOfApp = fromApp(finClose, closePayload(CloseGoingAway, ""))

func endAt(t *testing.T, o rigOptions, state string, masked bool, p []byte, at int) {
	r := newReadingRig(t, o, Reading{Limit: 50, HoldMessages: 20, HoldBytes: 500, Pending: state == "pending"})
	r.reader.app = func(Message) Verdict { return Verdict{Whole: true} }
	if state != "pending" {
		r.gate.talk.Limit, r.gate.in.read.asm.limit = 12, 12
	}
	send := r.appSends
	if masked {
		send = r.clientSends
	}
	half := at / 2
	if state == "suspended at once" {
		half = 0
	}
	send(p[:half])
	if strings.Contains(state, "suspended") {
		r.suspend()
	}
	send(p[half:at])
	if state == "was suspended" {
		r.resume()
	}
	r.mute.Store(true)
	before := len(r.atApp.take()) + len(r.atClient.take())
	took := elapsed(func() {
		end := expired
		end.Farewell = []Message{Text("farewell")}
		r.gate.End(end)
		synctest.Wait()
		if masked {
			r.clientSends(p[at:], answerClose)
			r.appSends(answerOfApp)
		} else {
			r.appSends(p[at:], answerOfApp)
			r.clientSends(answerClose)
		}
		r.endsWith("expired")
	})
	if took != 0 {
		t.Errorf("%s, ended at %d of %d: took %v", state, at, len(p), took)
	}
	toClient, toApp := r.atClient.take(), r.atApp.take()
	if n := len(toApp); n == 0 || toApp[n-1] != "close 1001" {
		t.Errorf("%s, ended at %d of %d: the application got %q", state, at, len(p), toApp)
	}
	if n := len(toClient); n == 0 || toClient[n-1] != "close 3000 token expired" {
		t.Errorf("%s, ended at %d of %d: the client got %q", state, at, len(p), toClient)
	}
	for i, s := range toClient {
		if s == "farewell" && i > 0 && strings.HasPrefix(toClient[i-1], "…") {
			t.Errorf("%s, ended at %d of %d: a farewell in a message: %q", state, at, len(p), toClient)
		}
	}
	if len(toClient)+len(toApp) > 4 || before > 0 && state == "suspended at once" && !masked && len(toClient) > 2 {
		t.Errorf("%s, ended at %d of %d: more than a frame passed: %q, %q", state, at, len(p), toClient, toApp)
	}
}
