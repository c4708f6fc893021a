package proxy

// readOutbound is what the direction from the application needs while its
// messages are held. outbound.mu guards it.
type readOutbound struct {
	on   bool
	asm  assembler
	held hold
	head []byte // is judged again, before what comes next
	// cut: the client has got a part of a message in whole frames, so that no
	// other message may stand there. It is kept when the socket is being ended,
	// because the scanner goes on with what the client does not get.
	cut bool
}

// relayRead is relayLocked while the gate is not open.
func (g *Gate) relayRead(p []byte) error {
	o := &g.out
	if !o.read.on {
		if k := min(o.scan.remaining, int64(len(p))); k > 0 { // of a frame that has begun
			_, _ = o.scan.scan(p[:k]) // inside a frame there is nothing to judge
			if err := g.passToClient(p[:k]); err != nil {
				return err
			}
			p = p[k:]
		}
		if !o.scan.atBorder() {
			return nil
		}
		o.read.on, o.read.cut = true, o.scan.fragmented
		o.read.asm.unread = o.scan.fragmented
	}
	n, bad := o.read.asm.feed(p, (*appSink)(g))
	o.messages.Store(o.scan.messages)
	switch {
	case bad != nil:
		g.begin(g.endFor(bad, CauseUpstreamBroke))
		o.lost = losesFrames(bad)
		return g.relayEnding(p[n:])
	case n < len(p) && !o.scan.closed: // the socket is being ended
		return g.relayEnding(p[n:])
	}
	return g.flushSaysLocked()
}

// releaseHeld sends what was held, and has the rest only watched again. If the
// gate is closed again meanwhile, what is left stays where it is. The caller
// holds the write lock.
func (o *outbound) releaseHeld(g *Gate) {
	r := &o.read
	for r.on && len(r.held.frames) > 0 {
		if !g.passes() {
			return
		}
		frame := r.held.next()
		r.cut = endsInMessage(frame)
		if g.passToClient(frame) != nil {
			return
		}
	}
	if !r.on || o.scan.atBorder() && !g.passes() {
		return
	}
	collected, left, head := r.asm.dissolve()
	r.on = false
	if g.passToClient(collected) != nil {
		return
	}
	o.scan.remaining += left
	r.head = head
	_ = g.flushSaysLocked() // what could not stand before
}

// passes tells whether messages may begin to pass.
func (g *Gate) passes() bool { return g.State() == StateOpen && !g.ending.Load() }

// endsInMessage tells whether the message in p, which begins with a frame, is
// not whole.
func endsInMessage(p []byte) bool {
	var walk payloads
	walk.each(p, func([]byte) {})
	return walk.fragmented
}

// leaveReading makes of a direction that is held one that is being ended. What
// is held goes to nobody. p is what came next; what is left of it to look at
// is returned.
func (o *outbound) leaveReading(p []byte) []byte {
	_, left, head := o.read.asm.dissolve()
	o.read.held.take()
	o.read.on, o.dropping = false, true
	// The client has whole frames only: what is to come of one is nobody's.
	o.skip = left + o.scan.remaining
	o.scan.remaining = 0
	if len(head) > 0 {
		return append(head, p...)
	}
	return p
}

// frameBorder tells whether a control frame of ours may be put in here. What is
// held does not count: the client has not begun to get it.
func (o *outbound) frameBorder() bool { return o.read.on || o.scan.atBorder() }

// messageBorder tells whether a message of ours may be put in here.
func (o *outbound) messageBorder() bool {
	switch {
	case o.follower != nil && !o.follower.AtBorder():
		return false
	case o.read.on || o.dropping:
		return !o.read.cut
	}
	return o.scan.atBorder() && !o.scan.fragmented
}

// passToClient writes what is the application's.
func (g *Gate) passToClient(p []byte) error {
	if g.out.follower != nil {
		g.out.follows.each(p, g.out.follower.Follow)
	}
	return g.writeClient(p)
}

// farewell returns messages as frames.
func farewell(messages []Message) (frames []byte) {
	for _, m := range messages {
		frames = appendFrame(frames, m.Opcode(), m.Data, false)
	}
	return frames
}

// payloads finds the payload in frames that have been judged, of an
// application.
type payloads struct {
	left       int64
	data       bool   // the frame is none of control
	fragmented bool   // a message has begun whose last frame is still to come
	head       []byte // an unfinished header
}

// each calls f with each piece of data in p, which follows what it was given
// before.
func (s *payloads) each(p []byte, f func([]byte)) {
	for len(p) > 0 {
		if s.left > 0 {
			k := min(s.left, int64(len(p)))
			if s.data {
				f(p[:k])
			}
			s.left -= k
			p = p[k:]
			continue
		}
		whole := append(s.head, p[:min(len(p), maxHeader-len(s.head))]...)
		h, size, err := ParseHeader(whole)
		if err != nil {
			return // has been judged before: cannot be
		}
		if size == 0 {
			s.head = whole
			return
		}
		p = p[size-len(s.head):]
		s.head, s.left, s.data = nil, h.Length, !h.Op.control()
		if s.data {
			s.fragmented = !h.Fin
		}
	}
}

// appSink is what becomes of the application's frames while they are held.
type appSink Gate

func (s *appSink) stopped() bool { return s.ending.Load() }

func (s *appSink) control(h Header, payload, raw []byte) error {
	g := (*Gate)(s)
	switch h.Op { //nolint:exhaustive // of control frames, a pong is for nobody
	case OpPing:
		g.inject(appendFrame(nil, OpPong, payload, true))
	case OpClose:
		g.endByApp(closeCodeOf(payload))
	}
	return nil
}

// endByApp ends a socket that the application has closed while its messages
// are held. Its reason is not for the client.
func (g *Gate) endByApp(code CloseCode) {
	g.noteUpstreamDone()
	g.begin(End{Cause: CauseUpstreamClosed, Code: code, UpstreamCode: code})
}

func (s *appSink) message(m Message, raw []byte) error {
	g := (*Gate)(s)
	r := &g.out.read
	verdict := g.talk.Reader.App(m)
	if g.ending.Load() {
		return nil
	}
	if verdict.Whole {
		if verdict.Now && !r.cut {
			return g.passNow(raw)
		}
		return r.held.add(raw)
	}
	for _, passage := range verdict.Instead {
		frame := appendFrame(nil, passage.Opcode(), passage.Data, false)
		if passage.Now && !r.cut {
			if err := g.passNow(frame); err != nil {
				return err
			}
		} else if err := r.held.add(frame); err != nil {
			return err
		}
	}
	return nil
}

// passNow sends what may pass although the gate is not open.
func (g *Gate) passNow(frame []byte) error {
	_ = g.passToClient(frame) // what is wrong with the client ends the socket by itself
	return nil
}

// tooBig is never an error here: what is not read is held.
func (s *appSink) tooBig(Message) error { return nil }

func (s *appSink) skipped(payload []byte) error {
	s.skipper.SkipApp(payload)
	return nil
}

func (s *appSink) unread(raw []byte, within bool, left int64) {
	g := (*Gate)(s)
	add := g.out.read.held.add
	if within {
		add = g.out.read.held.extend
	}
	if err := add(raw); err != nil {
		g.begin(g.endFor(err, CauseUpstreamBroke))
	}
}
