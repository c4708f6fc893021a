package proxy

import (
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// readInTurn writes sizes to a chunkReader, one after the other with a pause
// before each, and returns whether each read was into the large buffer.
func readInTurn(t *testing.T, woken bool, pause time.Duration, sizes ...int) []bool {
	t.Helper()
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	c := chunkReader{r: near}
	if woken {
		c.setDeadline = func(at time.Time) bool { return near.SetReadDeadline(at) == nil }
	}
	defer c.release()
	var large []bool
	for _, size := range sizes {
		go func() {
			time.Sleep(pause)
			_, _ = far.Write(make([]byte, size))
		}()
		for n := 0; n < size; {
			p, err := c.read(nil)
			if err != nil {
				t.Fatalf("read: %v", err)
			}
			n += len(p)
		}
		large = append(large, c.large != nil)
		if c.large != nil && c.small != nil {
			t.Error("two buffers are held")
		}
	}
	return large
}

// A connection that can be woken keeps its large buffer while traffic is
// lively, and gives it back in a lull.
func TestLargeBufferIsKeptUntilALull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := readInTurn(t, true, 100*time.Millisecond, 10, 3*smallBuffer, 10, 10, 3*smallBuffer)
		want := []bool{false, true, true, true, true}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("large buffer after each read: %v, want %v", got, want)
				break
			}
		}
		got = readInTurn(t, true, 10*time.Second, 10, 3*smallBuffer, 10, 10)
		if got[2] || got[3] {
			t.Errorf("large buffer after each read of a quiet connection: %v", got)
		}
	})
}

// One that cannot be woken gives it back after some small reads.
func TestLargeBufferOfWhatCannotBeWoken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sizes := []int{3 * smallBuffer}
		for range smallReads + 1 {
			sizes = append(sizes, 10)
		}
		got := readInTurn(t, false, time.Minute, sizes...)
		if !got[0] || !got[smallReads/2] || got[len(got)-1] {
			t.Errorf("large buffer after each read: %v", got)
		}
	})
}
