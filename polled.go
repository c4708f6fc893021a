package websocketauth

import (
	"context"
	"crypto/sha256"
	"slices"
	"sync"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
)

// maxPolled is how many such connections are known at one time.
const maxPolled = 10000

// maxPolledOfOne is how many of them one identity may have, so that nobody
// with a good token can push out all others.
const maxPolledOfOne = 100

// polledOwner is an identity as far as that limit goes. user counts where there
// is no subject.
type polledOwner struct{ issuer, subject, user string }

// polledKey is one such connection.
type polledKey struct {
	// Behind each host of a site may be another application.
	site, host string
	// trust is whose word counts there: a login under other verifiers says
	// nothing.
	trust [sha256.Size]byte
	id    string // the application's
}

// polledClients are the connections that have logged in. They outlive the
// configuration: the clients would lose their connection otherwise.
type polledClients struct {
	mu      sync.Mutex // guards the following
	known   map[polledKey]*auth.Identity
	owned   map[polledOwner][]polledKey // the same by their owners, the oldest first
	awaited map[polledKey]*awaitedLogin
}

// awaitedLogin is one that requests wait for.
type awaitedLogin struct {
	waiting int
	done    chan struct{} // closed when it has come
}

var polled polledClients

// get returns who has logged in, nil if nobody has.
func (p *polledClients) get(key polledKey, now time.Time) *auth.Identity {
	if key.id == "" {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.endLocked(key, now)
	return p.known[key]
}

// put notes a login. Of another identity than the connection's it is refused.
func (p *polledClients) put(key polledKey, id *auth.Identity, now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.endLocked(key, now)
	if old := p.known[key]; old != nil {
		if err := sameIdentity(old, id); err != nil {
			return err
		}
	} else {
		p.addLocked(key, id, now)
	}
	p.known[key] = id
	if login := p.awaited[key]; login != nil {
		close(login.done)
		delete(p.awaited, key)
	}
	return nil
}

// endLocked forgets a login whose time is over.
func (p *polledClients) endLocked(key polledKey, now time.Time) {
	if id := p.known[key]; id != nil && !now.Before(id.ValidUntil) {
		p.forgetLocked(key)
	}
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
	if p.known[key] != nil {
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

// addLocked makes room for a new connection of id's, and notes whose it is: if
// that one has too many, its oldest is forgotten.
func (p *polledClients) addLocked(key polledKey, id *auth.Identity, now time.Time) {
	if p.known == nil {
		p.known = make(map[polledKey]*auth.Identity)
		p.owned = make(map[polledOwner][]polledKey)
	}
	owner := ownerOf(id)
	if keys := p.owned[owner]; len(keys) >= maxPolledOfOne {
		p.forgetLocked(keys[0])
	}
	if len(p.known) >= maxPolled {
		p.makeRoomLocked(now)
	}
	p.owned[owner] = append(p.owned[owner], key)
}

func ownerOf(id *auth.Identity) polledOwner {
	if id.Subject == "" {
		return polledOwner{issuer: id.Issuer, user: id.User}
	}
	return polledOwner{issuer: id.Issuer, subject: id.Subject}
}

// forgetLocked forgets a login.
func (p *polledClients) forgetLocked(key polledKey) {
	owner := ownerOf(p.known[key])
	delete(p.known, key)
	keys := p.owned[owner]
	if i := slices.Index(keys, key); i >= 0 {
		keys = slices.Delete(keys, i, i+1)
	}
	if p.owned[owner] = keys; len(keys) == 0 {
		delete(p.owned, owner)
	}
}

// makeRoomLocked forgets what has ended and, if that is too little, some others:
// their clients have to log in again. It forgets enough for a while, because it
// looks at all.
func (p *polledClients) makeRoomLocked(now time.Time) {
	for key := range p.known {
		p.endLocked(key, now)
	}
	const enough = maxPolled - maxPolled/50
	for key := range p.known {
		if len(p.known) <= enough {
			return
		}
		p.forgetLocked(key)
	}
}
