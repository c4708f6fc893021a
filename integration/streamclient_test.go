package integration

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"golang.org/x/net/http2"
)

// The HTTP versions that a WebSocket can be opened over: RFC 6455, RFC 8441
// and RFC 9220.
const (
	h1 = "h1"
	h2 = "h2"
	h3 = "h3"
)

// patience is how long a test waits for an event before it gives up. It is no
// measure of speed: the machine may be busy.
const patience = 20 * time.Second

// window is how many bytes a client lets the server send before it has read
// them. Under a flood they are what it has to read before it comes to a close
// frame, so they are few.
const window = 256 << 10

// clientConn is one connection to a server, on which WebSockets are opened:
// one over HTTP/1.1, many over HTTP/2 and HTTP/3.
type clientConn interface {
	// open sends r, which [newHandshake] has made, and returns the answer. If
	// that accepts the handshake, so is the socket; otherwise the answer's
	// body has been read.
	open(r *http.Request) (*wsConn, *http.Response, error)
	// Close ends the connection without ado.
	Close() error
}

// clientTLS trusts any server: certificates are not what is tested.
func clientTLS(protocols ...string) *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", NextProtos: protocols}
}

// connectTo opens a connection to addr, a host and a port, with TLS; over
// HTTP/1.1 scheme may be http, too.
func connectTo(ctx context.Context, version, scheme, addr string) (clientConn, error) {
	switch version {
	case h3:
		return connectH3(ctx, addr)
	case h2:
		return connectH2(ctx, addr)
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	_ = conn.(*net.TCPConn).SetReadBuffer(window)
	if scheme == "https" {
		conn = tls.Client(conn, clientTLS("http/1.1"))
	}
	return h1Conn{conn}, nil
}

// newHandshake returns a handshake of the given version for a URL such as
// https://127.0.0.1:8443/chat.
func newHandshake(ctx context.Context, version, target string, header http.Header) (*http.Request, error) {
	u, err := url.Parse(target)
	if err != nil {
		return nil, err
	}
	r := (&http.Request{Method: http.MethodGet, URL: u, Host: u.Host, Header: http.Header{}}).WithContext(ctx)
	maps.Copy(r.Header, header.Clone())
	r.Header.Set("Sec-WebSocket-Version", "13")
	switch version {
	case h1:
		var key [16]byte
		_, _ = rand.Read(key[:])
		r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/1.1", 1, 1
		r.Header.Set("Connection", "Upgrade")
		r.Header.Set("Upgrade", "websocket")
		r.Header.Set("Sec-WebSocket-Key", base64.StdEncoding.EncodeToString(key[:]))
	case h2:
		r.Method = http.MethodConnect
		r.Header[":protocol"] = []string{"websocket"}
	case h3:
		r.Method, r.Proto = http.MethodConnect, "websocket"
	}
	return r, nil
}

// setProtocol makes r ask for another protocol than websocket.
func setProtocol(r *http.Request, version, protocol string) {
	switch version {
	case h1:
		r.Header.Set("Upgrade", protocol)
	case h2:
		r.Header[":protocol"] = []string{protocol}
	case h3:
		r.Proto = protocol
	}
}

// h1Conn opens one WebSocket, RFC 6455 section 4.
type h1Conn struct{ net.Conn }

func (c h1Conn) open(r *http.Request) (*wsConn, *http.Response, error) {
	stop := context.AfterFunc(r.Context(), func() { c.Close() })
	defer stop()
	if err := r.Write(c.Conn); err != nil {
		return nil, nil, err
	}
	br := bufio.NewReader(c.Conn)
	answer, err := http.ReadResponse(br, r)
	if err != nil {
		return nil, nil, err
	}
	if answer.StatusCode != http.StatusSwitchingProtocols {
		return nil, answer, readBody(answer)
	}
	return newWSConn(br, c.Conn, func() { c.Close() }), answer, nil
}

// h2Conn opens WebSockets with extended CONNECT, RFC 8441.
type h2Conn struct {
	net.Conn
	cc *http2.ClientConn //nolint:staticcheck // net/http refuses to send :protocol
}

func connectH2(ctx context.Context, addr string) (clientConn, error) {
	conn, err := (&tls.Dialer{Config: clientTLS(http2.NextProtoTLS)}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	// net/http has the options, and golang.org/x/net/http2 the client.
	t, err := http2.ConfigureTransports(&http.Transport{ //nolint:staticcheck // see h2Conn
		HTTP2: &http.HTTP2Config{MaxReceiveBufferPerStream: window},
	})
	if err != nil {
		conn.Close()
		return nil, err
	}
	cc, err := t.NewClientConn(conn) //nolint:staticcheck // see h2Conn
	if err != nil {
		conn.Close()
		return nil, err
	}
	return h2Conn{conn, cc}, nil
}

func (c h2Conn) open(r *http.Request) (*wsConn, *http.Response, error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	stop := context.AfterFunc(r.Context(), cancel)
	defer stop()
	body, w := io.Pipe()
	r = r.WithContext(ctx)
	r.Body, r.ContentLength = body, -1
	answer, err := c.cc.RoundTrip(r)
	if err != nil {
		cancel()
		return nil, nil, err
	}
	if answer.StatusCode != http.StatusOK {
		err := readBody(answer)
		cancel()
		return nil, answer, err
	}
	// Closing the body is what sends RST_STREAM.
	reset := func() { answer.Body.Close(); cancel() }
	return newWSConn(answer.Body, w, reset), answer, nil
}

// h3Conn opens WebSockets with extended CONNECT, RFC 9220.
type h3Conn struct {
	conn *quic.Conn
	cc   *http3.ClientConn
}

func connectH3(ctx context.Context, addr string) (clientConn, error) {
	conn, err := quic.DialAddr(ctx, addr, clientTLS(http3.NextProtoH3), &quic.Config{
		KeepAlivePeriod:            10 * time.Second,
		InitialStreamReceiveWindow: window, MaxStreamReceiveWindow: window,
		// Streams that are not read must not hold up the others.
		InitialConnectionReceiveWindow: 100 * window, MaxConnectionReceiveWindow: 100 * window,
	})
	if err != nil {
		return nil, err
	}
	c := h3Conn{conn, new(http3.Transport).NewClientConn(conn)}
	select {
	case <-c.cc.ReceivedSettings():
	case <-ctx.Done():
		c.Close()
		return nil, ctx.Err()
	}
	if !c.cc.Settings().EnableExtendedConnect {
		c.Close()
		return nil, errors.New("the server's settings have no extended CONNECT")
	}
	return c, nil
}

// Close ends the connection with a CONNECTION_CLOSE.
func (c h3Conn) Close() error { return c.conn.CloseWithError(0, "") }

func (c h3Conn) open(r *http.Request) (*wsConn, *http.Response, error) {
	stream, err := c.cc.OpenRequestStream(r.Context())
	if err != nil {
		return nil, nil, err
	}
	reset := func() {
		stream.CancelRead(quic.StreamErrorCode(http3.ErrCodeRequestCanceled))
		stream.CancelWrite(quic.StreamErrorCode(http3.ErrCodeRequestCanceled))
	}
	stop := context.AfterFunc(r.Context(), reset)
	defer stop()
	if err := stream.SendRequestHeader(r); err != nil {
		return nil, nil, err
	}
	answer, err := stream.ReadResponse()
	if err != nil {
		return nil, nil, err
	}
	if answer.StatusCode != http.StatusOK {
		err := readBody(answer)
		reset()
		return nil, answer, err
	}
	return newWSConn(stream, stream, reset), answer, nil
}

// readBody puts what is left of the answer's body into memory.
func readBody(answer *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	answer.Body.Close()
	answer.Body = io.NopCloser(bytes.NewReader(body))
	return err
}

// wsConn is a client's end of a WebSocket, written from RFC 6455 alone so that
// it does not share an error with what it tests. One goroutine may read while
// others write.
type wsConn struct {
	r *bufio.Reader
	w io.WriteCloser
	// vanish ends the stream as a client that crashes does: without a close
	// frame, and over HTTP/2 and HTTP/3 with a reset.
	vanish func()

	writing    sync.Mutex // held for the time of one frame; guards the next
	closing    bool       // a close frame was sent, and nothing follows one
	fragmented bool       // of what the server sends
}

func newWSConn(r io.Reader, w io.WriteCloser, vanish func()) *wsConn {
	return &wsConn{r: bufio.NewReader(r), w: w, vanish: vanish}
}

// frame is one frame from the server.
type frame struct {
	fin     bool
	rsv     byte // the three reserved bits where they stand
	opcode  byte
	payload []byte
}

// The opcodes of RFC 6455 section 5.2 that the tests use.
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xA
)

// closed is the close frame that ended a socket.
type closed struct {
	code   uint16
	reason string
}

func (c *closed) Error() string { return fmt.Sprintf("closed with %d %q", c.code, c.reason) }

// cutError says that the stream has ended within a frame.
type cutError struct {
	size int64
	err  error
}

func (e *cutError) Error() string {
	return fmt.Sprintf("within a frame of %d bytes: %v", e.size, e.err)
}

// write sends one whole, masked frame.
func (c *wsConn) write(opcode byte, payload []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.closing {
		return net.ErrClosed
	}
	c.closing = opcode == opClose
	_, err := c.w.Write(clientFrame(0x80|opcode, payload))
	return err
}

// writeRaw sends bytes as they are.
func (c *wsConn) writeRaw(p []byte) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	_, err := c.w.Write(p)
	return err
}

// within runs f and has the socket vanish if that takes longer than d.
func (c *wsConn) within(d time.Duration, f func() error) error {
	stop := time.AfterFunc(d, c.vanish)
	defer stop.Stop()
	return f()
}

// clientFrame returns a masked frame whose first byte is first.
func clientFrame(first byte, payload []byte) []byte {
	b := append(make([]byte, 0, len(payload)+14), first)
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	mask := [4]byte{0x12, 0x34, 0x56, 0x78}
	b = append(b, mask[:]...)
	for i, p := range payload {
		b = append(b, p^mask[i%4])
	}
	return b
}

// read returns the next frame, and a [*closed] for a close frame. Anything
// that RFC 6455 does not allow is an error.
func (c *wsConn) read() (frame, error) {
	var head [2]byte
	if _, err := io.ReadFull(c.r, head[:]); err != nil {
		return frame{}, err
	}
	f := frame{fin: head[0]&0x80 != 0, rsv: head[0] & 0x70, opcode: head[0] & 0x0f}
	n, err := c.length(head[1])
	if err != nil {
		return f, err
	}
	if err := c.check(f, n); err != nil {
		return f, err
	}
	f.payload = make([]byte, n)
	if got, err := io.ReadFull(c.r, f.payload); err != nil {
		f.payload = f.payload[:got]
		return f, &cutError{n, err}
	}
	if f.opcode != opClose {
		return f, nil
	}
	if len(f.payload) < 2 {
		return f, &closed{code: 1005}
	}
	return f, &closed{binary.BigEndian.Uint16(f.payload), string(f.payload[2:])}
}

// length reads the payload's length, RFC 6455 section 5.2.
func (c *wsConn) length(b byte) (int64, error) {
	size := 0
	switch {
	case b&0x80 != 0:
		return 0, errors.New("frame from the server is masked")
	case b < 126:
		return int64(b), nil
	case b == 126:
		size = 2
	default:
		size = 8
	}
	var ext [8]byte
	if _, err := io.ReadFull(c.r, ext[8-size:]); err != nil {
		return 0, err
	}
	return int64(binary.BigEndian.Uint64(ext[:])), nil
}

// check judges a header by what came before it.
func (c *wsConn) check(f frame, n int64) error {
	switch f.opcode {
	case opText, opBinary:
		if c.fragmented {
			return errors.New("new message within another")
		}
		c.fragmented = !f.fin
	case opContinuation:
		if !c.fragmented {
			return errors.New("continuation of nothing")
		}
		c.fragmented = !f.fin
	case opClose, opPing, opPong:
		if !f.fin || n > 125 {
			return errors.New("control frame fragmented or too long")
		}
	default:
		return fmt.Errorf("unknown opcode %#x", f.opcode)
	}
	if n < 0 || n > 64<<20 {
		return fmt.Errorf("frame of %d bytes", n)
	}
	return nil
}

// answerClose ends the closing handshake as a browser does: it sends the code
// back and waits for the server to end the connection. It returns nil if that
// ended cleanly: with an EOF, and no byte before it.
func (c *wsConn) answerClose(code uint16) error {
	if err := c.write(opClose, binary.BigEndian.AppendUint16(nil, code)); err != nil {
		return fmt.Errorf("answering the close frame: %w", err)
	}
	if n, err := c.r.WriteTo(io.Discard); err != nil || n > 0 {
		return fmt.Errorf("after the close frame %d bytes and %w", n, err)
	}
	return nil
}
