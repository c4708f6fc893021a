package rig

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"
)

// ClientEnd is how a socket has ended for its client.
type ClientEnd struct {
	At      time.Time // of the close frame
	Close   *ClosedError
	Echoed  int
	Err     error // before the close frame
	Unclean error // after it
}

// TalkUntilClosed keeps a few messages on their way through the application
// until the socket is closed, answers that, and waits for the end.
func (c *Conn) TalkUntilClosed(message func(n uint64) []byte) (end ClientEnd) {
	const onTheirWay = 3
	for n := range uint64(onTheirWay) {
		if end.Err = c.Write(OpBinary, message(n)); end.Err != nil {
			return end
		}
	}
	for n := uint64(0); ; n++ {
		f, err := c.Read()
		if errors.As(err, &end.Close) {
			end.At = time.Now()
			end.Unclean = c.Within(Patience, func() error { return c.AnswerClose(end.Close.Code) })
			return end
		}
		if err != nil {
			end.Err = fmt.Errorf("after %d messages: %w", n, err)
			return end
		}
		if string(f.Payload) != string(message(n)) {
			end.Err = fmt.Errorf("message %d came back as another", n)
			return end
		}
		end.Echoed++
		// What is sent after the close frame is thrown away: an error here
		// shows in the next read.
		_ = c.Write(OpBinary, message(n+onTheirWay))
	}
}

// OpenMany opens per WebSockets on each of n connections.
func OpenMany(t testing.TB, s *Site, version, path string, header http.Header, n, per int) []*Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*Patience)
	defer cancel()
	var (
		mu     sync.Mutex // guards all and failed
		all    []*Conn
		failed error
		wg     sync.WaitGroup
		slots  = make(chan struct{}, 16)
	)
	for range n {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			opened, err := s.OpenOn(ctx, version, path, header, per)
			mu.Lock()
			defer mu.Unlock()
			all, failed = append(all, opened...), errors.Join(failed, err)
		})
	}
	wg.Wait()
	if failed != nil {
		t.Fatal(failed)
	}
	return all
}

// HugeFrame returns the header of a frame that announces 1 GiB, masked with
// zeros.
func HugeFrame() []byte {
	b := binary.BigEndian.AppendUint64([]byte{0x80 | OpBinary, 0x80 | 127}, 1<<30)
	return append(b, 0, 0, 0, 0)
}

// Numbered returns message n of a flood. Most are short and some so long that
// no buffer holds them, so that chunks and frames have different borders.
func Numbered(n uint64) []byte {
	size := 8 + n*7919%3000
	if n%50 == 49 {
		size = 90_000
	}
	return binary.BigEndian.AppendUint64(make([]byte, 0, size), n)[:size]
}

// ReadFlood reads a flood to its end and returns the close frame. A message
// that is missing, damaged or too many is an error; a [*CutError] says that
// all was well until the stream ended within a message.
func ReadFlood(c *Conn) (*ClosedError, error) {
	for n := uint64(0); ; n++ {
		f, err := c.Read()
		if end, ok := errors.AsType[*ClosedError](err); ok {
			return end, nil
		}
		cut, isCut := errors.AsType[*CutError](err)
		if err != nil && !isCut {
			return nil, fmt.Errorf("message %d: %w", n, err)
		}
		want := Numbered(n)
		if f.Opcode != OpBinary || !bytes.HasPrefix(want, f.Payload) || !isCut && len(f.Payload) != len(want) {
			return nil, fmt.Errorf("message %d: %d bytes that are not its first", n, len(f.Payload))
		}
		if isCut {
			return nil, cut
		}
	}
}
