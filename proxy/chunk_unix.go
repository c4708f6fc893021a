//go:build unix

package proxy

import "syscall"

const canWaitWithoutBuffer = true

// try reads once. It returns false, without a buffer, if it would have to
// wait: the runtime then calls it again when the descriptor is readable. These
// are the system calls that a plain Read makes, too.
func (r *rawReader) try(fd uintptr) bool {
	c := r.chunks
	c.large = largeBuffers.Get().(*[largeBuffer]byte)
	for {
		n, err := syscall.Read(int(fd), c.large[:])
		switch err {
		case nil:
			r.n = n
			return true
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			c.releaseLarge()
			return false
		}
		c.releaseLarge()
		r.err = err
		return true
	}
}
