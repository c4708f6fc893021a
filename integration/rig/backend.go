package rig

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

// Backend is an application that knows nothing of tokens: it echoes what it is
// sent, and remembers all that it has seen, to the byte.
type Backend struct {
	Addr string

	listener    net.Listener
	server      *http.Server
	upgrader    websocket.Upgrader
	subprotocol string // answered: "" none, "first" the first that is offered, else this

	mu       sync.Mutex
	wire     []*recordingConn
	requests []*BackendRequest
	changed  chan struct{} // closed, and replaced, when there is news
}

// BackendRequest is one request as the application got it. Its members are
// for reading after [Backend.Wait] or [BackendRequest.WaitClosed].
type BackendRequest struct {
	method, URI, host string
	Header            http.Header

	mu        sync.Mutex
	messages  []string
	closeCode int // of the close frame it got; 1006 for none
	closed    chan struct{}
}

// BackendOption changes what the application does.
type BackendOption func(*Backend)

// Answering sets the subprotocol that the application answers: "first" means
// the first that is offered. Without it the application answers none.
func Answering(subprotocol string) BackendOption {
	return func(b *Backend) { b.subprotocol = subprotocol }
}

// Compressing makes the application agree to permessage-deflate.
func Compressing() BackendOption {
	return func(b *Backend) { b.upgrader.EnableCompression = true }
}

// NewBackend returns a running application; it ends with the test.
func NewBackend(t testing.TB, options ...BackendOption) *Backend {
	t.Helper()
	b := startBackend(options...)
	t.Cleanup(b.close)
	return b
}

// startBackend is NewBackend for one that outlives a test.
func startBackend(options ...BackendOption) *Backend {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	Check(err)
	b := &Backend{Addr: listener.Addr().String(), changed: make(chan struct{})}
	b.upgrader.CheckOrigin = func(*http.Request) bool { return true }
	for _, option := range options {
		option(b)
	}
	b.listener = &recordingListener{listener, b}
	b.server = &http.Server{Handler: b, ReadHeaderTimeout: Patience}
	go b.server.Serve(b.listener)
	return b
}

func (b *Backend) close() {
	_ = b.server.Close()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, conn := range b.wire {
		_ = conn.Close() // hijacked ones, too
	}
}

// ServeHTTP implements http.Handler.
func (b *Backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	seen := &BackendRequest{
		method: r.Method, URI: r.RequestURI, host: r.Host, Header: r.Header.Clone(), closed: make(chan struct{}),
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

func (b *Backend) echo(conn *websocket.Conn, seen *BackendRequest) {
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

// Got returns the messages so far, and the code of the close frame.
func (r *BackendRequest) Got() (messages []string, closeCode int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.messages...), r.closeCode
}

// WaitClosed waits until the socket is over and returns the close code.
func (r *BackendRequest) WaitClosed(t testing.TB) int {
	t.Helper()
	select {
	case <-r.closed:
	case <-time.After(Patience):
		t.Fatal("the application's socket is still open")
	}
	_, code := r.Got()
	return code
}

// Wait waits for a request to path and returns the first one. Each test has
// paths of its own, because backends are shared.
func (b *Backend) Wait(t testing.TB, path string) *BackendRequest {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	for {
		b.mu.Lock()
		changed := b.changed
		b.mu.Unlock()
		if seen := b.Seen(path); len(seen) > 0 {
			return seen[0]
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("no request to %s has reached the application", path)
		}
	}
}

// Seen returns the requests to path so far.
func (b *Backend) Seen(path string) []*BackendRequest {
	b.mu.Lock()
	defer b.mu.Unlock()
	var seen []*BackendRequest
	for _, r := range b.requests {
		if got, _, _ := strings.Cut(r.URI, "?"); got == path {
			seen = append(seen, r)
		}
	}
	return seen
}

// Received tells whether text is in what any connection has brought.
func (b *Backend) Received(text string) bool {
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
func (b *Backend) news() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.changed)
	b.changed = make(chan struct{})
}

// recordingListener records what its connections bring.
type recordingListener struct {
	net.Listener
	b *Backend
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

// RawBackend is an application that answers any request with the bytes that
// answer returns for its Sec-WebSocket-Key, and records what comes after it.
type RawBackend struct {
	Addr      string
	listener  *recordingListener
	Recording *Backend // for its recording only
}

// NewRawBackend returns a running RawBackend; it ends with the test.
func NewRawBackend(t testing.TB, answer func(r *http.Request) string) *RawBackend {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &Backend{changed: make(chan struct{})}
	raw := &RawBackend{Addr: listener.Addr().String(), listener: &recordingListener{listener, b}, Recording: b}
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

func (b *RawBackend) serve(answer func(r *http.Request) string) {
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

// Switching returns the answer of an application that accepts the handshake,
// with more header lines; a line in place of one of its own replaces it.
func Switching(r *http.Request, lines ...string) string {
	header := map[string]string{
		"Upgrade": "websocket", "Connection": "Upgrade",
		"Sec-WebSocket-Accept": AcceptKey(r.Header.Get("Sec-Websocket-Key")),
	}
	var more strings.Builder
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		if _, ours := header[name]; ours {
			header[name] = value
			continue
		}
		more.WriteString(line + "\r\n")
	}
	var text strings.Builder
	text.WriteString("HTTP/1.1 101 Switching Protocols\r\n" + more.String())
	for name, value := range header {
		if value != "" {
			text.WriteString(name + ": " + value + "\r\n")
		}
	}
	return text.String() + "\r\n"
}
