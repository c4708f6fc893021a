package websocketauth

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
)

// TestKeyPoolLogs: one line per change, in the log of a configuration that
// lives.
func TestKeyPoolLogs(t *testing.T) {
	t.Parallel()
	down := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(down.Close)
	source := keySource{url: down.URL + "/jwks"}
	oldCore, oldLogs := observer.New(zapcore.DebugLevel)
	newCore, newLogs := observer.New(zapcore.DebugLevel)
	oldLog, newLog := zap.New(oldCore), zap.New(newCore)
	p, err := acquireKeys(source, nil, oldLog)
	if err != nil {
		t.Fatal(err)
	}
	same, err := acquireKeys(source, nil, newLog)
	if err != nil || same != p {
		t.Fatalf("another set for the same source: %v", err)
	}
	if err := p.release(oldLog); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := p.Find(t.Context(), "RS256", "k"); err == nil {
			t.Error("keys out of nothing")
		}
	}
	p.logOdd([]error{errors.New("key is odd")})
	p.logState(auth.KeysStale, errors.New("status 500"))
	p.logState(auth.KeysFresh, nil)
	if err := p.release(newLog); err != nil { // waits for the set's end
		t.Fatal(err)
	}
	p.logState(auth.KeysFresh, nil) // to nobody
	if oldLogs.Len() != 0 {
		t.Errorf("log of a configuration that is gone: %v", oldLogs.All())
	}
	var got []string
	for _, line := range newLogs.All() {
		got = append(got, line.Level.String()+": "+line.Message)
		if line.ContextMap()["key_source"] != source.url {
			t.Errorf("line without its source: %v", line)
		}
	}
	want := "error: keys cannot be fetched, tokens cannot be verified|warn: keys of the provider are not as they should be|" +
		"warn: keys cannot be fetched, older ones serve|info: keys are up to date"
	if strings.Join(got, "|") != want {
		t.Errorf("lines %q", got)
	}
}
