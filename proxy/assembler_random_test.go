package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// judgeMessages is the assembler once more, as slow and plain as the rules are
// written: the whole messages in p, of which judge has said that pass bytes
// are good.
func judgeMessages(p []byte) (messages []string) {
	var payload []byte
	var isBinary bool
	for len(p) > 0 {
		h, size, _ := ParseHeader(p)
		if size == 0 || h.Length > int64(len(p)-size) {
			return messages
		}
		data := bytes.Clone(p[size : size+int(h.Length)])
		for i := range data {
			if h.Masked {
				data[i] ^= h.Mask[i%4]
			}
		}
		p = p[size+int(h.Length):]
		switch h.Op {
		case OpText, OpBinary:
			isBinary, payload = h.Op == OpBinary, data
		case OpContinuation:
			payload = append(payload, data...)
		default:
			continue
		}
		if h.Fin {
			messages = append(messages, fmt.Sprintf("%v %q", isBinary, payload))
			if !isBinary && !utf8.Valid(payload) {
				return messages[:len(messages)-1]
			}
		}
	}
	return messages
}

func onlyMessages(events []string) (messages []string) {
	for _, e := range events {
		if strings.HasPrefix(e, "true") || strings.HasPrefix(e, "false") {
			messages = append(messages, e)
		}
	}
	return messages
}

// The verdicts are the same however the input is cut, and those of the rules.
func FuzzAssembler(f *testing.F) {
	for i, tt := range assemblerTests() {
		f.Add(tt.frames(true), true, uint16(tt.limit), uint16(i), uint16(3))
		f.Add(tt.frames(false), false, uint16(tt.limit), uint16(i), uint16(5))
	}
	for i, tt := range scanTests() {
		if len(tt.frames) < 1000 && !tt.deflate {
			f.Add(tt.frames, tt.client, uint16(500), uint16(i), uint16(1))
		}
	}
	f.Fuzz(func(t *testing.T, p []byte, client bool, limit, cut, step uint16) {
		for _, big := range []error{ErrMessageTooBig, nil} {
			whole := assemble(t, client, int64(limit), big, p)
			var pieces [][]byte
			for left := p; len(left) > 0; {
				n := 1 + int(cut)%len(left)
				pieces = append(pieces, left[:n])
				left = left[n:]
				cut += step
			}
			if got := assemble(t, client, int64(limit), big, pieces...); !got.same(whole) {
				t.Fatalf("%X in %s: %q, %v; in one: %q, %v", p, sizes(pieces), got.events, got.err, whole.events, whole.err)
			}
		}
		got := assemble(t, client, int64(len(p)), nil, p)
		pass, bad, closed := judge(p, client, false)
		if errors.Is(got.err, ErrNotUTF8) {
			bad, closed = true, got.closed
		}
		if errors.Is(got.err, ErrTooManyFragments) {
			return
		}
		if (got.err != nil) != bad || got.closed != closed {
			t.Fatalf("%X: %v, closed %v; the rules say %v, %v", p, got.err, got.closed, bad, closed)
		}
		messages := onlyMessages(got.events)
		if want := judgeMessages(p[:pass]); !slices.Equal(messages, want) {
			t.Fatalf("%X: %q; the rules say %q", p, messages, want)
		}
	})
}

// randomMessages returns a valid sequence of whole messages and control
// frames: fragmented anywhere, also inside a rune, with control frames
// between.
func randomMessages(r *rand.Rand, masked bool, n int) []byte {
	var p []byte
	for range n {
		for range r.IntN(2) {
			p = append(p, randomControl(r, masked)...)
		}
		payload, op := randomPayload(r), byte(OpBinary)
		if r.IntN(2) == 0 {
			payload, op = []byte(strings.Repeat("aé€😀", len(payload)/10)), byte(OpText)
		}
		for fragment := range 1 + r.IntN(4)*r.IntN(2) {
			if fragment > 0 && r.IntN(3) == 0 {
				p = append(p, randomControl(r, masked)...)
			}
			k := r.IntN(len(payload) + 1)
			p = append(p, rawFrame(op, masked, payload[:k])...)
			payload, op = payload[k:], 0
		}
		p = append(p, rawFrame(op|finBit, masked, payload)...)
	}
	return p
}

func randomPayload(r *rand.Rand) []byte {
	payload := make([]byte, []int{0, 1, 5, 40, 125, 126, 300, 1000, 5000}[r.IntN(9)])
	for i := range payload {
		payload[i] = byte(r.Uint32())
	}
	return payload
}

func randomControl(r *rand.Rand, masked bool) []byte {
	payload := randomPayload(r)
	return rawFrame([]byte{finPing, finPong}[r.IntN(2)], masked, payload[:min(len(payload), maxControl)])
}

// Random messages in random pieces come out whole.
func TestRandomMessagesAreAssembled(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	for i := range 2000 {
		client := r.IntN(2) == 0
		p := randomMessages(r, client, 1+r.IntN(5))
		got := assemble(t, client, 1<<20, ErrMessageTooBig, randomPieces(r, p)...)
		if want := judgeMessages(p); got.err != nil || got.taken != len(p) || !slices.Equal(onlyMessages(got.events), want) {
			t.Fatalf("seed %d, sequence %d: %d messages, %v; want %d", seed, i, len(got.events), got.err, len(want))
		}
	}
}
