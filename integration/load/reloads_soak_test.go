//go:build soak

package load

import (
	"testing"
	"time"
)

// TestSoakReloads is TestReloadsUnderLoad with as many sockets as a process may
// have descriptors for, and 50 reloads. Run by "make soak".
func TestSoakReloads(t *testing.T) {
	(&reloadLoad{sockets: 7300, reloads: 50, every: 2 * time.Second, life: 3 * time.Minute}).run(t)
}
