package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
)

// Options are what a [Tunnel] needs to know beside the request.
type Options struct {
	// Answer is the subprotocol to answer for an application that answers
	// none, because the client offered some and browsers insist on one.
	// Empty means that nothing is added.
	Answer string
	// OnOpen is called when the socket is open, before the first frame is
	// looked at. It may be nil.
	OnOpen func(*Gate)
	// OnTaken is called when a handler takes over a client that was accepted
	// before. It may be nil.
	OnTaken func()
	// Translate has an end that the tunnel finds out by itself said in the
	// words of the client's protocol. It may be nil.
	Translate func(End) End
	// Reading makes the gate look into the messages. It is nil if no message
	// has to be read. No extension is offered to the application then.
	Reading *Reading
}

// Tunnel guards one WebSocket: the application's side of its handshake, then
// its frames. It is the http.ResponseWriter that the next handler gets; what
// is no upgrade passes through.
//
// HTTP/2 and HTTP/3 WebSockets are given to the next handler as what HTTP/1.1
// knows: a GET with Upgrade, answered by 101 and a hijack. So there is one
// path for all three, the application's Sec-WebSocket-Accept can be checked on
// each, and any handler that hijacks works on each.
type Tunnel struct {
	w        http.ResponseWriter
	client   *http.Request // as the client sent it
	request  *http.Request // as the next handler sees it
	options  Options
	offer    offer
	cancel   context.CancelFunc
	extended bool
	// before is the answer's header as it was before the next handler.
	before http.Header
	// header is what the next handler writes to once the client has been
	// answered.
	header http.Header
	// accepted: the client has been answered before the application.
	accepted bool

	answer answer
	state  tunnelState
	failed error
	gate   *Gate
	raw    *rawAnswer // of a handler that hijacks before it answers
}

type tunnelState int

const (
	tunnelWaiting   tunnelState = iota // nothing has been answered
	tunnelAnswered                     // an ordinary answer
	tunnelSwitching                    // 101, not hijacked yet
	tunnelOpen                         // hijacked: frames pass
	tunnelFailed                       // the application's handshake is wrong
)

// NewTunnel returns a tunnel for r, which [CheckRequest] has passed and from
// which the credential has been taken. [Tunnel.Finish] must be called.
func NewTunnel(w http.ResponseWriter, r *http.Request, o Options) *Tunnel {
	ctx, cancel := context.WithCancel(r.Context())
	t := &Tunnel{
		w: w, client: r, options: o, cancel: cancel,
		extended: r.Method == http.MethodConnect,
		before:   maps.Clone(w.Header()),
	}
	t.request = r.WithContext(ctx)
	if t.extended {
		asUpgrade(t.request)
	}
	if o.Reading != nil {
		t.request.Header = t.request.Header.Clone()
		deleteHeader(t.request.Header, "Sec-WebSocket-Extensions")
	}
	t.offer = newOffer(t.request.Header)
	return t
}

// asUpgrade makes of an extended CONNECT what it is called in HTTP/1.1.
func asUpgrade(r *http.Request) {
	var key [16]byte
	_, _ = rand.Read(key[:]) // never fails
	h := r.Header.Clone()
	delete(h, extendedProtocol)
	h["Upgrade"] = []string{"websocket"}
	h["Connection"] = []string{"Upgrade"}
	h["Sec-Websocket-Key"] = []string{base64.StdEncoding.EncodeToString(key[:])}
	r.Header = h
	r.Method = http.MethodGet
	r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/1.1", 1, 1
	r.Body, r.ContentLength, r.TransferEncoding = http.NoBody, 0, nil
}

// Request returns the request for the next handler.
func (t *Tunnel) Request() *http.Request { return t.request }

// Header implements http.ResponseWriter.
func (t *Tunnel) Header() http.Header {
	if t.accepted {
		return t.header
	}
	return t.w.Header()
}

// WriteHeader implements http.ResponseWriter. It is where the application's
// side of a handshake is judged.
func (t *Tunnel) WriteHeader(status int) {
	if t.state != tunnelWaiting {
		return
	}
	switch {
	case status == http.StatusSwitchingProtocols:
		t.switchProtocols()
	case status < 200:
		if !t.accepted {
			t.w.WriteHeader(status)
		}
	case t.accepted:
		t.fail(fmt.Errorf("the application answered %d to an upgrade", status))
	case t.extended && status < 300:
		// The client would take it for an open WebSocket.
		t.fail(fmt.Errorf("the application answered %d to an upgrade", status))
	default:
		t.state = tunnelAnswered
		t.w.WriteHeader(status)
	}
}

func (t *Tunnel) switchProtocols() {
	h := t.Header()
	canonicalHeaders(h)
	a, err := t.offer.check(h)
	if err != nil {
		t.fail(err)
		return
	}
	if t.accepted {
		t.state = tunnelSwitching
		return
	}
	if a.protocol == "" && t.options.Answer != "" {
		h["Sec-Websocket-Protocol"] = []string{t.options.Answer}
	}
	t.answer = a
	t.state = tunnelSwitching
	status := http.StatusSwitchingProtocols
	if t.extended {
		for _, key := range []string{"Upgrade", "Connection", "Sec-Websocket-Accept"} {
			delete(h, key)
		}
		status = http.StatusOK
	}
	t.w.WriteHeader(status)
}

// fail forgets what the application has answered.
func (t *Tunnel) fail(err error) {
	t.state = tunnelFailed
	t.failed = upstreamError(err)
	if t.accepted {
		clear(t.header)
		return
	}
	h := t.w.Header()
	clear(h)
	maps.Copy(h, t.before)
}

// Failed reports whether the application's side of the handshake was wrong, so
// that nothing it answers is taken and nothing has been answered.
func (t *Tunnel) Failed() bool {
	_, bad := errors.AsType[*UpstreamError](t.failed)
	return bad && t.raw == nil
}

// Write implements http.ResponseWriter for ordinary answers.
func (t *Tunnel) Write(p []byte) (int, error) {
	if t.state == tunnelWaiting {
		t.WriteHeader(http.StatusOK)
	}
	if t.state != tunnelAnswered {
		return 0, t.notWritable()
	}
	return t.w.Write(p)
}

// FlushError is what http.ResponseController looks for.
func (t *Tunnel) FlushError() error {
	if t.state == tunnelWaiting {
		t.WriteHeader(http.StatusOK)
	}
	if t.state != tunnelAnswered {
		return t.notWritable()
	}
	return http.NewResponseController(t.w).Flush()
}

// Flush implements http.Flusher.
func (t *Tunnel) Flush() { _ = t.FlushError() }

func (t *Tunnel) notWritable() error {
	if t.failed != nil {
		return t.failed
	}
	return http.ErrHijacked
}

// Hijack implements http.Hijacker: it returns the gate. Both halves of the
// bufio.ReadWriter are new and empty, because reverse_proxy sends what lies in
// the reader to the application before anything else.
func (t *Tunnel) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	switch t.state {
	case tunnelSwitching:
		if err := t.open(); err != nil {
			return nil, nil, err
		}
		return t.gate, emptyReadWriter(t.gate), nil
	case tunnelWaiting:
		if t.raw == nil {
			t.raw = newRawAnswer(t)
			return t.raw, emptyReadWriter(t.raw), nil
		}
		return nil, nil, t.notWritable()
	default:
		return nil, nil, t.notWritable()
	}
}

// emptyReadWriter has the smallest buffers there are: nobody uses them who
// copies with io.Copy.
func emptyReadWriter(conn net.Conn) *bufio.ReadWriter {
	return bufio.NewReadWriter(bufio.NewReaderSize(conn, 1), bufio.NewWriterSize(conn, 1))
}

// open takes over the client's connection, on which the answer is out.
func (t *Tunnel) open() error {
	t.before, t.header = nil, nil // not kept for the socket's life
	if t.accepted {
		t.gate.takeOver()
		t.state, t.offer = tunnelOpen, offer{}
		if t.options.OnTaken != nil {
			t.options.OnTaken()
		}
		return nil
	}
	conn, early, err := t.connection()
	if err != nil {
		t.state, t.failed = tunnelFailed, err
		return err
	}
	t.offer = offer{}
	t.gate = newGate(conn, early, t.answer.deflate, t.cancel)
	if t.options.Reading != nil {
		t.gate.read(t.options.Reading)
	}
	t.state = tunnelOpen
	if t.options.OnOpen != nil {
		t.options.OnOpen(t.gate)
	}
	return nil
}

// connection returns the client's connection and what of it has been read.
func (t *Tunnel) connection() (conn net.Conn, early []byte, err error) {
	rc := http.NewResponseController(t.w)
	if t.extended {
		if err := rc.Flush(); err != nil {
			return nil, nil, err
		}
		return newStreamConn(t.w, t.client), nil, nil
	}
	conn, brw, err := rc.Hijack()
	if err != nil {
		return nil, nil, err
	}
	early, _ = brw.Peek(brw.Reader.Buffered()) // cannot fail: it is buffered
	return conn, bytes.Clone(early), nil
}

// Finish must be called when the next handler has returned, with its error. It
// waits until the socket has ended and tells how; opened is false if there was
// none. An *UpstreamError says that the application's handshake was wrong and
// that nothing has been answered; with opened, that a client which had been
// accepted before was told so.
func (t *Tunnel) Finish(err error) (end End, opened bool, _ error) {
	defer t.cancel()
	if t.raw != nil {
		t.raw.await(t.client.Context()) // the connection may outlive the handler
	}
	switch {
	case t.accepted && t.state != tunnelOpen:
		why := t.unopenedError(err)
		return t.finishUnopened(why), true, why
	case t.gate != nil:
		return t.gate.finish(), true, nil
	case t.failed != nil:
		return End{}, false, t.failed
	case t.state == tunnelSwitching:
		return End{}, false, t.abandon()
	case err != nil:
		return End{}, false, err
	case t.state == tunnelWaiting:
		return End{}, false, upstreamError(errors.New("the application did not answer the upgrade"))
	}
	return End{}, false, nil
}

// unopenedError tells why no handler has taken over a client that was accepted.
func (t *Tunnel) unopenedError(err error) error {
	switch {
	case t.gate.ending.Load(): // what the handler says follows from that
		return nil
	case t.failed != nil:
		return t.failed
	case err != nil:
		return err
	}
	return upstreamError(errors.New("the application did not answer the upgrade"))
}

// abandon ends the connection of a client that was answered 101 and got no
// WebSocket. As HTTP it must not go on: whatever stands between the client and
// us would take for frames what we take for requests.
func (t *Tunnel) abandon() error {
	err := errors.New("the handler answered 101 and did not take the connection over")
	if t.extended { // ends when the handler returns
		return err
	}
	conn, _, closeErr := t.connection()
	if closeErr == nil {
		closeErr = conn.Close()
	}
	return errors.Join(err, closeErr)
}

// Abort ends whatever there is, for a next handler that has panicked.
func (t *Tunnel) Abort() {
	defer t.cancel()
	if t.raw != nil {
		_ = t.raw.Close()
	}
	if t.gate == nil {
		return
	}
	t.gate.End(t.translate(End{Cause: CauseProxyClosed, Code: CloseInternalError, Reason: "internal error"}))
	t.gate.takeOver()
	_ = t.gate.Close()
	t.gate.finish()
}
