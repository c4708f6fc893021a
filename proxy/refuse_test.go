package proxy

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/gorilla/websocket"
)

// serveRefusal serves what refuses every handshake.
func serveRefusal(t *testing.T, protocol string) (url string, returned <-chan error) {
	t.Helper()
	errs := make(chan error, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		errs <- Refuse(w, r, protocol, End{Code: CloseForbidden, Reason: "insufficient scope"})
	}))
	t.Cleanup(server.Close)
	return "ws" + strings.TrimPrefix(server.URL, "http"), errs
}

func TestRefuse(t *testing.T) {
	t.Parallel()
	url, returned := serveRefusal(t, "chat")
	dialer := websocket.Dialer{Subprotocols: []string{"bearer", "chat"}, EnableCompression: true}
	conn, res, err := dialer.DialContext(t.Context(), url, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	defer conn.Close()
	if got := conn.Subprotocol(); got != "chat" {
		t.Errorf("subprotocol %q", got)
	}
	_, _, err = conn.ReadMessage()
	if e, ok := err.(*websocket.CloseError); !ok || e.Code != int(CloseForbidden) || e.Text != "insufficient scope" { //nolint:errorlint // never wrapped
		t.Errorf("the client read %v", err)
	}
	if err := <-returned; err != nil {
		t.Errorf("Refuse: %v", err)
	}
}

// A client that talks all the time, as with the login it sends first, reads
// its close frame all the same.
func TestRefuseOfTalkingClient(t *testing.T) {
	t.Parallel()
	for _, early := range []string{"", string(fromClient(finText, "login")), "GET /internal HTTP/1.1\r\n\r\n"} {
		url, returned := serveRefusal(t, "")
		res, conn, frames := rawClient(t, url, []byte(early)...)
		if res.StatusCode != http.StatusSwitchingProtocols || res.Header.Get("Sec-WebSocket-Accept") != exampleAccept ||
			len(res.Header["Sec-Websocket-Protocol"]) > 0 {
			t.Errorf("answer %s %v", res.Status, res.Header)
		}
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			flood(conn, fromClient(finText, "talk"), stop, answerClose)
		}()
		payload, err := readUntilClose(frames, func() { close(stop) })
		if err != nil || string(payload) != closePayload(CloseForbidden, "insufficient scope") {
			t.Errorf("the client read %q, %v", payload, err)
		}
		<-stopped
		conn.Close()
		if err := <-returned; err != nil {
			t.Errorf("Refuse: %v", err)
		}
	}
}

func TestRefuseOverStream(t *testing.T) {
	t.Parallel()
	for _, answers := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			w, r, client := fakeExtended(t)
			done := make(chan error)
			go func() {
				err := Refuse(w, r, "chat", End{Code: CloseUnauthorized, Reason: "token expired"})
				w.handlerReturns()
				done <- err
			}()
			took := elapsed(func() {
				frames := bufio.NewReader(client)
				first, masked, payload, err := readFrame(frames)
				if err != nil || first != finClose || masked || string(payload) != closePayload(3000, "token expired") {
					t.Errorf("the client read %X, %q, %v", first, payload, err)
				}
				if answers {
					_, _ = client.Write(answerClose)
				}
				if err := <-done; err != nil {
					t.Errorf("Refuse: %v", err)
				}
			})
			if took > closeTimeout || answers && took > 0 {
				t.Errorf("took %v", took)
			}
			if w.status != http.StatusOK || len(w.header) != 1 || w.header.Get("Sec-WebSocket-Protocol") != "chat" {
				t.Errorf("answer %d %v", w.status, w.header)
			}
			client.Close()
		})
	}
}

func TestRefuseWithoutHijacker(t *testing.T) {
	t.Parallel()
	if err := Refuse(httptest.NewRecorder(), upgrade(nil), "", End{Code: CloseForbidden}); err == nil {
		t.Error("no error")
	}
}
