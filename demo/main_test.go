package demo

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

// commandVariable makes this test binary be Caddy.
const commandVariable = "DEMO_TEST_COMMAND"

// logFile is where Caddy writes its log while the tests run.
var logFile string

// TestMain keeps the log, in which a test looks for tokens, and keeps Caddy
// out of the developer's home.
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
	logFile = filepath.Join(dir, "log")
	stderr := os.Stderr
	// Caddy opens os.Stderr when it loads a configuration.
	if os.Stderr, err = os.Create(logFile); err != nil {
		panic(err)
	}
	code := m.Run()
	if code != 0 {
		showLog(stderr)
	}
	return code
}

func showLog(w io.Writer) {
	log, err := os.ReadFile(logFile)
	if err == nil {
		_, _ = w.Write(log)
	}
}
