package websocketauth_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

const modulePath = "github.com/caddy-websocket-auth/caddy-websocket-auth"

// host are the packages that only the top package may know.
var host = []string{"github.com/caddyserver/", "go.uber.org/zap", "github.com/prometheus/"}

// TestLayers keeps the libraries free of Caddy, its logger and its metrics,
// and apart from each other: auth decides who, proxy what passes, and they
// meet in the top package alone.
func TestLayers(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		folder    string
		optional  bool // not every version has it
		forbidden []string
	}{
		{"auth", false, []string{modulePath + "/proxy"}},
		{"proxy", false, []string{modulePath + "/auth"}},
		{"session", false, nil},
		{"dialect", true, nil},
		{"store", true, nil},
	} {
		t.Run(tc.folder, func(t *testing.T) {
			t.Parallel()
			if _, err := os.Stat(tc.folder); tc.optional && os.IsNotExist(err) {
				return
			}
			deps := dependencies(t, "./"+tc.folder+"/...")
			if found := reached(deps, append(tc.forbidden, host...)); found != "" {
				t.Errorf("%s reaches %s", tc.folder, found)
			}
		})
	}
}

// TestLayersSeesCaddy shows that TestLayers would notice: the top package
// reaches everything that the libraries may not.
func TestLayersSeesCaddy(t *testing.T) {
	t.Parallel()
	deps := dependencies(t, ".")
	for _, prefix := range append([]string{modulePath + "/auth", modulePath + "/proxy"}, host...) {
		if reached(deps, []string{prefix}) == "" {
			t.Errorf("the top package does not reach %s", prefix)
		}
	}
}

// dependencies lists all packages that the pattern's packages reach.
func dependencies(t *testing.T, pattern string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", pattern).Output()
	if err != nil {
		t.Fatalf("go list -deps %s: %v", pattern, err)
	}
	deps := strings.Fields(string(out))
	if len(deps) == 0 {
		t.Fatalf("no packages in %s", pattern)
	}
	return deps
}

// reached returns the first dependency that begins with one of the prefixes.
func reached(deps, prefixes []string) string {
	for _, dep := range deps {
		for _, prefix := range prefixes {
			if strings.HasPrefix(dep, prefix) {
				return dep
			}
		}
	}
	return ""
}
