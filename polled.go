package websocketauth

import (
	"context"
	"crypto/sha256"
	"slices"
	"sync"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/session"
)

const (
	// maxPolled is how many logins by polling are known at one time.
	maxPolled = 10000
	// maxPolledOfOne is how many of them one identity may have, so that nobody
	// with a good token can push out all others.
	maxPolledOfOne = 100
	// polledIdle is how long a login is kept that nothing uses. A client that
	// polls always has a request under way; one that has gone leaves none.
	polledIdle = time.Minute
)

// Why a login by polling ends, beside what ends sockets.
const (
	causeClientGone proxy.Cause = "client_gone"
	causeIdle       proxy.Cause = "idle"
	causeEvicted    proxy.Cause = "evicted"
	causeHandedOver proxy.Cause = "handed_over"
	causeKeyGone    proxy.Cause = "key_gone"
)

// polledOwner is an identity as far as limits go. user counts where there is no
// subject.
type polledOwner struct{ issuer, block, verifier, subject, user string }

func ownerOf(id *auth.Identity) polledOwner {
	owner := polledOwner{issuer: id.Issuer, block: id.Block, verifier: id.Verifier, subject: id.Subject}
	if id.Subject == "" {
		owner.user = id.User
	}
	return owner
}

// polledConn is one connection of a client that polls.
type polledConn struct {
	// Behind each host of a site may be another application.
	site, host string
	id         string // the application's
}

// polledKey is where a login counts.
type polledKey struct {
	polledConn
	// trust is whose word counts there: a login under other verifiers says
	// nothing.
	trust [sha256.Size]byte
}

// polledClients are the logins by polling. They outlive the configuration: the
// clients would lose their connection otherwise. The lock of a socket may be
// held when a method is called; none of them takes one.
type polledClients struct {
	mu       sync.Mutex // guards the following, and what is in the logins
	known    map[polledConn]*polledLogin
	owned    map[polledOwner][]*polledLogin // the same by their owners, the oldest first
	awaited  map[polledKey]*awaitedLogin
	owners   polledOwners   // of connections without a login
	untold   []*polledLogin // ends that are to be told of without the lock
	schedule session.Schedule
}

var polled polledClients

// unlock gives up the lock, and tells of what has ended under it.
func (p *polledClients) unlock() {
	untold := p.untold
	p.untold = nil
	p.mu.Unlock()
	for _, l := range untold {
		l.observeEnded()
	}
}

// get returns the login of a connection, nil if there is none.
func (p *polledClients) get(key polledKey) *polledLogin {
	if key.id == "" {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.getLocked(key)
}

func (p *polledClients) getLocked(key polledKey) *polledLogin {
	if l := p.known[key.polledConn]; l != nil && l.key == key {
		return l
	}
	return nil
}

// endOf returns what the requests of a connection are refused with whose login
// has been ended a while ago, or was under other verifiers; nil if there was
// none.
func (p *polledClients) endOf(key polledKey, now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l := p.known[key.polledConn]; l != nil && l.key != key {
		return errOtherTrust
	}
	if owned := p.owners.of(key.polledConn, now); owned != nil {
		return owned.refusal
	}
	return nil
}

var errOtherTrust = auth.Refuse(auth.ReasonMissing, "the login by polling was under other verifiers, or with other keys")

// claim has a connection be id's, whom a credential of its own or a message has
// let in: the application may know the connection for that of whom it began
// with, so that it must be nobody else's.
func (p *polledClients) claim(conn polledConn, id *auth.Identity, now time.Time) error {
	if conn.id == "" {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	owner := ownerOf(id)
	if l := p.known[conn]; l != nil {
		if l.owner != owner {
			return errOtherOwner
		}
		return nil
	}
	owned := p.owners.of(conn, now)
	switch {
	case owned != nil && owned.owner != owner:
		return errOtherOwner
	case owned != nil:
		p.owners.add(conn, owner, owned.refusal, now)
	case !p.owners.isFull(owner, now):
		p.owners.add(conn, owner, nil, now)
	}
	return nil
}

var errOtherOwner = auth.Refuse(reasonOtherIdentity, "the connection is that of somebody else")

// put has l be the login of its connection, or renews the one that there is,
// which it returns then. Of another identity than the connection's it is
// refused, also after an end: the application may still take the connection for
// the one that it was.
func (p *polledClients) put(l *polledLogin, now time.Time) (*polledLogin, error) {
	p.mu.Lock()
	defer p.unlock()
	owner := ownerOf(l.identity)
	if old := p.getLocked(l.key); old != nil {
		if err := sameIdentity(old.identity, l.identity); err != nil {
			return nil, err
		}
		p.renewLocked(old, l.identity, now)
		return old, nil
	}
	if old := p.known[l.key.polledConn]; old != nil {
		p.endLocked(old, causeEvicted, errOtherTrust, now)
	}
	if err := p.mayBeginLocked(l, owner, now); err != nil {
		return nil, err
	}
	p.addLocked(l, owner, now)
	if login := p.awaited[l.key]; login != nil {
		close(login.done)
		delete(p.awaited, l.key)
	}
	p.tickLocked(l, now)
	return l, l.over // its time may be over at once
}

// mayBeginLocked tells whether owner may log in on a connection that nobody is
// logged in on.
func (p *polledClients) mayBeginLocked(l *polledLogin, owner polledOwner, now time.Time) error {
	if l.over != nil { // while it was registered and not known here
		return l.over
	}
	owned := p.owners.of(l.key.polledConn, now)
	if owned != nil && owned.owner != owner {
		return errOtherOwner
	}
	if owned == nil && p.owners.isFull(owner, now) {
		return auth.Refuse(reasonTooMany, "this user has logged in by polling too often in a short time")
	}
	return nil
}

// addLocked makes room for a new login, and notes whose it is: if that one has
// too many, its oldest ends.
func (p *polledClients) addLocked(l *polledLogin, owner polledOwner, now time.Time) {
	if p.known == nil {
		p.known = make(map[polledConn]*polledLogin)
		p.owned = make(map[polledOwner][]*polledLogin)
	}
	if all := p.owned[owner]; len(all) >= maxPolledOfOne {
		p.endLocked(all[0], causeEvicted, nil, now)
	}
	if len(p.known) >= maxPolled {
		p.makeRoomLocked(now)
	}
	p.owners.forget(l.key.polledConn)
	p.known[l.key.polledConn] = l
	p.owned[owner] = append(p.owned[owner], l)
	l.owner, l.idleSince = owner, now
}

// makeRoomLocked ends some logins: their clients have to log in again. It ends
// enough for a while.
func (p *polledClients) makeRoomLocked(now time.Time) {
	const enough = maxPolled - maxPolled/50
	for _, l := range p.known {
		if len(p.known) <= enough {
			return
		}
		p.endLocked(l, causeEvicted, nil, now)
	}
}

// forgetLocked takes a login out.
func (p *polledClients) forgetLocked(l *polledLogin) {
	delete(p.known, l.key.polledConn)
	all := p.owned[l.owner]
	if i := slices.Index(all, l); i >= 0 {
		all = slices.Delete(all, i, i+1)
	}
	if p.owned[l.owner] = all; len(all) == 0 {
		delete(p.owned, l.owner)
	}
}

// awaitedLogin is one that requests wait for.
type awaitedLogin struct {
	waiting int
	done    chan struct{} // closed when it has come
}

// await returns when somebody has logged in, or ctx has ended.
func (p *polledClients) await(ctx context.Context, key polledKey) {
	login := p.join(key)
	select {
	case <-login.done:
	case <-ctx.Done():
	}
	p.leave(key, login)
}

// join has a request wait for a login; for none if there was one.
func (p *polledClients) join(key polledKey) *awaitedLogin {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.getLocked(key) != nil {
		done := make(chan struct{})
		close(done)
		return &awaitedLogin{done: done}
	}
	login := p.awaited[key]
	if login == nil {
		login = &awaitedLogin{done: make(chan struct{})}
		if p.awaited == nil {
			p.awaited = make(map[polledKey]*awaitedLogin)
		}
		p.awaited[key] = login
	}
	login.waiting++
	return login
}

// leave ends a request's waiting.
func (p *polledClients) leave(key polledKey, login *awaitedLogin) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if login.waiting--; login.waiting <= 0 && p.awaited[key] == login {
		delete(p.awaited, key)
	}
}
