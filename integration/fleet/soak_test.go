//go:build soak

package fleet

import "testing"

// TestSoakFleetRedis is TestFleetRedisKilled, 20 times. Run by "make soak".
func TestSoakFleetRedis(t *testing.T) { fleetRedisKilled(t, 20) }

// TestSoakFleetNode is TestFleetNodeKilled, 20 times. Run by "make soak".
func TestSoakFleetNode(t *testing.T) { fleetNodeKilled(t, 20) }
