package websocketauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
)

// Some clients, those of Socket.IO above all, begin with plain HTTP requests
// and log in by the body of one. All later requests, and the socket that takes
// over from them, have no credential but the id that the application gave out
// for the connection. That id then stands for the identity.

// maxPolledID is how long the id of a connection may be, in bytes. Real ones
// have 20.
const maxPolledID = 256

// identifyPolled identifies a request without a credential of a client that
// polls. It returns no identity and no error for what may come before login: a
// handshake, and the request that begins a connection.
func (h *Handler) identifyPolled(r *http.Request, q *request) (*auth.Identity, error) {
	t, err := h.transportOf(r, q)
	if q.kind == kindUpgrade {
		if err != nil {
			return nil, err
		}
		return h.identifyTakeover(r, q, t)
	}
	switch {
	case !t.exact || r.Method != http.MethodGet && r.Method != http.MethodPost:
		return nil, errNoPolledLogin
	case err != nil:
		return nil, err
	case t.key.id == "" && r.Method == http.MethodGet:
		return nil, nil //nolint:nilnil // see above
	}
	h.warnUnfiltered(auth.Found{Source: sourceQuery}) // the id is as good as a credential
	if r.Method == http.MethodPost {
		return h.identifyPost(r, q, t.key)
	}
	if polled.get(t.key) == nil {
		return h.awaitPolledLogin(r, q, t.key)
	}
	return h.usePolled(r, q, t.key)
}

// identifyTakeover identifies the handshake of a socket that takes over from
// polling.
func (h *Handler) identifyTakeover(r *http.Request, q *request, t transportRequest) (*auth.Identity, error) {
	q.polledBy = t.key
	if polled.get(t.key) != nil {
		return h.usePolled(r, q, t.key)
	}
	return nil, polled.endOf(t.key, time.Now())
}

var errNoPolledLogin = auth.Refuse(auth.ReasonMissing, "no configured source holds a credential, and nobody has logged in by polling")

// usePolled returns who has logged in on a connection.
func (h *Handler) usePolled(r *http.Request, q *request, key polledKey) (*auth.Identity, error) {
	l := polled.get(key)
	if l == nil {
		if over := polled.endOf(key, time.Now()); over != nil {
			return nil, over
		}
		return nil, errNoPolledLogin
	}
	id, err := h.judgePolled(r.Context(), l)
	if err != nil {
		return nil, err
	}
	q.login = l
	return id, nil
}

// judgePolled judges a login as if its credential had come again: by whether it
// is revoked, its time, its key, and the rules. For all but the rules, which
// another part of the site may not have, it ends for good.
func (h *Handler) judgePolled(ctx context.Context, l *polledLogin) (*auth.Identity, error) {
	id, err := polled.state(l, time.Now())
	if err != nil {
		return nil, err
	}
	if err := checkRevoked(id); err != nil {
		polled.end(l, endRevoked.Cause, err)
		return nil, err
	}
	if err := id.CheckBinding(ctx); err != nil {
		return nil, err // of this client, which need not be that of the login
	}
	// One that cannot tell has vouched under this very configuration: see trustOf.
	if err := h.vouchesStill(ctx, id); err != nil && !errors.Is(err, errCannotTell) {
		polled.end(l, causeKeyGone, err)
		return nil, err
	}
	return id, meet(h.rules, id)
}

// awaitPolledLogin keeps a request for the application's messages until the
// connection has logged in: clients send it beside their login. Before that,
// and after the end of a credential, the application is not asked, so that
// nothing of its goes out. The request counts as pending.
func (h *Handler) awaitPolledLogin(r *http.Request, q *request, key polledKey) (*auth.Identity, error) {
	if over := polled.endOf(key, time.Now()); over != nil {
		return nil, over
	}
	ctx, evict := context.WithCancelCause(r.Context())
	defer evict(nil)
	done := h.state.pending.Add(clientNetwork(q.clientIP), h.pendingMax, h.pendingPerAddress, func() {
		evict(auth.Refuse(reasonPendingFull, "newer sockets are waiting"))
	})
	defer done()
	limited, cancel := context.WithTimeout(ctx, h.first.within)
	defer cancel()
	polled.await(limited, key)
	if evicted, is := errors.AsType[*auth.RefusedError](context.Cause(limited)); is {
		return nil, evicted
	}
	return h.usePolled(r, q, key)
}

// identifyPost looks for a login in the body of r. Where somebody has logged in
// before, each credential in it must be of the same identity.
func (h *Handler) identifyPost(r *http.Request, q *request, key polledKey) (*auth.Identity, error) {
	before := polled.get(key) == nil
	if !before { // the application is not to be had by one that is over
		if _, err := h.usePolled(r, q, key); err != nil {
			return nil, err
		}
	}
	credential, found, err := h.readPolled(r, q, before)
	switch {
	case err != nil:
		return nil, err
	case found:
		q.presented = sourcePolling
		return h.loginPolled(r, q, key, credential)
	case before:
		if over := polled.endOf(key, time.Now()); over != nil {
			return nil, over
		}
		return nil, auth.Refuse(auth.ReasonMissing, "a message before the login")
	}
	return h.usePolled(r, q, key) // much may have happened while it was read
}

// checkPolled judges a request that a credential of its own has let in as id's:
// it must be no request of the transport, or exactly one, and nothing in it may
// be somebody else's.
func (h *Handler) checkPolled(r *http.Request, q *request, id *auth.Identity) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic while reading a request: %T", p)
		}
	}()
	if q.kind == kindHTTP {
		if err := h.checkUnread(r); err != nil {
			return err
		}
	}
	t, err := h.transportOf(r, q)
	if err != nil || !t.exact {
		return err
	}
	if err := polled.claim(t.key.polledConn, id, time.Now()); err != nil {
		return err
	}
	if q.kind != kindHTTP || r.Method != http.MethodPost {
		return nil
	}
	credential, found, err := h.readPolled(r, q, false)
	if err != nil || !found {
		return err
	}
	inside, err := h.verifyPolled(r, credential)
	if err != nil {
		return err
	}
	return sameIdentity(id, inside)
}

// loginPolled verifies a credential that has come in a body, and has it log in.
func (h *Handler) loginPolled(r *http.Request, q *request, key polledKey, credential string) (*auth.Identity, error) {
	id, err := h.verifyPolled(r, credential)
	if err != nil {
		return nil, err
	}
	if old := polled.get(key); old != nil {
		if renewed, err := polled.renew(old, id); renewed || err != nil {
			q.login = old
			return id, err
		}
	}
	if q.login, err = h.begin(h.newPolledLogin(r, q, key, id), id); err != nil {
		return nil, err
	}
	return id, nil
}

// verifyPolled verifies a credential that has come in a body.
func (h *Handler) verifyPolled(r *http.Request, credential string) (*auth.Identity, error) {
	if credential == "" || len(credential) > auth.MaxCredential {
		return nil, auth.Refuse(auth.ReasonMalformed, "the credential is empty or too long")
	}
	id, err := h.vouched(r.Context(), credential, clientIP(r), true)
	if err != nil {
		return nil, err
	}
	return id, meet(h.rules, id)
}

// loggedInByPolling has the socket belong to whom its client has logged in as
// by polling meanwhile, and reports whether it has.
func (s *socket) loggedInByPolling() bool {
	l := polled.get(s.polledBy)
	if l == nil {
		return false
	}
	id, err := s.handler.judgePolled(s.handshake.Context(), l)
	if err != nil || s.request.meetsRules(id) != nil {
		return false
	}
	s.login.Store(l)
	s.logIn(id, nil)
	return true
}

// handBackLogin gives up the login by polling that the socket has come of.
func (s *socket) handBackLogin() {
	if l := s.login.Load(); l != nil {
		s.mu.Lock()
		opened := s.gate != nil
		s.mu.Unlock()
		polled.handBack(l, s, opened)
	}
}

// servePolled has next serve a request that q's login vouches for. When that
// ends, the request does, too.
func (h *Handler) servePolled(w http.ResponseWriter, r *http.Request, next serveFunc, q *request) error {
	ctx, cut := context.WithCancelCause(r.Context())
	defer cut(nil)
	use, err := polled.enter(q.login, h, cut)
	if err != nil {
		return h.refuse(w, r, q, "", err)
	}
	var over error
	left := false
	leave := func() {
		left, over = true, polled.exit(q.login, use, r.Method == http.MethodGet && r.Context().Err() != nil)
		if over == nil && r.Method == http.MethodPost && polled.settle(q.login, q) {
			q.login.recheckLate()
		}
	}
	defer func() {
		if !left { // next has panicked
			leave()
		}
	}()
	// Entered first, then judged: nothing that ends the login slips between.
	if _, err := h.judgePolled(ctx, q.login); err != nil {
		return h.refuse(w, r, q, "", err)
	}
	q.observeAdmitted()
	answer := &cutWriter{ResponseWriter: w, ctx: ctx}
	err = next(answer, r.WithContext(ctx))
	leave()
	if over == nil {
		return err
	}
	if answer.begun {
		panic(http.ErrAbortHandler) // what is there must not look complete
	}
	return refuseStatus(w.Header(), r, reasonOf(over), over)
}

// serveFunc is what a handler further in does.
type serveFunc func(http.ResponseWriter, *http.Request) error

// cutWriter is the answer to a request, of which nothing goes on once its
// context has ended. It has none of the other methods that w may have, by which
// more could be written.
type cutWriter struct {
	http.ResponseWriter
	ctx   context.Context
	begun bool
}

// Unwrap is for [http.ResponseController], which flushes and sets deadlines.
func (c *cutWriter) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// WriteHeader implements [http.ResponseWriter].
func (c *cutWriter) WriteHeader(status int) {
	if c.ctx.Err() == nil {
		c.begun = c.begun || status >= http.StatusOK
		c.ResponseWriter.WriteHeader(status)
	}
}

// Write implements [http.ResponseWriter].
func (c *cutWriter) Write(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	c.begun = true
	return c.ResponseWriter.Write(p)
}
