package websocketauth

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/dialect"
)

// maxPolledBody is how long a body may be once somebody has logged in, unless a
// login may be longer. All of it is read.
const maxPolledBody = 1 << 20

// readPolled reads the body of a request of the transport, looks for a
// credential in it, and has what may go on stand in its place. before: nobody
// has logged in.
func (h *Handler) readPolled(r *http.Request, q *request, before bool) (credential string, found bool, err error) {
	limit := int64(maxPolledBody)
	if h.first != nil && (before || h.first.maxSize > limit) {
		limit = h.first.maxSize
	}
	if r.ContentLength > limit {
		return "", false, errPolledSize
	}
	body, err := h.readBody(r, q, limit, before)
	switch {
	case err != nil:
		return "", false, err
	case bytes.HasPrefix(body, []byte("d=")):
		return "", false, badTransport("polling by JSONP is not offered")
	case !utf8.Valid(body):
		return "", false, badTransport("the body is no UTF-8")
	}
	credential, forward, found, err := h.poller.PollingLogin(body)
	if err != nil {
		return "", false, brokenBy(err)
	}
	setBody(r, forward)
	return credential, found, nil
}

var errPolledSize = auth.Refuse(reasonMessageSize, "the body is longer than one is read")

// badTransport refuses what is no request of the transport's.
func badTransport(why string) error { return brokenBy(fmt.Errorf("%w: %s", dialect.ErrProtocol, why)) }

// readBody reads the body of r, of at most limit bytes. A request before the
// login counts as pending, and has as long as a message that logs in.
func (h *Handler) readBody(r *http.Request, q *request, limit int64, before bool) ([]byte, error) {
	reading := loginReading{control: q.control}
	if before {
		if err := q.control.SetReadDeadline(time.Now().Add(h.first.within)); err != nil {
			return nil, fmt.Errorf("bounding the time of a login: %w", err)
		}
		defer h.state.pending.Add(clientNetwork(clientIP(r)), h.pendingMax, h.pendingPerAddress, reading.evict)()
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	switch evicted := reading.end(); {
	case evicted:
		return nil, auth.Refuse(reasonPendingFull, "newer sockets are waiting")
	case before && errors.Is(err, os.ErrDeadlineExceeded):
		return nil, auth.Refuse(reasonLoginTimeout, "no login in time")
	case err != nil:
		return nil, auth.Refuse(reasonBadMessage, "the body cannot be read")
	case int64(len(body)) > limit:
		return nil, errPolledSize
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

// readCloser reads from one and closes the other.
type readCloser struct {
	io.Reader
	io.Closer
}

// setBody gives r another body.
func setBody(r *http.Request, body []byte) {
	r.Body = readCloser{bytes.NewReader(body), r.Body}
	r.ContentLength = int64(len(body))
	r.TransferEncoding, r.Trailer = nil, nil
	r.Header.Del("Trailer")
	if r.Header.Get("Content-Length") != "" {
		r.Header["Content-Length"] = []string{strconv.Itoa(len(body))}
	}
}
