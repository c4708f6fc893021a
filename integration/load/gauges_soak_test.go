//go:build soak

package load

import "testing"

// TestSoakGauges is TestGaugesAgreeWithDescriptors with as many sockets as a
// busy day has. Run by "make soak".
func TestSoakGauges(t *testing.T) { gaugesAgree(t, 100000) }
