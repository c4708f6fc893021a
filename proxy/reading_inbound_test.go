package proxy

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
)

// demux returns the data frames and the control frames in p, which must be
// whole: a control frame inside a message may overtake what is collected of
// that.
func demux(t *testing.T, p []byte) (data, control []byte) {
	t.Helper()
	scan := scanner{fromClient: true}
	if n, err := scan.scan(p); n != len(p) || err != nil || scan.remaining > 0 || scan.fragmented {
		t.Fatalf("%d of %d bytes are frames, %v, %d missing, in a message %v", n, len(p), err, scan.remaining, scan.fragmented)
	}
	for len(p) > 0 {
		h, size, _ := ParseHeader(p)
		n := size + int(h.Length)
		if h.Op.control() {
			control = append(control, p[:n]...)
		} else {
			data = append(data, p[:n]...)
		}
		p = p[n:]
	}
	return data, control
}

// Whatever a client says by the rules, and its reader lets pass, reaches the
// application byte by byte, however the network cuts it, read or too long to
// be read.
func TestReadMessagesPassUnchanged(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	for i := range 10_000 {
		p := randomMessages(r, true, 1+r.IntN(5))
		conn := &scriptConn{pieces: randomPieces(r, p)}
		g := newGate(conn, nil, false, func() {})
		var judged []string
		reader := &testReader{client: func(m Message) Verdict {
			judged = append(judged, string(m.Data))
			return Verdict{Whole: true}
		}}
		limit := []int64{0, 100, 700, 1 << 20}[r.IntN(4)]
		g.read(&Reading{Reader: reader, Limit: limit})
		if r.IntN(2) == 0 {
			g.in.early, conn.pieces = bytes.Clone(p[:len(p)/2]), randomPieces(r, p[len(p)/2:])
		}
		var upstream bytes.Buffer
		var src io.Reader = g
		if r.IntN(2) == 0 {
			src = plainReadWriter{g}
		}
		buf := make([]byte, 1+r.IntN(2000))
		if n, err := io.CopyBuffer(plainWriter{&upstream}, src, buf); err != nil || n != int64(len(p)) {
			t.Fatalf("seed %d, sequence %d: %d of %d bytes, %v", seed, i, n, len(p), err)
		}
		data, control := demux(t, upstream.Bytes())
		wantData, wantControl := demux(t, p)
		if !bytes.Equal(data, wantData) || !bytes.Equal(control, wantControl) {
			t.Fatalf("seed %d, sequence %d: not the same bytes", seed, i)
		}
		if limit == 1<<20 && len(judged) != len(judgeMessages(p)) {
			t.Fatalf("seed %d, sequence %d: %d messages were judged", seed, i, len(judged))
		}
		_ = g.Close()
		g.finish()
	}
}

// plainWriter has nothing but Write.
type plainWriter struct{ io.Writer }

func TestVerdicts(t *testing.T) {
	inReading(t, Reading{}, func(t *testing.T, r *readingRig) {
		r.clientSends(msg("one"), msg("drop two"), msg("instead of three"), fromClient(finBinary, "four"), msg("now five"))
		r.atAppIs("one", "first of of three", "binary second of of three", "binary four", "now five")
		r.judgedIs("client one", "client drop two", "client instead of three", "client four", "client now five")
		r.appSends(appMsg("drop this"), appMsg("instead"))
		r.atClientIs("drop this", "instead") // is not asked
		r.judgedIs()
		// In one segment.
		r.clientSends(join(msg("one"), msg("instead"), msg("instead"), msg("drop"), msg("two")))
		r.atAppIs("one", "first of ", "binary second of ", "first of ", "binary second of ", "two")
		if r.gate.State() != StateOpen {
			t.Errorf("state %v", r.gate.State())
		}
	})
}

// A message that is whole goes on in the frames in which it came.
func TestFragmentedMessageIsReadWhole(t *testing.T) {
	inReading(t, Reading{}, func(t *testing.T, r *readingRig) {
		r.clientSends(fromClient(1, "dr"), fromClient(finPing, "?"), fromClient(0, ""), fromClient(0x80, "op this"))
		r.judgedIs("client drop this")
		r.atAppIs("ping ?")
		last := fromClient(0x80, "is €")
		r.clientSends(join(fromClient(1, "pass"), fromClient(0, " th")), fromClient(finPong, ""), last[:10])
		r.atAppIs("pong ")
		r.clientSends(last[10:])
		r.atAppIs("…pass", "… th", ".is €")
		r.judgedIs("client pass this €")
		r.clientSends(fromClient(1, "not whole"))
		r.client.Close()
		r.atAppIs()
		r.endsWith(CauseClientGone)
	})
}

func TestTooLongMessagePassesUnread(t *testing.T) {
	inReading(t, Reading{}, func(t *testing.T, r *readingRig) {
		long := overlong("drop")
		r.clientSends(msg(long)[:300])
		r.atApp.mu.Lock()
		if len(r.atApp.frames) > 0 {
			t.Error("a frame that is not whole")
		}
		r.atApp.mu.Unlock()
		r.clientSends(msg(long)[300:], msg("next"))
		r.atAppIs(long, "next")
		r.clientSends(fromClient(1, "drop"), fromClient(0, long), fromClient(finPing, "?"), fromClient(0x80, "\xFF"), msg("drop me"), msg("next"))
		r.atAppIs("…drop", "…"+long, "ping ?", ".\xFF", "next")
		r.judgedIs("client next", "client drop me", "client next")
	})
}

func TestTooLongMessageEndsStrictly(t *testing.T) {
	for _, p := range [][]byte{msg(overlong(".")), join(fromClient(1, overlong("")[:theLimit]), fromClient(0x80, "."))} {
		t.Run("", func(t *testing.T) {
			inReading(t, Reading{Strict: true}, func(t *testing.T, r *readingRig) {
				r.clientSends(msg(overlong("")[:theLimit]))
				r.atAppIs(overlong("")[:theLimit])
				r.clientSends(p)
				r.atAppIs("close 1001")
				r.atClientIs("close 1008 " + ErrMessageTooBig.Error())
				r.client.Close()
				r.endsNow("broken")
			})
		})
	}
}

// What is too long to be read passes if the reader does not know it by its
// beginning, however that is cut, and ends the socket otherwise.
func TestTooLongMessagePassesIfForeign(t *testing.T) {
	foreign := func(begin Message) bool {
		if !begin.Binary && len(begin.Data) < peekSize {
			t.Errorf("asked after %d bytes", len(begin.Data))
		}
		return !strings.HasPrefix(strings.TrimLeft(string(begin.Data), " "), "{")
	}
	for name, p := range map[string][]byte{
		"in one frame":      msg(overlong("{")),
		"binary":            fromClient(0x82, overlong("{")),
		"in two":            join(fromClient(1, overlong("{")[:theLimit-1]), fromClient(0x80, "..")),
		"begun with little": join(fromClient(1, " {"), fromClient(0x80, overlong("."))),
		"behind spaces":     msg(strings.Repeat(" ", 400) + overlong("{")),
	} {
		t.Run(name, func(t *testing.T) {
			inReading(t, Reading{}, func(t *testing.T, r *readingRig) {
				r.reader.foreign = foreign
				r.clientSends(msg(overlong("x")), join(fromClient(2, "."), fromClient(0x80, overlong("{"))))
				r.atAppIs(overlong("x"), "binary ….", "."+overlong("{"))
				for _, b := range p[:len(p)-1] {
					r.clientSends([]byte{b})
				}
				r.atAppIs("close 1001")
				r.atClientIs("close 1008 " + ErrMessageTooBig.Error())
				r.client.Close()
				r.endsNow("broken")
			})
		})
	}
}

func TestUnreadableMessagesEnd(t *testing.T) {
	for _, tt := range []struct {
		err error
		p   []byte
	}{
		{ErrNotUTF8, msg("\xFF")},
		{ErrNotUTF8, join(fromClient(1, "\xE2\x82"), fromClient(0x80, ""))},
		{ErrTooManyFragments, fragmented(maxFragments+1, true, "")},
	} {
		t.Run(tt.err.Error(), func(t *testing.T) {
			inReading(t, Reading{}, func(t *testing.T, r *readingRig) {
				r.clientSends(join(tt.p, msg("late")))
				r.atAppIs("close 1001")
				r.atClientIs("close 1008 " + tt.err.Error())
				if errors.Is(tt.err, ErrTooManyFragments) { // no frame can be found any more
					r.client.Close()
				}
				r.endsNow("broken")
			})
		})
	}
}

func TestProtocolErrorsWhileReading(t *testing.T) {
	for err, p := range map[error][]byte{
		ErrReservedBits:       fromClient(0xC1, "compressed"),
		ErrNotMasked:          fromApp(finText, "x"),
		ErrReservedOpcode:     fromClient(0x83, ""),
		ErrMessageNotFinished: join(fromClient(1, "x"), msg("y")),
		ErrLengthTopBit:       unhex(t, "82 FF 8000000000000000"),
		ErrCloseCode:          fromClient(finClose, closePayload(1005, "")),
	} {
		t.Run(err.Error(), func(t *testing.T) {
			inReading(t, Reading{}, func(t *testing.T, r *readingRig) {
				r.clientSends(p)
				r.atAppIs("close 1001")
				r.atClientIs("close 1002 " + err.Error())
				r.client.Close()
				r.endsNow(CauseClientBroke)
			})
		})
	}
}

// A reader that ends the socket lets nothing more pass, not the message that
// it judges, not what was judged before in the same segment and is no frame
// that has begun.
func TestReaderEndsTheSocket(t *testing.T) {
	inReading(t, Reading{}, func(t *testing.T, r *readingRig) {
		r.reader.client = func(m Message) Verdict {
			if string(m.Data) == "end" {
				r.gate.End(expired)
			}
			return Verdict{Whole: true, Now: true}
		}
		r.clientSends(msg("one"))
		r.atAppIs("one")
		r.clientSends(join(msg("two"), msg("end"), msg("three")))
		r.atAppIs("close 1001")
		r.atClientIs("close 3000 token expired")
		r.endsNow("expired")
		r.judgedIs("client one", "client two", "client end")
	})
}

// The same for the rest of a frame that has begun, which is finished, and what
// follows it.
func TestReaderEndsTheSocketBehindUnreadFrame(t *testing.T) {
	inReading(t, Reading{}, func(t *testing.T, r *readingRig) {
		r.reader.client = func(m Message) Verdict {
			r.gate.End(expired)
			return Verdict{Whole: true}
		}
		long := msg(overlong("unread"))
		r.clientSends(long[:600])
		r.clientSends(join(long[600:], msg(overlong("unread, too")), msg("end")))
		r.atAppIs(overlong("unread"), "close 1001")
		r.atClientIs("close 3000 token expired")
		r.endsNow("expired")
	})
}

// What nobody has to read any more is only watched: no limit, no judgement.
func TestStopReading(t *testing.T) {
	inReading(t, Reading{Strict: true}, func(t *testing.T, r *readingRig) {
		r.reader.client = func(m Message) Verdict {
			if string(m.Data) == "stop" {
				r.gate.StopReading()
			}
			return Verdict{Whole: true}
		}
		long := overlong("long")
		r.clientSends(msg("one"), join(msg("stop"), msg("\xFF"), fromClient(1, "drop"), msg(long)[:4], nil)[:20])
		r.judgedIs("client one", "client stop")
		r.atAppIs("one", "stop", "\xFF")
		r.client.Close()
		r.atAppIs()
		r.endsWith(CauseClientGone)
	})
}

func TestStopReadingForGood(t *testing.T) {
	inReading(t, Reading{Strict: true}, func(t *testing.T, r *readingRig) {
		r.gate.StopReading()
		r.clientSends(msg("one")) // the reader that waits takes notice
		r.reader.judged()
		r.atAppIs("one")
		long := overlong("long")
		r.clientSends(msg(long), msg("drop\xFF"), fromClient(1, "drop"), fromClient(finPing, ""), fromClient(0x80, long))
		r.atAppIs(long, "drop\xFF", "…drop", "ping ", "."+long)
		r.judgedIs()
		if r.gate.Suspend() {
			t.Error("a gate that does not read was suspended")
		}
		r.clientSends(fromClient(finClose, closePayload(1000, "")))
		r.atAppIs("close 1000")
		r.endsWith(CauseClientClosed)
	})
}

// Reading is stopped while a message has been read in part: that one is read
// to its end, and nothing is lost.
func TestStopReadingInsideMessage(t *testing.T) {
	for name, cut := range map[string]int{"in a frame": 9, "between frames": 14, "in a header": 16} {
		t.Run(name, func(t *testing.T) {
			inReading(t, Reading{}, func(t *testing.T, r *readingRig) {
				p := join(fromClient(1, "fragment"), fromClient(finPing, "?"), fromClient(0, "ed"), fromClient(0x80, "."), msg("next"))
				r.clientSends(p[:cut])
				r.gate.StopReading()
				r.gate.SayToApp(Text("hello")) // has the reader look around
				r.atAppIs("hello")
				r.clientSends(p[cut:])
				got := strings.Join(r.atApp.take(), " ")
				if got != "ping ? …fragment …ed .. next" && got != "…fragment ping ? …ed .. next" {
					t.Errorf("the application got %q", got)
				}
				r.client.Close()
				r.endsWith(CauseClientGone)
			})
		})
	}
}

// The client closes: the application is told, and what it says after that is
// nobody's.
func TestClientClosesWhileReading(t *testing.T) {
	inReading(t, Reading{}, func(t *testing.T, r *readingRig) {
		r.clientSends(join(msg("last"), fromClient(finClose, closePayload(4001, "bye")), msg("late")))
		r.atAppIs("last", "close 4001 bye")
		r.atClientIs("close 1001")
		synctest.Wait()
		r.endsNow(CauseClientClosed)
	})
}

// Reading that is over waits for what is held and for what has begun.
func TestMayStop(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(g *Gate){
		"nothing":           func(*Gate) {},
		"reading":           func(*Gate) {},
		"suspended":         func(g *Gate) { g.state.Store(int32(StateSuspended)) },
		"something is held": func(g *Gate) { _ = g.in.read.held.add(msg("x")) },
		"words wait":        func(g *Gate) { g.SayToApp(Text("x")) },
		"inside a frame":    func(g *Gate) { g.in.scan.remaining = 1 },
		"inside a message":  func(g *Gate) { _, _ = g.in.read.asm.feed(fromClient(1, "x"), (*clientSink)(g)) },
		"inside a ping":     func(g *Gate) { _, _ = g.in.read.asm.feed(fromClient(finPing, "x")[:6], (*clientSink)(g)) },
	} {
		g := newGate(&scriptConn{}, nil, false, func() {})
		g.read(&Reading{Reader: &testReader{}, Limit: theLimit, HoldMessages: 9, HoldBytes: theLimit})
		if change(g); name != "reading" {
			g.StopReading()
		}
		if got := g.mayStop(); got != (name == "nothing") {
			t.Errorf("%s: may stop %v", name, got)
		}
		_ = g.Close()
		g.finish()
	}
}
