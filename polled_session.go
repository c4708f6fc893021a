package websocketauth

import (
	"context"
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/session"
)

// live is what a session of the registry is: a socket, or a login by polling
// that no socket has taken over. None of its methods waits.
type live interface {
	info() sessionInfo
	// endByAdmin, revoke, replace and expireNow end it, and report whether it had
	// not been ended before; recheckBy and endUnguarded do so if they must.
	endByAdmin(code proxy.CloseCode, reason string) bool
	revoke() bool
	replace() bool
	expireNow() (g *proxy.Gate, acted bool)
	recheckBy(a *App)
	endUnguarded()
	// isEnding tells whether nothing passes any more.
	isEnding() bool
	// queue has the client told m.
	queue(m proxy.Message) *proxy.Gate
}

// statePolling is the state of a login by polling, as the admin API calls it.
const statePolling = "polling"

// newPolledLogin returns the login that r is, of id.
func (h *Handler) newPolledLogin(r *http.Request, q *request, key polledKey, id *auth.Identity) *polledLogin {
	now := time.Now()
	kept := r.Clone(context.WithoutCancel(r.Context()))
	kept.Body, kept.ContentLength, kept.GetBody = http.NoBody, 0, nil
	l := &polledLogin{
		key: key, request: kept, by: q, clientIP: q.clientIP, handler: h, identity: id, since: now,
		session:  session.Session{ID: rand.Text(), Site: key.site, Opened: now},
		random:   mathrand.Float64(), //nolint:gosec // spreads load, guards nothing
		policies: []session.Policy{h.policy},
	}
	l.session.Socket = l
	l.session.Close = func() { polled.end(l, causeStopped, nil) }
	return l
}

// begin has l count, which nobody knows of yet, or renews the login that has come
// on the same connection meanwhile. It returns the one that counts.
func (h *Handler) begin(l *polledLogin, id *auth.Identity) (*polledLogin, error) {
	if !sockets.Add(&l.session) {
		return nil, errStopping
	}
	// Registered first, then checked: no revocation slips between.
	sockets.Identify(&l.session, sessionIdentity(id))
	err := checkRevoked(id)
	if err == nil {
		err = h.checkRoom(&l.session, id)
	}
	counts := l
	if err == nil {
		counts, err = polled.put(l, time.Now())
	}
	if err != nil || counts != l {
		sockets.Remove(&l.session)
		return counts, err
	}
	notify(h.log(), zap.InfoLevel, noticePolled, l.fields)
	h.makeRoom(&l.session, id)
	return l, nil
}

// info returns how the login is at this moment.
func (l *polledLogin) info() sessionInfo {
	polled.mu.Lock()
	defer polled.unlock()
	id, until := l.identity, l.identity.ValidUntil.UTC()
	i := sessionInfo{
		ID: l.session.ID, Site: l.session.Site, Dialect: l.handler.dialectName, Source: sourcePolling,
		State: statePolling, ClientIP: l.clientIP, OpenedAt: l.session.Opened.UTC(), ValidUntil: &until,
		Subject: id.Subject, Issuer: id.Issuer, TokenID: id.TokenID, SessionID: id.SessionID, Verifier: id.Verifier,
	}
	if l.over != nil {
		i.State = stateClosing
	}
	return i
}

// endByAdmin ends the login. There is no close frame to put a code into.
func (l *polledLogin) endByAdmin(proxy.CloseCode, string) bool { return polled.end(l, causeAdmin, nil) }

func (l *polledLogin) revoke() bool { return polled.end(l, endRevoked.Cause, nil) }

func (l *polledLogin) replace() bool { return polled.end(l, endReplaced.Cause, nil) }

// expireNow ends the login: nobody can be asked for another credential.
func (l *polledLogin) expireNow() (*proxy.Gate, bool) { return nil, polled.end(l, causeExpired, nil) }

// queue returns nil: there is no way to say anything.
func (l *polledLogin) queue(proxy.Message) *proxy.Gate { return nil }

func (l *polledLogin) isEnding() bool {
	polled.mu.Lock()
	defer polled.unlock()
	return l.over != nil
}

func (l *polledLogin) isSettled() bool {
	polled.mu.Lock()
	defer polled.unlock()
	return l.settled
}

// guard returns the handler that has let the login in, the latest of them.
func (l *polledLogin) guard() *Handler {
	polled.mu.Lock()
	defer polled.unlock()
	return l.handler
}

// endUnguarded ends the login if it asks to be checked again.
func (l *polledLogin) endUnguarded() {
	if l.guard().recheck {
		l.endRechecked()
	}
}

// recheckBy judges the login by the handlers of a newer configuration. A panic
// ends it.
func (l *polledLogin) recheckBy(a *App) {
	defer func() {
		if p := recover(); p != nil {
			polled.end(l, endRechecked.Cause, fmt.Errorf("panic while checking a login again: %T", p))
		}
	}()
	own := l.guard()
	id, over := polled.state(l, time.Now())
	if over != nil || own.app == a || !own.recheck && !a.rechecks.Load() || !l.isSettled() {
		// The handlers behind may be changing what is known of the request: it is
		// judged when they are done.
		return
	}
	guard := guardOf(l.request, a.servers())
	switch {
	case guard == nil && own.recheck:
	case guard != nil && guard.recheck && (guard.trust != l.key.trust || !guard.wouldAdmit(l.request, sourcePolling, id)):
	default:
		return
	}
	l.endRechecked()
}

func (l *polledLogin) endRechecked() {
	if polled.end(l, endRechecked.Cause, nil) {
		l.guard().log().Info("login by polling refused by the new configuration", zap.String("session", l.session.ID))
	}
}

// recheckLate judges a login whose request came before a reload, and was served
// meanwhile: recheck has not seen it, or left it alone.
func (l *polledLogin) recheckLate() {
	own, current := l.guard(), announced.app.Load()
	switch {
	case current == nil && own.app.held.Load() == nil:
		l.endUnguarded()
	case current != nil && current.generation > own.app.generation:
		l.recheckBy(current)
	}
}

// generation tells configurations apart: a later one has a greater one.
func (h *Handler) generation() int64 {
	if h.app == nil {
		return 0
	}
	return h.app.generation
}

var (
	noticePolled      = notice{"logged in by polling", "websocket_auth_polled"}
	noticePolledEnded = notice{"login by polling ended", "websocket_auth_polled_ended"}
)

// fields are what each line about the login has.
func (l *polledLogin) fields() []zap.Field {
	polled.mu.Lock()
	defer polled.unlock()
	fields := lineFields(l.session.ID, l.session.Site, l.clientIP, sourcePolling, l.handler.dialectName, l.identity)
	return append(fields, zap.Time("valid_until", l.identity.ValidUntil))
}

// observeEnded tells how the login has ended.
func (l *polledLogin) observeEnded() {
	notify(l.guard().log(), zap.InfoLevel, noticePolledEnded, func() []zap.Field {
		polled.mu.Lock()
		cause := l.cause
		polled.mu.Unlock()
		return append(l.fields(), zap.String("cause", string(cause)), zap.Duration("duration", time.Since(l.session.Opened)))
	})
}

// livesOf returns what the sessions are that a filter means.
func livesOf(filter session.Filter) (all []live) {
	for _, found := range sockets.Find(filter) {
		if one, ok := found.Socket.(live); ok {
			all = append(all, one)
		}
	}
	return all
}
