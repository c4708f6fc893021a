package proxy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// readMessage reads a whole message, and gives the control frames before it
// and inside it to control. A message inside another one is an error.
func readMessage(r *bufio.Reader, masked bool, control func(first byte, payload []byte)) (string, error) {
	var message []byte
	inside := false
	for {
		first, isMasked, payload, err := readFrame(r)
		switch op := Opcode(first & opBits); {
		case err != nil:
			if inside && errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return "", err
		case isMasked != masked:
			return "", fmt.Errorf("frame %X: masked %v", first, isMasked)
		case op.control():
			control(first, payload)
			if op == OpClose {
				return "", fmt.Errorf("%s: %w", describe(first, payload), io.EOF)
			}
			continue
		case (op == OpContinuation) != inside:
			return "", fmt.Errorf("frame %X, inside a message %v", first, inside)
		}
		message, inside = append(message, payload...), true
		if first&finBit != 0 {
			return string(message), nil
		}
	}
}

// chatter sends n numbered messages of any size, in any fragments and pieces,
// with signs of life between.
func chatter(r *rand.Rand, conn net.Conn, masked bool, n int) error {
	var p []byte
	for i := range n {
		payload := []byte(fmt.Sprintf("#%d %s", i, strings.Repeat("€", []int{0, 0, 3, 40, 200, 1000, 12_000}[r.IntN(7)]*r.IntN(2))))
		op := byte(1 + r.IntN(2))
		for r.IntN(3) == 0 {
			k := r.IntN(len(payload) + 1)
			p = append(p, rawFrame(op, masked, payload[:k])...)
			payload, op = payload[k:], 0
			if r.IntN(2) == 0 {
				p = append(p, randomControl(r, masked)...)
			}
		}
		p = append(p, rawFrame(op|finBit, masked, payload)...)
		if r.IntN(10) == 0 || i == n-1 {
			for _, piece := range randomPieces(r, p) {
				if _, err := conn.Write(piece); err != nil {
					return err
				}
			}
			p = nil
		}
	}
	return nil
}

// counted checks that what one side gets is all of what the other has sent,
// in order, and the gate's own words in order.
type counted struct {
	messages, words int
	err             error
}

func countMessages(r *bufio.Reader, masked bool, n int) (c counted) {
	for c.messages < n {
		message, err := readMessage(r, masked, func(byte, []byte) {})
		if err != nil {
			c.err = err
			return c
		}
		word, _, _ := strings.Cut(message, " ")
		number, err := strconv.Atoi(strings.TrimLeft(word, "#!"))
		switch {
		case err != nil:
			c.err = fmt.Errorf("message %q", message)
			return c
		case word[0] == '!' && number >= c.words: // some may be left out
			c.words = number + 1
		case word[0] == '#' && number == c.messages:
			c.messages++
		default:
			c.err = fmt.Errorf("message %.20q after %d messages and %d words", message, c.messages, c.words)
			return c
		}
	}
	return c
}

// Both sides talk without pause, in any frames and pieces, while the gate is
// suspended, resumed and speaks itself at any moment: every message gets
// through, once and in order, both ways.
func TestNothingIsLostAtAnyMoment(t *testing.T) {
	const messages = 400
	for name, pair := range map[string]func() (a, b net.Conn){"pipe": net.Pipe, "TCP": tcpPair(t), "TLS": tlsPair(t), "stream": nil} {
		for _, plain := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, Read and Write %v", name, plain), func(t *testing.T) {
				seed := rand.Uint64()
				o := rigOptions{pair: pair, plain: plain, idle: true, stream: pair == nil}
				r, relay := newRig(t, o)
				r.gate.read(&Reading{Reader: &testReader{}, Limit: 2000, HoldMessages: 1 << 20, HoldBytes: 1 << 30})
				relay()
				var talking, listening sync.WaitGroup
				for i, side := range []struct {
					from   net.Conn
					to     *bufio.Reader
					masked bool
				}{{r.client, r.appFrames, true}, {r.app, r.clientFrames, false}} {
					random := rand.New(rand.NewPCG(seed, uint64(i)))
					talking.Go(func() {
						if err := chatter(random, side.from, side.masked, messages); err != nil {
							t.Errorf("seed %d, masked %v: %v", seed, side.masked, err)
						}
					})
					listening.Go(func() {
						if c := countMessages(side.to, side.masked, messages); c.err != nil {
							t.Errorf("seed %d, masked %v: %v", seed, side.masked, c.err)
							r.gate.cut()
						}
						go io.Copy(io.Discard, side.to)
					})
				}
				over := make(chan struct{})
				go func() {
					defer close(over)
					disturb(rand.New(rand.NewPCG(seed, 2)), r.gate, &listening)
				}()
				talking.Wait()
				select {
				case <-over:
				case <-time.After(2 * time.Minute):
					t.Errorf("seed %d: hangs", seed)
					r.gate.cut()
				}
				r.client.Close()
				r.app.Close()
				r.end()
			})
		}
	}
}

// disturb suspends, resumes and speaks until both sides have got all.
func disturb(r *rand.Rand, g *Gate, listening *sync.WaitGroup) {
	done := make(chan struct{})
	go func() {
		listening.Wait()
		close(done)
	}()
	for i := 0; ; i++ {
		words := []Message{Text(fmt.Sprintf("!%d", 2*i)), Text(fmt.Sprintf("!%d", 2*i+1))}
		if r.IntN(4) > 0 {
			g.Suspend()
		}
		for range r.IntN(100) {
			runtime.Gosched()
		}
		g.out.saysMu.Lock()
		quiet := len(g.out.says) < maxSays/2
		g.out.saysMu.Unlock()
		if !quiet {
			words = nil
		}
		switch r.IntN(6) {
		case 0:
			g.SayToApp(words...)
		case 1:
			g.Say(words...)
		case 2:
			g.Resume(time.Now().Add(time.Hour), words...)
		}
		g.Resume(time.Now().Add(time.Hour))
		for range r.IntN(100) {
			runtime.Gosched()
		}
		select {
		case <-done:
			return
		default:
		}
	}
}

// The end, a renewal and the next end of a credential in one moment: the
// socket ends, each side gets one close frame behind whole messages, and
// nothing that is sent after the end gets through.
func TestEndSuspendAndResumeInOneMoment(t *testing.T) {
	for i := range 1000 {
		r, relay := newRig(t, rigOptions{plain: i%2 == 0, idle: true, stream: i%5 == 0})
		r.gate.read(&Reading{Reader: &testReader{}, Limit: 2000, HoldMessages: 100, HoldBytes: 1 << 20})
		relay()
		r.gate.Suspend()
		var all sync.WaitGroup
		ended := make(chan struct{})
		for _, side := range []struct {
			from  net.Conn
			to    *bufio.Reader
			frame func(byte, string) []byte
			app   bool
		}{{r.client, r.appFrames, fromClient, true}, {r.app, r.clientFrames, fromApp, false}} {
			all.Go(func() {
				for n := range 3 {
					_, _ = side.from.Write(side.frame(finText, fmt.Sprintf("#%d", n)))
				}
				<-ended
				_, _ = side.from.Write(join(side.frame(finText, "#late"), side.frame(finClose, closePayload(CloseGoingAway, ""))))
			})
			all.Go(func() {
				c := countMessages(side.to, side.app, 100)
				if !errors.Is(c.err, io.EOF) || !strings.HasPrefix(c.err.Error(), "close") {
					t.Errorf("socket %d, application %v, after %d messages: %v", i, side.app, c.messages, c.err)
				}
				if side.app {
					r.app.Close()
				}
			})
		}
		all.Go(func() {
			r.gate.End(expired)
			close(ended)
		})
		all.Go(func() { r.gate.Resume(time.Now().Add(time.Hour), Text("!1")) })
		all.Go(func() { r.gate.Suspend() })
		if e := r.end(); e.Cause != expired.Cause {
			t.Errorf("socket %d ended with %+v", i, e)
		}
		all.Wait()
		r.client.Close()
		if t.Failed() {
			return
		}
	}
}
