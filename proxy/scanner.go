package proxy

// scanner follows the frames of one direction. It changes and keeps nothing;
// it only knows where frames begin and end and refuses what RFC 6455 forbids,
// before a byte of the frame has gone on. The zero value scans frames of a
// server without extensions. Not safe for concurrent use.
type scanner struct {
	// fromClient: frames must be masked; else they must not be.
	fromClient bool
	// deflate: permessage-deflate was agreed, so that RSV1 is allowed on the
	// first frame of a message (RFC 7692 section 6).
	deflate bool

	// remaining is how much of the frame's payload is still to come. Zero
	// means that the next byte begins a frame.
	remaining int64
	// fragmented: a message has begun whose last frame is still to come.
	fragmented bool
	// messages have begun their last frame.
	messages int64
	// closed: a close frame has passed. What comes after it is not scanned.
	closed bool
}

// scan judges the frames in p and returns how many of its bytes may pass. The
// rest is a frame that cannot be judged yet, because its header is not whole,
// or because it is a close frame that is not whole (at most 131 bytes): the
// caller presents it again with what follows. After a close frame (closed is
// set) the rest is nobody's. With an error, the bytes before n may pass and
// nothing more.
func (s *scanner) scan(p []byte) (n int, err error) {
	for n < len(p) && !s.closed {
		if s.remaining > 0 {
			k := min(s.remaining, int64(len(p)-n))
			n += int(k)
			s.remaining -= k
			continue
		}
		h, size, err := ParseHeader(p[n:])
		if err != nil {
			return n, err
		}
		if size == 0 {
			return n, nil
		}
		if err := s.check(h); err != nil {
			return n, err
		}
		if h.Op == OpClose {
			whole := n + size + int(h.Length)
			if whole > len(p) {
				return n, nil
			}
			if err := checkClosePayload(unmasked(h, p[n+size:whole])); err != nil {
				return n, err
			}
			s.closed = true
			return whole, nil
		}
		n += size
		s.remaining = h.Length
		if !h.Op.control() {
			s.fragmented = !h.Fin
		}
	}
	return n, nil
}

// check judges a header by what came before it in this direction.
func (s *scanner) check(h Header) error {
	if h.Masked != s.fromClient {
		if s.fromClient {
			return ErrNotMasked
		}
		return ErrMasked
	}
	if h.RSV != 0 {
		first := h.Op == OpText || h.Op == OpBinary
		if h.RSV != rsv1Bit || !s.deflate || !first {
			return ErrReservedBits
		}
	}
	if h.Op.control() {
		return nil
	}
	switch {
	case h.Op == OpContinuation && !s.fragmented:
		return ErrNoMessage
	case h.Op != OpContinuation && s.fragmented:
		return ErrMessageNotFinished
	}
	if h.Fin {
		s.messages++
	}
	return nil
}

// atBorder tells whether a frame of ours may be put in here.
func (s *scanner) atBorder() bool { return s.remaining == 0 }

// unmasked returns the plain payload of a short frame. It copies only what is
// masked, so that the bytes on their way are not touched.
func unmasked(h Header, p []byte) []byte {
	if !h.Masked {
		return p
	}
	plain := make([]byte, len(p))
	for i, b := range p {
		plain[i] = b ^ h.Mask[i%4]
	}
	return plain
}
