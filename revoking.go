package websocketauth

import (
	"context"
	"errors"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/dialect"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/session"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/store"
)

// What counts in this process, whatever the configuration.
var (
	revocations session.Revocations
	lockouts    session.Lockouts
)

// defaultLongest is how long a revocation lasts that does not say, where no
// verifier limits the lifetime of tokens.
const defaultLongest = 24 * time.Hour

// apply has r count on this node, and ends the sockets that it means. It
// returns how many.
func apply(r session.Revocation) (ended int) {
	now := time.Now()
	if !r.Until.After(now) {
		return 0
	}
	if revocations.Add(r, now) {
		counts.revocations.Inc()
	}
	return end(r)
}

// end ends the sessions that r means, and returns how many.
func end(r session.Revocation) (ended int) {
	for _, found := range sockets.Find(r.Filter()) {
		one, ok := found.Socket.(live)
		if ok && r.Means(sockets.IdentityOf(found)) && one.revoke() {
			ended++
		}
	}
	return ended
}

// Revoke has r count in the whole fleet from now on, and ends the sockets that
// it means. It returns how many ended on this node. An error says that others,
// or this node after a restart, may not know of it; the sockets have ended.
func (a *App) Revoke(ctx context.Context, r session.Revocation) (ended int, err error) {
	if err := r.Check(); err != nil {
		return 0, err
	}
	ended = apply(r)
	a.observeRevoked(r, ended)
	return ended, a.share(ctx, func(s store.Store) error { return s.Revoke(ctx, r) })
}

// Unrevoke has the revocation with this key count no more, and reports whether
// there was one.
func (a *App) Unrevoke(ctx context.Context, key string) (known bool, err error) {
	known = revocations.Remove(key)
	return known, a.share(ctx, func(s store.Store) error { return s.Unrevoke(ctx, key) })
}

// share has a change saved and told to the other nodes, both at the same time:
// a slow storage is no reason to tell them late.
func (a *App) share(ctx context.Context, tell func(store.Store) error) error {
	saved.changed()
	saving := make(chan error, 1)
	go func() { saving <- saved.flush(ctx) }()
	err := errors.New("no configuration serves")
	if f := a.fleet(); f != nil {
		err = tell(f.store)
	}
	return errors.Join(<-saving, err)
}

// Longest returns the longest lifetime of a token that any verifier of this
// configuration accepts.
func (a *App) Longest() time.Duration {
	if longest := time.Duration(a.longest.Load()); longest > 0 {
		return longest
	}
	return defaultLongest
}

// admits notes the longest lifetime of the tokens that a verifier accepts; zero
// if it has no limit.
func (a *App) admits(lifetime time.Duration) {
	if lifetime == 0 {
		lifetime = defaultLongest
	}
	for {
		was := a.longest.Load()
		if int64(lifetime) <= was || a.longest.CompareAndSwap(was, int64(lifetime)) {
			return
		}
	}
}

// checkRevoked refuses an identity that is revoked.
func checkRevoked(id *auth.Identity) error {
	if _, is := revocations.Find(sessionIdentity(id), time.Now()); is {
		return auth.Refuse(reasonRevoked, "the credential is revoked")
	}
	return nil
}

// sessionIdentity is what of id sessions and revocations are found by.
func sessionIdentity(id *auth.Identity) session.Identity {
	return session.Identity{
		Issuer: id.Issuer, Subject: id.Subject, TokenID: id.TokenID, SessionID: id.SessionID, IssuedAt: id.IssuedAt,
	}
}

// identify has the socket found as id's. It is registered first and then
// checked, so that no revocation slips between. Its client must have proved what
// id is bound to, whoever has brought the credential.
func (s *socket) identify(id *auth.Identity) error {
	if err := id.CheckBinding(s.handshake.Context()); err != nil {
		return err
	}
	sockets.Identify(&s.session, sessionIdentity(id))
	if err := checkRevoked(id); err != nil {
		return err
	}
	if l := s.login.Load(); l != nil {
		if err := polled.takeOver(l, s, id); err != nil {
			return err
		}
	} else if err := polled.claim(s.polledBy.polledConn, id, time.Now()); err != nil {
		return err
	}
	return s.handler.checkRoom(&s.session, id)
}

// revoke ends the socket because its credential is revoked, and reports
// whether it had not been ended before.
func (s *socket) revoke() bool {
	s.mu.Lock()
	if s.over {
		s.mu.Unlock()
		return false
	}
	end := s.translateLocked(dialect.Revoked, "revoked", endRevoked, nil)
	s.mu.Unlock()
	s.endAs(end)
	return true
}

// endRevoked is how a socket ends whose credential is revoked.
var endRevoked = proxy.End{Cause: proxy.Cause(reasonRevoked), Code: proxy.CloseUnauthorized, Reason: "revoked"}
