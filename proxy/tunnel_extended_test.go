package proxy

import (
	"bufio"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"testing"
	"testing/synctest"
)

// The next handler sees an extended CONNECT as HTTP/1.1 has it.
func TestTunnelOfExtendedConnect(t *testing.T) {
	t.Parallel()
	keys := make(map[string]bool)
	for _, major := range []int{2, 3} {
		for range 20 {
			client := extended(major, set("Sec-Websocket-Key", "the client's own"))
			tunnel := NewTunnel(httptest.NewRecorder(), client.WithContext(t.Context()), Options{})
			r := tunnel.Request()
			key := r.Header.Get("Sec-WebSocket-Key")
			raw, err := base64.StdEncoding.DecodeString(key)
			if err != nil || len(raw) != 16 || keys[key] {
				t.Errorf("HTTP/%d: key %q: %v", major, key, err)
			}
			keys[key] = true
			if Classify(r) != KindWebSocket || CheckRequest(r) != nil || r.Method != http.MethodGet || r.Proto != "HTTP/1.1" {
				t.Errorf("HTTP/%d: became %s %s %v", major, r.Method, r.Proto, r.Header)
			}
			if _, ok := r.Header[extendedProtocol]; ok || Classify(client) != KindWebSocket || client.Method != http.MethodConnect {
				t.Errorf("HTTP/%d: the client's request is now %s %v", major, client.Method, client.Header)
			}
			_, _, _ = tunnel.Finish(nil)
		}
	}
}

func TestTunnelOverStream(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, r, client := fakeExtended(t)
		r.Header["Sec-Websocket-Protocol"] = []string{"chat, superchat"}
		var gate *Gate
		tunnel := NewTunnel(w, r, Options{Answer: "chat", OnOpen: func(g *Gate) { gate = g }})
		back, app := net.Pipe()
		ended := make(chan End, 1)
		go func() {
			answerWith(tunnel, tunnel.Request(), "Sec-WebSocket-Protocol", "superchat")
			tunnel.WriteHeader(http.StatusSwitchingProtocols)
			conn, _, err := tunnel.Hijack()
			if err != nil {
				t.Error(err)
			}
			proxyTunnel(tunnel.Request().Context(), conn, back, 0)
			end, _, _ := tunnel.Finish(nil)
			w.handlerReturns()
			ended <- end
		}()
		hello := fromClient(finText, "hello")
		_, _ = client.Write(hello)
		if _, err := io.ReadFull(app, make([]byte, len(hello))); err != nil {
			t.Fatal(err)
		}
		if h := w.header; w.status != http.StatusOK || len(h) != 1 || h.Get("Sec-WebSocket-Protocol") != "superchat" {
			t.Errorf("answer %d %v", w.status, w.header)
		}
		gate.End(expired)
		payload, err := readUntilClose(bufio.NewReader(client), func() {
			_, _, _, _ = readFrame(bufio.NewReader(app))
			app.Close()
			_, _ = client.Write(answerClose)
		})
		if err != nil || string(payload) != closePayload(3000, "token expired") {
			t.Errorf("the client read %q, %v", payload, err)
		}
		if end := <-ended; !reflect.DeepEqual(end, expired) {
			t.Errorf("ended with %+v", end)
		}
	})
}

// On a stream any 2xx would be an open WebSocket.
func TestTunnelOfExtendedConnectAnsweredOtherwise(t *testing.T) {
	t.Parallel()
	for status, passes := range map[int]bool{200: false, 201: false, 204: false, 299: false, 302: true, 403: true, 502: true} {
		w, r, client := fakeExtended(t)
		tunnel := NewTunnel(w, r, Options{})
		tunnel.WriteHeader(status)
		if _, _, err := tunnel.Hijack(); err == nil {
			t.Errorf("%d: hijacked", status)
		}
		_, opened, err := tunnel.Finish(nil)
		if opened || (err == nil) != passes || (w.status == status) != passes {
			t.Errorf("%d: answered %d, %v", status, w.status, err)
		}
		client.Close()
	}
	// Nor must a body alone, which says 200.
	w, r, client := fakeExtended(t)
	defer client.Close()
	tunnel := NewTunnel(w, r, Options{})
	if _, err := tunnel.Write([]byte("hello")); err == nil || w.status != 0 {
		t.Errorf("Write: answered %d, %v", w.status, err)
	}
	tunnel.Flush()
	if _, _, err := tunnel.Finish(nil); err == nil || w.status != 0 {
		t.Errorf("Flush: answered %d, %v", w.status, err)
	}
}
