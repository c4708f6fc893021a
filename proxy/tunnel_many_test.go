package proxy

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
)

// echo answers each message with the same, and a close frame with one.
func echo(conn net.Conn) error {
	frames := bufio.NewReader(conn)
	for {
		first, _, payload, err := readFrame(frames)
		if err != nil {
			return err
		}
		if _, err := conn.Write(rawFrame(first, false, payload)); err != nil || first == finClose {
			return err
		}
	}
}

// chat sends a message, waits for the answer, and so on until there comes a
// close frame, which it answers and returns. ready is called after the first.
func chat(conn net.Conn, frames *bufio.Reader, ready func()) (closed []byte, err error) {
	for {
		if _, err := conn.Write(fromClient(finText, "hello")); err != nil {
			return nil, err
		}
		first, _, payload, err := readFrame(frames)
		if err != nil {
			return nil, err
		}
		ready()
		if first != finClose {
			continue
		}
		if _, err := conn.Write(answerClose); err != nil {
			return payload, err
		}
		if _, err := frames.ReadByte(); !errors.Is(err, io.EOF) {
			return payload, errors.Join(errors.New("after the close frame"), err)
		}
		return payload, nil
	}
}

// Many sockets over a real server, ended in the middle of what both sides
// say: each client reads its close frame and then the end, each application
// its own.
func TestTunnelsEndTogether(t *testing.T) {
	t.Parallel()
	const sockets = 50
	gates := make(chan *Gate, sockets)
	results := make(chan finish, sockets)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tunnel := NewTunnel(w, r, Options{OnOpen: func(g *Gate) { gates <- g }})
		answerWith(tunnel, tunnel.Request())
		tunnel.WriteHeader(http.StatusSwitchingProtocols)
		conn, _, err := tunnel.Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		back, app := tcpPair(t)()
		echoed := make(chan error)
		go func() {
			defer app.Close()
			echoed <- echo(app)
		}()
		proxyTunnel(tunnel.Request().Context(), conn, back, 0)
		if err := <-echoed; err != nil {
			t.Errorf("an application read no close frame, but %v", err)
		}
		end, opened, err := tunnel.Finish(nil)
		results <- finish{end, opened, err}
	}))
	defer server.Close()
	var talking, clients sync.WaitGroup
	for range sockets {
		_, conn, frames := rawClient(t, strings.TrimPrefix(server.URL, "http://"))
		talking.Add(1)
		clients.Go(func() {
			payload, err := chat(conn, frames, sync.OnceFunc(talking.Done))
			if err != nil || string(payload) != closePayload(3000, "token expired") {
				t.Errorf("a client read %q, %v", payload, err)
			}
		})
	}
	talking.Wait()
	for range sockets {
		(<-gates).End(expired)
	}
	clients.Wait()
	for range sockets {
		if f := <-results; !f.opened || !reflect.DeepEqual(f.end, expired) {
			t.Errorf("finished with %+v", f)
		}
	}
}
