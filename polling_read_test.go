package websocketauth

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

// deadlineWriter is an answer that must be left alone once its request is over:
// that of an HTTP/2 request panics then.
type deadlineWriter struct {
	http.ResponseWriter
	over atomic.Bool
	late atomic.Bool // it was not
}

func (w *deadlineWriter) SetReadDeadline(time.Time) error {
	if w.over.Load() {
		w.late.Store(true)
	}
	return nil
}

// TestEvictedWhenRead: a request that may log in, and has to make room for
// another in the very moment in which it is through, is not touched after it.
func TestEvictedWhenRead(t *testing.T) {
	t.Parallel()
	h := &Handler{
		state: new(handlerState), first: &firstMessage{within: time.Hour, maxSize: 1 << 10},
		pendingMax: 10, pendingPerAddress: 10,
	}
	body, client := io.Pipe()
	r := httptest.NewRequest(http.MethodPost, "/", body)
	w := &deadlineWriter{ResponseWriter: httptest.NewRecorder()}
	read := make(chan error, 1)
	go func() {
		_, err := h.readBody(r, &request{control: http.NewResponseController(w)}, 1<<10, true)
		w.over.Store(true)
		read <- err
	}()
	if _, err := client.Write([]byte("4")); err != nil { // it is being read
		t.Fatal(err)
	}
	// Two have to go for the sake of a third. The other is first, and takes its
	// time.
	evicting, release := make(chan bool), make(chan bool)
	h.state.pending.Add("other", 10, 10, func() {
		close(evicting)
		<-release
	})
	added := make(chan bool)
	go func() {
		defer close(added)
		h.state.pending.Add("other", 1, 1, func() {})
	}()
	<-evicting
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-read; err != nil {
		t.Errorf("the body cannot be read: %v", err)
	}
	close(release)
	<-added
	if w.late.Load() {
		t.Error("the answer was touched after the request")
	}
}
