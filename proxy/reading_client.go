package proxy

import "encoding/binary"

// clientSink is what becomes of the client's frames.
type clientSink Gate

func (s *clientSink) stopped() bool {
	g := (*Gate)(s)
	asm := &g.in.read.asm
	switch {
	case g.readingOver():
		asm.limit = -1 // whatever comes passes unread
	case g.State() != StatePending:
		asm.limit = max(g.talk.Limit, g.talk.OpenLimit)
		if !g.talk.Strict && g.skipper == nil {
			asm.peek = peekSize
		}
	}
	return g.ending.Load() || !g.in.read.attended && g.mayStop()
}

func (s *clientSink) control(h Header, payload, raw []byte) error {
	g := (*Gate)(s)
	r := &g.in.read
	switch {
	case h.Op == OpClose && g.State() == StateOpen:
		r.queue = append(r.queue, outgoing{data: raw, now: true, closes: true})
		r.closeCode = closeCodeOf(payload)
		g.sawClose(CauseClientClosed)
	case h.Op == OpClose: // its reason is not for the application
		code := closeCodeOf(payload)
		g.End(End{Cause: CauseClientClosed, Code: code, UpstreamCode: code})
	case g.State() == StateOpen && !r.attended:
		r.enqueue(outgoing{data: raw})
	case h.Op == OpPing:
		g.pong(payload)
	}
	return nil
}

func (s *clientSink) message(m Message, raw []byte) error {
	g := (*Gate)(s)
	r := &g.in.read
	if g.State() == StatePending {
		if r.count++; r.count > maxPendingMessages {
			return ErrTooManyMessages
		}
	}
	before := g.ending.Load()
	verdict := g.talk.Reader.Client(m)
	if verdict.Ends {
		r.last = !before
		return nil
	}
	if verdict.Whole {
		r.enqueue(outgoing{data: raw, now: verdict.Now})
		return nil
	}
	for _, passage := range verdict.Instead {
		r.enqueueMessage(passage)
	}
	return nil
}

func (s *clientSink) tooBig(begin Message) error {
	g := (*Gate)(s)
	switch {
	case !g.reading.Load():
		return nil
	case g.State() == StatePending || g.talk.Strict:
		return ErrMessageTooBig
	case g.talk.Reader.Foreign(begin):
		return nil
	}
	return ErrMessageTooBig
}

func (s *clientSink) skipped(payload []byte) error {
	if err := s.skipper.SkipClient(payload); err != nil {
		return &skipError{err}
	}
	return nil
}

// skipError is what a Skipper says of what nobody has judged.
type skipError struct{ error }

func (s *clientSink) unread(raw []byte, within bool, _ int64) {
	s.in.read.enqueue(outgoing{data: raw, within: within})
}

// closeCodeOf returns the code in the payload of a close frame: 1000 if there
// is none.
func closeCodeOf(payload []byte) CloseCode {
	if len(payload) < 2 {
		return CloseNormal
	}
	return CloseCode(binary.BigEndian.Uint16(payload))
}
