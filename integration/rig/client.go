package rig

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"golang.org/x/net/http2"
)

// The HTTP versions that a WebSocket can be opened over: RFC 6455, RFC 8441
// and RFC 9220.
const (
	H1 = "h1"
	H2 = "h2"
	H3 = "h3"
)

// window is how many bytes a client lets the server send before it has read
// them. Under a flood they are what it has to read before it comes to a close
// frame, so they are few.
const window = 256 << 10

// ClientConn is one connection to a server, on which WebSockets are opened:
// one over HTTP/1.1, many over HTTP/2 and HTTP/3.
type ClientConn interface {
	// Open sends r, which [NewHandshake] has made, and returns the answer. If
	// that accepts the handshake, so is the socket; otherwise the answer's
	// body has been read.
	Open(r *http.Request) (*Conn, *http.Response, error)
	// Close ends the connection without ado.
	Close() error
}

// ClientTLS trusts any server: certificates are not what is tested.
func ClientTLS(protocols ...string) *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", NextProtos: protocols}
}

// ConnectTo opens a connection to addr, a host and a port, with TLS; over
// HTTP/1.1 scheme may be http, too.
func ConnectTo(ctx context.Context, version, scheme, addr string) (ClientConn, error) {
	switch version {
	case H3:
		return connectH3(ctx, addr)
	case H2:
		return connectH2(ctx, addr)
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	_ = conn.(*net.TCPConn).SetReadBuffer(window)
	if scheme == "https" {
		conn = tls.Client(conn, ClientTLS("http/1.1"))
	}
	return H1Conn{conn}, nil
}

// NewHandshake returns a handshake of the given version for a URL such as
// https://127.0.0.1:8443/chat.
func NewHandshake(ctx context.Context, version, target string, header http.Header) (*http.Request, error) {
	u, err := url.Parse(target)
	if err != nil {
		return nil, err
	}
	r := (&http.Request{Method: http.MethodGet, URL: u, Host: u.Host, Header: http.Header{}}).WithContext(ctx)
	maps.Copy(r.Header, header.Clone())
	r.Header.Set("Sec-WebSocket-Version", "13")
	switch version {
	case H1:
		var key [16]byte
		_, _ = rand.Read(key[:])
		r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/1.1", 1, 1
		r.Header.Set("Connection", "Upgrade")
		r.Header.Set("Upgrade", "websocket")
		r.Header.Set("Sec-WebSocket-Key", base64.StdEncoding.EncodeToString(key[:]))
	case H2:
		r.Method = http.MethodConnect
		r.Header[":protocol"] = []string{"websocket"}
	case H3:
		r.Method, r.Proto = http.MethodConnect, "websocket"
	}
	return r, nil
}

// SetProtocol makes r ask for another protocol than websocket.
func SetProtocol(r *http.Request, version, protocol string) {
	switch version {
	case H1:
		r.Header.Set("Upgrade", protocol)
	case H2:
		r.Header[":protocol"] = []string{protocol}
	case H3:
		r.Proto = protocol
	}
}

// H1Conn opens one WebSocket, RFC 6455 section 4.
type H1Conn struct{ net.Conn }

// Open opens the one WebSocket that the connection can have.
func (c H1Conn) Open(r *http.Request) (*Conn, *http.Response, error) {
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
	return NewConn(br, c.Conn, func() { c.Close() }), answer, nil
}

// H2Conn opens WebSockets with extended CONNECT, RFC 8441.
type H2Conn struct {
	net.Conn
	Client *http2.ClientConn //nolint:staticcheck // net/http refuses to send :protocol
}

func connectH2(ctx context.Context, addr string) (ClientConn, error) {
	conn, err := (&tls.Dialer{Config: ClientTLS(http2.NextProtoTLS)}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	// net/http has the options, and golang.org/x/net/http2 the client.
	t, err := http2.ConfigureTransports(&http.Transport{ //nolint:staticcheck // see H2Conn
		HTTP2: &http.HTTP2Config{MaxReceiveBufferPerStream: window},
	})
	if err != nil {
		conn.Close()
		return nil, err
	}
	cc, err := t.NewClientConn(conn) //nolint:staticcheck // see H2Conn
	if err != nil {
		conn.Close()
		return nil, err
	}
	return H2Conn{conn, cc}, nil
}

// Open opens a WebSocket on a stream of its own.
func (c H2Conn) Open(r *http.Request) (*Conn, *http.Response, error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	stop := context.AfterFunc(r.Context(), cancel)
	defer stop()
	body, w := io.Pipe()
	r = r.WithContext(ctx)
	r.Body, r.ContentLength = body, -1
	answer, err := c.Client.RoundTrip(r)
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
	return NewConn(answer.Body, w, reset), answer, nil
}

// H3Conn opens WebSockets with extended CONNECT, RFC 9220.
type H3Conn struct {
	Conn   *quic.Conn
	Client *http3.ClientConn
}

func connectH3(ctx context.Context, addr string) (ClientConn, error) {
	conn, err := quic.DialAddr(ctx, addr, ClientTLS(http3.NextProtoH3), &quic.Config{
		KeepAlivePeriod:            10 * time.Second,
		HandshakeIdleTimeout:       Patience,
		InitialStreamReceiveWindow: window, MaxStreamReceiveWindow: window,
		// Streams that are not read must not hold up the others.
		InitialConnectionReceiveWindow: 100 * window, MaxConnectionReceiveWindow: 100 * window,
	})
	if err != nil {
		return nil, err
	}
	c := H3Conn{conn, new(http3.Transport).NewClientConn(conn)}
	select {
	case <-c.Client.ReceivedSettings():
	case <-ctx.Done():
		c.Close()
		return nil, ctx.Err()
	}
	if !c.Client.Settings().EnableExtendedConnect {
		c.Close()
		return nil, errors.New("the server's settings have no extended CONNECT")
	}
	return c, nil
}

// Close ends the connection with a CONNECTION_CLOSE.
func (c H3Conn) Close() error { return c.Conn.CloseWithError(0, "") }

// Open opens a WebSocket on a stream of its own.
func (c H3Conn) Open(r *http.Request) (*Conn, *http.Response, error) {
	stream, err := c.Client.OpenRequestStream(r.Context())
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
	return NewConn(stream, stream, reset), answer, nil
}

// readBody puts what is left of the answer's body into memory.
func readBody(answer *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	answer.Body.Close()
	answer.Body = io.NopCloser(bytes.NewReader(body))
	return err
}

// StreamVersions are the versions in which a WebSocket is a stream of a
// connection; h1 is in the tables that compare all three.
var (
	AllVersions    = []string{H1, H2, H3}
	StreamVersions = []string{H2, H3}
)
