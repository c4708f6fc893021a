package pace

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// tries is how often a test that measures time is run at most.
const tries = 3

// Who is later than this, or slower than this, was late: what has failed
// meanwhile has shown nothing.
const (
	lateAfter  = 50 * time.Millisecond
	slowBeyond = 1.5
)

// Try runs a test that is about time. If it fails while the machine was late,
// it is run again, three times in all; if the machine was not, or it has failed
// each time, it has failed.
//
// What f is given is for one try, cleanups included. [Real] leads back to the
// test, for failures that no late machine excuses.
func Try(t *testing.T, f func(t testing.TB)) {
	t.Helper()
	watch := Start(t)
	if problem := repeat(t, f, watch.describe); problem != "" {
		t.Fatal(problem)
	}
}

// describe says how late the machine was since a moment; nothing if it was not.
func (w *Watch) describe(since time.Time) string {
	late, factor := w.since(since)
	if late <= lateAfter && factor <= slowBeyond {
		return ""
	}
	return fmt.Sprintf("on a machine that takes %.1f times as long as when it is free and is %v late", factor, late)
}

// repeat is Try by what lateness says of the machine. It returns what has
// failed.
func repeat(t testing.TB, f func(t testing.TB), lateness func(since time.Time) string) string {
	t.Helper()
	for n := 1; ; n++ {
		start := time.Now()
		a := attempt(t, f)
		if !a.Failed() {
			return ""
		}
		late := lateness(start)
		if late == "" || n == tries || t.Failed() {
			return a.text()
		}
		t.Logf("try %d, %s:\n%s", n, late, a.text())
	}
}

// Real returns the test that t is a try of, or t.
func Real(t testing.TB) testing.TB {
	if a, ok := t.(*try); ok {
		return a.TB
	}
	return t
}

// try is a testing.TB whose failure is not yet the test's.
type try struct {
	testing.TB
	ctx    context.Context
	cancel context.CancelFunc

	mu       sync.Mutex // guards the following
	failed   bool
	lines    []string
	cleanups []func()
}

// attempt runs f and its cleanups, as the testing package does.
func attempt(t testing.TB, f func(t testing.TB)) *try {
	t.Helper()
	a := &try{TB: t}
	a.ctx, a.cancel = context.WithCancel(t.Context())
	a.run(func() { f(a) })
	a.cancel()
	for {
		cleanup := a.next()
		if cleanup == nil {
			return a
		}
		a.run(cleanup)
	}
}

// run calls f, which may end its goroutine.
func (a *try) run(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}

func (a *try) next() func() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.cleanups) == 0 {
		return nil
	}
	last := a.cleanups[len(a.cleanups)-1]
	a.cleanups = a.cleanups[:len(a.cleanups)-1]
	return last
}

func (a *try) text() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return strings.Join(a.lines, "\n")
}

func (a *try) note(failed bool, line string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.failed = a.failed || failed
	if _, file, number, ok := runtime.Caller(2); ok {
		line = fmt.Sprintf("%s:%d: %s", filepath.Base(file), number, line)
	}
	a.lines = append(a.lines, line)
}

// Cleanup implements testing.TB: f is called when the try is over.
func (a *try) Cleanup(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cleanups = append(a.cleanups, f)
}

// Context implements testing.TB: it ends before the cleanups.
func (a *try) Context() context.Context { return a.ctx }

// Failed implements testing.TB.
func (a *try) Failed() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.failed
}

// Fail implements testing.TB.
func (a *try) Fail() { a.note(true, "failed") }

// FailNow implements testing.TB.
func (a *try) FailNow() {
	a.note(true, "failed")
	runtime.Goexit()
}

// Error implements testing.TB.
func (a *try) Error(args ...any) { a.note(true, fmt.Sprintln(args...)) }

// Errorf implements testing.TB.
func (a *try) Errorf(format string, args ...any) { a.note(true, fmt.Sprintf(format, args...)) }

// Fatal implements testing.TB.
func (a *try) Fatal(args ...any) {
	a.note(true, fmt.Sprintln(args...))
	runtime.Goexit()
}

// Fatalf implements testing.TB.
func (a *try) Fatalf(format string, args ...any) {
	a.note(true, fmt.Sprintf(format, args...))
	runtime.Goexit()
}

// Log implements testing.TB.
func (a *try) Log(args ...any) { a.note(false, fmt.Sprintln(args...)) }

// Logf implements testing.TB.
func (a *try) Logf(format string, args ...any) { a.note(false, fmt.Sprintf(format, args...)) }
