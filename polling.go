package websocketauth

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"sync"
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

// polledBy returns the connection that r belongs to; none if its id is empty.
func (h *Handler) polledBy(r *http.Request) polledKey {
	if h.poller == nil {
		return polledKey{}
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if ids := query["sid"]; err == nil && len(ids) == 1 && len(ids[0]) <= maxPolledID {
		return polledKey{h.site(r), hostOf(r), h.trust, ids[0]}
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
		return h.identifyPost(r, q, key, id)
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
func (h *Handler) identifyPost(r *http.Request, q *request, key polledKey, id *auth.Identity) (*auth.Identity, error) {
	limit := h.first.maxSize
	if id != nil && r.ContentLength > limit {
		return id, nil // too long to be a login
	}
	body, err := h.readLogin(r, q, id == nil)
	if err != nil {
		return nil, err
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
		q.presented = sourcePolling
		return h.loginPolled(r, key, credential)
	case id != nil:
		return id, nil
	}
	return nil, auth.Refuse(auth.ReasonMissing, "a message before the login")
}

// readLogin reads as much of the body of r as a login may have, and a byte more.
// A request before the login counts as pending, and has as long as a message
// that logs in.
func (h *Handler) readLogin(r *http.Request, q *request, before bool) ([]byte, error) {
	reading := loginReading{control: q.control}
	if before {
		if err := q.control.SetReadDeadline(time.Now().Add(h.first.within)); err != nil {
			return nil, fmt.Errorf("bounding the time of a login: %w", err)
		}
		defer h.state.pending.Add(clientNetwork(clientIP(r)), h.pendingMax, h.pendingPerAddress, reading.evict)()
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, h.first.maxSize+1))
	switch evicted := reading.end(); {
	case evicted:
		return nil, auth.Refuse(reasonPendingFull, "newer sockets are waiting")
	case before && errors.Is(err, os.ErrDeadlineExceeded):
		return nil, auth.Refuse(reasonLoginTimeout, "no login in time")
	case err != nil:
		return nil, auth.Refuse(reasonBadMessage, "the body cannot be read")
	case before:
		_ = q.control.SetReadDeadline(time.Time{}) // what fails here has failed before
	}
	return body, nil
}

// loginReading is the reading of a body that may log in. Its methods are safe
// for concurrent use.
type loginReading struct {
	control *http.ResponseController

	mu            sync.Mutex // guards the following
	evicted, over bool
}

// evict ends the reading, to make room for others. If it has come to its end
// meanwhile, the answer is left alone: its request may be over.
func (l *loginReading) evict() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.over {
		l.evicted = true
		_ = l.control.SetReadDeadline(time.Unix(1, 0))
	}
}

// end notes that there is nothing more to read, and reports whether the reading
// was ended before.
func (l *loginReading) end() (evicted bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	return l.evicted
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
	case id.Block != old.Block || id.Verifier != old.Verifier:
		return auth.Refuse(reasonOtherIdentity, "another verifier has vouched for the credential")
	case id.Issuer != old.Issuer:
		return auth.Refuse(reasonOtherIdentity, "the credential has another issuer")
	case id.Subject != old.Subject || id.Subject == "" && id.User != old.User:
		return auth.Refuse(reasonOtherIdentity, "the credential has another subject")
	case id.SessionID != "" && old.SessionID != "" && id.SessionID != old.SessionID:
		return auth.Refuse(reasonOtherIdentity, "the credential has another sid")
	}
	return nil
}
