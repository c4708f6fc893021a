package proxy

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"
	"unicode/utf8"
)

var headerTests = []struct {
	name string
	hex  string
	want Header
	size int
	err  error
}{
	{"nothing", "", Header{}, 0, nil},
	{"one byte", "81", Header{}, 0, nil},
	{"empty text", "81 00", Header{Fin: true, Op: OpText}, 2, nil},
	{"text", "81 05", Header{Fin: true, Op: OpText, Length: 5}, 2, nil},
	{"text with its payload", "81 05 48656C6C6F", Header{Fin: true, Op: OpText, Length: 5}, 2, nil},
	{"first fragment", "01 03", Header{Op: OpText, Length: 3}, 2, nil},
	{"last fragment", "80 02", Header{Fin: true, Op: OpContinuation, Length: 2}, 2, nil},
	{"ping", "89 05", Header{Fin: true, Op: OpPing, Length: 5}, 2, nil},
	{"pong of 125", "8A 7D", Header{Fin: true, Op: OpPong, Length: 125}, 2, nil},
	{"close", "88 02", Header{Fin: true, Op: OpClose, Length: 2}, 2, nil},
	{"masked", "81 85 37FA213D", Header{Fin: true, Op: OpText, Length: 5, Masked: true, Mask: [4]byte{0x37, 0xFA, 0x21, 0x3D}}, 6, nil},
	{"masked, no key yet", "81 85", Header{}, 0, nil},
	{"masked, three bytes of the key", "81 85 37FA21", Header{}, 0, nil},
	{"rsv1", "C1 01", Header{Fin: true, RSV: 0x40, Op: OpText, Length: 1}, 2, nil},
	{"all rsv", "F2 01", Header{Fin: true, RSV: 0x70, Op: OpBinary, Length: 1}, 2, nil},

	{"125", "82 7D", Header{Fin: true, Op: OpBinary, Length: 125}, 2, nil},
	{"126 as 16-bit", "82 7E 007E", Header{Fin: true, Op: OpBinary, Length: 126}, 4, nil},
	{"16-bit length", "82 7E 0100", Header{Fin: true, Op: OpBinary, Length: 256}, 4, nil},
	{"largest 16-bit", "82 7E FFFF", Header{Fin: true, Op: OpBinary, Length: 65535}, 4, nil},
	{"16-bit, masked", "82 FE 0100 01020304", Header{Fin: true, Op: OpBinary, Length: 256, Masked: true, Mask: [4]byte{1, 2, 3, 4}}, 8, nil},
	{"16-bit, half of it", "82 7E 01", Header{}, 0, nil},
	{"16-bit, masked, no key", "82 FE 0100", Header{}, 0, nil},
	{"125 as 16-bit", "82 7E 007D", Header{}, 0, ErrLengthNotMinimal},
	{"0 as 16-bit", "82 7E 0000", Header{}, 0, ErrLengthNotMinimal},
	{"65536", "82 7F 0000000000010000", Header{Fin: true, Op: OpBinary, Length: 65536}, 10, nil},
	{"2^32", "82 7F 0000000100000000", Header{Fin: true, Op: OpBinary, Length: 1 << 32}, 10, nil},
	{"2^63-1", "82 7F 7FFFFFFFFFFFFFFF", Header{Fin: true, Op: OpBinary, Length: math.MaxInt64}, 10, nil},
	{"64-bit, masked", "82 FF 0000000000010000 01020304", Header{Fin: true, Op: OpBinary, Length: 65536, Masked: true, Mask: [4]byte{1, 2, 3, 4}}, 14, nil},
	{"64-bit, seven bytes of it", "82 7F 00000000000100", Header{}, 0, nil},
	{"65535 as 64-bit", "82 7F 000000000000FFFF", Header{}, 0, ErrLengthNotMinimal},
	{"5 as 64-bit", "82 7F 0000000000000005", Header{}, 0, ErrLengthNotMinimal},
	{"2^63", "82 7F 8000000000000000", Header{}, 0, ErrLengthTopBit},
	{"2^64-1", "82 7F FFFFFFFFFFFFFFFF", Header{}, 0, ErrLengthTopBit},
	{"not minimal, key not there yet", "82 FE 0001", Header{}, 0, ErrLengthNotMinimal},

	{"opcode 3", "83 00", Header{}, 0, ErrReservedOpcode},
	{"opcode 4", "84 00", Header{}, 0, ErrReservedOpcode},
	{"opcode 5", "85 00", Header{}, 0, ErrReservedOpcode},
	{"opcode 6", "86 00", Header{}, 0, ErrReservedOpcode},
	{"opcode 7", "07 00", Header{}, 0, ErrReservedOpcode},
	{"opcode B", "8B 00", Header{}, 0, ErrReservedOpcode},
	{"opcode C", "8C 00", Header{}, 0, ErrReservedOpcode},
	{"opcode D", "8D 00", Header{}, 0, ErrReservedOpcode},
	{"opcode E", "8E 00", Header{}, 0, ErrReservedOpcode},
	{"opcode F, fragmented", "0F 00", Header{}, 0, ErrReservedOpcode},
	{"fragmented ping", "09 00", Header{}, 0, ErrControlFragmented},
	{"fragmented close", "08 00", Header{}, 0, ErrControlFragmented},
	{"ping of 126", "89 7E", Header{}, 0, ErrControlTooLong},
	{"pong of 64-bit length", "8A FF", Header{}, 0, ErrControlTooLong},
	{"close of 126", "88 FE 007E", Header{}, 0, ErrControlTooLong},
}

func TestParseHeader(t *testing.T) {
	t.Parallel()
	for _, tt := range headerTests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, size, err := ParseHeader(unhex(t, tt.hex))
			if got != tt.want || size != tt.size || !errors.Is(err, tt.err) {
				t.Errorf("ParseHeader(%s) = %+v, %d, %v; want %+v, %d, %v", tt.hex, got, size, err, tt.want, tt.size, tt.err)
			}
		})
	}
}

// A header that is cut anywhere asks for more; only a bad one may be told
// early, and then with the same verdict.
func TestParseHeaderCutAtEveryByte(t *testing.T) {
	t.Parallel()
	for _, tt := range headerTests {
		p := unhex(t, tt.hex)
		for i := range p {
			h, size, err := ParseHeader(p[:i])
			switch {
			case err != nil:
				if !errors.Is(err, tt.err) {
					t.Errorf("%s: the first %d bytes: %v, want %v", tt.name, i, err, tt.err)
				}
			case size == 0 && h != Header{}:
				t.Errorf("%s: the first %d bytes are no header, but %+v", tt.name, i, h)
			case size > i:
				t.Errorf("%s: size %d of %d bytes", tt.name, size, i)
			case size > 0 && (size != tt.size || h != tt.want):
				t.Errorf("%s: the first %d bytes: %+v, %d", tt.name, i, h, size)
			}
		}
	}
}

func FuzzParseHeader(f *testing.F) {
	for _, tt := range headerTests {
		f.Add(unhex(f, tt.hex))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		before := bytes.Clone(p)
		h, size, err := ParseHeader(p)
		if !bytes.Equal(p, before) {
			t.Fatal("the input was changed")
		}
		switch {
		case err != nil || size == 0:
			if size != 0 || h != (Header{}) {
				t.Fatalf("%+v, %d with error %v", h, size, err)
			}
			if err == nil && len(p) >= maxHeader {
				t.Fatalf("%d bytes are too little for a header", len(p))
			}
			return
		case size < 2 || size > min(len(p), maxHeader):
			t.Fatalf("size %d of %d bytes", size, len(p))
		case h.Length < 0:
			t.Fatalf("length %d", h.Length)
		}
		// The header is all that its bytes say: it can be built from it again.
		if again := encodeHeader(h); !bytes.Equal(again, p[:size]) {
			t.Fatalf("%X parses as %+v, which is %X", p[:size], h, again)
		}
	})
}

// encodeHeader is ParseHeader backwards, in the shortest form.
func encodeHeader(h Header) []byte {
	first, second := h.RSV|byte(h.Op), byte(0)
	if h.Fin {
		first |= 0x80
	}
	if h.Masked {
		second = 0x80
	}
	var b []byte
	switch {
	case h.Length < 126:
		b = []byte{first, second | byte(h.Length)}
	case h.Length < 1<<16:
		b = []byte{first, second | 126, byte(h.Length >> 8), byte(h.Length)}
	default:
		b = []byte{first, second | 127}
		for shift := 56; shift >= 0; shift -= 8 {
			b = append(b, byte(h.Length>>shift))
		}
	}
	if h.Masked {
		b = append(b, h.Mask[:]...)
	}
	return b
}

func BenchmarkParseHeader(b *testing.B) {
	for name, hex := range map[string]string{
		"short":  "81 05",
		"masked": "81 85 37FA213D",
		"64bit":  "82 FF 0000000000010000 01020304",
	} {
		b.Run(name, func(b *testing.B) {
			p := unhex(b, hex)
			b.ReportAllocs()
			for b.Loop() {
				if _, size, _ := ParseHeader(p); size == 0 {
					b.Fatal("not parsed")
				}
			}
		})
	}
}

func TestValidCloseCode(t *testing.T) {
	t.Parallel()
	valid := func(code int) bool {
		switch code {
		case 1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014:
			return true
		}
		return code >= 3000 && code <= 4999
	}
	for code := range 1 << 16 {
		if got := validCloseCode(uint16(code)); got != valid(code) {
			t.Errorf("validCloseCode(%d) = %v", code, got)
		}
	}
}

func TestCloseFrame(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 200)
	tests := []struct {
		name   string
		code   CloseCode
		reason string
		want   string // the reason that travels
	}{
		{"no reason", CloseUnauthorized, "", ""},
		{"reason", CloseUnauthorized, "token expired", "token expired"},
		{"123 bytes", CloseForbidden, long[:123], long[:123]},
		{"124 bytes", CloseForbidden, long[:124], long[:123]},
		{"200 bytes", CloseForbidden, long, long[:123]},
		{"a rune across the end", CloseGoingAway, long[:122] + "é", long[:122]},
		{"a rune that just fits", CloseGoingAway, long[:121] + "éé", long[:121] + "é"},
		{"four bytes across the end", CloseGoingAway, long[:120] + "😀😀", long[:120]},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			want := []byte(closePayload(tt.code, tt.want))
			if got := closeFrame(tt.code, tt.reason, false); !bytes.Equal(got, rawFrame(finClose, false, want)) {
				t.Errorf("to the client: %X", got)
			}
			got := closeFrame(tt.code, tt.reason, true)
			h, size, err := ParseHeader(got)
			if err != nil || !h.Masked || !h.Fin || h.Op != OpClose || size+int(h.Length) != len(got) {
				t.Fatalf("to the application: %X: %+v, %v", got, h, err)
			}
			if plain := unmasked(h, got[size:]); !bytes.Equal(plain, want) || !utf8.Valid(plain[2:]) {
				t.Errorf("to the application: payload %X, want %X", plain, want)
			}
		})
	}
}
