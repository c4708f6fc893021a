package websocketauth

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// TestInstanceIDBeingWritten: an id that is being written is waited for.
func TestInstanceIDBeingWritten(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	file := filepath.Join(caddy.AppDataDir(), "instance.uuid")
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	const want = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
	synctest.Test(t, func(t *testing.T) {
		go func() {
			time.Sleep(100 * time.Millisecond)
			if err := os.WriteFile(file, []byte(want), 0o600); err != nil {
				t.Error(err)
			}
		}()
		if id, err := instanceID(t.Context()); id != want || err != nil {
			t.Errorf("instanceID() = %q, %v, want %q", id, err, want)
		}
	})
	if err := os.WriteFile(file, []byte("none"), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		if id, err := instanceID(t.Context()); err == nil || time.Since(start) > time.Second {
			t.Errorf("instanceID() = %q, %v after %v, want an error", id, err, time.Since(start))
		}
	})
}
