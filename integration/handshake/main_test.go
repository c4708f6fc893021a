// Package handshake tests who is let in: sources, refusals, forms and headers,
// keys, and what the application sees.
package handshake

import (
	"testing"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// TestMain makes what the tests of the package share, and ends it.
func TestMain(m *testing.M) { rig.Main(m) }
