package proxy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"time"
)

// errPlainTunnel is what a handler gets that wants to make a tunnel of a
// request that is an ordinary one. It is what handlers know from HTTP/2.
var errPlainTunnel = fmt.Errorf("an ordinary request behind websocket_auth cannot become a tunnel: %w", http.ErrNotSupported)

// Plain is the http.ResponseWriter for the handlers behind a request that is
// to stay an ordinary one, so that none of them makes a tunnel of it: nobody
// would guard that. A 101 and all that comes after it is forgotten, and Hijack
// is an error.
//
// It has no Unwrap, which would lead around that: to Hijack, to the stream of
// HTTP/3, and to a WriteHeader that takes a 101. What else an
// [http.ResponseController] can do it does itself.
type Plain struct {
	w        http.ResponseWriter
	extended func() bool
	// before is the answer's header as it was before the next handler.
	before http.Header
	// header is what handlers write to whose answer is forgotten.
	header   http.Header
	answered bool
	// tried: a handler has asked for the connection.
	tried  bool
	failed error
}

// NewPlain returns a writer for the handlers behind w. extended tells whether
// one of them has made an extended CONNECT of the request, which is a tunnel
// without a 101 and without a Hijack.
func NewPlain(w http.ResponseWriter, extended func() bool) *Plain {
	return &Plain{w: w, extended: extended, before: maps.Clone(w.Header())}
}

// Header implements http.ResponseWriter.
func (p *Plain) Header() http.Header {
	if p.failed != nil {
		return p.header
	}
	return p.w.Header()
}

// WriteHeader implements http.ResponseWriter.
func (p *Plain) WriteHeader(status int) {
	switch {
	case p.failed != nil || p.answered:
	case status == http.StatusSwitchingProtocols:
		p.fail("a handler answered 101 to an ordinary request")
	case status < 200:
		p.w.WriteHeader(status)
	case p.extended():
		p.fail("a handler made an extended CONNECT of an ordinary request")
	default:
		p.answered = true
		p.w.WriteHeader(status)
	}
}

// fail forgets what has been answered, and what will be.
func (p *Plain) fail(detail string) {
	p.failed = &UpstreamError{Err: errors.New(detail)}
	h := p.w.Header()
	p.header = maps.Clone(h)
	clear(h)
	maps.Copy(h, p.before)
}

// begin begins an answer without a status, as net/http does.
func (p *Plain) begin() error {
	p.WriteHeader(http.StatusOK)
	return p.failed
}

// Write implements http.ResponseWriter.
func (p *Plain) Write(b []byte) (int, error) {
	if err := p.begin(); err != nil {
		return 0, err
	}
	return p.w.Write(b)
}

// ReadFrom implements io.ReaderFrom, by which files are sent without a copy.
func (p *Plain) ReadFrom(r io.Reader) (int64, error) {
	if err := p.begin(); err != nil {
		return 0, err
	}
	if fast, ok := p.w.(io.ReaderFrom); ok {
		return fast.ReadFrom(r)
	}
	return io.Copy(p.w, r)
}

// FlushError is what http.ResponseController looks for.
func (p *Plain) FlushError() error {
	if err := p.begin(); err != nil {
		return err
	}
	return http.NewResponseController(p.w).Flush()
}

// Flush implements http.Flusher.
func (p *Plain) Flush() { _ = p.FlushError() }

// Hijack implements http.Hijacker. It is always an error: of a request for
// which there is a good reason to take it over nobody knows that it is one.
func (p *Plain) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	p.tried = true
	return nil, nil, errPlainTunnel
}

// SetReadDeadline is what http.ResponseController looks for.
func (p *Plain) SetReadDeadline(deadline time.Time) error {
	return http.NewResponseController(p.w).SetReadDeadline(deadline)
}

// SetWriteDeadline is what http.ResponseController looks for.
func (p *Plain) SetWriteDeadline(deadline time.Time) error {
	return http.NewResponseController(p.w).SetWriteDeadline(deadline)
}

// EnableFullDuplex is what http.ResponseController looks for.
func (p *Plain) EnableFullDuplex() error {
	return http.NewResponseController(p.w).EnableFullDuplex()
}

// Push implements http.Pusher.
func (p *Plain) Push(target string, o *http.PushOptions) error {
	if pusher, ok := p.w.(http.Pusher); ok {
		return pusher.Push(target, o)
	}
	return http.ErrNotSupported
}

// Failed reports whether nothing of what handlers answer is taken.
func (p *Plain) Failed() bool { return p.failed != nil }

// Answered reports whether the client has been answered.
func (p *Plain) Answered() bool { return p.answered }

// Err returns an [*UpstreamError] if a handler has tried to make a tunnel of
// the request. Unless the client has been answered, it is to be told.
func (p *Plain) Err() error {
	if p.failed == nil && p.tried {
		return &UpstreamError{Err: errors.New("a handler asked for the connection of an ordinary request")}
	}
	return p.failed
}
