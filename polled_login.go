package websocketauth

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/session"
)

// polledLogin is a login by polling. It is a session of its own until a socket
// takes over, and again when that has gone and polling goes on. An ended one
// counts for nothing any more.
type polledLogin struct {
	key      polledKey
	session  session.Session
	request  *http.Request // that has logged in, a copy
	by       *request      // the same as it is served
	clientIP string
	random   float64 // its place within the jitter

	// The lock of polledClients guards the following.
	handler   *Handler // that has let it in, the latest of them
	owner     polledOwner
	identity  *auth.Identity
	since     time.Time        // when its credential was presented
	policies  []session.Policy // all of them count
	uses      map[*polledUse]bool
	sockets   map[*socket]bool // that have taken over
	idleSince time.Time        // when there is no use
	timer     *session.Entry
	settled   bool  // the handlers behind have done with the request
	over      error // what its requests are refused with; nil while it lives
	cause     proxy.Cause
}

// polledUse is a request that a login vouches for, while it is under way.
type polledUse struct{ cut context.CancelCauseFunc }

// enter begins a use, of h's. cut is called when the login ends before leave.
func (p *polledClients) enter(l *polledLogin, h *Handler, cut context.CancelCauseFunc) (*polledUse, error) {
	p.mu.Lock()
	defer p.unlock()
	if l.over != nil {
		return nil, l.over
	}
	if h.generation() >= l.handler.generation() {
		l.handler = h
	}
	if p.limitLocked(l, h.policy, time.Now()); l.over != nil {
		return nil, l.over
	}
	use := &polledUse{cut}
	if l.uses == nil {
		l.uses = make(map[*polledUse]bool)
	}
	l.uses[use] = true
	return use, nil
}

// exit ends a use. It returns what has ended the login meanwhile. gone: the
// client has given up waiting for messages, as it does when it goes away or
// takes the connection for broken. With no other use that is the end.
func (p *polledClients) exit(l *polledLogin, use *polledUse, gone bool) error {
	p.mu.Lock()
	defer p.unlock()
	over := l.over
	delete(l.uses, use)
	now := time.Now()
	l.idleSince = now
	if over == nil && gone && len(l.uses) == 0 && len(l.sockets) == 0 {
		p.endLocked(l, causeClientGone, nil, now)
	}
	return over
}

// limit has a policy count, too: of a handler further in, for instance.
func (p *polledClients) limit(l *polledLogin, policy session.Policy) error {
	p.mu.Lock()
	defer p.unlock()
	p.limitLocked(l, policy, time.Now())
	return l.over
}

func (p *polledClients) limitLocked(l *polledLogin, policy session.Policy, now time.Time) {
	if l.over == nil && !slices.Contains(l.policies, policy) {
		l.policies = append(l.policies, policy)
		p.tickLocked(l, now)
	}
}

// settle notes that q has been served, and reports whether it has logged in as l.
func (p *polledClients) settle(l *polledLogin, q *request) bool {
	p.mu.Lock()
	defer p.unlock()
	if l.by != q {
		return false
	}
	l.settled, l.by = true, nil
	return true
}

// renew gives l another credential, and reports whether it lives.
func (p *polledClients) renew(l *polledLogin, id *auth.Identity) (bool, error) {
	p.mu.Lock()
	defer p.unlock()
	if l.over != nil {
		return false, nil
	}
	if err := sameIdentity(l.identity, id); err != nil {
		return true, err
	}
	p.renewLocked(l, id, time.Now())
	return true, nil
}

// renewLocked gives l a credential that ends later.
func (p *polledClients) renewLocked(l *polledLogin, id *auth.Identity, now time.Time) {
	if l.over != nil || !id.ValidUntil.After(l.identity.ValidUntil) {
		return
	}
	l.identity, l.since = id, now
	if len(l.sockets) == 0 {
		sockets.Identify(&l.session, sessionIdentity(id))
	}
	p.tickLocked(l, now)
}

// deadlineLocked returns when l ends, whatever happens, and why. A credential
// that has ended is no use: there is nobody to ask for another one.
func (l *polledLogin) deadlineLocked() (time.Time, proxy.Cause) {
	at, cause := l.identity.ValidUntil, causeExpired
	for _, policy := range l.policies {
		if expiry := policy.Expiry(l.since, l.identity.ValidUntil, l.random); expiry.Before(at) {
			at = expiry
		}
		life := session.Policy{IgnoreExpiry: true, Max: policy.Max, Jitter: policy.Jitter}
		if end, by := life.Deadline(l.session.Opened, time.Time{}, l.random); by == session.ByMax && end.Before(at) {
			at, cause = end, causeMaxSession
		}
	}
	return at, cause
}

// tick ends l if its time is over.
func (p *polledClients) tick(l *polledLogin) {
	p.mu.Lock()
	defer p.unlock()
	p.tickLocked(l, time.Now())
}

// tickLocked ends l if its time is over, and else comes again.
func (p *polledClients) tickLocked(l *polledLogin, now time.Time) {
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	if l.over != nil || p.known[l.key.polledConn] != l {
		return
	}
	now = now.Round(0)
	next, cause := l.deadlineLocked()
	if !now.Before(next) {
		p.endLocked(l, cause, nil, now)
		return
	}
	idle := now.Add(polledIdle)
	if len(l.uses) == 0 && len(l.sockets) == 0 {
		idle = l.idleSince.Add(polledIdle)
	}
	if !now.Before(idle) {
		p.endLocked(l, causeIdle, nil, now)
		return
	}
	if idle.Before(next) {
		next = idle
	}
	l.timer = p.schedule.Add(next, func() { p.tick(l) })
}

// end ends l, and reports whether it had not ended before. Its requests are cut,
// and refused with refusal, or in the words of cause if that is nil. It does not
// wait.
func (p *polledClients) end(l *polledLogin, cause proxy.Cause, refusal error) (first bool) {
	p.mu.Lock()
	defer p.unlock()
	return p.endLocked(l, cause, refusal, time.Now())
}

func (p *polledClients) endLocked(l *polledLogin, cause proxy.Cause, refusal error, now time.Time) (first bool) {
	if l.over != nil {
		return false
	}
	if refusal == nil {
		refusal = refusalOf(cause)
	}
	l.over, l.cause = refusal, cause
	sockets.Remove(&l.session)
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	for use := range l.uses {
		use.cut(refusal)
	}
	if p.known[l.key.polledConn] == l {
		p.forgetLocked(l)
		p.owners.add(l.key.polledConn, l.owner, refusal, now)
		p.untold = append(p.untold, l)
	}
	return true
}

var errStopping = &auth.OutageError{Err: errors.New("this server is stopping")}

// refusalOf returns what requests are refused with after an end.
func refusalOf(cause proxy.Cause) error {
	switch cause { //nolint:exhaustive // all others are an end like any other
	case endRevoked.Cause:
		return auth.Refuse(reasonRevoked, "the credential is revoked")
	case causeExpired:
		return auth.Refuse(auth.ReasonExpired, "the credential that had logged in by polling has ended")
	case causeStopped:
		return errStopping
	}
	return auth.Refuse(auth.ReasonMissing, "the login by polling has ended: "+string(cause))
}

// takeOver has s, which is registered as id's, stand for its login in the list
// of sessions, so that one login is one session. It is called again when s is
// renewed, which it may be after the end of the login's time.
func (p *polledClients) takeOver(l *polledLogin, s *socket, id *auth.Identity) error {
	p.mu.Lock()
	defer p.unlock()
	switch {
	case l.over != nil && l.sockets[s]:
		return nil
	case l.over != nil:
		return l.over
	}
	if len(l.sockets) == 0 {
		l.sockets = make(map[*socket]bool)
	}
	l.sockets[s] = true
	p.renewLocked(l, id, time.Now())
	sockets.Remove(&l.session)
	return nil
}

// handBack ends what takeOver has begun: s has ended by itself. Polling may go
// on, if s was an attempt. Once it was open and nobody polls, it was the client
// that has gone.
func (p *polledClients) handBack(l *polledLogin, s *socket, opened bool) {
	p.mu.Lock()
	defer p.unlock()
	if !l.sockets[s] {
		return
	}
	delete(l.sockets, s)
	now := time.Now()
	switch {
	case l.over != nil || len(l.sockets) > 0:
	case opened && len(l.uses) == 0:
		p.endLocked(l, causeHandedOver, nil, now)
	case !sockets.Add(&l.session):
		p.endLocked(l, causeStopped, nil, now)
	default:
		// Registered first, then checked: no revocation slips between.
		sockets.Identify(&l.session, sessionIdentity(l.identity))
		if err := checkRevoked(l.identity); err != nil {
			p.endLocked(l, endRevoked.Cause, err, now)
			return
		}
		l.idleSince = now
		p.tickLocked(l, now)
	}
}

// state returns whose l is, or what has ended it.
func (p *polledClients) state(l *polledLogin, now time.Time) (*auth.Identity, error) {
	p.mu.Lock()
	defer p.unlock()
	if at, cause := l.deadlineLocked(); !now.Before(at) { // a timer may be late
		p.endLocked(l, cause, nil, now)
	}
	return l.identity, l.over
}
