package websocketauth

import (
	"errors"
	"fmt"
)

// Pending limits the sockets that have not logged in.
type Pending struct {
	// How many there may be in all. When there are more, the oldest goes, of
	// the address that has most. Default: 1000
	Max int `json:"max,omitempty"`

	// How many there may be from one client address, or IPv6 /64. When there
	// are more, its oldest goes. Default: 200, or `max` where that is less
	PerAddress int `json:"per_address,omitempty"`
}

// The defaults of Pending.
const (
	defaultPending           = 1000
	defaultPendingPerAddress = 200
)

// limits returns the limits in force.
func (p Pending) limits() (total, perAddress int, err error) {
	total, perAddress = p.Max, p.PerAddress
	if total == 0 {
		total = defaultPending
	}
	if perAddress == 0 {
		perAddress = min(defaultPendingPerAddress, total)
	}
	switch {
	case total < 0 || perAddress < 0:
		return 0, 0, errors.New("pending is negative: use numbers from 1")
	case perAddress > total:
		return 0, 0, fmt.Errorf("pending %d %d allows one address more than all together: make the second number the smaller one",
			total, perAddress)
	}
	return total, perAddress, nil
}
