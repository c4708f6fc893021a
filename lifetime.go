package websocketauth

import (
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/dialect"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/session"
)

// ignored is until when an identity counts whose expiry is ignored.
const ignored = 365 * 24 * time.Hour

// tick does what it is time for, and comes again when there is more.
func (s *socket) tick() {
	s.mu.Lock()
	g := s.gate
	s.tickLocked()
	s.mu.Unlock()
	if g != nil {
		s.flush(g) // may wait for the client, which must not keep the lock
	}
}

// tickLocked never waits. The caller holds s.mu.
func (s *socket) tickLocked() {
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
	if s.over || s.gate == nil {
		return
	}
	if next, more := s.actLocked(time.Now().Round(0)); more {
		s.timer = schedule.Add(next, s.tick)
	}
}

// actLocked does what it is time for at now, and returns when there is more.
func (s *socket) actLocked(now time.Time) (next time.Time, more bool) {
	if s.identity == nil {
		loginBy := s.session.Opened.Add(s.handler.first.within)
		// By both clocks: one that is set back must not give more time.
		if !now.Before(loginBy) || time.Since(s.session.Opened) >= s.handler.first.within {
			s.refuseLocked(auth.Refuse(reasonLoginTimeout, "no login in time"), nil)
			return time.Time{}, false
		}
		return loginBy, true
	}
	renew, at, limit := s.limitsLocked()
	if limit != session.NoLimit && !now.Before(at) {
		s.endLocked(limit)
		return time.Time{}, false
	}
	if renew == nil {
		return at, limit != session.NoLimit
	}
	next, over := s.renewalLocked(renew, now)
	if over {
		return time.Time{}, false
	}
	if limit != session.NoLimit && at.Before(next) {
		next = at
	}
	return next, true
}

// limitsLocked returns the policy under which the credential may be renewed,
// nil if there is none, and when the socket ends whatever is renewed.
func (s *socket) limitsLocked() (renew *session.Policy, first time.Time, limit session.Limit) {
	s.request.mu.Lock()
	policies := s.request.policies
	s.request.mu.Unlock()
	opened := s.session.Opened
	if l := s.login.Load(); l != nil { // one session with it
		opened = l.session.Opened
	}
	for i, policy := range policies {
		if policy.Renew {
			renew = &policies[i]
		}
		at, by := policy.Deadline(opened, s.validUntilLocked(), s.random)
		if by != session.NoLimit && (limit == session.NoLimit || at.Before(first)) {
			first, limit = at, by
		}
	}
	return renew, first, limit
}

// endLocked ends a socket whose time is over.
func (s *socket) endLocked(limit session.Limit) {
	end, reason := endExpired, "expired"
	if limit == session.ByMax {
		end, reason = endMaxSession, "session_over"
	}
	s.over = true
	s.gate.End(s.translateLocked(dialect.Expired, reason, end, nil))
}

// renewalLocked prompts for a new credential, and suspends the socket while
// there is none. over tells that it has ended the socket.
func (s *socket) renewalLocked(p *session.Policy, now time.Time) (next time.Time, over bool) {
	expiry := s.expiryUnderLocked(p)
	if now.Before(expiry) {
		prompt := p.Prompt(s.since, expiry)
		if now.Before(prompt) {
			return prompt, false
		}
		if !s.prompted && p.Warn > 0 {
			s.prompted = true
			s.gate.Queue(s.wordsLocked(dialect.Prompt, "expiring", nil).Messages...)
		}
		return expiry, false
	}
	graceOver := expiry.Add(p.Grace)
	if !now.Before(graceOver) {
		s.refuseLocked(auth.Refuse(reasonRenewalTimeout, "no renewal in time"), nil)
		return time.Time{}, true
	}
	if s.gate.Suspend() {
		s.gate.Queue(s.wordsLocked(dialect.Suspend, "expired", nil).Messages...)
		s.observeSuspendedLocked(graceOver)
	}
	return graceOver, false
}

// expiryLocked returns until when the identity counts, as far as messages may
// pass.
func (s *socket) expiryLocked() time.Time {
	renew, at, limit := s.limitsLocked()
	expiry := s.validUntilLocked()
	if renew != nil {
		expiry = s.expiryUnderLocked(renew)
	}
	switch {
	case limit != session.NoLimit && at.Before(expiry):
		return at
	case renew == nil && limit == session.NoLimit: // expiry is ignored
		return time.Now().Add(ignored)
	}
	return expiry
}

// logIn makes id the socket's identity: its first one.
func (s *socket) logIn(id *auth.Identity, context any) {
	q := s.request
	source := sourceFirstMessage
	if s.handler.every != nil {
		source = sourceEveryMessage
	}
	q.mu.Lock()
	q.identity, q.source = id, source
	q.mu.Unlock()
	q.repl.Set(placeholderUser, auth.HeaderSafe(id.User))
	s.waiting()
	s.mu.Lock()
	if s.over {
		s.mu.Unlock()
		return
	}
	if err := s.identify(id); err != nil {
		s.refuseLocked(err, context)
		s.mu.Unlock()
		return
	}
	s.identity, s.since = id, time.Now()
	words := s.wordsLocked(dialect.Accepted, "", context)
	until, g := s.expiryLocked(), s.gate
	s.mu.Unlock()
	g.Resume(until, words.Messages...)
	s.mu.Lock()
	s.countLocked()
	s.tickLocked()
	s.mu.Unlock()
	if s.handler.first.early {
		s.makeRoom() // the application has taken the socket already
	}
	s.observeOpened()
	s.recheckLate()
}

// renewBy gives the socket a new credential, of an identity that has passed
// the rules. It returns until when that counts.
func (s *socket) renewBy(id *auth.Identity, say bool, context any) (time.Time, error) {
	s.mu.Lock()
	if s.over || s.gate == nil {
		s.mu.Unlock()
		return time.Time{}, auth.Refuse(reasonUnknownSession, "the socket has ended")
	}
	if err := s.mayBecomeLocked(id); err != nil {
		s.mu.Unlock()
		return time.Time{}, err
	}
	g := s.gate
	suspended := g.State() == proxy.StateSuspended
	newer := id.ValidUntil.After(s.identity.ValidUntil)
	if suspended && !newer {
		s.mu.Unlock()
		return time.Time{}, auth.Refuse(reasonNotNewer, "the credential ends no later than the last one")
	}
	if newer {
		if err := s.identify(id); err != nil {
			s.refuseLocked(err, context)
			s.mu.Unlock()
			return time.Time{}, err
		}
		s.identity, s.since, s.prompted, s.due = id, time.Now(), false, time.Time{}
	}
	until := s.expiryLocked()
	var words dialect.Words
	if say {
		words = s.wordsLocked(dialect.Renewed, "", context)
	}
	if !suspended {
		g.Queue(words.Messages...)
		s.tickLocked()
	}
	s.mu.Unlock()
	if suspended {
		g.Resume(until, words.Messages...)
		s.mu.Lock()
		s.countLocked()
		s.tickLocked()
		s.mu.Unlock()
	} else {
		g.Flush()
	}
	if newer {
		s.observeRenewed(suspended)
	}
	return until, nil
}

// mayBecomeLocked tells whether id is whom the socket belongs to.
func (s *socket) mayBecomeLocked(id *auth.Identity) error {
	if s.identity == nil {
		return auth.Refuse(reasonUnknownSession, "nobody has logged in")
	}
	return sameIdentity(s.identity, id)
}
