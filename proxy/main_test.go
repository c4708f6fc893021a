package proxy

import (
	"encoding/hex"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestMain fails when a test has left a goroutine behind: each socket has
// several, and one that stays is a leak for each socket.
func TestMain(m *testing.M) {
	code := m.Run()
	if leaked := leakedGoroutines(time.Minute); code == 0 && len(leaked) > 0 {
		fmt.Fprintf(os.Stderr, "%d goroutines leaked:\n\n%s\n", len(leaked), strings.Join(leaked, "\n\n"))
		code = 1
	}
	os.Exit(code)
}

// leakedGoroutines returns the stacks of what is left, waiting up to patience
// for what is just ending.
func leakedGoroutines(patience time.Duration) []string {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	over := time.After(patience)
	for {
		leaked := otherGoroutines()
		if len(leaked) == 0 {
			return nil
		}
		select {
		case <-ticker.C:
		case <-over:
			return leaked
		}
	}
}

func otherGoroutines() []string {
	buf := make([]byte, 1<<20)
	stacks := strings.Split(string(buf[:runtime.Stack(buf, true)]), "\n\n")
	var others []string
	for _, stack := range stacks[1:] { // the first is this one
		if strings.Contains(stack, "os/signal.") || strings.Contains(stack, "testing.runFuzz") {
			continue
		}
		others = append(others, stack)
	}
	return others
}

// unhex reads bytes as the tables have them: "82 7E 0100".
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	p, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return p
}

// The first bytes of whole, unfragmented frames.
const (
	finText   = finBit | byte(OpText)
	finBinary = finBit | byte(OpBinary)
	finClose  = finBit | byte(OpClose)
	finPing   = finBit | byte(OpPing)
	finPong   = finBit | byte(OpPong)
)

// testMask is the key of the clients in the tests.
var testMask = [4]byte{0x37, 0xFA, 0x21, 0x3D}

// rawFrame builds a frame from its first byte and payload, masked if it is a
// client's. It shares no code with what it tests.
func rawFrame(first byte, masked bool, payload []byte) []byte {
	var b []byte
	var bit byte
	if masked {
		bit = 0x80
	}
	switch n := len(payload); {
	case n < 126:
		b = []byte{first, bit | byte(n)}
	case n < 1<<16:
		b = []byte{first, bit | 126, byte(n >> 8), byte(n)}
	default:
		b = []byte{first, bit | 127, 0, 0, 0, 0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
	}
	if !masked {
		return append(b, payload...)
	}
	b = append(b, testMask[:]...)
	for i, c := range payload {
		b = append(b, c^testMask[i%4])
	}
	return b
}

// fromClient and fromApp are frames of either side.
func fromClient(first byte, payload string) []byte { return rawFrame(first, true, []byte(payload)) }

func fromApp(first byte, payload string) []byte { return rawFrame(first, false, []byte(payload)) }

// closePayload is the payload of a close frame.
func closePayload(code CloseCode, reason string) string {
	return string([]byte{byte(code >> 8), byte(code)}) + reason
}
