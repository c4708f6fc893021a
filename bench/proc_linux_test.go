package main

import (
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// TestCPUTime compares with what the kernel says by another way.
func TestCPUTime(t *testing.T) {
	usage := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			t.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	start := usage()
	before, err := cpuTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for usage()-start < 100*time.Millisecond { // work, so that there is some
	}
	after, err := cpuTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if got := after - before; got < 90*time.Millisecond || got > 150*time.Millisecond {
		t.Errorf("100 ms of work were accounted as %v", got)
	}
}

func TestResidentBytes(t *testing.T) {
	before, err := residentBytes(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	const size = 32 << 20
	touched := make([]byte, size)
	for i := 0; i < size; i += 4 << 10 {
		touched[i] = 1
	}
	after, err := residentBytes(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	runtime.KeepAlive(touched)
	if got := after - before; got < size*9/10 || got > size*10 {
		t.Errorf("touching %d bytes made the process %d bytes larger", size, got)
	}
}

func TestGoneProcess(t *testing.T) {
	t.Parallel()
	const nobody = 1 << 22 // the largest pid_max: no process has it
	if _, err := cpuTime(nobody); err == nil {
		t.Error("the CPU time of a process that does not exist has no error")
	}
	if _, err := residentBytes(nobody); err == nil {
		t.Error("the size of a process that does not exist has no error")
	}
}
