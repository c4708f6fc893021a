package websocketauth

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
)

// Some clients, those of Socket.IO above all, begin with plain HTTP requests
// and log in by the body of one. All later requests, and the socket that takes
// over from them, have no credential but the id that the application gave out
// for the connection. That id then stands for the identity.

// maxPolled is how many such connections are known at one time.
const maxPolled = 10000

// maxPolledOfOne is how many of them one identity may have, so that nobody
// with a good token can push out all others.
const maxPolledOfOne = 100

// polledOwner is an identity as far as that limit goes.
type polledOwner struct{ issuer, subject string }

// polledKey is one such connection.
type polledKey struct {
	site string
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
	owned   map[polledOwner][]polledKey // the oldest first; some may be gone
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
	id := p.known[key]
	if id != nil && !now.Before(id.ValidUntil) {
		delete(p.known, key)
		return nil
	}
	return id
}

// put notes a login. Of another identity than the connection's it is refused.
func (p *polledClients) put(key polledKey, id *auth.Identity, now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if old := p.known[key]; old != nil && now.Before(old.ValidUntil) {
		if err := sameIdentity(old, id); err != nil {
			return err
		}
	}
	if p.known == nil {
		p.known = make(map[polledKey]*auth.Identity)
	}
	if p.known[key] == nil {
		p.addOwnedLocked(key, polledOwner{id.Issuer, id.Subject})
	}
	if len(p.known) >= maxPolled {
		p.makeRoomLocked(now)
	}
	p.known[key] = id
	if login := p.awaited[key]; login != nil {
		close(login.done)
		delete(p.awaited, key)
	}
	return nil
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

// addOwnedLocked notes whose a new connection is, and forgets the oldest of
// those if there are too many.
func (p *polledClients) addOwnedLocked(key polledKey, owner polledOwner) {
	if p.owned == nil {
		p.owned = make(map[polledOwner][]polledKey)
	}
	keys := slices.DeleteFunc(p.owned[owner], func(key polledKey) bool { return p.known[key] == nil })
	if len(keys) >= maxPolledOfOne {
		delete(p.known, keys[0])
		keys = slices.Delete(keys, 0, 1)
	}
	p.owned[owner] = append(keys, key)
}

// makeRoomLocked forgets what has ended and, if that is too little, some others:
// their clients have to log in again. It forgets enough for a while, because it
// looks at all.
func (p *polledClients) makeRoomLocked(now time.Time) {
	for key, id := range p.known {
		if !now.Before(id.ValidUntil) {
			delete(p.known, key)
		}
	}
	const enough = maxPolled - maxPolled/50
	for key := range p.known {
		if len(p.known) <= enough {
			break
		}
		delete(p.known, key)
	}
	for owner, keys := range p.owned {
		keys = slices.DeleteFunc(keys, func(key polledKey) bool { return p.known[key] == nil })
		if p.owned[owner] = keys; len(keys) == 0 {
			delete(p.owned, owner)
		}
	}
}

// maxPolledID is how long the id of a connection may be, in bytes. Real ones
// have 20.
const maxPolledID = 256

// polledBy returns the connection that r belongs to; none if its id is empty.
func (h *Handler) polledBy(r *http.Request) polledKey {
	if h.poller == nil {
		return polledKey{}
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if ids := query["sid"]; err == nil && len(ids) == 1 && len(ids[0]) <= maxPolledID {
		return polledKey{h.site(r), h.trust, ids[0]}
	}
	return polledKey{}
}

// trustOf returns what stands for the verifiers that are configured.
func trustOf(verifiers []json.RawMessage) (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, v := range verifiers {
		h.Write(v)
		h.Write([]byte{0}) // no JSON holds one
	}
	h.Sum(sum[:0])
	return sum
}

// identifyPolled identifies a request without a credential of a client that
// polls. It returns no identity and no error for what may come before login: a
// handshake, and the request that begins a connection.
func (h *Handler) identifyPolled(r *http.Request, q *request) (*auth.Identity, error) {
	key := h.polledBy(r)
	id, err := h.polledIdentity(key)
	if err != nil {
		return nil, err
	}
	if q.kind == kindUpgrade {
		return id, nil
	}
	switch polls, begins := h.isPolling(r); {
	case polls && begins && r.Method == http.MethodGet:
		return nil, nil //nolint:nilnil // see above
	case polls && key.id != "" && r.Method == http.MethodGet:
		if id == nil {
			return h.awaitPolledLogin(r, key)
		}
		return id, nil
	case polls && key.id != "" && r.Method == http.MethodPost:
		return h.identifyPost(r, key, id)
	}
	return nil, errNoPolledLogin
}

var errNoPolledLogin = auth.Refuse(auth.ReasonMissing, "no configured source holds a credential, and nobody has logged in by polling")

// polledIdentity returns who has logged in, nil if nobody has.
func (h *Handler) polledIdentity(key polledKey) (*auth.Identity, error) {
	id := polled.get(key, time.Now())
	if id == nil {
		return nil, nil //nolint:nilnil // see above
	}
	if err := checkRevoked(id); err != nil {
		return nil, err
	}
	return id, meet(h.rules, id)
}

// awaitPolledLogin keeps a request for the application's messages until the
// connection has logged in: clients send it beside their login. Before that,
// and after the end of a credential, the application is not asked, so that
// nothing of its goes out. The request counts as pending.
func (h *Handler) awaitPolledLogin(r *http.Request, key polledKey) (*auth.Identity, error) {
	ctx, evict := context.WithCancelCause(r.Context())
	defer evict(nil)
	done := h.state.pending.Add(clientNetwork(clientIP(r)), h.pendingMax, h.pendingPerAddress, func() {
		evict(auth.Refuse(reasonPendingFull, "newer sockets are waiting"))
	})
	defer done()
	limited, cancel := context.WithTimeout(ctx, h.first.within)
	defer cancel()
	polled.await(limited, key)
	if evicted, is := errors.AsType[*auth.RefusedError](context.Cause(limited)); is {
		return nil, evicted
	}
	id, err := h.polledIdentity(key)
	if err == nil && id == nil {
		err = errNoPolledLogin
	}
	return id, err
}

// isPolling tells whether r is a request of the polling transport, and whether
// it begins a connection. Others could reach parts of the application that no
// login guards.
func (h *Handler) isPolling(r *http.Request) (polls, begins bool) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	polls = err == nil && h.poller.Polls(r.URL.EscapedPath()) &&
		len(query["transport"]) == 1 && query["transport"][0] == "polling" &&
		len(query["EIO"]) == 1 && query["EIO"][0] == "4"
	return polls, len(query["sid"]) == 0
}

// identifyPost looks for a login in the body of r. id has logged in before, if
// it is not nil.
func (h *Handler) identifyPost(r *http.Request, key polledKey, id *auth.Identity) (*auth.Identity, error) {
	limit := h.first.maxSize
	if id != nil && r.ContentLength > limit {
		return id, nil // too long to be a login
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	if err != nil {
		return nil, auth.Refuse(reasonBadMessage, "the body cannot be read")
	}
	if int64(len(body)) > limit {
		if id == nil {
			return nil, auth.Refuse(reasonMessageSize, "the body is too long for a login")
		}
		r.Body = readCloser{io.MultiReader(bytes.NewReader(body), r.Body), r.Body}
		return id, nil
	}
	credential, forward, found, err := h.poller.PollingLogin(body)
	if err != nil {
		return nil, brokenBy(err)
	}
	setBody(r, forward)
	switch {
	case found:
		return h.loginPolled(r, key, credential)
	case id != nil:
		return id, nil
	}
	return nil, auth.Refuse(auth.ReasonMissing, "a message before the login")
}

// loginPolled verifies a credential that has come in a body.
func (h *Handler) loginPolled(r *http.Request, key polledKey, credential string) (*auth.Identity, error) {
	if credential == "" || len(credential) > auth.MaxCredential {
		return nil, auth.Refuse(auth.ReasonMalformed, "the credential is empty or too long")
	}
	id, err := h.vouched(r.Context(), credential, clientIP(r), true)
	if err != nil {
		return nil, err
	}
	if err := meet(h.rules, id); err != nil {
		return nil, err
	}
	return id, polled.put(key, id, time.Now())
}

// loggedInByPolling has the socket belong to whom its client has logged in as
// by polling meanwhile, and reports whether it has.
func (s *socket) loggedInByPolling() bool {
	id := polled.get(s.polledBy, time.Now())
	if id == nil || checkRevoked(id) != nil || s.request.meetsRules(id) != nil {
		return false
	}
	s.logIn(id, nil)
	return true
}

// readCloser reads from one and closes the other.
type readCloser struct {
	io.Reader
	io.Closer
}

// setBody gives r another body.
func setBody(r *http.Request, body []byte) {
	r.Body = readCloser{bytes.NewReader(body), r.Body}
	r.ContentLength = int64(len(body))
	r.TransferEncoding = nil
	if r.Header.Get("Content-Length") != "" {
		r.Header["Content-Length"] = []string{strconv.Itoa(len(body))}
	}
}

// sameIdentity tells whether id is of whom old is.
func sameIdentity(old, id *auth.Identity) error {
	switch {
	case id.Issuer != old.Issuer || id.Verifier != old.Verifier:
		return auth.Refuse(reasonOtherIdentity, "the credential has another issuer")
	case id.Subject != old.Subject || id.Subject == "" && id.User != old.User:
		return auth.Refuse(reasonOtherIdentity, "the credential has another subject")
	case id.SessionID != "" && old.SessionID != "" && id.SessionID != old.SessionID:
		return auth.Refuse(reasonOtherIdentity, "the credential has another sid")
	}
	return nil
}
