package proxy

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// serveTunnel serves next behind a tunnel. What Finish says goes to finished.
func serveTunnel(t *testing.T, o Options, next http.HandlerFunc) (url string, finished <-chan finish) {
	t.Helper()
	results := make(chan finish, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if bad := CheckRequest(r); bad != nil {
			t.Errorf("CheckRequest: %v", bad)
		}
		tunnel := NewTunnel(w, r, o)
		next(tunnel, tunnel.Request())
		end, opened, err := tunnel.Finish(nil)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
		}
		results <- finish{end, opened, err}
	}))
	t.Cleanup(server.Close)
	return "ws" + strings.TrimPrefix(server.URL, "http"), results
}

type finish struct {
	end    End
	opened bool
	err    error
}

func wait(t *testing.T, finished <-chan finish) finish {
	t.Helper()
	select {
	case f := <-finished:
		return f
	case <-time.After(time.Minute):
		t.Fatal("the tunnel did not finish")
	}
	return finish{}
}

// gorilla/websocket hijacks first and writes its answer as text.
func TestHandlerThatHijacksBeforeItAnswers(t *testing.T) {
	var gate *Gate
	opened := make(chan struct{})
	o := Options{Answer: "bearer", OnOpen: func(g *Gate) { gate = g; close(opened) }}
	url, finished := serveTunnel(t, o, func(w http.ResponseWriter, r *http.Request) {
		conn, err := new(websocket.Upgrader).Upgrade(w, r, nil)
		if err != nil {
			t.Errorf("Upgrade: %v", err)
			return
		}
		defer conn.Close()
		for {
			kind, p, err := conn.ReadMessage()
			if err != nil {
				if !websocket.IsCloseError(err, int(CloseGoingAway)) {
					t.Errorf("the application saw %v, want close code 1001", err)
				}
				return
			}
			_ = conn.WriteMessage(kind, p)
		}
	})
	dialer := websocket.Dialer{Subprotocols: []string{"bearer"}}
	conn, res, err := dialer.DialContext(t.Context(), url, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	defer conn.Close()
	if got := conn.Subprotocol(); got != "bearer" {
		t.Errorf("subprotocol %q, want bearer", got)
	}
	if err := conn.WriteMessage(websocket.TextMessage, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, p, err := conn.ReadMessage(); err != nil || string(p) != "hello" {
		t.Fatalf("echo: %q, %v", p, err)
	}
	<-opened
	gate.End(End{Cause: "expired", Code: CloseUnauthorized, Reason: "token expired"})
	if _, _, err := conn.ReadMessage(); !websocket.IsCloseError(err, 3000) {
		t.Errorf("the client saw %v, want close code 3000", err)
	}
	if f := wait(t, finished); !f.opened || f.end.Cause != "expired" {
		t.Errorf("finished with %+v", f)
	}
}

// A handler that writes its answer as text gets no tunnel with a wrong one.
func TestRawAnswerIsJudged(t *testing.T) {
	const accept = "Sec-WebSocket-Accept: "
	tests := []struct {
		name, answer string
		status       int
		wantErr      bool
	}{
		{"wrong accept", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" + accept + "x\r\n\r\n", 502, true},
		{"other protocol", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", 502, true},
		{"not HTTP", "hello\r\n\r\n", 502, true},
		{"endless", strings.Repeat("x", maxRawHead+1), 502, true},
		{"chunks", "HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 502, true},
		{"ordinary", "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", 403, false},
		{"nothing", "", 502, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			url, finished := serveTunnel(t, Options{}, func(w http.ResponseWriter, _ *http.Request) {
				conn, _, err := w.(http.Hijacker).Hijack()
				if err != nil {
					t.Errorf("Hijack: %v", err)
					return
				}
				defer conn.Close()
				_, _ = io.WriteString(conn, tt.answer)
			})
			_, res, err := websocket.DefaultDialer.DialContext(t.Context(), url, nil)
			if !errors.Is(err, websocket.ErrBadHandshake) {
				t.Fatalf("Dial: %v, want a refused handshake", err)
			}
			defer res.Body.Close()
			if res.StatusCode != tt.status {
				t.Errorf("status %d, want %d", res.StatusCode, tt.status)
			}
			if f := wait(t, finished); (f.err != nil) != tt.wantErr {
				t.Errorf("finished with error %v, want one: %v", f.err, tt.wantErr)
			}
		})
	}
}

// A handler that hijacks and does nothing more holds the client's connection
// only for as long as the client does.
func TestHandlerThatHijacksAndForgets(t *testing.T) {
	url, finished := serveTunnel(t, Options{}, func(w http.ResponseWriter, _ *http.Request) {
		if _, _, err := w.(http.Hijacker).Hijack(); err != nil {
			t.Errorf("Hijack: %v", err)
		}
	})
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "ws://"))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	conn.Close()
	if f := wait(t, finished); f.err == nil || f.opened {
		t.Errorf("finished with %+v", f)
	}
}

type panickingWriter struct{}

func (panickingWriter) Write([]byte) (int, error) { panic("of the handler's own") }

// A panic of what WriteTo writes to is the handler's, and may be recovered.
func TestWriteToSurvivesPanic(t *testing.T) {
	near, far := net.Pipe()
	defer far.Close()
	g := newGate(near, nil, false, func() {})
	go func() { _, _ = far.Write([]byte{0x81, 0x80, 0, 0, 0, 0}) }()
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic is lost")
			}
		}()
		_, _ = g.WriteTo(panickingWriter{})
	}()
	if !g.in.mu.TryLock() {
		t.Fatal("the lock is still held")
	}
	g.in.mu.Unlock()
	_ = g.Close()
	g.finish()
}
