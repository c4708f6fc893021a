// Package proxy decides what may pass between a client and the application
// behind: it checks both WebSocket handshakes, watches the frames of both
// directions without changing or delaying them, and ends a socket at a frame
// border when its time is over. It knows WebSockets and net/http; who the
// client is, is none of its business.
package proxy

import (
	"encoding/binary"
	"errors"
	"unicode/utf8"
)

// Opcode is the kind of a frame, RFC 6455 section 5.2.
type Opcode byte

// The opcodes of RFC 6455 section 11.8.
const (
	OpContinuation Opcode = 0x0
	OpText         Opcode = 0x1
	OpBinary       Opcode = 0x2
	OpClose        Opcode = 0x8
	OpPing         Opcode = 0x9
	OpPong         Opcode = 0xA
)

// control tells whether frames of this kind are control frames.
func (o Opcode) control() bool { return o&0x8 != 0 }

const (
	finBit  = 0x80
	rsvBits = 0x70
	rsv1Bit = 0x40
	opBits  = 0x0F
	maskBit = 0x80

	// maxHeader is the longest frame header: 2 bytes, 8 of length, 4 of mask.
	maxHeader = 14
	// maxControl is the longest payload of a control frame, RFC 6455 section 5.5.
	maxControl = 125
)

// Header is a frame's header, RFC 6455 section 5.2.
type Header struct {
	Fin    bool
	RSV    byte // the three reserved bits where they stand, so RSV1 is 0x40
	Op     Opcode
	Masked bool
	Mask   [4]byte
	Length int64
}

// What a peer can do wrong in a frame. Each ends the socket with close code
// 1002.
var (
	ErrLengthNotMinimal   = errors.New("payload length is not in its shortest form")
	ErrLengthTopBit       = errors.New("payload length has its highest bit set")
	ErrReservedOpcode     = errors.New("reserved opcode")
	ErrReservedBits       = errors.New("reserved bit set without an extension that uses it")
	ErrControlTooLong     = errors.New("control frame longer than 125 bytes")
	ErrControlFragmented  = errors.New("control frame is fragmented")
	ErrNotMasked          = errors.New("frame from the client is not masked")
	ErrMasked             = errors.New("frame from the server is masked")
	ErrNoMessage          = errors.New("continuation frame without a message")
	ErrMessageNotFinished = errors.New("new message inside a fragmented one")
	ErrClosePayload       = errors.New("close frame with a payload of one byte")
	ErrCloseCode          = errors.New("close frame with a code that must not be sent")
	ErrCloseReasonNotUTF8 = errors.New("close frame whose reason is not UTF-8")
)

// ParseHeader reads the frame header at the start of p. It returns the header
// and its size in bytes; a size of 0 without an error means that p holds too
// little of it. It checks what can be told from the header alone: the length
// is minimal and positive, the opcode known, a control frame short and whole.
// It allocates nothing.
func ParseHeader(p []byte) (h Header, size int, err error) {
	if len(p) < 2 {
		return Header{}, 0, nil
	}
	h = Header{
		Fin:    p[0]&finBit != 0,
		RSV:    p[0] & rsvBits,
		Op:     Opcode(p[0] & opBits),
		Masked: p[1]&maskBit != 0,
		Length: int64(p[1] &^ maskBit),
	}
	if err := h.checkFirstBytes(); err != nil {
		return Header{}, 0, err
	}
	size = 2
	switch h.Length {
	case 126:
		if len(p) < 4 {
			return Header{}, 0, nil
		}
		h.Length, size = int64(binary.BigEndian.Uint16(p[2:])), 4
		if h.Length < 126 {
			return Header{}, 0, ErrLengthNotMinimal
		}
	case 127:
		if len(p) < 10 {
			return Header{}, 0, nil
		}
		length := binary.BigEndian.Uint64(p[2:])
		if length>>63 != 0 {
			return Header{}, 0, ErrLengthTopBit
		}
		if length <= 0xFFFF {
			return Header{}, 0, ErrLengthNotMinimal
		}
		h.Length, size = int64(length), 10
	}
	if h.Masked {
		if len(p) < size+4 {
			return Header{}, 0, nil
		}
		h.Mask = [4]byte(p[size:])
		size += 4
	}
	return h, size, nil
}

// checkFirstBytes judges what the first two bytes tell, so that a bad frame is
// refused before the rest of its header has come. Length is still the 7-bit
// field: 126 and 127 are longer than any control frame may be.
func (h Header) checkFirstBytes() error {
	if !h.Op.control() {
		if h.Op > OpBinary {
			return ErrReservedOpcode
		}
		return nil
	}
	switch {
	case h.Op > OpPong:
		return ErrReservedOpcode
	case !h.Fin:
		return ErrControlFragmented
	case h.Length > maxControl:
		return ErrControlTooLong
	}
	return nil
}

// checkClosePayload judges the unmasked payload of a close frame, RFC 6455
// section 5.5.1: empty, or a code that may travel and a reason in UTF-8.
func checkClosePayload(p []byte) error {
	switch {
	case len(p) == 0:
		return nil
	case len(p) == 1:
		return ErrClosePayload
	case !validCloseCode(binary.BigEndian.Uint16(p)):
		return ErrCloseCode
	case !utf8.Valid(p[2:]):
		return ErrCloseReasonNotUTF8
	}
	return nil
}
