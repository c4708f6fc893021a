// Package load tests many sockets, and moments in which two things happen at
// once.
package load

import (
	"testing"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// TestMain makes what the tests of the package share, and ends it.
func TestMain(m *testing.M) { rig.Main(m) }
