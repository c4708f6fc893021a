//go:build !unix

package proxy

const canWaitWithoutBuffer = false

// try is never called where canWaitWithoutBuffer is false.
func (r *rawReader) try(uintptr) bool { return true }
