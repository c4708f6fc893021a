package demo

import (
	"os"
	"path/filepath"
	"testing"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

// commandVariable makes this test binary be Caddy.
const commandVariable = "DEMO_TEST_COMMAND"

// TestMain keeps Caddy out of the developer's home.
func TestMain(m *testing.M) {
	if os.Getenv(commandVariable) != "" {
		caddycmd.Main()
		return
	}
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "demo-test-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	for _, name := range []string{"HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"} {
		os.Setenv(name, dir)
	}
	return m.Run()
}

// captureLog has Caddy write its log into a file until the test ends, and
// shows it if the test fails. Caddy opens os.Stderr when it loads a
// configuration; the testing package sets it when the tests begin.
func captureLog(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "log")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	stderr := os.Stderr
	os.Stderr = file
	t.Cleanup(func() {
		os.Stderr = stderr
		if log, err := os.ReadFile(path); err == nil && t.Failed() {
			t.Logf("Caddy's log:\n%s", log)
		}
		file.Close()
	})
	return path
}
