package integration

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// backend is an application that knows nothing of tokens: it echoes what it is
// sent, and remembers all that it has seen, to the byte.
type backend struct {
	addr string

	listener    net.Listener
	server      *http.Server
	upgrader    websocket.Upgrader
	subprotocol string // answered: "" none, "first" the first that is offered, else this

	mu       sync.Mutex
	wire     []*recordingConn
	requests []*backendRequest
	changed  chan struct{} // closed, and replaced, when there is news
}

// backendRequest is one request as the application got it. Its members are
// for reading after [backend.wait] or [backendRequest.waitClosed].
type backendRequest struct {
	method, uri, host string
	header            http.Header

	mu        sync.Mutex
	messages  []string
	closeCode int // of the close frame it got; 1006 for none
	closed    chan struct{}
}

type backendOption func(*backend)

// answering sets the subprotocol that the application answers: "first" means
// the first that is offered. Without it the application answers none.
func answering(subprotocol string) backendOption {
	return func(b *backend) { b.subprotocol = subprotocol }
}

// compressing makes the application agree to permessage-deflate.
func compressing() backendOption {
	return func(b *backend) { b.upgrader.EnableCompression = true }
}

// newBackend returns a running application; it ends with the test.
func newBackend(t testing.TB, options ...backendOption) *backend {
	t.Helper()
	b := startBackend(options...)
	t.Cleanup(b.close)
	return b
}

// startBackend is newBackend for one that outlives a test.
func startBackend(options ...backendOption) *backend {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	b := &backend{addr: listener.Addr().String(), changed: make(chan struct{})}
	b.upgrader.CheckOrigin = func(*http.Request) bool { return true }
	for _, option := range options {
		option(b)
	}
	b.listener = &recordingListener{listener, b}
	b.server = &http.Server{Handler: b, ReadHeaderTimeout: patience}
	go b.server.Serve(b.listener)
	return b
}

func (b *backend) close() {
	_ = b.server.Close()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, conn := range b.wire {
		_ = conn.Close() // hijacked ones, too
	}
}

// ServeHTTP implements http.Handler.
func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	seen := &backendRequest{
		method: r.Method, uri: r.RequestURI, host: r.Host, header: r.Header.Clone(), closed: make(chan struct{}),
	}
	b.mu.Lock()
	b.requests = append(b.requests, seen)
	b.mu.Unlock()
	b.news()
	defer b.news()
	defer close(seen.closed)
	if !websocket.IsWebSocketUpgrade(r) {
		_, _ = w.Write([]byte("backend"))
		return
	}
	header := http.Header{}
	offered := websocket.Subprotocols(r)
	switch {
	case b.subprotocol == "first" && len(offered) > 0:
		header.Set("Sec-Websocket-Protocol", offered[0])
	case b.subprotocol != "" && b.subprotocol != "first":
		header.Set("Sec-Websocket-Protocol", b.subprotocol)
	}
	conn, err := b.upgrader.Upgrade(w, r, header)
	if err != nil {
		return
	}
	b.echo(conn, seen)
}

func (b *backend) echo(conn *websocket.Conn, seen *backendRequest) {
	defer conn.Close()
	for {
		kind, message, err := conn.ReadMessage()
		if err != nil {
			code := websocket.CloseAbnormalClosure
			if closed, ok := errors.AsType[*websocket.CloseError](err); ok {
				code = closed.Code
			}
			seen.mu.Lock()
			seen.closeCode = code
			seen.mu.Unlock()
			return
		}
		seen.mu.Lock()
		seen.messages = append(seen.messages, string(message))
		seen.mu.Unlock()
		b.news()
		if conn.WriteMessage(kind, message) != nil {
			return
		}
	}
}

// got returns the messages so far, and the code of the close frame.
func (r *backendRequest) got() (messages []string, closeCode int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.messages...), r.closeCode
}

// waitClosed waits until the socket is over and returns the close code.
func (r *backendRequest) waitClosed(t testing.TB) int {
	t.Helper()
	select {
	case <-r.closed:
	case <-time.After(patience):
		t.Fatal("the application's socket is still open")
	}
	_, code := r.got()
	return code
}

// wait waits for a request to path and returns the first one. Each test has
// paths of its own, because backends are shared.
func (b *backend) wait(t testing.TB, path string) *backendRequest {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		b.mu.Lock()
		changed := b.changed
		b.mu.Unlock()
		if seen := b.seen(path); len(seen) > 0 {
			return seen[0]
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("no request to %s has reached the application", path)
		}
	}
}

// seen returns the requests to path so far.
func (b *backend) seen(path string) []*backendRequest {
	b.mu.Lock()
	defer b.mu.Unlock()
	var seen []*backendRequest
	for _, r := range b.requests {
		if got, _, _ := strings.Cut(r.uri, "?"); got == path {
			seen = append(seen, r)
		}
	}
	return seen
}

// received tells whether text is in what any connection has brought.
func (b *backend) received(text string) bool {
	b.mu.Lock()
	conns := append([]*recordingConn(nil), b.wire...)
	b.mu.Unlock()
	for _, conn := range conns {
		if conn.has(text) {
			return true
		}
	}
	return false
}

// news wakes who waits.
func (b *backend) news() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.changed)
	b.changed = make(chan struct{})
}

// recordingListener records what its connections bring.
type recordingListener struct {
	net.Listener
	b *backend
}

func (l *recordingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	recording := &recordingConn{Conn: conn}
	l.b.mu.Lock()
	l.b.wire = append(l.b.wire, recording)
	l.b.mu.Unlock()
	return recording, nil
}

type recordingConn struct {
	net.Conn
	mu   sync.Mutex
	read bytes.Buffer
}

func (c *recordingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read.Write(p[:n])
	return n, err
}

func (c *recordingConn) has(text string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Contains(c.read.Bytes(), []byte(text))
}

// rawBackend is an application that answers any request with the bytes that
// answer returns for its Sec-WebSocket-Key, and records what comes after it.
type rawBackend struct {
	addr     string
	listener *recordingListener
	b        *backend // for its recording only
}

// newRawBackend returns a running rawBackend; it ends with the test.
func newRawBackend(t testing.TB, answer func(r *http.Request) string) *rawBackend {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &backend{changed: make(chan struct{})}
	raw := &rawBackend{addr: listener.Addr().String(), listener: &recordingListener{listener, b}, b: b}
	go raw.serve(answer)
	t.Cleanup(func() {
		_ = listener.Close()
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, conn := range b.wire {
			_ = conn.Close()
		}
	})
	return raw
}

func (b *rawBackend) serve(answer func(r *http.Request) string) {
	for {
		conn, err := b.listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			br := bufio.NewReader(conn)
			r, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			text := answer(r)
			if _, err := conn.Write([]byte(text)); err != nil || !strings.HasPrefix(text, "HTTP/1.1 101") {
				return // one request for each connection
			}
			for { // until the other side ends it
				if _, err := br.ReadByte(); err != nil {
					return
				}
			}
		}()
	}
}
