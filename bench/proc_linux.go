package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// supported reports whether this machine can be measured.
func supported() error { return nil }

// cpuTime returns the user and system time that all threads of the process
// have used, ended ones included. The kernel keeps it in nanoseconds, where
// /proc/<pid>/stat has only ticks of 10 ms.
func cpuTime(pid int) (time.Duration, error) {
	// The clock id of another process, as clock_getcpuclockid(3) makes it:
	// the complement of its id, and CPUCLOCK_SCHED in the low bits.
	const cpuClockSched = 2
	clock := ^pid<<3 | cpuClockSched
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(clock), &ts); err != nil {
		return 0, fmt.Errorf("reading the CPU clock of process %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}

// residentBytes returns the resident size of the process. smaps_rollup counts
// the pages; VmRSS in /proc/<pid>/status may be off by some per thread.
func residentBytes(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, fmt.Errorf("reading the resident size: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) == 3 && fields[0] == "Rss:" && fields[2] == "kB" {
			kib, err := strconv.ParseInt(fields[1], 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("no resident size in smaps_rollup of process %d", pid)
}

// machine describes the machine in one line: processor, kernel, memory.
func machine() string {
	model := "unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		scanner := bufio.NewScanner(bytes.NewReader(text))
		for scanner.Scan() {
			name, value, _ := strings.Cut(scanner.Text(), ":")
			if strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	kernel := "unknown kernel"
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		kernel = "Linux " + unix.ByteSliceToString(name.Release[:])
	}
	return model + ", " + kernel
}
