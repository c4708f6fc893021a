package pace

import (
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// recorder is a test that may fail and is not this one.
type recorder struct {
	testing.TB
	errors []string
}

func (r *recorder) Helper()             {}
func (r *recorder) Logf(string, ...any) {}
func (r *recorder) Failed() bool        { return len(r.errors) > 0 }

func (r *recorder) Errorf(format string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}

// TestInTime: as much more time as the machine takes more, and no more; never
// less than no time.
func TestInTime(t *testing.T) {
	t.Parallel()
	due := time.Now()
	for name, tt := range map[string]struct {
		late   time.Duration
		factor float64
		after  time.Duration
		ok     bool
	}{
		"in time":                {0, 1, time.Second, true},
		"too late":               {0, 1, 1100 * time.Millisecond, false},
		"before the time":        {time.Second, 10, -time.Millisecond, false},
		"late on a late machine": {100 * time.Millisecond, 1, 1200 * time.Millisecond, true},
		"later than that":        {100 * time.Millisecond, 1, 1300 * time.Millisecond, false},
		"late on a slow one":     {0, 3, 3 * time.Second, true},
		"later than that, too":   {0, 3, 3100 * time.Millisecond, false},
		"on the slowest":         {0, 1000, 20 * time.Second, true},
		"on a still slower one":  {0, 1000, 21 * time.Second, false},
	} {
		w := &Watch{waiting: due.Add(time.Hour), samples: []sample{
			{at: due.Add(-time.Hour), late: time.Hour, factor: 100}, // long ago
			{at: due.Add(-time.Minute), factor: 1},
			{at: due.Add(time.Second), late: tt.late, factor: tt.factor},
			{at: due.Add(2 * time.Second), factor: 1},
		}}
		r := &recorder{TB: t}
		w.InTime(r, name, due, due.Add(tt.after), time.Second)
		if ok := len(r.errors) == 0; ok != tt.ok {
			t.Errorf("%s: %q", name, r.errors)
		}
	}
}

// TestWaited: what threads have waited since counts, and only where the system
// tells.
func TestWaited(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		before, after waited
		want          float64
	}{
		"never waited":    {waited{10, 5}, waited{30, 5}, 1},
		"twice as long":   {waited{10, 5}, waited{30, 25}, 2},
		"nothing is told": {waited{}, waited{}, 1},
		"not at first":    {waited{}, waited{30, 25}, 1},
		"a thread ended":  {waited{10, 5}, waited{8, 3}, 1},
	} {
		if got := tt.after.since(tt.before); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

// TestFactorSeesLoad: with more to do than there are CPUs, work takes longer.
func TestFactorSeesLoad(t *testing.T) {
	Factor() // so that the shortest is known
	var stop atomic.Bool
	defer stop.Store(true)
	for range 8 * runtime.GOMAXPROCS(0) {
		go func() {
			for !stop.Load() {
				sink.Add(1)
			}
		}()
	}
	most := 1.0
	for range 20 {
		if most = max(most, Factor()); most >= 2 {
			return
		}
	}
	t.Errorf("%d goroutines that work make it %.2f times as slow, want 2 or more", 8*runtime.GOMAXPROCS(0), most)
}

// TestTryOfGood: what does not fail is run once, and its cleanups, in order.
func TestTryOfGood(t *testing.T) {
	t.Parallel()
	var calls []string
	Try(t, func(t testing.TB) {
		t.Cleanup(func() { calls = append(calls, fmt.Sprint("last, context ", t.Context().Err())) })
		t.Cleanup(func() { calls = append(calls, "first") })
		calls = append(calls, "test")
	})
	if want := []string{"test", "first", "last, context context canceled"}; !slices.Equal(calls, want) {
		t.Errorf("%q, want %q", calls, want)
	}
}

// TestTryOfBad: what fails is run again only where the machine was late, and
// three times at most.
func TestTryOfBad(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		fail  func(t testing.TB)
		late  string
		good  int // the try that does not fail
		runs  int
		fails bool
	}{
		"on a machine that was not late": {func(t testing.TB) { t.Error("x") }, "", 2, 1, true},
		"once on a late one":             {func(t testing.TB) { t.Error("x") }, "late", 2, 2, false},
		"twice on a late one":            {func(t testing.TB) { t.Fatalf("x") }, "late", 3, 3, false},
		"each time":                      {func(t testing.TB) { t.Fatal("x") }, "late", 4, 3, true},
		"in a cleanup":                   {func(t testing.TB) { t.Cleanup(func() { t.Errorf("x") }) }, "late", 4, 3, true},
		"without a word":                 {func(t testing.TB) { t.FailNow() }, "late", 4, 3, true},
		"for a reason that counts":       {func(t testing.TB) { Real(t).Errorf("x") }, "late", 2, 1, true},
	} {
		r := &recorder{TB: t}
		runs := 0
		problem := repeat(r, func(t testing.TB) {
			if runs++; runs < tt.good {
				tt.fail(t)
			}
		}, func(time.Time) string { return tt.late })
		if runs != tt.runs || (problem != "" || r.Failed()) != tt.fails {
			t.Errorf("%s: run %d times, %q, %q; want %d times", name, runs, problem, r.errors, tt.runs)
		}
	}
}
