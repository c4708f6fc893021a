// Package logs tests that no credential gets into a log or any other place.
package logs

import (
	"testing"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// TestMain makes what the tests of the package share, and ends it.
func TestMain(m *testing.M) { rig.Main(m) }
