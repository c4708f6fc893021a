//go:build !linux

package main

import (
	"errors"
	"time"
)

var errNoProc = errors.New("the benchmark reads the accounts that Linux keeps of processes, it runs only there")

// supported reports whether this machine can be measured.
func supported() error { return errNoProc }

func cpuTime(int) (time.Duration, error) { return 0, errNoProc }

func residentBytes(int) (int64, error) { return 0, errNoProc }

func machine() string { return "" }
