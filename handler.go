package websocketauth

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/session"
)

// The closed sets of words in the configuration.
const (
	expiryClose  = "close"
	expiryIgnore = "ignore"

	rejectStatus = "status"
	rejectClose  = "close"

	httpPass         = "pass"
	httpAuthenticate = "authenticate"
	httpReject       = "reject"
)

// requestKind is what is done with a request.
type requestKind int

const (
	kindPassed  requestKind = iota // none of ours: as if there were no handler
	kindHTTP                       // authenticated like a handshake
	kindUpgrade                    // a handshake
)

// request is what is known of one request, for its placeholders and for
// handlers further in.
type request struct {
	kind    requestKind
	session string
	// clientIP is asked for once: the variables that hold it are not to be read
	// while handlers further in may set others.
	clientIP string
	// presented is where a credential was, good or bad; empty if nowhere.
	presented string
	reject    string // how handlers further in refuse unless they say
	// accepted: the client has been answered, and next is called for an
	// identity that a message has brought.
	accepted bool
	// control is of the answer; nil unless its body may log in.
	control *http.ResponseController
	// polledBy is the connection of a handshake that may take over from polling,
	// and login who has logged in on it, or on that of a request that polls.
	polledBy polledKey
	login    *polledLogin
	repl     *caddy.Replacer
	// shown is whose placeholders resolve: those of the innermost handler
	// that has asked for a credential.
	shown *atomic.Pointer[request]

	// mu guards the following: the access log reads them late, and messages
	// are judged by them.
	mu       sync.Mutex
	identity *auth.Identity
	source   string
	reason   auth.Reason
	policies []session.Policy
	rules    []auth.Rule
}

type requestKey struct{}

// outerRequest returns what a handler further out knows of r, or nil.
func outerRequest(r *http.Request) *request {
	q, _ := r.Context().Value(requestKey{}).(*request)
	return q
}

// isAccepted tells whether the client of r has been answered by a handler
// further out, which then ends the socket for any error.
func isAccepted(r *http.Request) bool {
	outer := outerRequest(r)
	return outer != nil && outer.accepted
}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	outer := outerRequest(r)
	if len(h.verifiers) == 0 && outer != nil {
		return h.tighten(w, r, next, outer)
	}
	forgetExtended(r)
	prove(r)
	wanted := proxy.Classify(r)
	if wanted == proxy.KindPlain {
		proxy.IgnoreOffer(r)
	}
	if h.isRenewal(r, wanted) {
		return h.serveRenewal(w, r)
	}
	q, err := newRequest(r, h.kindOf(r, wanted))
	switch {
	case err != nil:
		proxy.Disarm(r)
		return caddyhttp.Error(http.StatusInternalServerError, err)
	case len(h.verifiers) == 0:
		return h.turnAway(w, r, q, auth.Refuse(auth.ReasonMissing, "no websocket_auth with a verifier in front"))
	case wanted == proxy.KindTunnel:
		return h.turnAway(w, r, q, &proxy.HandshakeError{
			Status: http.StatusBadRequest, Detail: "a tunnel, or a list with websocket, or with a version of it, in Upgrade",
		})
	case q.kind != kindPassed:
		return h.disarm(w, r, q, h.authenticate(w, r, next, q))
	case h.HTTP == httpReject:
		return h.turnAway(w, r, q, auth.Refuse(reasonUpgrade, "not a websocket handshake"))
	case outer != nil:
		return h.disarm(w, r, q, h.servePlain(w, r, next, q)) // what the outer one knows counts on
	}
	return h.disarm(w, r, q, h.servePlain(w, q.on(r), next, q))
}

// prove has what the client of r has proved known to whoever verifies its
// credential, also one that comes in a message later. In place, because the
// server's own request is what has to be disarmed when it is refused.
func prove(r *http.Request) {
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		*r = *r.WithContext(auth.WithConnection(r.Context(), r.TLS))
	}
}

// on returns r for the handlers further in, which find q in it.
func (q *request) on(r *http.Request) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), requestKey{}, q))
}

// turnAway refuses what no credential could help. Whatever there is of one is
// taken out: the error page may be behind another proxy.
func (h *Handler) turnAway(w http.ResponseWriter, r *http.Request, q *request, err error) error {
	found, _ := h.take(r)
	return h.disarm(w, r, q, h.refuse(w, r, q, found.Answer, err))
}

// kindOf tells what is done with a request that wants wanted.
func (h *Handler) kindOf(r *http.Request, wanted proxy.Kind) requestKind {
	switch {
	case wanted != proxy.KindPlain:
		return kindUpgrade
	case h.HTTP == httpAuthenticate && !isPreflight(r):
		return kindHTTP
	}
	return kindPassed
}

// newRequest returns the state of r and makes its placeholders resolve.
func newRequest(r *http.Request, kind requestKind) (*request, error) {
	repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return nil, errors.New("the request has no replacer")
	}
	q := &request{kind: kind, clientIP: clientIP(r), repl: repl}
	q.addPlaceholders(outerRequest(r))
	return q, nil
}

// isPreflight tells whether r is a CORS preflight, which browsers send without
// any credential.
func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.ContentLength == 0 && r.Header.Get("Origin") != "" &&
		r.Header.Get("Access-Control-Request-Method") != ""
}

// isSameOriginFetch tells whether a browser says that a page of the same origin
// has sent r. It sends no Origin with a GET then, and no page can set this
// header.
func isSameOriginFetch(r *http.Request) bool {
	site := r.Header["Sec-Fetch-Site"]
	return len(r.Header["Origin"]) == 0 && len(site) == 1 && site[0] == "same-origin"
}

// isFromPage tells whether a page may have made a browser send r. Browsers say
// so in one of these headers: the first is in each handshake of theirs.
func isFromPage(r *http.Request) bool {
	site := r.Header["Sec-Fetch-Site"]
	return len(r.Header["Origin"]) > 0 || len(site) > 1 || len(site) == 1 && site[0] != "none"
}

// authenticate lets r on if it may, as an identity's.
func (h *Handler) authenticate(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, q *request) error {
	found, err := h.take(r)
	h.warnUnfiltered(found)
	q.presented = found.Source
	if h.poller != nil {
		q.control = http.NewResponseController(w)
	}
	own := err == nil // the request has a credential of its own
	identity, err := h.identify(r, q, found, err)
	if err == nil && own {
		err = h.checkPolled(r, q, identity)
	}
	if err != nil {
		return h.refuse(w, r, q, found.Answer, err)
	}
	q.tightenBy(h)
	q.reject = h.Reject
	if identity != nil {
		if q.presented == "" {
			q.presented = sourcePolling
		}
		q.mu.Lock()
		q.identity, q.source = identity, q.presented
		q.mu.Unlock()
		q.repl.Set(placeholderUser, auth.HeaderSafe(identity.User))
	}
	inner := q.on(r)
	if q.kind == kindHTTP && q.login != nil {
		q.session = q.login.session.ID
		return h.servePolled(w, inner, func(w http.ResponseWriter, r *http.Request) error {
			return h.servePlain(w, r, next, q)
		}, q)
	}
	if q.kind == kindHTTP {
		q.observeAdmitted()
		return h.servePlain(w, inner, next, q)
	}
	q.session = rand.Text()
	return h.serveSocket(w, inner, next, q, found.Answer)
}

// take takes the credential out of r, and out of the original URL, which Caddy
// puts back when a handler returns an error.
func (h *Handler) take(r *http.Request) (auth.Found, error) { return takeFrom(r, h.sources) }

// takeFrom is take with other sources.
func takeFrom(r *http.Request, sources auth.Sources) (found auth.Found, err error) {
	defer func() {
		if p := recover(); p != nil {
			found, err = auth.Found{}, fmt.Errorf("panic in a credential source: %T", p)
		}
	}()
	found, err = sources.Take(r)
	original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	if !ok || original.URL == nil || original.URL.RawQuery == "" {
		return found, err
	}
	scrubbed := original
	scrubbed.Header = http.Header{} // the sources may take from it; the real one is done
	sources.Strip(&scrubbed)
	if scrubbed.RequestURI != original.RequestURI {
		// Where a handler in front has handed on a copy, as tracing does, Caddy's
		// own request keeps the URI, which no placeholder is to show.
		if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
			repl.Set("http.request.orig_uri", scrubbed.RequestURI)
		}
		scrubbed.Header = original.Header
		*r = *r.WithContext(context.WithValue(r.Context(), caddyhttp.OriginalRequestCtxKey, scrubbed))
	}
	return found, err
}

// identify runs all checks, the cheap ones first. takeErr is what taking the
// credential said. It returns no identity and no error where a message of the
// socket's may still log in. A panic means deny.
func (h *Handler) identify(r *http.Request, q *request, found auth.Found, takeErr error) (id *auth.Identity, err error) {
	defer func() {
		if p := recover(); p != nil {
			id, err = nil, fmt.Errorf("panic while authenticating: %T", p)
		}
	}()
	if q.kind == kindUpgrade {
		if bad := proxy.CheckRequest(r); bad != nil {
			return nil, bad
		}
	}
	if r.TLS != nil && !r.TLS.HandshakeComplete {
		return nil, auth.Refuse(reasonEarlyData, "credentials in TLS early data can be replayed")
	}
	if !h.InsecurePlaintext && !isPrivate(r) {
		return nil, auth.Refuse(reasonPlaintext, "plain http from another machine; see insecure_plaintext")
	}
	if err := h.checkOrigin(r, q, found); err != nil {
		return nil, err
	}
	later := takeErr != nil && h.first != nil && reasonOf(takeErr) == auth.ReasonMissing &&
		(q.kind == kindUpgrade || h.poller != nil)
	if takeErr != nil && !later {
		return nil, takeErr
	}
	if err := h.app.ready(); err != nil {
		return nil, &auth.OutageError{Err: err}
	}
	h.warnForwarded(r)
	if later {
		if h.transport != nil {
			id, err = h.identifyPolled(r, q)
		}
		if id != nil && err == nil { // the id of a connection proves nothing
			err = id.CheckBinding(r.Context())
		}
		if id == nil && err == nil { // what is to come would be refused
			err = h.app.checkLockout(q.clientIP)
		}
		return id, err
	}
	id, err = h.vouched(r.Context(), found.Credential, q.clientIP, true)
	if err != nil {
		return nil, err
	}
	return id, meet(h.rules, id)
}

// checkOrigin judges from which page r comes. Nothing else about its credential
// is told before: where a cookie may hold it, another site's page could find out
// whether its visitor has one. So a request of a page's is judged as if it had.
func (h *Handler) checkOrigin(r *http.Request, q *request, found auth.Found) error {
	ambient := found.Ambient || found.MaybeAmbient && isFromPage(r)
	if q.kind == kindHTTP && isSameOriginFetch(r) {
		ambient = false
	}
	return h.origins.Check(r, scheme(r), ambient)
}

// vouched returns the identity that a verifier vouches for, unless it is
// revoked, or the client at ip is locked out. timed: how long that takes is
// measured; where each message has its credential, measuring costs as much.
func (h *Handler) vouched(ctx context.Context, credential, ip string, timed bool) (*auth.Identity, error) {
	if err := h.app.checkLockout(ip); err != nil {
		return nil, err
	}
	id, err := h.verify(ctx, credential, timed)
	if err != nil {
		h.app.countFailure(ip, err)
		return nil, err
	}
	return id, checkRevoked(id)
}

// meet checks all rules.
func meet(rules []auth.Rule, id *auth.Identity) error {
	for _, rule := range rules {
		if err := rule.Check(id); err != nil {
			return err
		}
	}
	return nil
}

// meetsRules checks the rules of all handlers that the request came through.
func (q *request) meetsRules(id *auth.Identity) error {
	q.mu.Lock()
	rules := q.rules
	q.mu.Unlock()
	return meet(rules, id)
}

// tightenBy has the rules and limits of h count, too, and returns the identity
// so far: nil if a message has yet to log in.
func (q *request) tightenBy(h *Handler) *auth.Identity {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.policies = append(slices.Clip(q.policies), h.policy)
	q.rules = append(slices.Clip(q.rules), h.rules...)
	return q.identity
}

// tighten is ServeHTTP for a handler without verifiers, behind another one
// that has authenticated the request as q.
func (h *Handler) tighten(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, q *request) error {
	if q.kind == kindPassed {
		return next.ServeHTTP(w, r) // let through by the outer one
	}
	err := h.origins.Check(r, scheme(r), false)
	if id := q.tightenBy(h); err == nil && id != nil {
		err = meet(h.rules, id)
	}
	if err == nil && q.login != nil {
		err = polled.limit(q.login, h.policy)
	}
	if err != nil {
		return h.refuse(w, r, q, "", err)
	}
	return next.ServeHTTP(w, r)
}
