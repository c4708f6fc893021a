// Package integration tests the whole: a real Caddy, as a process of its own,
// in front of a real WebSocket application, with a real key server.
package integration

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// Set once, before any test runs.
var (
	tempDir     string // for what outlives a test
	caddyBinary string // the program under test
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

// run is TestMain with deferred calls, which os.Exit would leave out.
func run(m *testing.M) int {
	var err error
	if tempDir, err = os.MkdirTemp("", "websocket-auth-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(tempDir)
	if caddyBinary, err = buildCaddy(tempDir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	flag.Parse()
	// The tests wait more than they compute.
	if err := flag.Set("test.parallel", "8"); err != nil {
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
