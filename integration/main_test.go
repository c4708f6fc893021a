// Package integration tests the whole: a real Caddy, as a process of its own,
// in front of a real WebSocket application, with a real key server.
package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// caddyBinary is the program under test. Set once, before any test runs.
var caddyBinary string

func TestMain(m *testing.M) { os.Exit(run(m)) }

// run is TestMain with deferred calls, which os.Exit would leave out.
func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "websocket-auth-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir) //nolint:errcheck // nothing can be done about it
	if caddyBinary, err = buildCaddy(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if err := closeShared(); err != nil {
		fmt.Fprintln(os.Stderr, "the shared Caddy:", err)
		return 1
	}
	return code
}

// buildCaddy builds the program of cmd/caddy in dir and returns its path.
func buildCaddy(dir string) (string, error) {
	binary := filepath.Join(dir, "caddy")
	if runtime.GOOS == "windows" {
		binary += ".exe"
	}
	args := append([]string{"build", "-o", binary}, buildFlags...)
	out, err := exec.Command("go", append(args, "../cmd/caddy")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building Caddy: %w\n%s", err, out)
	}
	return binary, nil
}
