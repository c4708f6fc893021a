package proxy

import (
	"errors"
	"io"
	"time"
)

// attendance is how a client is read between its login and the moment in which
// a handler takes it over, which is when the application has answered.
type attendance struct {
	taken chan struct{} // closed when a handler takes the client over
	over  chan struct{} // closed when the socket is being ended
	done  chan struct{} // closed when nobody is reading any more
}

// attend has the client read until [Gate.takeOver].
func (g *Gate) attend() {
	a := &attendance{taken: make(chan struct{}), over: make(chan struct{}), done: make(chan struct{})}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ending.Load() {
		return
	}
	g.attendance = a
	go func() {
		defer close(a.done)
		g.guarded(func() { g.attendClient(a) })
	}()
}

// takeOver ends the attendance, if there is one.
func (g *Gate) takeOver() {
	g.mu.Lock()
	a := g.attendance
	g.attendance = nil
	g.mu.Unlock()
	if a == nil {
		return
	}
	close(a.taken)
	g.wakeReader()
	<-a.done
}

// leftToGate tells whether nobody but the gate attends to the client any more.
func (a *attendance) leftToGate() bool {
	select {
	case <-a.taken:
		return false
	case <-a.over:
		return false
	default:
		return true
	}
}

// attendClient reads the client. What it has said by the rules before it closed
// or went is the application's, if that comes soon.
func (g *Gate) attendClient(a *attendance) {
	patience, end := g.readAttended(a)
	if end == nil {
		return
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-a.taken:
	case <-a.over:
	case <-timer.C:
		g.End(end())
	}
}

// readAttended reads the client until there is no more to be read: then it
// returns how the socket ends, and after what time, unless it is taken over.
func (g *Gate) readAttended(a *attendance) (patience time.Duration, end func() End) {
	in := &g.in
	in.mu.Lock()
	defer in.mu.Unlock()
	defer in.chunks.release()
	in.read.attended = true
	defer func() { in.read.attended = false }()
	for a.leftToGate() {
		err := g.readSome()
		g.keepOutgoing()
		switch {
		case errors.Is(err, io.EOF):
			return g.patience(halfCloseGrace), func() End { return End{Cause: g.naturalCause()} }
		case err != nil:
			return 0, func() End { return End{Cause: g.naturalCause()} }
		case in.scan.closed:
			code := in.read.closeCode
			return g.patience(closeTimeout), func() End {
				return End{Cause: CauseClientClosed, Code: code, UpstreamCode: code}
			}
		case g.keepsEnough():
			return halfCloseGrace, func() End { return g.endFor(ErrHoldFull, CauseClientBroke) }
		}
	}
	return 0, nil
}

// patience returns how long a client that has done is kept: not at all, if the
// application has nothing to get of it.
func (g *Gate) patience(most time.Duration) time.Duration {
	r := &g.in.read
	if len(r.held.frames) > 0 {
		return most
	}
	for _, o := range r.queue {
		if !o.closes {
			return most
		}
	}
	return 0
}

// keepsEnough tells whether the client has to wait with more.
func (g *Gate) keepsEnough() bool {
	r := &g.in.read
	kept := r.held.bytes
	for _, o := range r.queue {
		kept += int64(len(o.data))
	}
	return kept >= g.talk.HoldBytes || len(r.queue)+len(r.held.frames) >= g.talk.HoldMessages
}
