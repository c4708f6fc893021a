// Package pace tells how fast the machine is at this moment, for tests that
// measure time. On a machine that is busy with other things the same work takes
// longer, and what waits is woken later; neither is what such a test is about.
//
// What it goes by is work of its own: how long a fixed piece of arithmetic
// takes, against the shortest it has ever taken in this process, how late a
// timer is, and, where the system tells, how long the threads of this process
// have waited for a CPU while they could have run.
package pace

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	every  = 10 * time.Millisecond // a timer, whose lateness is noted
	rounds = 20                    // of the timer from one piece of work to the next
	pieces = 10                    // of the work, each about a millisecond long

	slowest = 20 // times as long as on a machine that is free
)

// sink keeps the compiler from leaving the work out.
var sink atomic.Uint64

// shortest is how long a piece of work takes when nothing else does, in
// nanoseconds: the shortest so far. 0 before there was any.
var shortest atomic.Int64

// work does a piece of work and returns how long it took.
func work() time.Duration {
	start := time.Now()
	x := uint64(88172645463325252)
	for range 1 << 19 {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
	}
	sink.Add(x)
	took := time.Since(start)
	for {
		known := shortest.Load()
		if known != 0 && known <= int64(took) || shortest.CompareAndSwap(known, int64(took)) {
			return took
		}
	}
}

// waited is how long the threads of this process have run, and have waited for
// a CPU, in nanoseconds.
type waited struct{ run, wait float64 }

// threads asks the system, which may not tell: then it is nothing.
func threads() (sum waited) {
	files, _ := filepath.Glob("/proc/self/task/*/schedstat")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		var one waited
		if n, _ := fmt.Sscan(string(text), &one.run, &one.wait); n == 2 {
			sum.run, sum.wait = sum.run+one.run, sum.wait+one.wait
		}
	}
	return sum
}

// since returns how many times as long the threads needed as on a machine that
// is free, since they had run and waited this much.
func (w waited) since(before waited) float64 {
	run, wait := w.run-before.run, w.wait-before.wait
	if before.run == 0 || run <= 0 || wait <= 0 {
		return 1
	}
	return (run + wait) / run
}

// Factor returns how many times as long the machine takes for work as it does
// when it is free: 1 or more. It works for that, about ten milliseconds.
func Factor() float64 {
	var took time.Duration
	for range pieces {
		took += work()
	}
	return max(1, float64(took)/float64(pieces*shortest.Load()))
}

// Scale returns d times [Factor]: how long what takes d on a free machine may
// take now.
func Scale(d time.Duration) time.Duration { return times(d, Factor()) }

func times(d time.Duration, factor float64) time.Duration {
	return time.Duration(min(float64(d)*factor, math.MaxInt64))
}

// sample is what was measured at one moment.
type sample struct {
	at     time.Time
	late   time.Duration // of the timer
	factor float64
	ran    waited
}

// Watch measures the machine while a test runs.
type Watch struct {
	mu      sync.Mutex // guards the following
	samples []sample
	waiting time.Time // since when the timer runs
}

// Start measures until the test ends.
func Start(t testing.TB) *Watch {
	t.Helper()
	w := &Watch{waiting: time.Now()}
	done := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		w.run(done)
	}()
	t.Cleanup(func() {
		close(done)
		<-stopped
	})
	return w
}

func (w *Watch) run(done <-chan struct{}) {
	timer := time.NewTimer(every)
	defer timer.Stop()
	factor, ran := Factor(), threads()
	for n := 1; ; n++ {
		start := time.Now()
		w.mu.Lock()
		w.waiting = start
		w.mu.Unlock()
		timer.Reset(every)
		select {
		case <-timer.C:
		case <-done:
			return
		}
		late := max(0, time.Since(start)-every)
		if n%rounds == 0 {
			factor, ran = Factor(), threads()
		}
		w.mu.Lock()
		w.samples = append(w.samples, sample{time.Now(), late, factor, ran})
		w.mu.Unlock()
	}
}

// since returns the worst that was measured since a moment, and a little
// before it, so that there is something.
func (w *Watch) since(moment time.Time) (late time.Duration, factor float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	late, factor = max(0, time.Since(w.waiting)-every), 1
	var ran waited
	for _, s := range slices.Backward(w.samples) {
		late, factor, ran = max(late, s.late), max(factor, s.factor), s.ran
		if s.at.Before(moment.Add(-rounds * 2 * every)) {
			break
		}
	}
	return late, max(factor, threads().since(ran))
}

// InTime expects what happened at the moment at not before due, and at most
// within after it; on a machine that is late, as much later as it took longer
// for its own work since then. Beyond [slowest] nothing is excused.
func (w *Watch) InTime(t testing.TB, what string, due, at time.Time, within time.Duration) {
	t.Helper()
	late, factor := w.since(due)
	factor = min(factor, slowest)
	allowed := times(within, factor) + 2*late
	if after := at.Sub(due); after < 0 || after > allowed {
		t.Errorf("%s came %v after the time, want 0 to %v, which is %v on a machine that takes %.1f times as long as when it is free and is %v late",
			what, after, within, allowed, factor, late)
	}
}
