package proxy

import (
	"bytes"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// An application that takes nothing any more does not keep the client from
// its proper end: its answer to the close frame is looked for behind what the
// application has not taken.
func TestEndWhileTheApplicationDoesNotRead(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, o rigOptions) {
		r, _ := newRig(t, o)
		go r.client.Write(join(fromClient(finText, "one"), fromClient(finText, "two")))
		synctest.Wait()
		took := elapsed(func() {
			r.gate.End(expired)
			r.clientGetsClose(3000, "token expired")
			r.sends(r.client, fromClient(finText, "three"), answerClose)
			r.clientGone()
		})
		if took > 2*stallGrace+upstreamGrace {
			t.Errorf("the client stood for %v", took)
		}
		r.app.Close()
		r.endsWith("expired")
	})
}

// And when it never does, nor ends its connection, both are cut.
func TestEndWhileTheApplicationIsStuck(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, o rigOptions) {
		r, _ := newRig(t, o)
		go r.client.Write(fromClient(finText, "one"))
		synctest.Wait()
		took := elapsed(func() {
			r.gate.End(expired)
			r.clientGetsClose(3000, "token expired")
			r.sends(r.client, answerClose)
			r.clientGone()
			r.endsWith("expired")
		})
		if took > closeTimeout {
			t.Errorf("took %v", took)
		}
	})
}

// An application that takes a pause in the middle of a frame gets the rest of
// it and then its close frame, or neither: nothing lands in its frame.
func TestEndWhileTheApplicationPauses(t *testing.T) {
	t.Parallel()
	for _, begun := range []int{3, 12} {
		inBubble(t, func(t *testing.T, o rigOptions) {
			r, _ := newRig(t, o)
			frame := fromClient(finText, "a frame of which a part lies somewhere")
			go func() {
				_, _ = r.client.Write(frame[:begun])
				_, _ = r.client.Write(frame[begun:])
				_, _ = r.client.Write(answerClose)
			}()
			r.appGets(frame[:2])
			r.gate.End(expired)
			r.clientGetsClose(3000, "token expired")
			time.Sleep(3 * stallGrace)
			r.appGetsWholeFrames(frame[2:])
			r.app.Close()
			r.clientGone()
			r.endsWith("expired")
		})
	}
}

// appGetsWholeFrames: what comes begins with rest, and then is one close frame
// or nothing; or it is a part of rest and nothing more.
func (r *rig) appGetsWholeFrames(rest []byte) {
	r.t.Helper()
	got, err := io.ReadAll(r.appFrames)
	if err != nil {
		r.t.Error(err)
	}
	after, whole := bytes.CutPrefix(got, rest)
	switch {
	case !whole && !bytes.HasPrefix(rest, got):
		r.t.Errorf("the application got %q; the rest of its frame was %q", got, rest)
	case whole && len(after) > 0 && (len(after) != 8 || after[0] != finClose):
		r.t.Errorf("after its frame the application got %q", after)
	}
}

// The same for a handler that does not come to read what it may have.
func TestEndWhileTheHandlerPauses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		front, client := net.Pipe()
		g := newGate(front, nil, false, func() {})
		frame := fromClient(finText, "a frame of which a part lies in the gate")
		go func() {
			_, _ = client.Write(frame[:10])
			_, _ = client.Write(frame[10:])
			_, _ = client.Write(answerClose)
		}()
		go io.Copy(io.Discard, client)
		var got []byte
		read := func(n int) error {
			p := make([]byte, n)
			n, err := g.Read(p)
			got = append(got, p[:n]...)
			return err
		}
		if err := read(10); err != nil {
			t.Fatal(err)
		}
		g.End(expired)
		synctest.Wait()
		if err := read(4); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * stallGrace)
		for read(4) == nil {
		}
		after, whole := bytes.CutPrefix(got, frame)
		switch {
		case !whole && bytes.HasPrefix(frame, got):
		case whole && (len(after) == 0 || after[0] == finClose):
		default:
			t.Errorf("the handler read %q; the frame was %q", got, frame)
		}
		g.Close()
		g.finish()
	})
}
