package websocketauth

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/dialect"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/session"
)

// Why a socket ends, beside what the gate finds out by itself and the reasons
// of a refusal.
const (
	causeExpired    proxy.Cause = "expired"
	causeMaxSession proxy.Cause = "max_session"
	causeStopped    proxy.Cause = "stopped"
)

// How a socket ends whose time is over, in words that every client knows.
var (
	endExpired    = proxy.End{Cause: causeExpired, Code: proxy.CloseUnauthorized, Reason: "token expired"}
	endMaxSession = proxy.End{Cause: causeMaxSession, Code: proxy.CloseUnauthorized, Reason: "session over"}
	endStopped    = proxy.End{Cause: causeStopped, Code: proxy.CloseGoingAway, Reason: "server stopping"}
)

// The sockets of this process. They outlive the configuration under which
// they were opened, so nothing of theirs hangs on it.
var (
	sockets  session.Registry
	schedule session.Schedule
)

// socket is one live WebSocket: it joins what auth has said, until when, to
// the gate, which knows how to end it, and to the dialect, which knows how to
// say so.
type socket struct {
	handler   *Handler // whose rules it was opened under
	session   session.Session
	request   *request
	handshake *http.Request
	speaker   dialect.Speaker // nil without a dialect
	polledBy  polledKey
	login     atomic.Pointer[polledLogin] // by polling, that it has come of
	random    float64                     // its place within the jitter
	waiting   func()                      // ends its counting as pending

	mu       sync.Mutex // guards the following
	gate     *proxy.Gate
	timer    *session.Entry
	endsAs   *proxy.End     // asked for before the gate was there
	settled  bool           // the handlers behind have done with the handshake
	identity *auth.Identity // nil before login
	since    time.Time      // when its credential was presented
	prompted bool           // for a new one
	due      time.Time      // when an operator has ended it before its time
	pinger   *session.Entry
	heard    int64 // bytes of the client's when it was looked at last
	asked    bool  // by a ping, since then,
	pinged   bool  // which has gone out, and could be answered
	over     bool
	tally    tally
}

// serveSocket hands a handshake on and guards what comes of it. It returns
// when the socket has ended. Where q has no identity, a message has to log in.
func (h *Handler) serveSocket(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, q *request, answer string) error {
	h.warnCloseDelay(r)
	s := h.newSocket(r, q)
	if !sockets.Add(&s.session) {
		return h.refuse(w, r, q, answer, &auth.OutageError{Err: errors.New("this server is stopping")})
	}
	defer sockets.Remove(&s.session)
	defer s.handBackLogin()
	defer s.uncount()
	if q.identity != nil {
		// Registered first, then checked: no revocation slips between.
		if err := s.identify(q.identity); err != nil {
			sockets.Remove(&s.session) // it may be told so for a while, and is nobody's meanwhile
			return h.refuse(w, r, q, answer, err)
		}
	}
	defer liftReadTimeout(r)()
	defer h.retain()()
	if q.identity == nil {
		s.waiting = h.state.pending.Add(clientNetwork(s.request.clientIP), h.pendingMax, h.pendingPerAddress, func() {
			s.refuse(auth.Refuse(reasonPendingFull, "newer sockets are waiting"), nil)
		})
		defer s.waiting()
	}
	tunnel := proxy.NewTunnel(w, r, proxy.Options{
		Answer: answer, OnOpen: s.open, OnTaken: s.taken, Translate: s.translate, Reading: s.reading(),
	})
	returned := false
	defer func() {
		if !returned { // next has panicked
			tunnel.Abort()
			s.stopTimer()
			s.observeAborted()
		}
	}()
	err := s.serve(next, tunnel, answer)
	returned = true
	if s.endRefused(err) {
		err = nil
	}
	end, opened, err := tunnel.Finish(err)
	s.stopTimer()
	if opened {
		s.closed(r, end, err)
		return nil
	}
	if reasonOf(err) == reasonUpstream {
		return h.refuse(w, r, q, answer, err)
	}
	s.observeFailed(err)
	return err
}

// retainer is a verifier that needs something kept for sockets that outlive
// its configuration.
type retainer interface{ Retain() (release func()) }

// retain keeps what a socket needs that may present another credential.
func (h *Handler) retain() (release func()) {
	if h.renew == nil && h.dialect == nil {
		return func() {}
	}
	var releases []func()
	for _, v := range h.verifiers {
		if keeps, ok := v.Verifier.(retainer); ok {
			releases = append(releases, keeps.Retain())
		}
	}
	return func() {
		for _, release := range releases {
			release()
		}
	}
}

// newSocket returns the socket that is to come of the handshake r.
func (h *Handler) newSocket(r *http.Request, q *request) *socket {
	now := time.Now()
	s := &socket{
		handler: h, request: q, handshake: r,
		session:  session.Session{ID: q.session, Site: h.site(r), Opened: now},
		random:   rand.Float64(), //nolint:gosec // spreads load, guards nothing
		identity: q.identity, since: now, polledBy: q.polledBy,
	}
	s.login.Store(q.login)
	s.session.Socket = s
	s.session.Close = func() {
		s.mu.Lock()
		end := s.translateLocked(dialect.Stop, "server_stopping", endStopped, nil)
		s.mu.Unlock()
		s.endAs(end)
	}
	if h.dialect != nil {
		s.speaker = h.dialect.Start(h.opening(r, q))
	}
	return s
}

// serve has next serve the socket, when somebody has logged in.
func (s *socket) serve(next caddyhttp.Handler, tunnel *proxy.Tunnel, answer string) error {
	if s.request.identity == nil && !s.handler.first.early {
		gate, err := tunnel.Accept(s.handler.agreed(s.handshake, answer))
		if err != nil {
			return err
		}
		if !gate.AwaitLogin() {
			return nil
		}
		s.request.accepted = true
	}
	return serveTunnel(next, tunnel)
}

// serveTunnel has next serve a handshake.
func serveTunnel(next caddyhttp.Handler, tunnel *proxy.Tunnel) error {
	return serveUnless(tunnel.Failed, next, tunnel, tunnel.Request())
}

// open starts the clock of a socket whose handshake is done.
func (s *socket) open(g *proxy.Gate) {
	s.mu.Lock()
	s.gate = g
	s.since = time.Now()
	endsAs, pending := s.endsAs, s.identity == nil
	s.settled = !pending || s.handler.first != nil && s.handler.first.early
	s.observeUpgradedLocked()
	if pending {
		g.Queue(s.wordsLocked(dialect.Opened, "", nil).Messages...)
	}
	s.tickLocked()
	s.mu.Unlock()
	s.watchLife()
	g.Flush()
	if endsAs != nil {
		s.endAs(*endsAs)
	}
	if !pending {
		s.makeRoom()
		s.observeOpened()
		s.recheckLate()
	}
}

// taken is told that the handlers behind have done with the handshake of a
// client that was accepted before: some of them may have tightened the rules.
func (s *socket) taken() {
	s.mu.Lock()
	s.settled = true
	s.tickLocked()
	s.mu.Unlock()
	s.makeRoom()
	s.recheckLate()
}

// endAs ends the socket; one that is not open yet, as soon as it is.
func (s *socket) endAs(e proxy.End) {
	s.mu.Lock()
	g := s.gate
	s.over = true
	if g == nil && s.endsAs == nil {
		s.endsAs = &e
	}
	s.mu.Unlock()
	if l := s.login.Load(); l != nil { // polling must not go on
		polled.end(l, e.Cause, nil)
	}
	if g == nil {
		return
	}
	defer func() {
		if p := recover(); p != nil {
			s.handler.log().Error("panic while ending a socket", zap.String("type", fmt.Sprintf("%T", p)), zap.String("session", s.session.ID))
			_ = g.Close()
		}
	}()
	g.End(e)
}

func (s *socket) stopTimer() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	for _, entry := range []*session.Entry{s.timer, s.pinger} {
		if entry != nil {
			entry.Stop()
		}
	}
}

// closed writes down how the socket has ended. err is what a handler behind
// has returned for a client that was accepted before.
func (s *socket) closed(r *http.Request, end proxy.End, err error) {
	if end.Cause == proxy.CauseProxyClosed && caddy.Exiting() {
		end.Cause = causeStopped
	}
	if extra, ok := r.Context().Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields); ok {
		extra.Set(zap.String("websocket_session", s.session.ID))
		extra.Set(zap.String("websocket_source", s.source()))
		extra.Set(zap.String("websocket_end", string(end.Cause)))
	}
	if err != nil {
		s.handler.observeRefused(r, s.request, placeSocket, reasonUpstream, err)
	}
	s.observeEnded(end)
}

// current returns the identity that counts now, nil before login.
func (s *socket) current() *auth.Identity {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.identity
}

// log returns the logger of the configuration under which the handler serves
// or, when that is gone and its log may be closed, of the process.
func (h *Handler) log() *zap.Logger {
	select {
	case <-h.retired:
		return caddy.Log().Named("http.handlers.websocket_auth")
	default:
		return h.logger
	}
}
