package proxy

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// kept returns what a quiet gate still keeps of messages that have gone.
func kept(g *Gate) []string {
	in, out := &g.in, &g.out
	var list []string
	for name, is := range map[string]bool{
		"large buffer":            in.chunks.large != nil,
		"client's queue":          len(in.read.queue) > 0 || in.read.few[0].data != nil || in.read.few[1].data != nil,
		"client's message":        in.read.asm.raw != nil || in.read.asm.payload != 0,
		"client's header":         in.read.asm.head != nil || in.read.asm.ctl != nil,
		"what was held inwards":   in.read.held.frames != nil || in.read.held.bytes != 0,
		"what was read too early": len(in.early) > 0,
		"words for the app":       in.injected != nil,
		"app's message":           out.read.asm.raw != nil || out.read.asm.payload != 0,
		"what was held outwards":  out.read.held.frames != nil || out.read.held.bytes != 0,
		"words for the client":    out.says != nil || out.pong != nil,
	} {
		if is {
			list = append(list, name)
		}
	}
	return list
}

// A socket that is read and has fallen quiet costs what one does that is only
// watched, whatever it has carried before.
func TestQuietGateKeepsNothing(t *testing.T) {
	inReading(t, Reading{Limit: 100_000, HoldMessages: 99, HoldBytes: 1 << 20}, func(t *testing.T, r *readingRig) {
		long := strings.Repeat("0123456789", 9000)
		for range 3 {
			r.clientSends(msg("c"), msg(long), fromClient(1, long), fromClient(finPing, "?"), fromClient(0x80, ""), msg("instead"), msg("drop"))
			r.appSends(appMsg("a"), appMsg(long), fromApp(finPing, "?"))
			r.suspend()
			r.clientSends(msg(long), fromClient(finPing, "?"))
			r.appSends(appMsg(long), fromApp(finPing, "?"))
			r.gate.Say(Text("said"))
			r.gate.SayToApp(Text("said"))
			r.resume(Text("welcome"))
			time.Sleep(3 * lull)
			synctest.Wait()
			if list := kept(r.gate); len(list) > 0 {
				t.Errorf("still kept: %q", list)
			}
		}
		if n := len(r.atApp.take()); n != 3*10 {
			t.Errorf("the application got %d frames", n)
		}
	})
}

// Over TCP it waits with no buffer at all, before the login and after it.
func TestReadingWaitsWithoutBuffer(t *testing.T) {
	t.Parallel()
	if !canWaitWithoutBuffer {
		return // the small buffer is waited with
	}
	front, client := tcpPair(t)()
	back, app := tcpPair(t)()
	defer app.Close()
	defer client.Close()
	g := newGate(front, nil, false, func() {})
	reader := &testReader{client: func(m Message) Verdict { return logsIn(g, m) }}
	g.read(&Reading{Reader: reader, Limit: 1 << 20, Pending: true, HoldMessages: 9, HoldBytes: 1 << 20})
	g.in.chunks.look()
	waits := make(chan []string, 1000)
	g.in.chunks.raw.attempt = func(fd uintptr) bool {
		if g.in.chunks.raw.try(fd) {
			return true
		}
		g.out.mu.Lock()
		waits <- append(kept(g), map[bool]string{true: "small buffer"}[g.in.chunks.small != nil])
		g.out.mu.Unlock()
		return false
	}
	quiet := func() {
		t.Helper()
		if list := strings.Join(<-waits, ""); list != "" {
			t.Errorf("still kept: %q", list)
		}
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		if g.AwaitLogin() {
			g.takeOver()
			_, _ = io.Copy(back, g)
		}
	}()
	quiet()
	if _, err := client.Write(msg("login")); err != nil {
		t.Fatal(err)
	}
	long := fromClient(1, strings.Repeat("x", 200_000))
	for _, p := range [][]byte{msg("c"), join(long, fromClient(0x80, ".")), msg("d")} {
		go client.Write(p)
		got := make([]byte, len(p))
		if _, err := io.ReadFull(app, got); err != nil || !bytes.Equal(got, p) {
			t.Fatalf("the application got %d bytes, %v", len(got), err)
		}
		for len(waits) > 0 {
			<-waits // inside the message
		}
	}
	g.SayToApp(Text("wake up"))
	if _, _, payload, err := readFrame(bufio.NewReader(app)); err != nil || string(payload) != "wake up" {
		t.Fatalf("the application got %q, %v", payload, err)
	}
	quiet()
	_ = client.Close()
	<-over
	_ = g.Close()
	g.finish()
	_ = back.Close()
}

// A buffer is given back when all has been read that lies in it, and no
// sooner.
func TestReadKeepsWhatIsNotRead(t *testing.T) {
	t.Parallel()
	front, client := net.Pipe()
	defer client.Close()
	g := newGate(front, nil, false, func() {})
	g.read(&Reading{Reader: &testReader{}, Limit: theLimit})
	go client.Write(join(msg("one"), msg("two")))
	p := make([]byte, 100)
	for i, want := range []string{"one", "two"} {
		n, err := g.Read(p)
		if err != nil || !bytes.Equal(p[:n], msg(want)) {
			t.Fatalf("read %q, %v", p[:n], err)
		}
		if kept := g.in.chunks.small != nil; kept != (i == 0) {
			t.Errorf("after %q the buffer is kept: %v", want, kept)
		}
	}
	_ = g.Close()
	g.finish()
}
