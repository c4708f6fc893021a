package websocketauth

import (
	"mime"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
)

// transportRequest is what a request is to a dialect's transport.
type transportRequest struct {
	// exact: its path is that of the transport. Others could reach parts of the
	// application that no login guards.
	exact bool
	// key is the connection that it belongs to; of none if its id is empty.
	key polledKey
}

// transportOf tells what r is to the transport of the dialect, if that has one.
// Servers read paths and queries in their own ways. What one of them could take
// for a request of the transport, and another one not, or for another request,
// is an error: what goes on must be what was judged.
func (h *Handler) transportOf(r *http.Request, q *request) (t transportRequest, err error) {
	if h.transport == nil || q.kind == kindHTTP && h.poller == nil {
		return t, nil
	}
	query, queryErr := h.transport.ReadQuery(r.URL.RawQuery)
	t.exact = h.transport.Polls(r.URL.EscapedPath())
	may := t.exact || h.transport.MayPoll(r.URL.Path)
	switch {
	case !may && (q.kind == kindUpgrade || !query.Named):
		return t, nil // something else of the application's
	case !t.exact && q.kind == kindHTTP:
		if may && queryErr == nil && !query.Any && isBare(r) {
			return t, nil // such as the client's script
		}
		return t, badTransport("the path is not exactly that of the transport, see path of the dialect")
	case queryErr != nil:
		return t, brokenBy(queryErr)
	case query.JSONP:
		return t, badTransport("polling by JSONP is not offered")
	case len(query.ID) > maxPolledID:
		return t, badTransport("the sid in the query is too long")
	case q.kind == kindUpgrade:
		if query.Version != "4" && query.Version != "3" || query.Transport != "" && query.Transport != "websocket" {
			return t, badTransport("the query of a handshake has EIO=4 or EIO=3, and no transport but websocket")
		}
	case query.Version != "4" || query.Transport != "polling":
		return t, badTransport("the query of a request that polls has EIO=4 and transport=polling")
	default:
		err = checkPollingRequest(r, query.ID)
	}
	if err == nil && t.exact && query.ID != "" {
		t.key = polledKey{polledConn{h.site(r), hostOf(r), query.ID}, h.trust}
	}
	return t, err
}

// checkUnread refuses a request that carries messages of the dialect's, which
// could hold a credential that nobody has verified. Servers take paths with more
// slashes, in other letters or with parameters for the same.
func (h *Handler) checkUnread(r *http.Request) error {
	if h.dialect == nil {
		return nil
	}
	segments := strings.FieldsFunc(strings.ToLower(r.URL.Path), func(c rune) bool { return c == '/' || c == '\\' })
	for i := range segments {
		segments[i], _, _ = strings.Cut(segments[i], ";") // each has parameters of its own
		segments[i] = strings.TrimSpace(segments[i])
	}
	if slices.Contains(h.dialect.Traits().Unread, path.Base(path.Clean("/"+strings.Join(segments, "/")))) {
		return badTransport("the messages in its plain requests are not read: clients must connect by WebSocket")
	}
	return nil
}

// isBare tells whether r can carry nothing in a body.
func isBare(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && r.ContentLength == 0
}

// checkPollingRequest judges the rest of a request that polls. A body that
// servers read in more than one way is as good as unread.
func checkPollingRequest(r *http.Request, id string) error {
	switch {
	case r.Method == http.MethodGet && r.ContentLength == 0:
		return nil
	case r.Method != http.MethodPost:
		return badTransport("only GET without a body and POST poll")
	case id == "":
		return badTransport("a POST begins no connection: it has no sid")
	case len(r.Header["Content-Encoding"]) > 0:
		return badTransport("the body is encoded")
	}
	kinds := r.Header["Content-Type"]
	switch {
	case len(kinds) == 0:
		return nil
	case len(kinds) > 1:
		return badTransport("the body has two types")
	}
	kind, params, err := mime.ParseMediaType(kinds[0])
	charset, charsetGiven := params["charset"]
	switch {
	case err != nil || kind != "text/plain":
		return badTransport("the body is no text/plain")
	case len(params) > 1 || len(params) == 1 && !charsetGiven || charsetGiven && !strings.EqualFold(charset, "utf-8"):
		return badTransport("the body is in another charset than UTF-8")
	}
	return nil
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
