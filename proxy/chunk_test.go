package proxy

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// upgradedBody returns the body of a real 101 of net/http's client, as
// reverse_proxy hands it to the gate, and the server's end. The server sends
// rest in one piece with its answer.
func upgradedBody(t *testing.T, rest string) (body io.ReadWriteCloser, server net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	accepted := make(chan net.Conn, 1)
	go func() {
		defer close(accepted)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
			_, _ = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n%s", rest)
		}
		accepted <- conn
	}()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+l.Addr().String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header = http.Header{"Upgrade": {"websocket"}, "Connection": {"Upgrade"}}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	res, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	body = res.Body.(io.ReadWriteCloser)
	server = <-accepted
	t.Cleanup(func() { body.Close(); server.Close() })
	return body, server
}

// The connection to the application must be seen for what it is: net/http
// hides it in a type of its own. If this fails with a new version of Go,
// plainTCP has to learn what the type looks like; sockets work without it, but
// cost 4 KiB more each.
func TestPlainTCPOfUpgradedBody(t *testing.T) {
	t.Parallel()
	body, server := upgradedBody(t, "")
	conn, settled := plainTCP(body)
	if conn == nil || !settled {
		t.Fatalf("plainTCP(%T) = %v, %v; want a connection", body, conn, settled)
	}
	if conn.RemoteAddr().String() != server.LocalAddr().String() {
		t.Errorf("it is the connection to %v, want %v", conn.RemoteAddr(), server.LocalAddr())
	}
}

// While net/http still holds bytes, reading the connection would skip them.
func TestPlainTCPOfUpgradedBodyWithBufferedBytes(t *testing.T) {
	t.Parallel()
	body, server := upgradedBody(t, "first ")
	if conn, settled := plainTCP(body); conn != nil || settled {
		t.Fatalf("plainTCP = %v, %v; want not yet", conn, settled)
	}
	chunks := chunkReader{r: body}
	defer chunks.release()
	p, err := chunks.read(nil)
	if err != nil || string(p) != "first " {
		t.Fatalf("read %q, %v", p, err)
	}
	if _, err := io.WriteString(server, "second"); err != nil {
		t.Fatal(err)
	}
	if p, err := chunks.read(nil); err != nil || string(p) != "second" {
		t.Fatalf("read %q, %v", p, err)
	}
	if canWaitWithoutBuffer && chunks.raw == nil {
		t.Error("the connection was not found once the buffer was empty")
	}
}

// What waits for an application or a client over plain TCP holds no buffer.
func TestChunkReaderWaitsWithoutBuffer(t *testing.T) {
	t.Parallel()
	if !canWaitWithoutBuffer {
		return // the small buffer is waited with: TestChunkReaderKeepsSmallBuffer
	}
	body, server := upgradedBody(t, "")
	tcp, peer := tcpPair(t)()
	defer tcp.Close()
	defer peer.Close()
	for name, ends := range map[string]struct {
		r    io.Reader
		peer net.Conn
	}{"upgraded body": {body, server}, "TCP": {tcp, peer}} {
		chunks := chunkReader{r: ends.r}
		chunks.look()
		if chunks.raw == nil {
			t.Fatalf("%s: not seen as TCP", name)
		}
		// Each try that finds nothing to read must have given its buffer back.
		var held []bool
		chunks.raw.attempt = func(fd uintptr) bool {
			done := chunks.raw.try(fd)
			held = append(held, chunks.large != nil)
			return done
		}
		got := make(chan []byte)
		go func() {
			p, _ := chunks.read(nil)
			got <- bytes.Clone(p)
		}()
		if _, err := io.WriteString(ends.peer, "hello"); err != nil {
			t.Fatal(err)
		}
		if p := <-got; string(p) != "hello" {
			t.Fatalf("%s: read %q", name, p)
		}
		for i, h := range held {
			if h != (i == len(held)-1) {
				t.Errorf("%s: a buffer is held after try %d of %d: %v", name, i+1, len(held), h)
			}
		}
		chunks.release()
		if chunks.small != nil || chunks.large != nil {
			t.Errorf("%s: buffers are held after release", name)
		}
	}
}

// A try on a descriptor that has nothing must say so and hold nothing.
func TestChunkReaderTryWithoutData(t *testing.T) {
	t.Parallel()
	if !canWaitWithoutBuffer {
		return // there is no try
	}
	tcp, peer := tcpPair(t)()
	defer tcp.Close()
	defer peer.Close()
	chunks := chunkReader{r: tcp}
	chunks.look()
	chunks.raw.chunks = &chunks
	raw, err := tcp.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) {
		if chunks.raw.try(fd) {
			t.Error("there was nothing to read")
		}
	}); err != nil {
		t.Fatal(err)
	}
	if chunks.large != nil {
		t.Error("a buffer is held")
	}
}

// Deadline, end and prefix over every kind of reader.
func TestChunkReaderReads(t *testing.T) {
	t.Parallel()
	for name, pair := range map[string]func() (a, b net.Conn){"TCP": tcpPair(t), "TLS": tlsPair(t), "pipe": net.Pipe} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, peer := pair()
			defer conn.Close()
			defer peer.Close()
			chunks := chunkReader{r: conn}
			defer chunks.release()
			big := strings.Repeat("0123456789", 20_000)
			go io.WriteString(peer, big)
			var got strings.Builder
			for got.Len() < len(big) {
				p, err := chunks.read([]byte("prefix"))
				if err != nil || !bytes.HasPrefix(p, []byte("prefix")) || len(p) == len("prefix") {
					t.Fatalf("read %d bytes, %v", len(p), err)
				}
				got.Write(p[len("prefix"):])
				if got.Len() == len(big) {
					break
				}
				if p, err = chunks.read(nil); err != nil || len(p) == 0 || len(p) > largeBuffer {
					t.Fatalf("read %d bytes, %v", len(p), err)
				}
				got.Write(p)
			}
			if got.String() != big {
				t.Error("not what was sent")
			}
			_ = conn.SetReadDeadline(past)
			if p, err := chunks.read(nil); p != nil || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("after the deadline: %q, %v", p, err)
			}
			_ = conn.SetReadDeadline(time.Time{})
			if half, ok := peer.(*tls.Conn); ok {
				_ = half.CloseWrite()
			} else {
				peer.Close()
			}
			if p, err := chunks.read([]byte("prefix")); p != nil || !errors.Is(err, io.EOF) {
				t.Errorf("at the end: %q, %v", p, err)
			}
			if p, err := chunks.read(nil); p != nil || !errors.Is(err, io.EOF) {
				t.Errorf("after the end: %q, %v", p, err)
			}
			conn.Close()
			if p, err := chunks.read(nil); p != nil || err == nil {
				t.Errorf("closed: %q, %v", p, err)
			}
		})
	}
}

// A connection that was lively and has fallen quiet waits with a small buffer
// again, and its reader notices nothing of that.
func TestChunkReaderKeepsSmallBuffer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		conn, peer := net.Pipe()
		defer conn.Close()
		defer peer.Close()
		g := newGate(conn, nil, false, func() {})
		chunks := &g.in.chunks
		go peer.Write(make([]byte, largeBuffer))
		for total := 0; total < largeBuffer; {
			p, err := chunks.read(nil)
			if err != nil {
				t.Fatal(err)
			}
			total += len(p)
		}
		if chunks.large == nil || chunks.small != nil {
			t.Error("no large buffer while data flows")
		}
		go func() {
			time.Sleep(time.Hour)
			_, _ = io.WriteString(peer, "late")
		}()
		got := make(chan string)
		go func() {
			p, err := chunks.read(nil)
			got <- fmt.Sprint(string(p), err)
		}()
		time.Sleep(2*lull + time.Second)
		synctest.Wait()
		if chunks.large != nil || chunks.small == nil {
			t.Error("the large buffer is kept while nothing comes")
		}
		if s := <-got; s != "late<nil>" {
			t.Errorf("read %s", s)
		}
		g.Close()
		g.finish()
	})
}
