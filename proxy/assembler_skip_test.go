package proxy

import (
	"bytes"
	"testing"
)

// What is too long to be read is seen piece by piece, plain and in order,
// however it is cut, also what was collected before it was too long.
func TestAssemblerShowsWhatItSkips(t *testing.T) {
	t.Parallel()
	long := bytes.Repeat([]byte("0123456789"), 30)
	var wire, want []byte
	wire = appendFrame(wire, OpBinary, []byte("read"), true)
	wire = appendFrame(wire, OpBinary, long, true)
	want = append(want, long...)
	first := appendFrame(nil, OpBinary, []byte("a start, "), true)
	first[0] &^= finBit
	middle := appendFrame(nil, OpContinuation, long, true)
	middle[0] &^= finBit
	wire = append(append(wire, first...), middle...)
	wire = appendFrame(wire, OpPing, []byte("ping"), true)
	wire = appendFrame(wire, OpContinuation, []byte(", and an end"), true)
	want = append(append(append(want, "a start, "...), long...), ", and an end"...)
	wire = appendFrame(wire, OpBinary, []byte("read again"), true)
	for cut := 1; cut <= len(wire); cut += 7 {
		r := &recorder{t: t}
		a := &assembler{scan: &scanner{fromClient: true}, limit: 100, skips: true}
		for p := wire; len(p) > 0; p = p[min(cut, len(p)):] {
			if _, err := a.feed(p[:min(cut, len(p))], r); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(r.seen, want) {
			t.Fatalf("cut every %d bytes: seen %q, want %q", cut, r.seen, want)
		}
		if !bytes.Equal(r.data, dataFrames(t, wire)) {
			t.Fatalf("cut every %d bytes: other bytes pass", cut)
		}
	}
}

// dataFrames returns the frames in wire that are none of control.
func dataFrames(t *testing.T, wire []byte) (data []byte) {
	t.Helper()
	for len(wire) > 0 {
		h, size, err := ParseHeader(wire)
		if err != nil {
			t.Fatal(err)
		}
		whole := size + int(h.Length)
		if !h.Op.control() {
			data = append(data, wire[:whole]...)
		}
		wire = wire[whole:]
	}
	return data
}
