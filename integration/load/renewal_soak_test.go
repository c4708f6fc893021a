//go:build soak

package load

import (
	"testing"
	"time"
)

// TestSoakRenewal: 500 sockets whose tokens of 5 s are renewed for a minute,
// with both sides sending numbered messages without pause. Every number
// arrives exactly once, in order, both ways. Run by "make soak".
func TestSoakRenewal(t *testing.T) {
	l := &renewalLoad{sockets: 500, lasts: time.Minute, interval: 50 * time.Millisecond, life: 5 * time.Second}
	l.run(t)
}
