package proxy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"sync"
	"time"
)

// maxRawHead is the longest header of an answer that is read, in bytes.
const maxRawHead = 64 << 10

// rawAnswer is the connection of a handler that hijacks first and then writes
// its answer to the handshake as text, as gorilla/websocket does. The answer is
// read and given to the tunnel, so that it is judged as any other, and on
// HTTP/2 and HTTP/3 becomes what those want; then the gate takes over.
type rawAnswer struct {
	t *Tunnel

	mu      sync.Mutex // guards the following
	head    []byte
	gate    *Gate
	plain   bool // an ordinary answer: what follows is its body
	failed  error
	settled chan struct{} // closed when there is a gate or never will be
	once    sync.Once
}

func newRawAnswer(t *Tunnel) *rawAnswer {
	return &rawAnswer{t: t, settled: make(chan struct{})}
}

// Write implements net.Conn.
func (c *rawAnswer) Write(p []byte) (int, error) {
	if g := c.opened(); g != nil {
		return g.Write(p)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.failed != nil:
		return 0, c.failed
	case c.plain:
		return c.t.Write(p)
	}
	c.head = append(c.head, p...)
	end := bytes.Index(c.head, []byte("\r\n\r\n"))
	switch {
	case end < 0 && len(c.head) > maxRawHead:
		return 0, c.fail(errors.New("the handler's answer has a header without end"))
	case end < 0:
		return len(p), nil
	}
	end += len("\r\n\r\n")
	if err := c.answer(c.head[:end], c.head[end:]); err != nil {
		return 0, err
	}
	c.head = nil
	return len(p), nil
}

// answer gives a whole header, and what follows it, to the tunnel.
func (c *rawAnswer) answer(head, rest []byte) error {
	res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(head)), c.t.request)
	if err != nil {
		return c.fail(errors.New("the handler's answer is not HTTP"))
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusSwitchingProtocols {
		if len(res.TransferEncoding) > 0 {
			return c.fail(fmt.Errorf("the handler answered %d in chunks", res.StatusCode))
		}
		for _, name := range []string{"Connection", "Upgrade", "Keep-Alive"} {
			res.Header.Del(name)
		}
	}
	maps.Copy(c.t.Header(), res.Header)
	c.t.WriteHeader(res.StatusCode)
	switch c.t.state {
	case tunnelAnswered:
		c.plain = true
		_, err := c.t.Write(rest)
		return err
	case tunnelSwitching:
		if err := c.t.open(); err != nil {
			return c.fail(err)
		}
		c.gate = c.t.gate
		c.settle()
		_, err := c.gate.Write(rest)
		return err
	default:
		return c.fail(c.t.notWritable())
	}
}

func (c *rawAnswer) fail(err error) error {
	c.failed = err
	c.t.fail(err)
	c.settle()
	return err
}

// await waits until there is a gate or never will be.
func (c *rawAnswer) await(ctx context.Context) {
	select {
	case <-c.settled:
	case <-ctx.Done(): // the client is gone
		_ = c.Close()
	}
}

func (c *rawAnswer) settle() { c.once.Do(func() { close(c.settled) }) }

// opened returns the gate once there is one.
func (c *rawAnswer) opened() *Gate {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gate
}

// Read implements net.Conn. Nothing can be read before the answer.
func (c *rawAnswer) Read(p []byte) (int, error) {
	<-c.settled
	if g := c.opened(); g != nil {
		return g.Read(p)
	}
	return 0, net.ErrClosed
}

// Close implements net.Conn.
func (c *rawAnswer) Close() error {
	c.settle()
	if g := c.opened(); g != nil {
		return g.Close()
	}
	return nil
}

// LocalAddr implements net.Conn.
func (c *rawAnswer) LocalAddr() net.Addr { return localAddr(c.t.client) }

// RemoteAddr implements net.Conn.
func (c *rawAnswer) RemoteAddr() net.Addr { return parseAddr(c.t.client.RemoteAddr) }

// SetDeadline implements net.Conn. Before the answer there is nothing that
// could take long.
func (c *rawAnswer) SetDeadline(t time.Time) error {
	if g := c.opened(); g != nil {
		return g.SetDeadline(t)
	}
	return nil
}

// SetReadDeadline implements net.Conn.
func (c *rawAnswer) SetReadDeadline(t time.Time) error {
	if g := c.opened(); g != nil {
		return g.SetReadDeadline(t)
	}
	return nil
}

// SetWriteDeadline implements net.Conn.
func (c *rawAnswer) SetWriteDeadline(t time.Time) error {
	if g := c.opened(); g != nil {
		return g.SetWriteDeadline(t)
	}
	return nil
}
