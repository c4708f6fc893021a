package redis

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"syscall"
	"time"
)

// dialer makes the connections to Redis. Its methods are safe for concurrent
// use.
type dialer struct {
	secure *tls.Config // nil without TLS

	mu     sync.Mutex // guards the following
	open   map[*conn]bool
	closed bool
}

// dial connects to Redis. It never fails: the client would print each failure
// to standard error, but hands on what the use of a connection returns.
func (d *dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	plain := &net.Dialer{KeepAlive: 15 * time.Second}
	dial := plain.DialContext
	if d.secure != nil {
		dial = (&tls.Dialer{NetDialer: plain, Config: d.secure}).DialContext
	}
	made, err := dial(ctx, network, address)
	if err != nil {
		return failedConn{err: err}, nil
	}
	return d.keep(made), nil
}

// keep notes an open connection.
func (d *dialer) keep(made net.Conn) net.Conn {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		made.Close()
		return failedConn{err: net.ErrClosed}
	}
	if d.open == nil {
		d.open = make(map[*conn]bool)
	}
	c := &conn{Conn: made, dialer: d}
	d.open[c] = true
	if system, ok := made.(syscall.Conn); ok {
		return plainConn{c, system}
	}
	return c
}

// close ends all connections, and those that are yet to be made.
func (d *dialer) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	for c := range d.open {
		c.Conn.Close()
	}
}

// conn is a connection that the dialer can close.
type conn struct {
	net.Conn
	dialer *dialer
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.dialer.mu.Lock()
	delete(c.dialer.open, c)
	c.dialer.mu.Unlock()
	return c.Conn.Close()
}

// plainConn is one without TLS: the client can look whether it still lives
// before it sends.
type plainConn struct {
	*conn
	syscall.Conn
}

// failedConn is a connection that could not be made.
type failedConn struct{ err error }

func (c failedConn) Read([]byte) (int, error)         { return 0, c.err }
func (c failedConn) Write([]byte) (int, error)        { return 0, c.err }
func (c failedConn) Close() error                     { return nil }
func (c failedConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c failedConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (c failedConn) SetDeadline(time.Time) error      { return nil }
func (c failedConn) SetReadDeadline(time.Time) error  { return nil }
func (c failedConn) SetWriteDeadline(time.Time) error { return nil }
