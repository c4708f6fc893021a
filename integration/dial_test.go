package integration

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// handshake is what a client asks for.
type handshake struct {
	path         string // with query; "/" if empty
	subprotocols []string
	header       http.Header
	compress     bool
	tls          *tls.Config // wss if not nil
}

// bearer returns the handshake of a client that may set headers.
func bearer(path, token string) handshake {
	return handshake{path: path, header: http.Header{"Authorization": {"Bearer " + token}}}
}

// dial opens a WebSocket to addr. The response is there also with an error,
// if there was one, and its body has been read.
func dial(t testing.TB, addr string, h handshake) (*websocket.Conn, *http.Response, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	scheme := "ws"
	if h.tls != nil {
		scheme = "wss"
	}
	if h.path == "" {
		h.path = "/"
	}
	d := websocket.Dialer{
		Subprotocols: h.subprotocols, EnableCompression: h.compress, TLSClientConfig: h.tls,
		NetDialContext: (&net.Dialer{}).DialContext,
	}
	conn, resp, err := d.DialContext(ctx, scheme+"://"+addr+h.path, h.header)
	if err != nil {
		return nil, resp, err
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	return conn, resp, nil
}

// mustDial is dial for a handshake that is accepted. While it cannot be known
// who somebody is, because the keys are still on their way, it waits.
func mustDial(t testing.TB, addr string, h handshake) (conn *websocket.Conn, resp *http.Response) {
	t.Helper()
	eventually(t, patience, func() string {
		var err error
		if conn, resp, err = dial(t, addr, h); err == nil {
			return ""
		}
		if resp == nil || resp.StatusCode != http.StatusServiceUnavailable {
			t.Fatalf("handshake refused: %v", describe(resp, err))
		}
		return resp.Status
	})
	return conn, resp
}

// refused is dial for a handshake that is refused with status.
func refused(t testing.TB, addr string, h handshake, status int) *http.Response {
	t.Helper()
	_, resp, err := dial(t, addr, h)
	if err == nil {
		t.Fatalf("handshake accepted, want status %d", status)
	}
	if resp == nil || resp.StatusCode != status {
		t.Fatalf("got %v, want status %d", describe(resp, err), status)
	}
	return resp
}

func describe(resp *http.Response, err error) string {
	if resp == nil {
		return err.Error()
	}
	body, _ := io.ReadAll(resp.Body)
	return fmt.Sprintf("%s %q (%v)", resp.Status, body, err)
}

// closeOf reads until the socket is closed and returns the close frame.
func closeOf(t testing.TB, conn *websocket.Conn) *websocket.CloseError {
	t.Helper()
	for {
		_, _, err := conn.ReadMessage()
		if closed, ok := errors.AsType[*websocket.CloseError](err); ok {
			return closed
		}
		if err != nil {
			t.Fatalf("the socket ended without a close frame: %v", err)
		}
	}
}

// mustEcho sends a message and reads it back.
func mustEcho(t testing.TB, conn *websocket.Conn, message string) {
	t.Helper()
	if err := conn.WriteMessage(websocket.TextMessage, []byte(message)); err != nil {
		t.Fatalf("writing %q: %v", message, err)
	}
	if _, got, err := conn.ReadMessage(); err != nil || string(got) != message {
		t.Fatalf("echo of %q = %q, %v", message, got, err)
	}
}

// browserAccepts tells whether a browser that has offered these subprotocols
// takes the answer for an open socket: it must answer exactly one of them, and
// none if none was offered.
func browserAccepts(offered []string, resp *http.Response) bool {
	answered := resp.Header.Values("Sec-Websocket-Protocol")
	if len(offered) == 0 {
		return len(answered) == 0
	}
	return len(answered) == 1 && slices.Contains(offered, answered[0])
}

// rawConn is a client that may send any bytes.
type rawConn struct {
	net.Conn
	br *bufio.Reader
}

// dialRaw connects to addr without TLS.
func dialRaw(t testing.TB, addr string) *rawConn {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	return &rawConn{conn, bufio.NewReader(conn)}
}

// send writes bytes as they are.
func (c *rawConn) send(t testing.TB, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatalf("writing: %v", err)
	}
}

// response reads the header of the answer.
func (c *rawConn) response(t testing.TB) *http.Response {
	t.Helper()
	resp, err := http.ReadResponse(c.br, &http.Request{Method: http.MethodGet})
	if err != nil {
		t.Fatalf("reading the answer: %v", err)
	}
	return resp
}

// rest returns what comes until the server ends the connection.
func (c *rawConn) rest(t testing.TB) string {
	t.Helper()
	rest, err := io.ReadAll(c.br)
	if err != nil && len(rest) == 0 && !strings.Contains(err.Error(), "reset") {
		t.Fatalf("reading the rest: %v", err)
	}
	return string(rest)
}

// finish sends nothing more and returns what comes until the server ends the
// connection.
func (c *rawConn) finish(t testing.TB) string {
	t.Helper()
	if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil && !errors.Is(err, syscall.ENOTCONN) {
		t.Fatal(err)
	}
	return c.rest(t)
}

// rawKey is the Sec-WebSocket-Key of RFC 6455 section 1.3.
const rawKey = "dGhlIHNhbXBsZSBub25jZQ=="

// upgrade returns the text of a good handshake with more header lines.
func upgrade(host, path string, lines ...string) string {
	all := append([]string{
		"GET " + path + " HTTP/1.1", "Host: " + host, "Connection: Upgrade", "Upgrade: websocket",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + rawKey,
	}, lines...)
	return strings.Join(all, "\r\n") + "\r\n\r\n"
}

// acceptKey answers a Sec-WebSocket-Key, RFC 6455 section 4.2.2.
func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// maskedFrame returns a whole text frame as a client sends it, up to 125 bytes.
func maskedFrame(text string) string {
	mask := [4]byte{1, 2, 3, 4}
	frame := append([]byte{0x81, 0x80 | byte(len(text))}, mask[:]...)
	for i := range len(text) {
		frame = append(frame, text[i]^mask[i%4])
	}
	return string(frame)
}

func hmacSHA256(key []byte, text string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

// pathOf returns a path that only this test uses.
func pathOf(t testing.TB) string {
	return "/" + strings.Map(func(r rune) rune {
		if r == '/' || r == '-' || r == '_' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' {
			return r
		}
		return '-'
	}, t.Name())
}
