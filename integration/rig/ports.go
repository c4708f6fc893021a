package rig

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
)

// freePorts returns ports that nobody listens on. They lie below those that
// the system gives to outgoing connections, so that none of these takes one
// before Caddy does.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range 1000 {
		port := nextPort()
		tcp, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		_ = tcp.Close()
		if ports = append(ports, port); len(ports) == n {
			return ports, nil
		}
	}
	return nil, errors.New("no free ports")
}

// NextFreePort is freePorts for one port, as text for a configuration.
func NextFreePort(t testing.TB) string {
	t.Helper()
	ports, err := freePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(ports[0])
}

// The ports that are given out to tests. They are in blocks, and each process
// has one for itself, since several packages, and several runs, may be under
// way on one machine.
const firstPort, portBlocks, blockPorts = 20000, 24, 500

// ownBlock holds the block of this process: who listens on the first port of a
// block has it.
var ownBlock struct {
	once     sync.Once
	first    int
	listener net.Listener // open until the process ends
	given    atomic.Int64
}

func nextPort() int {
	own := &ownBlock
	own.once.Do(func() {
		start := rand.IntN(portBlocks)
		for n := range portBlocks {
			own.first = firstPort + (start+n)%portBlocks*blockPorts
			var err error
			if own.listener, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", own.first)); err == nil {
				return
			}
		} // all are taken: then two processes share the last
	})
	return own.first + 1 + int(own.given.Add(1))%(blockPorts-1)
}
