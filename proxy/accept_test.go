package proxy

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// hijackWriter is the answer of an HTTP/1.1 server whose connection can be
// taken over.
type hijackWriter struct {
	header http.Header
	status int
	conn   net.Conn
	early  []byte // came with the handshake
}

func (w *hijackWriter) Header() http.Header       { return w.header }
func (w *hijackWriter) WriteHeader(status int)    { w.status = status }
func (w *hijackWriter) Write([]byte) (int, error) { return 0, errors.New("not to be written to") }
func (w *hijackWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	r := bufio.NewReaderSize(bytes.NewReader(w.early), 1<<16)
	_, _ = r.Peek(len(w.early))
	return w.conn, bufio.NewReadWriter(r, bufio.NewWriter(w.conn)), nil
}

// acceptRig is a client that is accepted before the application is asked.
type acceptRig struct {
	t        *testing.T
	client   net.Conn
	app      net.Conn
	back     net.Conn // the handler's end of the application's connection
	gate     *Gate
	reader   *testReader
	atClient *frameLog
	atApp    *frameLog
	offered  chan http.Header // what the application is offered, when it is asked
	finished chan finish
	answer   func() (int, http.Header) // of the handshake
	ctx      chan error                // whether the request's context has ended
	mute     atomic.Bool               // the client does not answer close frames
}

// acceptOptions say what is unusual about an acceptRig.
type acceptOptions struct {
	stream   bool
	early    []byte // came with the handshake
	talk     Reading
	protocol string
	client   http.Header // more of the client's handshake
	// serve is the handler behind; nil for one that switches protocols.
	serve func(w http.ResponseWriter, r *http.Request) error
}

func newAcceptRig(t *testing.T, o acceptOptions) *acceptRig {
	t.Helper()
	r := &acceptRig{
		t: t, reader: &testReader{},
		offered: make(chan http.Header, 1), finished: make(chan finish, 1), ctx: make(chan error, 1),
	}
	w, request := r.handshake(o)
	maps.Copy(request.Header, o.client)
	back, app := net.Pipe()
	r.app, r.back = app, back
	r.atApp = listen(t, bufio.NewReader(app), true, func() {
		_, _ = app.Write(fromApp(finClose, closePayload(CloseGoingAway, "")))
		app.Close()
	})
	if o.serve == nil {
		o.serve = func(w http.ResponseWriter, request *http.Request) error { return switchTo(w, request, back) }
	}
	o.talk.Reader, o.talk.Pending = r.reader, true
	if o.talk.Limit == 0 {
		o.talk.Limit = theLimit
	}
	o.talk.HoldMessages, o.talk.HoldBytes = 100, 10*theLimit
	opened := make(chan bool, 2)
	tunnel := NewTunnel(w, request, Options{Reading: &o.talk, OnOpen: func(*Gate) { opened <- true }})
	gate, err := tunnel.Accept(o.protocol)
	if err != nil {
		t.Fatal(err)
	}
	r.gate = gate
	r.reader.client = func(m Message) Verdict { return logsIn(gate, m) }
	if len(opened) != 1 {
		t.Error("OnOpen was not called")
	}
	go func() {
		var err error
		if gate.AwaitLogin() {
			r.offered <- tunnel.Request().Header.Clone()
			err = o.serve(tunnel, tunnel.Request())
		}
		end, opened, err := tunnel.Finish(err)
		r.ctx <- tunnel.Request().Context().Err()
		if s, ok := w.(*fakeWriter); ok {
			s.handlerReturns()
		}
		r.finished <- finish{end, opened, err}
	}()
	t.Cleanup(func() {
		r.client.Close()
		app.Close()
		back.Close()
	})
	synctest.Wait()
	return r
}

// handshake sets the client up.
func (r *acceptRig) handshake(o acceptOptions) (http.ResponseWriter, *http.Request) {
	if o.stream {
		w, request, client := fakeExtended(r.t)
		r.client = client
		r.atClient = listen(r.t, bufio.NewReader(client), false, r.answerClose)
		r.answer = func() (int, http.Header) { return w.status, w.header }
		return w, request
	}
	front, client := net.Pipe()
	r.client = client
	r.atClient = listen(r.t, bufio.NewReader(client), false, r.answerClose)
	w := &hijackWriter{header: http.Header{}, conn: front, early: o.early}
	r.answer = func() (int, http.Header) { return w.status, w.header }
	return w, upgrade(nil).WithContext(r.t.Context())
}

func (r *acceptRig) answerClose() {
	if !r.mute.Load() {
		_, _ = r.client.Write(answerClose)
	}
}

// switchTo is what reverse_proxy does with an application that agrees.
func switchTo(w http.ResponseWriter, r *http.Request, back net.Conn, pairs ...string) error {
	answerWith(w, r, pairs...)
	w.WriteHeader(http.StatusSwitchingProtocols)
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return err
	}
	proxyTunnel(r.Context(), conn, back, 0)
	return nil
}

// logsIn is byWord with a login: it opens the gate, is told, and goes nowhere,
// unless it is to be forwarded.
func logsIn(gate *Gate, m Message) Verdict {
	switch string(m.Data) {
	case "login", "login, forward":
		gate.Resume(time.Now().Add(time.Hour), Text("welcome"))
		return Verdict{Whole: strings.HasSuffix(string(m.Data), "forward")}
	case "refuse":
		gate.End(expired)
		return Verdict{Whole: true}
	}
	return byWord(m)
}

// inBothShapes runs f for a client over HTTP/1.1 and over a stream.
func inBothShapes(t *testing.T, o acceptOptions, f func(t *testing.T, r *acceptRig)) {
	t.Helper()
	for name, stream := range map[string]bool{"HTTP/1.1": false, "stream": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				o := o
				o.stream = stream
				f(t, newAcceptRig(t, o))
			})
		})
	}
}

func (r *acceptRig) clientSends(p ...[]byte) {
	go func() {
		for _, piece := range p {
			_, _ = r.client.Write(piece)
		}
	}()
	synctest.Wait()
}

func (r *acceptRig) atClientIs(want ...string) {
	r.t.Helper()
	if got := r.atClient.take(); !slices.Equal(got, want) {
		r.t.Errorf("the client got %q, want %q", got, want)
	}
}

func (r *acceptRig) atAppIs(want ...string) {
	r.t.Helper()
	if got := r.atApp.take(); !slices.Equal(got, want) {
		r.t.Errorf("the application got %q, want %q", got, want)
	}
}

// asked tells whether the application has been asked, and with what.
func (r *acceptRig) asked() http.Header {
	synctest.Wait()
	select {
	case h := <-r.offered:
		return h
	default:
		return nil
	}
}

// endsNow: the tunnel finishes without waiting for anybody.
func (r *acceptRig) endsNow(c Cause) finish {
	r.t.Helper()
	start := time.Now()
	f := <-r.finished
	if took := time.Since(start); took != 0 {
		r.t.Errorf("the end took %v", took)
	}
	if f.end.Cause != c || !f.opened {
		r.t.Errorf("finished with %+v, want %q", f, c)
	}
	if <-r.ctx == nil {
		r.t.Error("the request's context outlives the tunnel")
	}
	return f
}

// The client is answered before the application is asked, by the rules of its
// HTTP version, and gets the protocol that was agreed, no other and no
// extension.
func TestAcceptAnswersTheHandshake(t *testing.T) {
	more := http.Header{
		"Sec-Websocket-Protocol":   {"chat, superchat"},
		"Sec-Websocket-Extensions": {"permessage-deflate"},
	}
	for _, protocol := range []string{"chat", ""} {
		t.Run(protocol, func(t *testing.T) {
			inBothShapes(t, acceptOptions{protocol: protocol, client: more}, func(t *testing.T, r *acceptRig) {
				status, h := r.answer()
				want := map[string]string{"Sec-Websocket-Protocol": protocol, "Sec-Websocket-Extensions": ""}
				if _, ok := r.client.(*streamClient); ok {
					if status != http.StatusOK || len(h) > 1 {
						t.Errorf("answered %d %v", status, h)
					}
				} else {
					want["Upgrade"], want["Connection"], want["Sec-Websocket-Accept"] = "websocket", "Upgrade", exampleAccept
					if status != http.StatusSwitchingProtocols {
						t.Errorf("answered %d", status)
					}
				}
				for key, value := range want {
					if got := h.Get(key); got != value {
						t.Errorf("answered %s: %q, want %q", key, got, value)
					}
				}
				if r.asked() != nil {
					t.Fatal("the application was asked before anybody has logged in")
				}
				r.clientSends(msg("login"))
				offered := r.asked()
				if got := offered.Get("Sec-Websocket-Protocol"); got != protocol || len(headerValues(offered, "Sec-WebSocket-Extensions")) > 0 {
					t.Errorf("the application was offered %v", offered)
				}
				r.atClientIs("welcome")
				if status2, h2 := r.answer(); status2 != status || len(h2) != len(h) {
					t.Errorf("the application's answer went out: %d %v", status2, h2)
				}
				r.client.Close()
				r.endsNow(CauseClientGone)
			})
		})
	}
}

// An application that refuses, in whatever way, leaves a client that is told
// so, and an operator who is told why.
func TestAcceptedClientOfApplicationThatRefuses(t *testing.T) {
	boom := errors.New("dial tcp: connection refused")
	for name, serve := range map[string]func(w http.ResponseWriter, r *http.Request) error{
		"403": func(w http.ResponseWriter, _ *http.Request) error {
			w.Header().Set("X-Secret", "x")
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusForbidden)
			if _, err := w.Write([]byte("no")); err == nil {
				t.Error("a body was taken")
			}
			return nil
		},
		"200 without a word": func(w http.ResponseWriter, _ *http.Request) error {
			_, err := w.Write(nil)
			return err
		},
		"flush":     func(w http.ResponseWriter, _ *http.Request) error { return http.NewResponseController(w).Flush() },
		"error":     func(http.ResponseWriter, *http.Request) error { return boom },
		"no answer": func(http.ResponseWriter, *http.Request) error { return nil },
		"wrong key": func(w http.ResponseWriter, r *http.Request) error {
			return switchTo(w, r, nil, "Sec-WebSocket-Accept", "AAAAAAAAAAAAAAAAAAAAAAAAAAA=")
		},
		"other protocol": func(w http.ResponseWriter, r *http.Request) error {
			return switchTo(w, r, nil, "Sec-WebSocket-Protocol", "superchat")
		},
		"extension": func(w http.ResponseWriter, r *http.Request) error {
			return switchTo(w, r, nil, "Sec-WebSocket-Extensions", "permessage-deflate")
		},
		"hijacks and answers 403": func(w http.ResponseWriter, _ *http.Request) error {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return err
			}
			_, _ = conn.Write([]byte("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"))
			return conn.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			more := http.Header{"Sec-Websocket-Protocol": {"chat, superchat"}}
			o := acceptOptions{serve: serve, protocol: "chat", client: more}
			inBothShapes(t, o, func(t *testing.T, r *acceptRig) {
				_, before := r.answer()
				n := len(before)
				r.clientSends(join(msg("login"), msg("for the application")))
				code := 1013
				if name == "other protocol" { // which it would answer again
					code = 1011
				}
				r.atClientIs("welcome", fmt.Sprintf("close %d bad_gateway", code))
				f := r.endsNow(CauseUpstreamRefused)
				if f.err == nil {
					t.Error("nobody is told why")
				}
				if _, bad := errors.AsType[*UpstreamError](f.err); bad == (name == "error") {
					t.Errorf("finished with %T: %v", f.err, f.err)
				}
				if _, after := r.answer(); len(after) != n {
					t.Errorf("the application's headers went out: %v", after)
				}
				r.atAppIs()
			})
		})
	}
}

// A handler that panics, too.
func TestAcceptedClientOfHandlerThatPanics(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, request, client := fakeExtended(t)
		tunnel := NewTunnel(w, request, Options{Reading: &Reading{Reader: &testReader{}, Pending: true}})
		if _, err := tunnel.Accept(""); err != nil {
			t.Fatal(err)
		}
		log := listen(t, bufio.NewReader(client), false, func() { _, _ = client.Write(answerClose) })
		tunnel.Abort()
		w.handlerReturns()
		if got := log.take(); !slices.Equal(got, []string{"close 1011 internal error"}) {
			t.Errorf("the client got %q", got)
		}
	})
}

func TestAcceptOfWhatDoesNotRead(t *testing.T) {
	t.Parallel()
	w, request, client := fakeExtended(t)
	defer client.Close()
	tunnel := NewTunnel(w, request, Options{})
	if _, err := tunnel.Accept(""); err == nil || w.status != 0 {
		t.Errorf("accepted without reading: %v, %d", err, w.status)
	}
	tunnel = NewTunnel(w, request, Options{Reading: &Reading{Reader: &testReader{}, Pending: true}})
	tunnel.WriteHeader(http.StatusForbidden)
	if _, err := tunnel.Accept(""); err == nil || w.status != http.StatusForbidden {
		t.Errorf("accepted after an answer: %v, %d", err, w.status)
	}
	// A server whose connections cannot be taken over.
	h1 := &struct{ http.ResponseWriter }{&hijackWriter{header: http.Header{}}}
	tunnel = NewTunnel(h1, upgrade(nil).WithContext(t.Context()), Options{Reading: &Reading{Reader: &testReader{}, Pending: true}})
	if gate, err := tunnel.Accept(""); err == nil || gate != nil {
		t.Errorf("accepted: %v", err)
	}
	if _, opened, err := tunnel.Finish(nil); opened || err == nil {
		t.Errorf("finished: %v, %v", opened, err)
	}
}
