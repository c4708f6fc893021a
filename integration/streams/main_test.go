// Package streams tests WebSockets over HTTP/1.1, HTTP/2 and HTTP/3.
package streams

import (
	"testing"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// TestMain makes what the tests of the package share, and ends it.
func TestMain(m *testing.M) { rig.Main(m) }
