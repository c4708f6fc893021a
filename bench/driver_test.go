package main

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestDriver lets the driver talk to the echo server without a Caddy between.
func TestDriver(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(echo))
	t.Cleanup(srv.Close)
	d := newDriver(strings.TrimPrefix(srv.URL, "http://"), 4<<10)

	if err := d.handshakes(t.Context(), []string{"a", "b", "c"}); err != nil {
		t.Errorf("handshakes: %v", err)
	}
	conns, err := d.openAll(t.Context(), []string{"a", "b"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeAll(conns) })
	if err := exchangeAll(conns, 256<<10); err != nil {
		t.Errorf("exchangeAll: %v", err)
	}
	n, err := pingPong(conns, 64, 20*time.Millisecond)
	if err != nil || n < 4 || n%2 != 0 {
		t.Errorf("pingPong = %d messages, %v; want some, both directions counted", n, err)
	}
}

func TestDialRefused(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(srv.Close)
	d := newDriver(strings.TrimPrefix(srv.URL, "http://"), 4<<10)
	_, err := d.dial(t.Context(), "a")
	if answer, ok := errors.AsType[*statusError](err); !ok || answer.status != http.StatusNotFound {
		t.Errorf("dial: %v, want status 404", err)
	}
}

func TestParallel(t *testing.T) {
	t.Parallel()
	var sum atomic.Int64
	err := parallel(100, 7, func(i int) error { sum.Add(int64(i)); return nil })
	if err != nil || sum.Load() != 4950 {
		t.Errorf("parallel: sum %d, %v; want 4950", sum.Load(), err)
	}
	boom := errors.New("boom")
	if err := parallel(1000, 3, func(i int) error {
		if i == 5 {
			return boom
		}
		return nil
	}); !errors.Is(err, boom) {
		t.Errorf("parallel: %v, want %v", err, boom)
	}
	if err := parallel(0, 3, func(int) error { return boom }); err != nil {
		t.Errorf("parallel of nothing: %v", err)
	}
}
