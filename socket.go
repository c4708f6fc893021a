package websocketauth

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/session"
)

// Why a socket ends, beside what the gate finds out by itself.
const (
	causeExpired    proxy.Cause = "expired"
	causeMaxSession proxy.Cause = "max_session"
	causeStopped    proxy.Cause = "stopped"
)

// How a socket ends whose time is over.
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
// the gate, which knows how to end it.
type socket struct {
	session  session.Session
	request  *request
	logger   *zap.Logger
	retired  <-chan struct{}
	clientIP string

	mu     sync.Mutex // guards the following
	gate   *proxy.Gate
	timer  *session.Entry
	endsAs *proxy.End // asked for before the gate was there
}

// serveSocket hands an authenticated handshake on and guards what comes of it.
// It returns when the socket has ended.
func (h *Handler) serveSocket(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, q *request, answer string) error {
	h.warnCloseDelay(r)
	s := &socket{
		request: q, logger: h.logger, retired: h.retired, clientIP: clientIP(r),
		session: session.Session{ID: q.session, Site: h.site(r), Opened: time.Now()},
	}
	s.session.Close = func() { s.end(endStopped) }
	if !sockets.Add(&s.session) {
		return h.refuse(w, r, q, answer, &auth.OutageError{Err: errors.New("this server is stopping")})
	}
	defer sockets.Remove(&s.session)
	defer liftReadTimeout(r)()

	tunnel := proxy.NewTunnel(w, r, proxy.Options{Answer: answer, OnOpen: s.open})
	returned := false
	defer func() {
		if !returned { // next has panicked
			tunnel.Abort()
			s.stopTimer()
		}
	}()
	err := serveTunnel(next, tunnel)
	returned = true
	end, opened, err := tunnel.Finish(err)
	s.stopTimer()
	if opened {
		s.closed(r, end)
		return nil
	}
	if reasonOf(err) == reasonUpstream {
		return h.refuse(w, r, q, answer, err)
	}
	return err
}

// serveTunnel has next serve a handshake. reverse_proxy panics when it cannot
// write an answer: where the tunnel is what takes none, because it is wrong,
// the client can still be told.
func serveTunnel(next caddyhttp.Handler, tunnel *proxy.Tunnel) error {
	returned := false
	defer func() {
		if returned || !tunnel.Failed() {
			return
		}
		p := recover()
		if err, ok := p.(error); p != nil && !(ok && errors.Is(err, http.ErrAbortHandler)) {
			panic(p)
		}
	}()
	err := next.ServeHTTP(tunnel, tunnel.Request())
	returned = true
	return err
}

// open starts the clock of a socket whose handshake is done.
func (s *socket) open(g *proxy.Gate) {
	s.mu.Lock()
	s.gate = g
	endsAs := s.endsAs
	if at, limit := s.deadline(); limit != session.NoLimit {
		end := endExpired
		if limit == session.ByMax {
			end = endMaxSession
		}
		s.timer = schedule.Add(at, func() { s.end(end) })
	}
	s.mu.Unlock()
	if endsAs != nil {
		go s.end(*endsAs)
	}
	if c := s.logger.Check(zapcore.InfoLevel, "socket opened"); c != nil {
		c.Write(s.fields()...)
	}
}

// deadline returns the earliest moment at which a policy ends the socket.
func (s *socket) deadline() (time.Time, session.Limit) {
	var first time.Time
	limit := session.NoLimit
	for _, policy := range s.request.policies {
		at, by := policy.Deadline(s.session.Opened, s.request.identity.ValidUntil, rand.Float64()) //nolint:gosec // spreads load, guards nothing
		if by != session.NoLimit && (limit == session.NoLimit || at.Before(first)) {
			first, limit = at, by
		}
	}
	return first, limit
}

// end ends the socket; one that is not open yet, as soon as it is.
func (s *socket) end(e proxy.End) {
	s.mu.Lock()
	g := s.gate
	if g == nil && s.endsAs == nil {
		s.endsAs = &e
	}
	s.mu.Unlock()
	if g == nil {
		return
	}
	defer func() {
		if p := recover(); p != nil {
			s.logger.Error("panic while ending a socket", zap.Any("panic", p), zap.String("session", s.session.ID))
			_ = g.Close()
		}
	}()
	g.End(e)
}

func (s *socket) stopTimer() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer != nil {
		s.timer.Stop()
	}
}

// closed writes down how the socket has ended.
func (s *socket) closed(r *http.Request, end proxy.End) {
	if end.Cause == proxy.CauseProxyClosed && caddy.Exiting() {
		end.Cause = causeStopped
	}
	if extra, ok := r.Context().Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields); ok {
		extra.Set(zap.String("websocket_session", s.session.ID))
		extra.Set(zap.String("websocket_source", s.request.source))
		extra.Set(zap.String("websocket_end", string(end.Cause)))
	}
	if c := s.log().Check(zapcore.InfoLevel, "socket closed"); c != nil {
		c.Write(append(s.fields(),
			zap.String("cause", string(end.Cause)),
			zap.Uint16("code", uint16(end.Code)),
			zap.Duration("duration", time.Since(s.session.Opened)),
		)...)
	}
}

// log returns the logger of the configuration under which the socket was
// opened or, when that is gone and its log may be closed, of the process.
func (s *socket) log() *zap.Logger {
	select {
	case <-s.retired:
		return caddy.Log().Named("http.handlers.websocket_auth")
	default:
		return s.logger
	}
}

// fields are what each line about the socket has.
func (s *socket) fields() []zap.Field {
	id := s.request.identity
	return []zap.Field{
		zap.String("session", s.session.ID),
		zap.String("site", s.session.Site),
		zap.String("user", id.User),
		zap.String("issuer", id.Issuer),
		zap.String("source", s.request.source),
		zap.String("client_ip", s.clientIP),
		zap.Time("valid_until", id.ValidUntil),
	}
}
