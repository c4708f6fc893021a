package proxy

import (
	"errors"
	"io"
	"net"
	"os"
	"reflect"
	"sync"
	"syscall"
	"time"
)

const (
	// largeBuffer is what one read takes at most while data flows, and
	// smallBuffer what a connection that cannot be waited for without a
	// buffer keeps while it is quiet.
	largeBuffer = 32 << 10
	smallBuffer = 4 << 10
	// lull is how long a connection must have been quiet, at the most twice
	// of it, to count as quiet.
	lull = 2 * time.Second
	// smallReads is how many reads in a row must have been small for that
	// where no time can be measured.
	smallReads = 16
)

var (
	largeBuffers = sync.Pool{New: func() any { return new([largeBuffer]byte) }}
	smallBuffers = sync.Pool{New: func() any { return new([smallBuffer]byte) }}
)

// chunkReader reads a connection in chunks, with buffers that are shared by
// all connections: a socket is quiet for most of its life, and a buffer that
// waits with it is most of what a proxied socket costs. On a plain TCP
// connection it waits with no buffer at all; on any other it waits with a
// small one, takes a large one when the small one is filled, and keeps that
// while traffic is lively: to read the small one first each time would double
// the system calls.
//
// The zero value with r set is ready. Not safe for concurrent use.
type chunkReader struct {
	r io.Reader
	// setDeadline sets the read deadline of r unless that is somebody else's,
	// and reports whether it did. If it is nil, r cannot be woken.
	setDeadline func(time.Time) bool
	// raw is set once r is known to be a plain TCP connection.
	raw *rawReader
	// looked: whether r is a plain TCP connection need not be asked again.
	looked bool

	large *[largeBuffer]byte
	small *[smallBuffer]byte
	// lively: large reads are to be expected.
	lively   bool
	quietAt  time.Time // the deadline that tells when they are not
	smallRun int       // small reads in a row
}

// read blocks until there is data and returns it behind prefix, which is
// copied (it is at most an unfinished header or close frame). Without new data
// it returns nil and the error. What it returns is valid until the next call
// or release.
func (c *chunkReader) read(prefix []byte) ([]byte, error) {
	if !c.looked {
		c.look()
	}
	switch {
	case c.raw == nil:
		return c.readBuffered(prefix)
	case len(prefix) > 0:
		return c.readOn(prefix)
	}
	c.release() // a large one is taken once there is data
	return c.raw.read(c)
}

// readBuffered reads what has to be waited for with a buffer.
func (c *chunkReader) readBuffered(prefix []byte) ([]byte, error) {
	for {
		c.expectLull()
		buf := c.waiting(prefix)
		n, err := c.r.Read(buf[len(prefix):])
		if n == 0 && c.isLull(err) {
			continue
		}
		if n == 0 {
			return nil, err
		}
		n += len(prefix)
		c.judgeSize(n)
		return buf[:n], nil
	}
}

// expectLull has a lively connection wake us when it falls quiet. The deadline
// is renewed only when half of its time is over.
func (c *chunkReader) expectLull() {
	if !c.lively || c.setDeadline == nil {
		return
	}
	now := time.Now()
	if c.quietAt.Sub(now) >= lull {
		return
	}
	c.quietAt = now.Add(2 * lull)
	if !c.setDeadline(c.quietAt) {
		c.quietAt = time.Time{}
		c.lively = false
	}
}

// isLull tells whether err is our own deadline, and if so ends the liveliness.
func (c *chunkReader) isLull(err error) bool {
	if c.quietAt.IsZero() || !errors.Is(err, os.ErrDeadlineExceeded) || time.Now().Before(c.quietAt) {
		return false
	}
	c.lively, c.quietAt = false, time.Time{}
	return c.setDeadline(time.Time{})
}

// judgeSize tells from the size of a read what is to be expected.
func (c *chunkReader) judgeSize(n int) {
	if n >= smallBuffer {
		c.lively, c.smallRun = true, 0
		return
	}
	if c.smallRun++; c.smallRun >= smallReads && c.setDeadline == nil {
		c.lively = false
	}
}

// waiting returns the buffer to wait with, prefix copied into it.
func (c *chunkReader) waiting(prefix []byte) []byte {
	if c.lively {
		if c.large == nil {
			c.large = largeBuffers.Get().(*[largeBuffer]byte)
		}
		copy(c.large[:], prefix)
		c.releaseSmall()
		return c.large[:]
	}
	if c.small == nil {
		c.small = smallBuffers.Get().(*[smallBuffer]byte)
	}
	copy(c.small[:], prefix)
	c.releaseLarge()
	return c.small[:]
}

// look finds out whether r can be waited for without a buffer. It asks until
// it can tell, because a reader may still hold bytes of its own at first.
func (c *chunkReader) look() {
	conn, settled := plainTCP(c.r)
	c.looked = settled
	if conn != nil {
		c.raw = newRawReader(conn)
	}
}

// readOn reads a plain TCP connection on which something has begun.
func (c *chunkReader) readOn(prefix []byte) ([]byte, error) {
	c.lively = true
	buf := c.waiting(prefix)
	n, err := c.r.Read(buf[len(prefix):])
	if n == 0 {
		return nil, err
	}
	return buf[:len(prefix)+n], nil
}

// release gives the buffers back.
func (c *chunkReader) release() {
	c.releaseLarge()
	c.releaseSmall()
}

func (c *chunkReader) releaseLarge() {
	if c.large != nil {
		largeBuffers.Put(c.large)
		c.large = nil
	}
}

func (c *chunkReader) releaseSmall() {
	if c.small != nil {
		smallBuffers.Put(c.small)
		c.small = nil
	}
}

// plainTCP returns the TCP connection that r reads from if reading that one
// is the same as reading r, and whether the answer is final.
//
// reverse_proxy hands us the upgraded connection as net/http's body type,
// which is unexported: a struct with an embedded ReadWriteCloser and a
// buffered reader br that is used until it is empty and then nil. Reflection
// sees through it; should the type ever look different, r is read as any
// other reader. TestPlainTCPOfUpgradedBody tells when that happens.
func plainTCP(r io.Reader) (conn *net.TCPConn, settled bool) {
	if conn, ok := r.(*net.TCPConn); ok {
		return conn, true
	}
	v := reflect.ValueOf(r)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return nil, true
	}
	v = v.Elem()
	if t := v.Type(); t.PkgPath() != "net/http" || t.Name() != "readWriteCloserBody" {
		return nil, true
	}
	embedded, br := v.FieldByName("ReadWriteCloser"), v.FieldByName("br")
	if !embedded.IsValid() || !embedded.CanInterface() || !br.IsValid() || br.Kind() != reflect.Pointer {
		return nil, true
	}
	conn, ok := reflect.TypeAssert[*net.TCPConn](embedded)
	if !ok {
		return nil, true
	}
	if !br.IsNil() {
		return nil, false
	}
	return conn, true
}

// newRawReader returns nil where the system has no such way to wait.
func newRawReader(conn *net.TCPConn) *rawReader {
	if !canWaitWithoutBuffer {
		return nil
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil
	}
	return &rawReader{conn: raw}
}

// rawReader reads a file descriptor with a buffer that it takes only when the
// system says that there is something to read.
type rawReader struct {
	conn syscall.RawConn
	// The results of one attempt.
	n   int
	err error
	// chunks is whom the buffer belongs to, for the time of one read.
	chunks *chunkReader
	// attempt is r.try as a value, made once: it would be allocated each time.
	attempt func(fd uintptr) bool
}

// read waits and reads into c.large.
func (r *rawReader) read(c *chunkReader) ([]byte, error) {
	if r.attempt == nil {
		r.attempt = r.try
	}
	r.chunks, r.n, r.err = c, 0, nil
	err := r.conn.Read(r.attempt)
	r.chunks = nil
	switch {
	case err != nil: // the deadline, or closed
		return nil, err
	case r.err != nil:
		return nil, r.err
	case r.n == 0:
		return nil, io.EOF
	}
	return c.large[:r.n], nil
}
