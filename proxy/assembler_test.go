package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// recorder is a sink that writes down what it is given, so that what two
// assemblers say can be compared however their input was cut.
type recorder struct {
	t      *testing.T
	events []string
	data   []byte // what came of messages, as it came
	big    error  // what tooBig says
	left   int64  // what unread said last
	unseen bool   // the last event is unread
	seen   []byte // by a sink that sees what is skipped
	stop   func() bool
}

func (r *recorder) add(format string, args ...any) {
	r.t.Helper()
	if r.left > 0 && !r.unseen {
		r.t.Errorf("%s inside a frame that is not read", format)
	}
	r.unseen = false
	r.events = append(r.events, fmt.Sprintf(format, args...))
}

func (r *recorder) control(h Header, payload, raw []byte) error {
	r.add("%d %q %X", h.Op, payload, raw)
	return nil
}

func (r *recorder) message(m Message, raw []byte) error {
	r.data = append(r.data, raw...)
	r.add("%v %q", m.Binary, m.Data)
	return nil
}

func (r *recorder) tooBig(Message) error { return r.big }

func (r *recorder) skipped(payload []byte) error {
	r.seen = append(r.seen, payload...)
	return nil
}

func (r *recorder) unread(raw []byte, within bool, left int64) {
	if len(raw) == 0 || within != (r.left > 0) || within && left != r.left-int64(len(raw)) {
		r.t.Errorf("unread(%d bytes, %v, %d) with %d left", len(raw), within, left, r.left)
	}
	if !r.unseen {
		r.add("unread")
	}
	r.left, r.unseen = left, true
	r.data = append(r.data, raw...)
}

func (r *recorder) stopped() bool { return r.stop != nil && r.stop() }

// assembled is what becomes of frames.
type assembled struct {
	events []string
	data   []byte
	taken  int
	err    error
	closed bool
}

// assemble feeds an assembler pieces, each in memory of its own that is
// overwritten after.
func assemble(t *testing.T, client bool, limit int64, big error, pieces ...[]byte) assembled {
	t.Helper()
	sink := &recorder{t: t, big: big}
	a := assembler{scan: &scanner{fromClient: client}, limit: limit}
	taken := 0
	for _, piece := range pieces {
		p := bytes.Clone(piece)
		n, err := a.feed(p, sink)
		taken += n
		if !bytes.Equal(p, piece) {
			t.Fatal("the input was changed")
		}
		for i := range p {
			p[i] = 0xEE
		}
		if err != nil || a.scan.closed {
			return assembled{sink.events, sink.data, taken, err, a.scan.closed}
		}
		if n < len(p) {
			t.Fatalf("%d of %d bytes were taken", n, len(p))
		}
		if held := int64(len(a.raw)); held > limit+maxFragments*maxHeader {
			t.Fatalf("%d bytes are kept with a limit of %d", held, limit)
		}
	}
	return assembled{sink.events, sink.data, taken, nil, false}
}

func (a assembled) same(b assembled) bool {
	return slices.Equal(a.events, b.events) && bytes.Equal(a.data, b.data) && sameError(a.err, b.err) && a.closed == b.closed
}

// everyCut runs f with p whole, cut in two and three pieces at every byte, and
// byte by byte.
func everyCut(p []byte, f func(pieces ...[]byte)) {
	f(p)
	for _, i := range cuts(len(p)) {
		f(p[:i], p[i:])
		for _, j := range cuts(len(p) - i) {
			if len(p) < 140 || j < 20 {
				f(p[:i], p[i:i+j], p[i+j:])
			}
		}
	}
	var bytewise [][]byte
	for i := range p {
		bytewise = append(bytewise, p[i:i+1])
	}
	f(bytewise...)
}

// assemblerTest is a sequence of frames of either side, and the messages and
// control frames that are made of it.
type assemblerTest struct {
	name   string
	frames func(masked bool) []byte
	limit  int64
	want   []string
	err    error
}

func textEvent(s string) string   { return fmt.Sprintf("false %q", s) }
func binaryEvent(s string) string { return fmt.Sprintf("true %q", s) }

// controlEvent is how a control frame is written down, without its bytes.
func controlEvent(op Opcode, s string) string { return fmt.Sprintf("%d %q", op, s) }

func assemblerTests() []assemblerTest {
	const (
		ping = int(finPing)
		pong = int(finPong)
		bye  = int(finClose)
		cont = 0x80
	)
	long := strings.Repeat("0123456789", 30)
	tooLong := ErrMessageTooBig
	return []assemblerTest{
		{"one message", frames(0x81, "hello"), 5, []string{textEvent("hello")}, nil},
		{"binary", frames(0x82, "\xFF\xFE"), 9, []string{binaryEvent("\xFF\xFE")}, nil},
		{"empty message", frames(0x81, "", 0x82, ""), 0, []string{textEvent(""), binaryEvent("")}, nil},
		{"16-bit length", frames(0x81, long), 300, []string{textEvent(long)}, nil},
		{"several", frames(0x81, "a", 0x82, "b", 0x81, "c"), 1, []string{textEvent("a"), binaryEvent("b"), textEvent("c")}, nil},
		{"fragments", frames(0x01, "he", 0x00, "ll", 0x80, "o"), 5, []string{textEvent("hello")}, nil},
		{"fragments of binary", frames(0x02, "h", 0x80, "i", 0x81, "x"), 5, []string{binaryEvent("hi"), textEvent("x")}, nil},
		{"empty fragments", frames(0x01, "", 0x00, "", cont, ""), 0, []string{textEvent("")}, nil},
		{"empty fragments around", frames(0x01, "", 0x00, "x", cont, ""), 1, []string{textEvent("x")}, nil},
		{
			"control frames between", frames(0x01, "he", ping, "?", 0x00, "l", pong, "", cont, "lo"), 5,
			[]string{controlEvent(OpPing, "?"), controlEvent(OpPong, ""), textEvent("hello")},
			nil,
		},
		{
			"close frame between", frames(0x01, "he", bye, closePayload(1000, "bye"), 0x80, "llo"), 5,
			[]string{controlEvent(OpClose, closePayload(1000, "bye"))},
			nil,
		},
		{"rune cut by fragments", frames(0x01, "\xE2", 0x00, "\x82", cont, "\xAC"), 3, []string{textEvent("€")}, nil},
		{"rune cut by a control frame", frames(0x01, "\xF0\x9F", ping, "\x98", cont, "\x98\x80"), 4, []string{controlEvent(OpPing, "\x98"), textEvent("😀")}, nil},
		{"not UTF-8", frames(0x81, "ok", 0x81, "\xE2\x82"), 9, []string{textEvent("ok")}, ErrNotUTF8},
		{"not UTF-8, surrogate", frames(0x81, "\xED\xA0\x80"), 9, nil, ErrNotUTF8},
		{"not UTF-8, overlong", frames(0x81, "\xC0\xAF"), 9, nil, ErrNotUTF8},
		{"not UTF-8 over fragments", frames(0x01, "\xE2\x82", cont, "x"), 9, nil, ErrNotUTF8},
		{"too long by one", frames(0x81, "hello", 0x81, "hello!"), 5, []string{textEvent("hello")}, tooLong},
		{"too long in a fragment", frames(0x01, "hello", 0x00, "", cont, "!"), 5, nil, tooLong},
		{"too long with empty last fragment", frames(0x01, "hello!", cont, ""), 5, nil, tooLong},
		{"a new message has its own limit", frames(0x01, "abc", cont, "de", 0x81, "fghij"), 5, []string{textEvent("abcde"), textEvent("fghij")}, nil},
		{"compressed", frames(0x81, "x", 0xC1, "hello"), 9, []string{textEvent("x")}, ErrReservedBits},
		{"compressed continuation", frames(0x01, "x", 0xC0, "hello"), 9, nil, ErrReservedBits},
		{"RSV2", frames(0xA1, "x"), 9, nil, ErrReservedBits},
		{"RSV3 on a ping", frames(0x99, ""), 9, nil, ErrReservedBits},
		{"continuation of nothing", frames(0x81, "x", cont, "y"), 9, []string{textEvent("x")}, ErrNoMessage},
		{"message inside a message", frames(0x01, "x", 0x81, "y"), 9, nil, ErrMessageNotFinished},
		{"close frame with a bad code", frames(0x81, "x", bye, closePayload(1005, "")), 9, []string{textEvent("x")}, ErrCloseCode},
		{"close frame of one byte", frames(bye, "x"), 9, nil, ErrClosePayload},
		{"nothing after a close frame", frames(bye, "", 0x81, "x"), 9, []string{controlEvent(OpClose, "")}, nil},
	}
}

func TestAssembler(t *testing.T) {
	t.Parallel()
	for _, tt := range assemblerTests() {
		for _, client := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, client %v", tt.name, client), func(t *testing.T) {
				t.Parallel()
				p := tt.frames(client)
				whole := assemble(t, client, tt.limit, ErrMessageTooBig, p)
				var events []string
				for _, e := range whole.events {
					if !strings.HasPrefix(e, "true") && !strings.HasPrefix(e, "false") {
						e = e[:strings.LastIndexByte(e, ' ')]
					}
					events = append(events, e)
				}
				if !slices.Equal(events, tt.want) || !errors.Is(whole.err, tt.err) {
					t.Errorf("%q, %v; want %q, %v", events, whole.err, tt.want, tt.err)
				}
				everyCut(p, func(pieces ...[]byte) {
					if got := assemble(t, client, tt.limit, ErrMessageTooBig, pieces...); !got.same(whole) {
						t.Errorf("in %s: %q, %v; in one: %q, %v", sizes(pieces), got.events, got.err, whole.events, whole.err)
					}
				})
			})
		}
	}
}

// What is forbidden in a frame is forbidden where it is read, too: the tables
// of the scanner, with nothing read and with all.
func TestAssemblerRefusesWhatTheScannerDoes(t *testing.T) {
	t.Parallel()
	for _, tt := range scanTests() {
		if tt.deflate {
			continue // is not agreed where messages are read
		}
		for _, limit := range []int64{-1, 1 << 20} {
			everyCut(tt.frames, func(pieces ...[]byte) {
				got := assemble(t, tt.client, limit, nil, pieces...)
				if limit > 0 && errors.Is(got.err, ErrNotUTF8) {
					return // has tables of its own
				}
				if !errors.Is(got.err, tt.err) || got.closed != tt.closed {
					t.Errorf("%s, limit %d, in %s: %v, closed %v; want %v, %v",
						tt.name, limit, sizes(pieces), got.err, got.closed, tt.err, tt.closed)
				}
			})
		}
	}
}

// A message that is too long and may pass comes through byte by byte as it is,
// whatever of it had been collected before.
func TestAssemblerPassesUnread(t *testing.T) {
	t.Parallel()
	for _, client := range []bool{true, false} {
		p := frames(
			0x81, "hello", 0x01, "hel", 0x00, "lo", 0x89, "?", 0x00, "!", 0x00, "", 0x8A, "", 0x80, "\xFF",
			0x82, "0123456789", 0x82, "abc", 0x01, "0123456789", 0x80, "",
		)(client)
		whole := assemble(t, client, 5, nil, p)
		var order []string
		for _, e := range whole.events {
			order = append(order, strings.Fields(e)[0])
		}
		if want := []string{"false", "9", "unread", "10", "unread", "true", "unread"}; !slices.Equal(order, want) || whole.err != nil {
			t.Errorf("%q, %v; want %q", order, whole.err, want)
		}
		data := frames(
			0x81, "hello", 0x01, "hel", 0x00, "lo", 0x00, "!", 0x00, "", 0x80, "\xFF",
			0x82, "0123456789", 0x82, "abc", 0x01, "0123456789", 0x80, "",
		)(client)
		everyCut(p, func(pieces ...[]byte) {
			if got := assemble(t, client, 5, nil, pieces...); !got.same(whole) || !bytes.Equal(got.data, data) {
				t.Errorf("in %s: %q, %v; in one: %q", sizes(pieces), got.events, got.err, whole.events)
			}
		})
	}
}

// fragmented returns a message of n frames.
func fragmented(n int, client bool, payload string) []byte {
	p := rawFrame(byte(OpText), client, []byte(payload))
	middle := rawFrame(0, client, []byte(payload))
	for range n - 2 {
		p = append(p, middle...)
	}
	return append(p, rawFrame(0x80, client, []byte(payload))...)
}

// A message of very many fragments costs more than it says: empty ones too.
func TestAssemblerLimitsFragments(t *testing.T) {
	t.Parallel()
	for _, payload := range []string{"", "x"} {
		for n, want := range map[int]error{2: nil, maxFragments: nil, maxFragments + 1: ErrTooManyFragments} {
			p := fragmented(n, true, payload)
			got := assemble(t, true, 1<<20, nil, p, p)
			if !errors.Is(got.err, want) || want == nil && len(got.events) != 2 {
				t.Errorf("%d frames of %q: %d messages, %v; want %v", n, payload, len(got.events), got.err, want)
			}
		}
	}
}

// A length that no memory has is no reason to allocate any.
func TestAssemblerAndHugeLengths(t *testing.T) {
	for hex, err := range map[string]error{
		"82 FF 7FFFFFFFFFFFFFFF 00000000": ErrMessageTooBig,
		"82 FF 0000000100000000 00000000": ErrMessageTooBig,
		"82 FF 8000000000000000":          ErrLengthTopBit,
		"82 FF FFFFFFFFFFFFFFFF":          ErrLengthTopBit,
	} {
		p := append(unhex(t, hex), "some of it"...)
		if got := assemble(t, true, 1<<20, ErrMessageTooBig, p); !errors.Is(got.err, err) || len(got.events) > 0 {
			t.Errorf("%s: %v, want %v", hex, got.err, err)
		}
		// After a fragment the sum must not run over either.
		p = append(fromClient(byte(OpBinary), "x"), p...)
		p[7] &= 0xF0
		if got := assemble(t, true, 1<<20, ErrMessageTooBig, p); !errors.Is(got.err, err) || len(got.events) > 0 {
			t.Errorf("%s in a fragment: %v, want %v", hex, got.err, err)
		}
	}
}

// A sender that sends byte by byte, in frames of any size, costs memory in
// proportion to what it has sent: what is collected is not copied each time.
func TestTrickleCostsLittle(t *testing.T) {
	const size = 1 << 20
	for name, p := range map[string][]byte{
		"one frame":      fromClient(finBinary, string(make([]byte, size))),
		"many fragments": fragmented(maxFragments, true, string(make([]byte, size/maxFragments))),
	} {
		sink := &recorder{t: t, big: ErrMessageTooBig}
		a := assembler{scan: &scanner{fromClient: true}, limit: size}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for i := range p[:len(p)-1] {
			if _, err := a.feed(p[i:i+1], sink); err != nil {
				t.Fatal(err)
			}
		}
		runtime.ReadMemStats(&after)
		if spent := after.TotalAlloc - before.TotalAlloc; spent > 20*size {
			t.Errorf("%s: %d bytes were allocated for %d", name, spent, len(p))
		}
		if len(sink.events) > 0 {
			t.Errorf("%s: %q before the end", name, sink.events)
		}
		if _, err := a.feed(p[len(p)-1:], sink); err != nil || len(sink.events) != 1 {
			t.Errorf("%s: %d messages, %v", name, len(sink.events), err)
		}
		if a.raw != nil || a.payload != 0 || a.head != nil {
			t.Errorf("%s: the message is kept", name)
		}
	}
}

// Room is made once for a frame that comes in two or three pieces, but not for
// what a header merely promises.
func TestRoomIsMadeAhead(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ size, first, least, most int }{
		{16 << 10, 4 << 10, 16 << 10, 24 << 10},
		{1 << 20, 4 << 10, 16 << 10, 32 << 10},
		{1 << 20, 20, 0, 256},
	} {
		a := assembler{scan: &scanner{fromClient: true}, limit: 1 << 20}
		p := fromClient(finBinary, string(make([]byte, tc.size)))
		if _, err := a.feed(p[:tc.first], &recorder{t: t}); err != nil {
			t.Fatal(err)
		}
		if got := cap(a.raw); got < tc.least || got > tc.most {
			t.Errorf("%d of %d bytes: room for %d, want %d to %d", tc.first, tc.size, got, tc.least, tc.most)
		}
	}
}

// A sink that wants no more gets nothing more.
func TestAssemblerStops(t *testing.T) {
	t.Parallel()
	one := fromClient(finText, "one")
	sink := &recorder{t: t}
	sink.stop = func() bool { return len(sink.events) > 0 }
	a := assembler{scan: &scanner{fromClient: true}, limit: 100}
	if n, err := a.feed(join(one, one, one), sink); n != len(one) || err != nil || len(sink.events) != 1 {
		t.Errorf("%d bytes taken, %v, %q", n, err, sink.events)
	}
}

// keeper is a sink that keeps what it must not.
type keeper struct {
	recorder
	kept []byte
}

func (k *keeper) message(m Message, _ []byte) error {
	k.kept = m.Data
	return nil
}

// What was unmasked may be a credential, and the buffer goes to another socket.
func TestUnmaskedPayloadIsWipedOut(t *testing.T) {
	t.Parallel()
	sink := &keeper{recorder: recorder{t: t}}
	a := assembler{scan: &scanner{fromClient: true}, limit: 100}
	if _, err := a.feed(fromClient(finText, "secret"), sink); err != nil || len(sink.kept) != len("secret") {
		t.Fatalf("%q, %v", sink.kept, err)
	}
	if !bytes.Equal(sink.kept, make([]byte, len("secret"))) {
		t.Errorf("%q is left", sink.kept)
	}
}
