package integration

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// wsConn is a client's end of a WebSocket, written from RFC 6455 alone so that
// it does not share an error with what it tests. One goroutine may read while
// others write.
type wsConn struct {
	r *bufio.Reader
	w io.WriteCloser
	// vanish ends the stream as a client that crashes does: without a close
	// frame, and over HTTP/2 and HTTP/3 with a reset.
	vanish func()

	writing    sync.Mutex // held for the time of one frame; guards the next
	closing    bool       // a close frame was sent, and nothing follows one
	fragmented bool       // of what the server sends
}

func newWSConn(r io.Reader, w io.WriteCloser, vanish func()) *wsConn {
	return &wsConn{r: bufio.NewReader(r), w: w, vanish: vanish}
}

// frame is one frame from the server.
type frame struct {
	fin     bool
	rsv     byte // the three reserved bits where they stand
	opcode  byte
	payload []byte
}

// The opcodes of RFC 6455 section 5.2 that the tests use.
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xA
)

// closed is the close frame that ended a socket.
type closed struct {
	code   uint16
	reason string
}

func (c *closed) Error() string { return fmt.Sprintf("closed with %d %q", c.code, c.reason) }

// cutError says that the stream has ended within a frame.
type cutError struct {
	size int64
	err  error
}

func (e *cutError) Error() string {
	return fmt.Sprintf("within a frame of %d bytes: %v", e.size, e.err)
}

// write sends one whole, masked frame.
func (c *wsConn) write(opcode byte, payload []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.closing {
		return net.ErrClosed
	}
	c.closing = opcode == opClose
	_, err := c.w.Write(clientFrame(0x80|opcode, payload))
	return err
}

// writeRaw sends bytes as they are.
func (c *wsConn) writeRaw(p []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	_, err := c.w.Write(p)
	return err
}

// within runs f and has the socket vanish if that takes longer than d.
func (c *wsConn) within(d time.Duration, f func() error) error {
	stop := time.AfterFunc(d, c.vanish)
	defer stop.Stop()
	return f()
}

// clientFrame returns a masked frame whose first byte is first.
func clientFrame(first byte, payload []byte) []byte {
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

// read returns the next frame, and a [*closed] for a close frame. Anything
// that RFC 6455 does not allow is an error.
func (c *wsConn) read() (frame, error) {
	var head [2]byte
	if _, err := io.ReadFull(c.r, head[:]); err != nil {
		return frame{}, err
	}
	f := frame{fin: head[0]&0x80 != 0, rsv: head[0] & 0x70, opcode: head[0] & 0x0f}
	n, err := c.length(head[1])
	if err != nil {
		return f, err
	}
	if err := c.check(f, n); err != nil {
		return f, err
	}
	f.payload = make([]byte, n)
	if got, err := io.ReadFull(c.r, f.payload); err != nil {
		f.payload = f.payload[:got]
		return f, &cutError{n, err}
	}
	if f.opcode != opClose {
		return f, nil
	}
	if len(f.payload) < 2 {
		return f, &closed{code: 1005}
	}
	return f, &closed{binary.BigEndian.Uint16(f.payload), string(f.payload[2:])}
}

// length reads the payload's length, RFC 6455 section 5.2.
func (c *wsConn) length(b byte) (int64, error) {
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
	if _, err := io.ReadFull(c.r, ext[8-size:]); err != nil {
		return 0, err
	}
	return int64(binary.BigEndian.Uint64(ext[:])), nil
}

// check judges a header by what came before it.
func (c *wsConn) check(f frame, n int64) error {
	switch f.opcode {
	case opText, opBinary:
		if c.fragmented {
			return errors.New("new message within another")
		}
		c.fragmented = !f.fin
	case opContinuation:
		if !c.fragmented {
			return errors.New("continuation of nothing")
		}
		c.fragmented = !f.fin
	case opClose, opPing, opPong:
		if !f.fin || n > 125 {
			return errors.New("control frame fragmented or too long")
		}
	default:
		return fmt.Errorf("unknown opcode %#x", f.opcode)
	}
	if n < 0 || n > 64<<20 {
		return fmt.Errorf("frame of %d bytes", n)
	}
	return nil
}

// answerClose ends the closing handshake as a browser does: it sends the code
// back and waits for the server to end the connection. It returns nil if that
// ended cleanly: with an EOF, and no byte before it.
func (c *wsConn) answerClose(code uint16) error {
	if err := c.write(opClose, binary.BigEndian.AppendUint16(nil, code)); err != nil {
		return fmt.Errorf("answering the close frame: %w", err)
	}
	if n, err := c.r.WriteTo(io.Discard); err != nil || n > 0 {
		return fmt.Errorf("after the close frame %d bytes and %w", n, err)
	}
	return nil
}
