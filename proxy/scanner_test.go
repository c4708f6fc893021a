package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// scanTest is a sequence of frames of one direction and what becomes of it.
type scanTest struct {
	name    string
	client  bool // the frames are a client's
	deflate bool
	frames  []byte
	// pass is how many bytes of frames may pass.
	pass   int
	err    error
	closed bool
}

func join(frames ...[]byte) []byte { return bytes.Join(frames, nil) }

// clientTests and appTests build a row each: all of good passes, then comes
// bad, of which nothing passes.
func clientTest(name string, good []byte, err error, bad ...byte) scanTest {
	return scanTest{name: "client: " + name, client: true, frames: join(good, bad), pass: len(good), err: err}
}

func appTest(name string, good []byte, err error, bad ...byte) scanTest {
	return scanTest{name: "app: " + name, frames: join(good, bad), pass: len(good), err: err}
}

func (s scanTest) withDeflate() scanTest { s.deflate = true; return s }

// closing: the good frames end with a close frame, and what follows is
// nobody's.
func (s scanTest) closing() scanTest { s.closed = true; return s }

func bothTests(name string, err error, good func(masked bool) []byte, bad ...byte) []scanTest {
	masked := bytes.Clone(bad)
	if len(bad) > 1 {
		masked[1] |= maskBit
		masked = append(masked[:2], append(make([]byte, 4), masked[2:]...)...)
	}
	return []scanTest{appTest(name, good(false), err, bad...), clientTest(name, good(true), err, masked...)}
}

// frames returns what builds the same sequence for either side: pairs of a
// first byte and a payload.
func frames(pairs ...any) func(masked bool) []byte {
	return func(masked bool) []byte {
		var p []byte
		for i := 0; i < len(pairs); i += 2 {
			p = append(p, rawFrame(byte(pairs[i].(int)), masked, []byte(pairs[i+1].(string)))...)
		}
		return p
	}
}

// badClose returns a close frame that must not pass.
func badClose(payload string) []byte { return fromApp(finClose, payload) }

func scanTests() []scanTest {
	none := frames()
	text := frames(0x81, "hello")
	long := strings.Repeat("0123456789abcdef", 16)
	tests := []scanTest{
		clientTest("not masked", none(true), ErrNotMasked, fromApp(finText, "x")...),
		clientTest("not masked after a good one", text(true), ErrNotMasked, fromApp(finText, "x")...),
		clientTest("not masked ping", none(true), ErrNotMasked, fromApp(finPing, "x")...),
		clientTest("not masked close", none(true), ErrNotMasked, badClose("\x03\xe8")...),
		clientTest("plain HTTP in the tunnel", none(true), ErrReservedOpcode, []byte("GET /internal HTTP/1.1\r\n\r\n")...),
		appTest("masked", none(false), ErrMasked, fromClient(finText, "x")...),
		appTest("masked close", text(false), ErrMasked, fromClient(finClose, "\x03\xe8")...),
		appTest("bytes after the close frame", frames(0x88, "\x03\xe8")(false), nil, []byte("\x81\x01xgarbage")...).closing(),
		clientTest("bytes after the close frame", frames(0x88, "\x03\xe8")(true), nil, []byte("garbage")...).closing(),
		appTest("header not whole", text(false), nil, 0x82, 0x7F, 0, 0, 0, 0),
		clientTest("header not whole", text(true), nil, 0x82, 0xFE, 1, 0, 1, 2, 3),
		appTest("close frame not whole", text(false), nil, 0x88, 0x05, 0x03, 0xe8),
		appTest("rsv1 without deflate", text(false), ErrReservedBits, 0xC1, 0x00),
		appTest("rsv1", frames(0xC1, "zip")(false), nil).withDeflate(),
		clientTest("rsv1", frames(0x42, "zip", 0x80, "zap")(true), nil).withDeflate(),
		appTest("rsv1 on a continuation", frames(0x41, "zip")(false), ErrReservedBits, 0xC0, 0x00).withDeflate(),
		appTest("rsv1 on a ping", none(false), ErrReservedBits, 0xC9, 0x00).withDeflate(),
		appTest("rsv1 on a close", none(false), ErrReservedBits, 0xC8, 0x00).withDeflate(),
		appTest("rsv1 and rsv2", none(false), ErrReservedBits, 0xE1, 0x00).withDeflate(),
		appTest("rsv2", none(false), ErrReservedBits, 0xA1, 0x00).withDeflate(),
		appTest("rsv3", none(false), ErrReservedBits, 0x91, 0x00).withDeflate(),
		appTest("64-bit length", frames(0x82, strings.Repeat("x", 65536))(false), nil),
		clientTest("64-bit length", frames(0x82, strings.Repeat("x", 65536))(true), nil),
		appTest("the start of an endless frame", []byte("\x82\x7F\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFFdata"), nil),
	}
	for _, good := range []struct {
		name   string
		frames func(bool) []byte
	}{
		{"empty", none},
		{"text", text},
		{"empty text", frames(0x81, "")},
		{"two", frames(0x81, "hello", 0x82, "\x00\x01\x02")},
		{"fragments", frames(0x01, "Hel", 0x80, "lo")},
		{"empty fragments", frames(0x01, "", 0x00, "", 0x00, "", 0x80, "")},
		{"ping in a message", frames(0x01, "Hel", 0x89, "p", 0x00, "l", 0x8A, "", 0x80, "o")},
		{"125, 126, 256", frames(0x82, long[:125], 0x82, long[:126], 0x82, long)},
		{"ping of 125", frames(0x89, long[:125])},
	} {
		tests = append(tests, bothTests(good.name, nil, good.frames)...)
	}
	for _, good := range []struct{ name, payload string }{
		{"close", ""},
		{"close 1000", closePayload(1000, "")},
		{"close 1014 with a reason", closePayload(1014, "bye")},
		{"close 4999 with UTF-8", closePayload(4999, "tschüß")},
		{"close with 123 bytes of reason", closePayload(3000, long[:123])},
	} {
		for _, s := range bothTests(good.name, nil, frames(0x81, "x", 0x88, good.payload)) {
			tests = append(tests, s.closing())
		}
	}
	closed := frames(0x01, "not finished", 0x88, closePayload(1001, ""))
	for _, s := range bothTests("close in a message", nil, closed) {
		tests = append(tests, s.closing())
	}
	for _, bad := range []struct {
		name   string
		err    error
		before func(bool) []byte
		frame  []byte
	}{
		{"reserved opcode", ErrReservedOpcode, text, []byte{0x83, 0x00}},
		{"reserved control opcode", ErrReservedOpcode, text, []byte{0x8B, 0x00}},
		{"rsv1", ErrReservedBits, text, []byte{0xC1, 0x01, 'x'}},
		{"rsv2", ErrReservedBits, none, []byte{0xA2, 0x00}},
		{"rsv3", ErrReservedBits, none, []byte{0x92, 0x00}},
		{"fragmented ping", ErrControlFragmented, none, []byte{0x09, 0x01, 'x'}},
		{"continuation first", ErrNoMessage, none, []byte{0x80, 0x01, 'x'}},
		{"continuation after a whole message", ErrNoMessage, text, []byte{0x00, 0x01, 'x'}},
		{"continuation after the last", ErrNoMessage, frames(0x01, "a", 0x80, "b"), []byte{0x80, 0x00}},
		{"text in a message", ErrMessageNotFinished, frames(0x01, "a"), []byte{0x81, 0x01, 'x'}},
		{"binary in a message", ErrMessageNotFinished, frames(0x01, "a", 0x00, "b"), []byte{0x02, 0x01, 'x'}},
		{"close of one byte", ErrClosePayload, none, badClose("x")},
		{"close 0", ErrCloseCode, none, badClose(closePayload(0, ""))},
		{"close 999", ErrCloseCode, none, badClose(closePayload(999, ""))},
		{"close 1004", ErrCloseCode, none, badClose(closePayload(1004, ""))},
		{"close 1005", ErrCloseCode, text, badClose(closePayload(1005, ""))},
		{"close 1006", ErrCloseCode, none, badClose(closePayload(1006, "gone"))},
		{"close 1015", ErrCloseCode, none, badClose(closePayload(1015, ""))},
		{"close 1016", ErrCloseCode, none, badClose(closePayload(1016, ""))},
		{"close 2999", ErrCloseCode, none, badClose(closePayload(2999, ""))},
		{"close 5000", ErrCloseCode, none, badClose(closePayload(5000, ""))},
		{"close reason not UTF-8", ErrCloseReasonNotUTF8, none, badClose(closePayload(1000, "\xff"))},
		{"close reason cut in a rune", ErrCloseReasonNotUTF8, text, badClose(closePayload(1000, "ab\xc3"))},
	} {
		tests = append(tests, bothTests(bad.name, bad.err, bad.before, bad.frame...)...)
	}
	for name, header := range map[string]string{
		"length not minimal, 16-bit": "82 %s 007D",
		"length not minimal, 64-bit": "82 %s 000000000000FFFF",
		"length with the top bit":    "82 %s 8000000000000000",
		"ping too long":              "89 %s 007E",
	} {
		second, masked, err := "7E", "FE", ErrLengthNotMinimal
		switch {
		case strings.Contains(name, "ping"):
			err = ErrControlTooLong
		case strings.Contains(name, "top bit"):
			second, masked, err = "7F", "FF", ErrLengthTopBit
		case strings.Contains(name, "64"):
			second, masked = "7F", "FF"
		}
		tests = append(tests,
			appTest(name, text(false), err, mustHex(header, second)...),
			clientTest(name, text(true), err, mustHex(header, masked)...))
	}
	return tests
}

func mustHex(format, arg string) []byte {
	var p []byte
	for word := range strings.FieldsSeq(fmt.Sprintf(format, arg)) {
		for i := 0; i < len(word); i += 2 {
			var b byte
			if _, err := fmt.Sscanf(word[i:i+2], "%02X", &b); err != nil {
				panic(err)
			}
			p = append(p, b)
		}
	}
	return p
}

// scanPieces does with a scanner what the gate does: it presents what could
// not be judged again with what follows.
func scanPieces(s *scanner, pieces ...[]byte) (passed, rest []byte, err error) {
	for _, piece := range pieces {
		p := append(bytes.Clone(rest), piece...)
		n, err := s.scan(p)
		passed = append(passed, p[:n]...)
		if rest = p[n:]; err != nil || s.closed {
			return passed, rest, err
		}
	}
	return passed, rest, nil
}

func (s scanTest) run(t *testing.T, pieces ...[]byte) {
	t.Helper()
	scan := scanner{fromClient: s.client, deflate: s.deflate}
	passed, rest, err := scanPieces(&scan, pieces...)
	if !bytes.Equal(passed, s.frames[:s.pass]) {
		t.Errorf("in %s: %d bytes passed, want the first %d", sizes(pieces), len(passed), s.pass)
	}
	if !errors.Is(err, s.err) || scan.closed != s.closed {
		t.Errorf("in %s: %v, closed %v; want %v, %v", sizes(pieces), err, scan.closed, s.err, s.closed)
	}
	if len(rest) > 131 && err == nil && !scan.closed {
		t.Errorf("in %s: %d bytes are kept back", sizes(pieces), len(rest))
	}
}

func sizes(pieces [][]byte) string {
	var list []string
	for _, p := range pieces {
		list = append(list, fmt.Sprint(len(p)))
		if len(list) == 8 {
			return strings.Join(list, "+") + "…"
		}
	}
	return strings.Join(list, "+")
}

// cuts returns where to cut n bytes: everywhere, unless that would take for
// ever; then near both ends.
func cuts(n int) []int {
	var list []int
	for i := range n + 1 {
		if n <= 600 || i < 20 || n-i < 6 {
			list = append(list, i)
		}
	}
	return list
}

func TestScannerSplits(t *testing.T) {
	t.Parallel()
	for _, tt := range scanTests() {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := tt.frames
			tt.run(t, p)
			for _, i := range cuts(len(p)) {
				tt.run(t, p[:i], p[i:])
				for _, j := range cuts(len(p) - i) {
					if len(p) < 140 || j < 20 {
						tt.run(t, p[:i], p[i:i+j], p[i+j:])
					}
				}
			}
			var bytewise [][]byte
			for i := range p {
				bytewise = append(bytewise, p[i:i+1])
			}
			tt.run(t, bytewise...)
		})
	}
}

// The scanner only watches: what it is shown is not changed, masked or not.
func TestScannerChangesNothing(t *testing.T) {
	t.Parallel()
	for _, tt := range scanTests() {
		p := bytes.Clone(tt.frames)
		_, _, _ = scanPieces(&scanner{fromClient: tt.client, deflate: tt.deflate}, p)
		if !bytes.Equal(p, tt.frames) {
			t.Errorf("%s: the bytes were changed", tt.name)
		}
	}
}

// A header that says it all is refused before its payload has come.
func TestScannerRefusesEarly(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		hex string
		err error
	}{
		{"83 FE", ErrReservedOpcode},
		{"09 FE", ErrControlFragmented},
		{"89 FE", ErrControlTooLong},
		{"82 FE 007D", ErrLengthNotMinimal},
		{"82 FF 8000000000000000", ErrLengthTopBit},
	} {
		s := scanner{fromClient: true}
		if n, err := s.scan(unhex(t, tt.hex)); n != 0 || !errors.Is(err, tt.err) {
			t.Errorf("scan(%s) = %d, %v; want 0, %v", tt.hex, n, err, tt.err)
		}
	}
}

func TestScanAllocatesNothing(t *testing.T) {
	for _, client := range []bool{true, false} {
		p := typicalFrames(client)
		allocs := testing.AllocsPerRun(100, func() {
			s := scanner{fromClient: client}
			for rest := p; len(rest) > 0; {
				n, err := s.scan(rest[:min(len(rest), 1000)])
				if err != nil || n == 0 {
					t.Fatalf("scan: %d, %v", n, err)
				}
				rest = rest[n:]
			}
		})
		if allocs != 0 {
			t.Errorf("client %v: %v allocations, want none", client, allocs)
		}
	}
}

// typicalFrames is 32 KiB of what applications send.
func typicalFrames(masked bool) []byte {
	var p []byte
	for i := 0; len(p) < largeBuffer; i++ {
		size := []int{20, 90, 300, 2000, 0}[i%5]
		p = append(p, rawFrame(finText, masked, bytes.Repeat([]byte("x"), size))...)
	}
	return p
}

func BenchmarkScanner(b *testing.B) {
	for _, client := range []bool{true, false} {
		b.Run(fmt.Sprintf("client=%v", client), func(b *testing.B) {
			p := typicalFrames(client)
			b.SetBytes(int64(len(p)))
			b.ReportAllocs()
			for b.Loop() {
				s := scanner{fromClient: client}
				if n, err := s.scan(p); n != len(p) || err != nil {
					b.Fatal(n, err)
				}
			}
		})
	}
}
