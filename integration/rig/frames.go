package rig

import (
	"bufio"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// Conn is a client's end of a WebSocket, written from RFC 6455 alone so that
// it does not share an error with what it tests. One goroutine may read while
// others write.
type Conn struct {
	Reader *bufio.Reader
	w      io.WriteCloser
	// Vanish ends the stream as a client that crashes does: without a close
	// frame, and over HTTP/2 and HTTP/3 with a reset.
	Vanish func()

	writing    sync.Mutex // held for the time of one frame; guards the next
	closing    bool       // a close frame was sent, and nothing follows one
	fragmented bool       // of what the server sends
}

// NewConn returns the client's end of a WebSocket that is open.
func NewConn(r io.Reader, w io.WriteCloser, vanish func()) *Conn {
	return &Conn{Reader: bufio.NewReader(r), w: w, Vanish: vanish}
}

// Frame is one frame from the server.
type Frame struct {
	fin     bool
	RSV     byte // the three reserved bits where they stand
	Opcode  byte
	Payload []byte
}

// The opcodes of RFC 6455 section 5.2 that the tests use.
const (
	OpContinuation = 0x0
	OpText         = 0x1
	OpBinary       = 0x2
	OpClose        = 0x8
	OpPing         = 0x9
	OpPong         = 0xA
)

// ClosedError is the close frame that ended a socket.
type ClosedError struct {
	Code   uint16
	Reason string
}

// Error implements error.
func (c *ClosedError) Error() string { return fmt.Sprintf("closed with %d %q", c.Code, c.Reason) }

// CutError says that the stream has ended within a frame.
type CutError struct {
	size int64
	err  error
}

// Error implements error.
func (e *CutError) Error() string {
	return fmt.Sprintf("within a frame of %d bytes: %v", e.size, e.err)
}

// Write sends one whole, masked frame.
func (c *Conn) Write(opcode byte, payload []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.closing {
		return net.ErrClosed
	}
	c.closing = opcode == OpClose
	_, err := c.w.Write(ClientFrame(0x80|opcode, payload))
	return err
}

// WriteRaw sends bytes as they are.
func (c *Conn) WriteRaw(p []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	_, err := c.w.Write(p)
	return err
}

// Within runs f and has the socket vanish if that takes longer than d.
func (c *Conn) Within(d time.Duration, f func() error) error {
	stop := time.AfterFunc(d, c.Vanish)
	defer stop.Stop()
	return f()
}

// ClientFrame returns a masked frame whose first byte is first.
func ClientFrame(first byte, payload []byte) []byte {
	b := append(make([]byte, 0, len(payload)+14), first)
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	mask := [4]byte{0x12, 0x34, 0x56, 0x78}
	b = append(b, mask[:]...)
	for i, p := range payload {
		b = append(b, p^mask[i%4])
	}
	return b
}

// Read returns the next frame, and a [*ClosedError] for a close frame. Anything
// that RFC 6455 does not allow is an error.
func (c *Conn) Read() (Frame, error) {
	var head [2]byte
	if _, err := io.ReadFull(c.Reader, head[:]); err != nil {
		return Frame{}, err
	}
	f := Frame{fin: head[0]&0x80 != 0, RSV: head[0] & 0x70, Opcode: head[0] & 0x0f}
	n, err := c.length(head[1])
	if err != nil {
		return f, err
	}
	if err := c.check(f, n); err != nil {
		return f, err
	}
	f.Payload = make([]byte, n)
	if got, err := io.ReadFull(c.Reader, f.Payload); err != nil {
		f.Payload = f.Payload[:got]
		return f, &CutError{n, err}
	}
	if f.Opcode != OpClose {
		return f, nil
	}
	if len(f.Payload) < 2 {
		return f, &ClosedError{Code: 1005}
	}
	return f, &ClosedError{binary.BigEndian.Uint16(f.Payload), string(f.Payload[2:])}
}

// length reads the payload's length, RFC 6455 section 5.2.
func (c *Conn) length(b byte) (int64, error) {
	var size int
	switch {
	case b&0x80 != 0:
		return 0, errors.New("frame from the server is masked")
	case b < 126:
		return int64(b), nil
	case b == 126:
		size = 2
	default:
		size = 8
	}
	var ext [8]byte
	if _, err := io.ReadFull(c.Reader, ext[8-size:]); err != nil {
		return 0, err
	}
	return int64(binary.BigEndian.Uint64(ext[:])), nil
}

// check judges a header by what came before it.
func (c *Conn) check(f Frame, n int64) error {
	switch f.Opcode {
	case OpText, OpBinary:
		if c.fragmented {
			return errors.New("new message within another")
		}
		c.fragmented = !f.fin
	case OpContinuation:
		if !c.fragmented {
			return errors.New("continuation of nothing")
		}
		c.fragmented = !f.fin
	case OpClose, OpPing, OpPong:
		if !f.fin || n > 125 {
			return errors.New("control frame fragmented or too long")
		}
	default:
		return fmt.Errorf("unknown opcode %#x", f.Opcode)
	}
	if n < 0 || n > 64<<20 {
		return fmt.Errorf("frame of %d bytes", n)
	}
	return nil
}

// AnswerClose ends the closing handshake as a browser does: it sends the code
// back and waits for the server to end the connection. It returns nil if that
// ended cleanly: with an EOF, and no byte before it.
func (c *Conn) AnswerClose(code uint16) error {
	if err := c.Write(OpClose, binary.BigEndian.AppendUint16(nil, code)); err != nil {
		return fmt.Errorf("answering the close frame: %w", err)
	}
	if n, err := c.Reader.WriteTo(io.Discard); err != nil || n > 0 {
		return fmt.Errorf("after the close frame %d bytes and %w", n, err)
	}
	return nil
}

// RSV1 marks a compressed message, RFC 7692 section 6.
const RSV1 = 0x40

// Deflate compresses a message as RFC 7692 section 7.2.1 says.
func Deflate(t testing.TB, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.DefaultCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte{0, 0, 0xff, 0xff})
}
