package proxy

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"testing"
	"unicode/utf8"
)

// randomFrames returns a valid sequence of frames of one side.
func randomFrames(r *rand.Rand, masked, deflate bool) []byte {
	var p []byte
	fragmented := false
	for range 1 + r.IntN(12) {
		payload := make([]byte, []int{0, 1, 3, 7, 125, 126, 127, 200, 1000}[r.IntN(9)])
		if r.IntN(200) == 0 {
			payload = make([]byte, 65535+r.IntN(3))
		}
		for i := range payload {
			payload[i] = byte(r.Uint32())
		}
		first := byte(r.IntN(2)) << 7
		switch {
		case r.IntN(4) == 0:
			first = []byte{finPing, finPong}[r.IntN(2)]
			payload = payload[:min(len(payload), maxControl)]
		case fragmented:
			fragmented = first == 0
		default:
			fragmented = first == 0
			first |= byte(1 + r.IntN(2))
			if deflate && r.IntN(2) == 0 {
				first |= rsv1Bit
			}
		}
		p = append(p, rawFrame(first, masked, payload)...)
	}
	if r.IntN(3) == 0 {
		p = append(p, rawFrame(finClose, masked, []byte(closePayload(CloseCode(3000+r.IntN(2000)), "bye")))...)
	}
	return p
}

// randomPieces cuts p in random places.
func randomPieces(r *rand.Rand, p []byte) [][]byte {
	var pieces [][]byte
	limit := []int{1, 3, 20, 500, 70000}[r.IntN(5)]
	if len(p) > 5000 {
		limit = max(limit, 500)
	}
	for len(p) > 0 {
		n := min(len(p), 1+r.IntN(limit))
		pieces = append(pieces, p[:n])
		p = p[n:]
	}
	return pieces
}

// Whatever two peers say to each other by the rules goes through unchanged,
// however the network cuts it.
func TestRandomFramesPassUnchanged(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for i := range 1000 {
		client, deflate := r.IntN(2) == 0, r.IntN(2) == 0
		p := randomFrames(r, client, deflate)
		s := scanner{fromClient: client, deflate: deflate}
		passed, rest, err := scanPieces(&s, randomPieces(r, p)...)
		if err != nil || len(rest) > 0 || !bytes.Equal(passed, p) {
			t.Fatalf("seed %d, sequence %d: %d of %d bytes passed, %d kept, %v", seed, i, len(passed), len(p), len(rest), err)
		}
	}
}

// The same through the gate, with its buffers.
func TestRandomFramesPassTheGate(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for i := range 200 {
		deflate := r.IntN(2) == 0
		in, out := randomFrames(r, true, deflate), randomFrames(r, false, deflate)
		conn := &scriptConn{pieces: randomPieces(r, in)}
		g := newGate(conn, nil, deflate, func() {})
		var upstream bytes.Buffer
		if _, err := io.Copy(&upstream, g); err != nil {
			t.Fatalf("seed %d, sequence %d: WriteTo: %v", seed, i, err)
		}
		if n, err := g.ReadFrom(&scriptConn{pieces: randomPieces(r, out)}); err != nil || n != int64(len(out)) {
			t.Fatalf("seed %d, sequence %d: ReadFrom: %d, %v; want %d", seed, i, n, err, len(out))
		}
		if !bytes.Equal(upstream.Bytes(), in) || !bytes.Equal(conn.written.Bytes(), out) {
			t.Fatalf("seed %d, sequence %d: not the same bytes", seed, i)
		}
		_ = g.Close()
		g.finish()
	}
}

// judge is the rules of RFC 6455 once more, as slow and plain as they are
// written: it returns how much of p may pass, and whether what follows is bad.
func judge(p []byte, client, deflate bool) (pass int, bad, closed bool) {
	inMessage := false
	for {
		q := p[pass:]
		if len(q) < 2 {
			return pass, false, false
		}
		fin, rsv, op := q[0]>>7 == 1, q[0]>>4&7, q[0]&15
		length, at := uint64(q[1]&127), 2
		control := op >= 8
		if op > 10 || op > 2 && op < 8 || control && (!fin || length > 125) {
			return pass, true, false
		}
		if extra := map[uint64]int{126: 2, 127: 8}[length]; extra > 0 {
			if len(q) < 2+extra {
				return pass, false, false
			}
			least := map[int]uint64{2: 126, 8: 1 << 16}[extra]
			length, at = binary.BigEndian.Uint64(append(make([]byte, 8-extra), q[2:2+extra]...)), 2+extra
			if length < least || length > 1<<63-1 {
				return pass, true, false
			}
		}
		masked := q[1]>>7 == 1
		if masked {
			at += 4
		}
		if len(q) < at {
			return pass, false, false
		}
		switch {
		case masked != client,
			rsv&3 != 0, rsv == 4 && (!deflate || op != 1 && op != 2),
			op == 0 && !inMessage, (op == 1 || op == 2) && inMessage:
			return pass, true, false
		}
		if op == 8 {
			if len(q) < at+int(length) {
				return pass, false, false
			}
			payload := bytes.Clone(q[at : at+int(length)])
			for i := range payload {
				if masked {
					payload[i] ^= q[at-4+i%4]
				}
			}
			if length == 1 || length > 1 && !(mayTravel(int(payload[0])<<8|int(payload[1])) && utf8.Valid(payload[2:])) {
				return pass, true, false
			}
			return pass + at + int(length), false, true
		}
		if !control {
			inMessage = !fin
		}
		if uint64(len(q)-at) < length {
			return len(p), false, false
		}
		pass += at + int(length)
	}
}

func mayTravel(code int) bool {
	return code >= 1000 && code <= 1014 && (code < 1004 || code > 1006) || code >= 3000 && code < 5000
}

func FuzzScanner(f *testing.F) {
	for i, tt := range scanTests() {
		if len(tt.frames) < 1000 {
			f.Add(tt.frames, tt.client, tt.deflate, uint16(i), uint16(3))
		}
	}
	f.Fuzz(func(t *testing.T, p []byte, client, deflate bool, cut, step uint16) {
		fresh := scanner{fromClient: client, deflate: deflate}
		whole := fresh
		before := bytes.Clone(p)
		passed, rest, err := scanPieces(&whole, p)
		if !bytes.Equal(p, before) {
			t.Fatal("the input was changed")
		}
		pass, bad, closed := judge(p, client, deflate)
		if len(passed) != pass || (err != nil) != bad || whole.closed != closed {
			t.Fatalf("%X: %d passed, %v, closed %v; the rules say %d, %v, %v", p, len(passed), err, whole.closed, pass, bad, closed)
		}
		if err == nil && !closed && len(rest) > 131 {
			t.Fatalf("%d bytes are kept back", len(rest))
		}
		var pieces [][]byte
		for left := p; len(left) > 0; {
			n := 1 + int(cut)%len(left)
			pieces = append(pieces, left[:n])
			left = left[n:]
			cut += step
		}
		split := fresh
		splitPassed, _, splitErr := scanPieces(&split, pieces...)
		if !bytes.Equal(passed, splitPassed) || !sameError(err, splitErr) || split.closed != whole.closed {
			t.Fatalf("%X in %s: %d passed, %v; in one: %d, %v", p, sizes(pieces), len(splitPassed), splitErr, len(passed), err)
		}
	})
}

func sameError(a, b error) bool { return a == b } //nolint:errorlint // the sentinels themselves
