package rig

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
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// Handshake is what a client asks for.
type Handshake struct {
	Path         string // with query; "/" if empty
	Subprotocols []string
	Header       http.Header
	Compress     bool
	TLS          *tls.Config // wss if not nil
}

// Bearer returns the handshake of a client that may set headers.
func Bearer(path, token string) Handshake {
	return Handshake{Path: path, Header: http.Header{"Authorization": {"Bearer " + token}}}
}

// Dial opens a WebSocket to addr. The response is there also with an error,
// if there was one, and its body has been read.
func Dial(t testing.TB, addr string, h Handshake) (*websocket.Conn, *http.Response, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	scheme := "ws"
	if h.TLS != nil {
		scheme = "wss"
	}
	if h.Path == "" {
		h.Path = "/"
	}
	d := websocket.Dialer{
		Subprotocols: h.Subprotocols, EnableCompression: h.Compress, TLSClientConfig: h.TLS,
		NetDialContext: (&net.Dialer{}).DialContext,
	}
	conn, resp, err := d.DialContext(ctx, scheme+"://"+addr+h.Path, h.Header)
	if err != nil {
		return nil, resp, err
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetReadDeadline(time.Now().Add(Patience))
	return conn, resp, nil
}

// MustDial is Dial for a handshake that is accepted. While it cannot be known
// who somebody is, because the keys are still on their way, it waits.
func MustDial(t testing.TB, addr string, h Handshake) (conn *websocket.Conn, resp *http.Response) {
	t.Helper()
	Eventually(t, Patience, func() string {
		var err error
		if conn, resp, err = Dial(t, addr, h); err == nil {
			return ""
		}
		if resp == nil || resp.StatusCode != http.StatusServiceUnavailable {
			t.Fatalf("handshake refused: %v", Describe(resp, err))
		}
		return resp.Status
	})
	return conn, resp
}

// Refused is Dial for a handshake that is refused with status.
func Refused(t testing.TB, addr string, h Handshake, status int) *http.Response {
	t.Helper()
	_, resp, err := Dial(t, addr, h)
	if err == nil {
		t.Fatalf("handshake accepted, want status %d", status)
	}
	if resp == nil || resp.StatusCode != status {
		t.Fatalf("got %v, want status %d", Describe(resp, err), status)
	}
	return resp
}

// Describe says what came of a handshake, for an error.
func Describe(resp *http.Response, err error) string {
	if resp == nil {
		return err.Error()
	}
	body, _ := io.ReadAll(resp.Body)
	return fmt.Sprintf("%s %q (%v)", resp.Status, body, err)
}

// CloseOf reads until the socket is closed and returns the close frame.
func CloseOf(t testing.TB, conn *websocket.Conn) *websocket.CloseError {
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

// MustEcho sends a message and reads it back.
func MustEcho(t testing.TB, conn *websocket.Conn, message string) {
	t.Helper()
	if err := conn.WriteMessage(websocket.TextMessage, []byte(message)); err != nil {
		t.Fatalf("writing %q: %v", message, err)
	}
	if _, got, err := conn.ReadMessage(); err != nil || string(got) != message {
		t.Fatalf("echo of %q = %q, %v", message, got, err)
	}
}

// BrowserAccepts tells whether a browser that has offered these subprotocols
// takes the answer for an open socket: it must answer exactly one of them, and
// none if none was offered.
func BrowserAccepts(offered []string, resp *http.Response) bool {
	answered := resp.Header.Values("Sec-Websocket-Protocol")
	if len(offered) == 0 {
		return len(answered) == 0
	}
	return len(answered) == 1 && slices.Contains(offered, answered[0])
}

// RawConn is a client that may send any bytes.
type RawConn struct {
	net.Conn
	Reader *bufio.Reader
}

// DialRaw connects to addr without TLS.
func DialRaw(t testing.TB, addr string) *RawConn {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(Patience))
	return &RawConn{conn, bufio.NewReader(conn)}
}

// Send writes bytes as they are.
func (c *RawConn) Send(t testing.TB, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatalf("writing: %v", err)
	}
}

// Response reads the header of the answer.
func (c *RawConn) Response(t testing.TB) *http.Response {
	t.Helper()
	resp, err := http.ReadResponse(c.Reader, &http.Request{Method: http.MethodGet})
	if err != nil {
		t.Fatalf("reading the answer: %v", err)
	}
	return resp
}

// Rest returns what comes until the server ends the connection.
func (c *RawConn) Rest(t testing.TB) string {
	t.Helper()
	rest, err := io.ReadAll(c.Reader)
	if err != nil && len(rest) == 0 && !strings.Contains(err.Error(), "reset") {
		t.Fatalf("reading the rest: %v", err)
	}
	return string(rest)
}

// Finish sends nothing more and returns what comes until the server ends the
// connection.
func (c *RawConn) Finish(t testing.TB) string {
	t.Helper()
	if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil && !errors.Is(err, syscall.ENOTCONN) {
		t.Fatal(err)
	}
	return c.Rest(t)
}

// RawKey is the Sec-WebSocket-Key of RFC 6455 section 1.3.
const RawKey = "dGhlIHNhbXBsZSBub25jZQ=="

// Upgrade returns the text of a good handshake with more header lines.
func Upgrade(host, path string, lines ...string) string {
	all := append([]string{
		"GET " + path + " HTTP/1.1", "Host: " + host, "Connection: Upgrade", "Upgrade: websocket",
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + RawKey,
	}, lines...)
	return strings.Join(all, "\r\n") + "\r\n\r\n"
}

// AcceptKey answers a Sec-WebSocket-Key, RFC 6455 section 4.2.2.
func AcceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// MaskedFrame returns a whole text frame as a client sends it, up to 125 bytes.
func MaskedFrame(text string) string {
	mask := [4]byte{1, 2, 3, 4}
	frame := append([]byte{0x81, 0x80 | byte(len(text))}, mask[:]...)
	for i := range len(text) {
		frame = append(frame, text[i]^mask[i%4])
	}
	return string(frame)
}

// HMACSHA256 returns the HMAC of a text.
func HMACSHA256(key []byte, text string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

// PathOf returns a path that only this test uses.
func PathOf(t testing.TB) string {
	return "/" + strings.Map(func(r rune) rune {
		if r == '/' || r == '-' || r == '_' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' {
			return r
		}
		return '-'
	}, t.Name())
}

// Request makes an ordinary request and returns the answer with its body.
func Request(t testing.TB, method, url string, header http.Header) (*http.Response, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(req.Header, header)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}
