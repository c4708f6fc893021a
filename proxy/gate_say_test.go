package proxy

import "testing"

// What the gate has to say of its own waits for the end of a message of the
// application's, and then goes out without being asked for again, also where no
// message is read.
func TestSayWaitsForTheMessage(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, o rigOptions) {
		r, _ := newRig(t, o)
		first, second, last := fromApp(byte(OpText), "begun "), fromApp(0, "going on "), fromApp(0x80, "ended")
		go r.sends(r.app, first, second[:5])
		r.clientGets(first, second[:5])
		r.gate.Say(Text("ours"))
		r.gate.Ping()
		go r.sends(r.app, second[5:], last)
		r.clientGets(second[5:])
		ping, _, payload, err := readFrame(r.clientFrames)
		if err != nil || ping != finPing || len(payload) != 8 {
			t.Fatalf("got %X with %X, %v; want a ping", ping, payload, err)
		}
		r.clientGets(last, fromApp(finText, "ours"))
		go r.gate.Say(Text("at once"))
		r.clientGets(fromApp(finText, "at once"))
	})
}
