// Package lifecycle tests what becomes of sockets at a reload, a stop, a ping
// and a recheck.
package lifecycle

import (
	"testing"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// TestMain makes what the tests of the package share, and ends it.
func TestMain(m *testing.M) { rig.Main(m) }
