// Package rig is what the integration tests share. They test the whole: a real
// Caddy, as a process of its own, in front of a real WebSocket application,
// with a real key server.
package rig

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
)

// caddyVariable is the environment variable that names the program under test,
// built from cmd/caddy as the tests are: with or without the race detector.
// Without it the tests build their own.
const caddyVariable = "INTEGRATION_CADDY"

// Set once, before any test runs.
var (
	tempDir     string // for what outlives a test
	caddyBinary string // the program under test
)

// Main is the TestMain of each package of tests. It does not return.
func Main(m *testing.M) { os.Exit(run(m)) }

// run is Main with deferred calls, which os.Exit would leave out.
func run(m *testing.M) int {
	var err error
	if tempDir, err = os.MkdirTemp("", "websocket-auth-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(tempDir)
	if caddyBinary = os.Getenv(caddyVariable); caddyBinary == "" {
		if caddyBinary, err = build("caddy", module+"/cmd/caddy"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	if err := beside(); err != nil {
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

// beside has four tests run beside each other, unless -parallel says how many:
// they wait more than they compute, and those of another package may run at the
// same time.
func beside() error {
	flag.Parse()
	said := false
	flag.Visit(func(f *flag.Flag) { said = said || f.Name == "test.parallel" })
	if said {
		return nil
	}
	return flag.Set("test.parallel", "4")
}

// BuildTestCaddy returns the path of the program of testcaddy, which is built
// when a test first needs it.
var BuildTestCaddy = sync.OnceValues(func() (string, error) { return build("testcaddy", module+"/integration/testcaddy") })

// module is what the programs that are built belong to.
const module = "github.com/caddy-websocket-auth/caddy-websocket-auth"

// build builds the program of a package and returns its path.
func build(name, path string) (string, error) {
	binary := filepath.Join(tempDir, name)
	if runtime.GOOS == "windows" {
		binary += ".exe"
	}
	args := append([]string{"build", "-o", binary}, buildFlags...)
	out, err := exec.Command("go", append(args, path)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building %s: %w\n%s", name, err, out)
	}
	return binary, nil
}
