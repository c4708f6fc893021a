package proxy

import (
	"bufio"
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// handshakeText is the example's handshake as bytes on the wire.
const handshakeText = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + exampleKey + "\r\nSec-WebSocket-Protocol: chat, superchat\r\n\r\n"

// rawClient sends the handshake and early bytes in one piece, and returns the
// answer and what reads what follows it.
func rawClient(t *testing.T, url string, early ...byte) (*http.Response, net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "ws://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(time.Minute)) // a test that fails should say so
	if _, err := conn.Write(append([]byte(handshakeText), early...)); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	return res, conn, r
}

// answerWith sets the headers of a good answer, in RFC 6455's spelling as
// reverse_proxy does, changed by pairs of key and value: no value deletes.
func answerWith(w http.ResponseWriter, r *http.Request, pairs ...string) {
	h := w.Header()
	h["Upgrade"], h["Connection"] = []string{"websocket"}, []string{"Upgrade"}
	h["Sec-WebSocket-Accept"] = []string{acceptKey(r.Header.Get("Sec-WebSocket-Key"))}
	for i := 0; i < len(pairs); i += 2 {
		if delete(h, pairs[i]); pairs[i+1] != "" {
			h[pairs[i]] = []string{pairs[i+1]}
		}
	}
}

func TestTunnelOverHTTP1(t *testing.T) {
	t.Parallel()
	var opened int
	o := Options{Answer: "chat", OnOpen: func(*Gate) { opened++ }}
	url, finished := serveTunnel(t, o, func(w http.ResponseWriter, r *http.Request) {
		answerWith(w, r)
		w.WriteHeader(http.StatusSwitchingProtocols)
		w.WriteHeader(http.StatusForbidden) // too late
		conn, brw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		if n := brw.Reader.Buffered(); n != 0 {
			t.Errorf("%d bytes lie before the gate", n)
		}
		if _, err := w.Write([]byte("HTTP")); err == nil {
			t.Error("Write after the hijack was taken")
		}
		if _, _, err := http.NewResponseController(w).Hijack(); err == nil {
			t.Error("hijacked twice")
		}
		for range 2 {
			first, masked, payload, err := readFrame(brw.Reader)
			if err != nil || first != finText || !masked {
				t.Errorf("the application read %X, %v, %v", first, masked, err)
			}
			_, _ = brw.Write(fromApp(first, string(payload)+"!"))
			_ = brw.Flush()
		}
	})
	res, conn, frames := rawClient(t, url, fromClient(finText, "early")...)
	if res.StatusCode != http.StatusSwitchingProtocols || res.Header.Get("Sec-WebSocket-Accept") != exampleAccept ||
		res.Header.Get("Sec-WebSocket-Protocol") != "chat" {
		t.Fatalf("answer %s %v", res.Status, res.Header)
	}
	for _, text := range []string{"early", "late"} {
		if text == "late" {
			_, _ = conn.Write(fromClient(finText, text))
		}
		if first, _, payload, err := readFrame(frames); err != nil || first != finText || string(payload) != text+"!" {
			t.Errorf("the client read %X %q, %v", first, payload, err)
		}
	}
	if f := wait(t, finished); !f.opened || f.end.Cause != CauseProxyClosed || opened != 1 {
		t.Errorf("finished with %+v, opened %d times", f, opened)
	}
}

// Bytes that come with the handshake go through the gate, and what is no frame
// reaches nobody.
func TestEarlyBytesOverHTTP1AreJudged(t *testing.T) {
	t.Parallel()
	url, finished := serveTunnel(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
		answerWith(w, r)
		w.WriteHeader(http.StatusSwitchingProtocols)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		first, masked, payload, err := readFrame(bufio.NewReader(conn))
		if first != finClose || !masked || string(payload) != closePayload(CloseGoingAway, "") {
			t.Errorf("the application got %X, %q, %v", first, payload, err)
		}
	})
	_, conn, frames := rawClient(t, url, []byte("GET /internal HTTP/1.1\r\nHost: localhost\r\n\r\n")...)
	payload, err := readUntilClose(frames, func() { conn.Close() })
	if string(payload) != closePayload(CloseProtocolError, ErrReservedOpcode.Error()) {
		t.Errorf("the client read %q, %v", payload, err)
	}
	if f := wait(t, finished); f.end.Cause != CauseClientBroke {
		t.Errorf("finished with %+v", f)
	}
}

// An application whose side of the handshake is wrong gets no tunnel, and
// nothing of its answer goes out.
func TestTunnelRefusesWrongAnswers(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		pairs []string
	}{
		{"no accept", []string{"Sec-WebSocket-Accept", ""}},
		{"wrong accept", []string{"Sec-WebSocket-Accept", exampleAccept[1:] + "x"}},
		{"no upgrade", []string{"Upgrade", ""}},
		{"h2c", []string{"Upgrade", "h2c"}},
		{"no connection", []string{"Connection", ""}},
		{"protocol not offered", []string{"Sec-Websocket-Protocol", "evil"}},
		{"protocol not offered, RFC 6455's spelling", []string{"Sec-WebSocket-Protocol", "evil"}},
		{"protocol not offered, lower case", []string{"sec-websocket-protocol", "evil"}},
		{"extension not offered, lower case", []string{"sec-websocket-extensions", "x-evil"}},
		{"extension not offered", []string{"Sec-Websocket-Extensions", "permessage-deflate"}},
	}
	for _, tt := range tests {
		handler := func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-App", "here")
			answerWith(w, r, tt.pairs...)
			w.WriteHeader(http.StatusSwitchingProtocols)
			if _, _, err := http.NewResponseController(w).Hijack(); err == nil {
				t.Errorf("%s: hijacked", tt.name)
			}
			if _, err := w.Write([]byte("tunnel")); err == nil {
				t.Errorf("%s: written", tt.name)
			}
			if err := http.NewResponseController(w).Flush(); err == nil {
				t.Errorf("%s: flushed", tt.name)
			}
		}
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			url, finished := serveTunnel(t, Options{}, handler)
			res, _, _ := rawClient(t, url)
			if res.StatusCode != http.StatusBadGateway || res.Header.Get("X-App")+res.Header.Get("Upgrade")+res.Header.Get("Sec-WebSocket-Accept") != "" {
				t.Errorf("answer %s %v", res.Status, res.Header)
			}
			f := wait(t, finished)
			if _, ok := errors.AsType[*UpstreamError](f.err); !ok || f.opened {
				t.Errorf("finished with %+v", f)
			}
		})
		t.Run(tt.name+", extended", func(t *testing.T) {
			t.Parallel()
			w, r, client := fakeExtended(t)
			defer client.Close()
			w.header.Set("X-Before", "kept")
			r.Header["Sec-Websocket-Protocol"] = []string{"chat"}
			tunnel := NewTunnel(w, r, Options{})
			handler(tunnel, tunnel.Request())
			_, opened, err := tunnel.Finish(nil)
			if _, ok := errors.AsType[*UpstreamError](err); !ok || opened || !tunnel.Failed() {
				t.Errorf("finished with %v, opened %v", err, opened)
			}
			if w.status != 0 || !maps.EqualFunc(w.header, http.Header{"X-Before": {"kept"}}, func(a, b []string) bool { return a[0] == b[0] }) {
				t.Errorf("answered %d %v", w.status, w.header)
			}
		})
	}
}

// Any other answer is an ordinary one and opens nothing, whatever it says of
// upgrades.
func TestTunnelPassesOrdinaryAnswers(t *testing.T) {
	t.Parallel()
	for _, status := range []int{200, 204, 302, 403, 426, 500} {
		url, finished := serveTunnel(t, Options{Answer: "chat"}, func(w http.ResponseWriter, r *http.Request) {
			answerWith(w, r)
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(status)
			w.WriteHeader(http.StatusSwitchingProtocols)
			if _, _, err := http.NewResponseController(w).Hijack(); err == nil {
				t.Errorf("%d: hijacked", status)
			}
			if status != http.StatusNoContent {
				_, _ = io.WriteString(w, "the answer")
			}
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Errorf("%d: Flush: %v", status, err)
			}
		})
		res, conn, r := rawClient(t, url)
		if res.StatusCode != http.StatusEarlyHints {
			t.Errorf("%d: answer %s, want early hints first", status, res.Status)
		}
		res, err := http.ReadResponse(r, nil)
		if err != nil || res.StatusCode != status || res.Header.Get("Sec-WebSocket-Protocol") != "" {
			t.Fatalf("%d: %+v, %v", status, res, err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if status != http.StatusNoContent && string(body) != "the answer" {
			t.Errorf("%d: body %q", status, body)
		}
		// It is HTTP still, not a tunnel.
		_, _ = conn.Write(fromClient(finText, "x"))
		_, _ = io.WriteString(conn, "\r\n\r\n")
		if res, err := http.ReadResponse(r, nil); err == nil {
			if res.Body.Close(); res.StatusCode != http.StatusBadRequest {
				t.Errorf("%d: a frame was answered %s", status, res.Status)
			}
		}
		if f := wait(t, finished); f.opened || f.err != nil {
			t.Errorf("%d: finished with %+v", status, f)
		}
	}
}

func TestTunnelWithoutAnswer(t *testing.T) {
	t.Parallel()
	w, r, client := fakeExtended(t)
	defer client.Close()
	tunnel := NewTunnel(w, r, Options{})
	if _, opened, err := tunnel.Finish(nil); opened || err == nil {
		t.Errorf("no answer: %v, %v", opened, err)
	} else if _, ok := errors.AsType[*UpstreamError](err); !ok {
		t.Errorf("no answer: %T", err)
	}
	if tunnel.Request().Context().Err() == nil {
		t.Error("the request's context outlives the tunnel")
	}
	boom := errors.New("boom")
	if _, opened, err := NewTunnel(w, r, Options{}).Finish(boom); opened || !errors.Is(err, boom) {
		t.Errorf("an error of the handler: %v, %v", opened, err)
	}
}

// A 101 that nobody hijacks has promised a WebSocket: the connection must not
// go on as HTTP, in which a client, or what stands before us, would send
// requests that it believes to be frames.
func TestTunnelThatNobodyHijacks(t *testing.T) {
	t.Parallel()
	url, finished := serveTunnel(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
		answerWith(w, r)
		w.WriteHeader(http.StatusSwitchingProtocols)
	})
	res, conn, r := rawClient(t, url)
	if res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("answer %s", res.Status)
	}
	_, _ = io.WriteString(conn, "GET /internal HTTP/1.1\r\nHost: localhost\r\n\r\n")
	if res, err := http.ReadResponse(r, nil); err == nil {
		t.Errorf("what was sent into the tunnel was answered %s", res.Status)
		res.Body.Close()
	}
	if f := wait(t, finished); f.opened || f.err == nil {
		t.Errorf("finished with %+v, want an error", f)
	}
}

// A server whose connections cannot be taken over.
func TestTunnelWithoutHijacker(t *testing.T) {
	t.Parallel()
	r := upgrade(nil)
	tunnel := NewTunnel(httptest.NewRecorder(), r.WithContext(t.Context()), Options{})
	answerWith(tunnel, tunnel.Request())
	tunnel.WriteHeader(http.StatusSwitchingProtocols)
	if _, _, err := tunnel.Hijack(); !errors.Is(err, http.ErrNotSupported) {
		t.Errorf("Hijack: %v", err)
	}
	if _, opened, err := tunnel.Finish(nil); opened || err == nil {
		t.Errorf("Finish: %v, %v", opened, err)
	}
}

// A handler that panics leaves a client that is told so.
func TestAbort(t *testing.T) {
	t.Parallel()
	type result struct {
		ctx error
	}
	aborted := make(chan result, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tunnel := NewTunnel(w, r, Options{})
		defer func() {
			_ = recover()
			tunnel.Abort()
			aborted <- result{tunnel.Request().Context().Err()}
		}()
		answerWith(tunnel, tunnel.Request())
		tunnel.WriteHeader(http.StatusSwitchingProtocols)
		if _, _, err := tunnel.Hijack(); err != nil {
			t.Error(err)
		}
		panic("boom")
	}))
	defer server.Close()
	_, conn, frames := rawClient(t, strings.TrimPrefix(server.URL, "http://"), fromClient(finText, "x")...)
	payload, err := readUntilClose(frames, func() { _, _ = conn.Write(answerClose) })
	if err != nil || string(payload) != closePayload(CloseInternalError, "internal error") {
		t.Errorf("the client read %q, %v", payload, err)
	}
	if got := <-aborted; !errors.Is(got.ctx, context.Canceled) {
		t.Errorf("the request's context: %v", got.ctx)
	}
	// Before there is a socket there is nothing to end.
	w, r, client := fakeExtended(t)
	defer client.Close()
	tunnel := NewTunnel(w, r, Options{})
	tunnel.Abort()
	if w.status != 0 || tunnel.Request().Context().Err() == nil {
		t.Errorf("answered %d", w.status)
	}
}
