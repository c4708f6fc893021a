package proxy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"time"
)

// streamConn makes a connection of the two halves of an extended CONNECT, RFC
// 8441 and RFC 9220: the body that is read and the answer that is written.
//
// The body cannot be woken without being lost: a read deadline ends it for
// good. So a goroutine of the stream's own reads it, and deadlines are those
// of whoever waits for that goroutine.
type streamConn struct {
	body          io.ReadCloser
	w             http.ResponseWriter
	rc            *http.ResponseController
	local, remote net.Addr

	mu           sync.Mutex // guards the following
	changed      *sync.Cond
	data         []byte // has been read from the body and not from us
	err          error  // how the body ended
	closed       bool
	readDeadline time.Time
	alarm        *time.Timer // wakes readers at the deadline
	pumped       chan struct{}

	// server is the server's own writer, without those around it: theirs are
	// not made for deadlines that are set while another goroutine writes.
	server        *http.ResponseController
	writing       sync.Mutex // held while something is written
	writeMu       sync.Mutex // guards the following
	inWrite       bool
	writeDeadline time.Time
	writeAlarm    *time.Timer // ends the write that is under way
}

// newStreamConn starts reading r's body. The answer's header must be out.
func newStreamConn(w http.ResponseWriter, r *http.Request) *streamConn {
	c := &streamConn{
		body: r.Body, w: w, rc: http.NewResponseController(w),
		remote: parseAddr(r.RemoteAddr), local: localAddr(r),
		pumped: make(chan struct{}),
		server: http.NewResponseController(innermost(w)),
	}
	c.changed = sync.NewCond(&c.mu)
	go c.pump()
	return c
}

// innermost returns the writer that w and those it wraps end in.
func innermost(w http.ResponseWriter) http.ResponseWriter {
	for {
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		w = wrapper.Unwrap()
	}
}

// streamAddr is an address that is no IP address.
type streamAddr string

func (streamAddr) Network() string  { return "stream" }
func (a streamAddr) String() string { return string(a) }

// localAddr returns the address at which r came in.
func localAddr(r *http.Request) net.Addr {
	if addr, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		return addr
	}
	return streamAddr("")
}

func parseAddr(s string) net.Addr {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return net.TCPAddrFromAddrPort(ap)
	}
	return streamAddr(s)
}

// pump reads the body, one piece ahead of whoever reads the stream. It ends
// with the body, or when Close has ended that.
func (c *streamConn) pump() {
	defer close(c.pumped)
	defer func() {
		if p := recover(); p != nil {
			c.bodyEnded(fmt.Errorf("reading the request body: %v", p))
		}
	}()
	chunks := chunkReader{r: c.body}
	defer chunks.release()
	for {
		p, err := chunks.read(nil)
		if len(p) > 0 && !c.offer(p) {
			return
		}
		if err != nil {
			c.bodyEnded(err)
			return
		}
	}
}

// offer waits until p has been read, or until nobody will.
func (c *streamConn) offer(p []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.data = p
	c.changed.Broadcast()
	for len(c.data) > 0 && !c.closed {
		c.changed.Wait()
	}
	return !c.closed
}

func (c *streamConn) bodyEnded(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
	c.changed.Broadcast()
}

// Read implements net.Conn.
func (c *streamConn) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case c.closed:
			return 0, net.ErrClosed
		case len(c.data) > 0:
			n := copy(p, c.data)
			c.data = c.data[n:]
			if len(c.data) == 0 {
				c.changed.Broadcast()
			}
			return n, nil
		case c.err != nil:
			return 0, c.err
		case !c.readDeadline.IsZero() && !time.Now().Before(c.readDeadline):
			return 0, os.ErrDeadlineExceeded
		}
		c.changed.Wait()
	}
}

// Write implements net.Conn. What is written is on its way when it returns.
func (c *streamConn) Write(p []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.isClosed() {
		return 0, net.ErrClosed
	}
	if !c.armWrite() {
		return 0, os.ErrDeadlineExceeded
	}
	defer c.disarmWrite()
	n, err := c.w.Write(p)
	if err == nil {
		err = c.rc.Flush()
	}
	if err != nil && c.writeTimedOut() {
		err = errors.Join(os.ErrDeadlineExceeded, err)
	}
	return n, err
}

// armWrite sees to it that one write ends at the deadline, and reports whether
// there is time for it.
func (c *streamConn) armWrite() bool {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	if c.timedOutLocked() {
		return false
	}
	c.inWrite = true
	c.setWriteAlarmLocked()
	return true
}

func (c *streamConn) disarmWrite() {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	c.inWrite = false
	if c.writeAlarm != nil {
		c.writeAlarm.Stop()
	}
}

func (c *streamConn) setWriteAlarmLocked() {
	switch wait := time.Until(c.writeDeadline); {
	case c.writeDeadline.IsZero():
		if c.writeAlarm != nil {
			c.writeAlarm.Stop()
		}
	case c.writeAlarm == nil:
		c.writeAlarm = time.AfterFunc(wait, c.endWrite)
	default:
		c.writeAlarm.Reset(wait)
	}
}

// endWrite ends the write that is under way if its deadline is over. On HTTP/2
// that resets the stream. It comes again until the write has ended, because
// the writers in between may set deadlines of their own.
func (c *streamConn) endWrite() {
	const again = 100 * time.Millisecond
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	if c.inWrite && c.timedOutLocked() {
		_ = c.server.SetWriteDeadline(past)
		c.writeAlarm.Reset(again)
	}
}

func (c *streamConn) writeTimedOut() bool {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	return c.timedOutLocked()
}

func (c *streamConn) timedOutLocked() bool {
	return !c.writeDeadline.IsZero() && !time.Now().Before(c.writeDeadline)
}

func (c *streamConn) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// Close ends reading and writing. The stream itself ends when its handler
// returns, which must not be before Close has.
func (c *streamConn) Close() error {
	c.mu.Lock()
	if !c.closed {
		c.closed = true
		if c.alarm != nil {
			c.alarm.Stop()
		}
		c.changed.Broadcast()
		_ = c.rc.SetReadDeadline(past)
	}
	c.mu.Unlock()
	_ = c.SetWriteDeadline(past) // for a client that does not read
	c.writing.Lock()
	c.writing.Unlock() //nolint:staticcheck // whoever writes has to be done, no more
	select {
	case <-c.pumped:
	case <-time.After(time.Second):
		_ = c.body.Close()
		<-c.pumped
	}
	return nil
}

// LocalAddr implements net.Conn.
func (c *streamConn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements net.Conn.
func (c *streamConn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline implements net.Conn.
func (c *streamConn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (c *streamConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.readDeadline = t
	if c.alarm != nil {
		c.alarm.Stop()
		c.alarm = nil
	}
	if !t.IsZero() && !c.closed {
		c.alarm = time.AfterFunc(time.Until(t), func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.changed.Broadcast()
		})
	}
	c.changed.Broadcast()
	return nil
}

// SetWriteDeadline implements net.Conn.
func (c *streamConn) SetWriteDeadline(t time.Time) error {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	c.writeDeadline = t
	if c.inWrite {
		c.setWriteAlarmLocked()
	}
	return nil
}
