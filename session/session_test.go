package session

import (
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestDeadline(t *testing.T) {
	opened := time.Unix(1000, 0)
	at := func(s int64) time.Time { return opened.Add(time.Duration(s) * time.Second) }
	tests := []struct {
		name       string
		policy     Policy
		validUntil time.Time
		random     float64
		want       time.Time
		limit      Limit
	}{
		{"expiry", Policy{}, at(100), 0.9, at(100), ByExpiry},
		{"ignored", Policy{IgnoreExpiry: true}, at(100), 0, time.Time{}, NoLimit},
		{"max first", Policy{Max: 50 * time.Second}, at(100), 0, at(50), ByMax},
		{"expiry first", Policy{Max: 200 * time.Second}, at(100), 0, at(100), ByExpiry},
		{"max alone", Policy{IgnoreExpiry: true, Max: time.Second}, at(100), 0, at(1), ByMax},
		{"no jitter by chance", Policy{Jitter: 0.5}, at(100), 0, at(100), ByExpiry},
		{"jitter is early", Policy{Jitter: 0.5}, at(100), 0.5, at(75), ByExpiry},
		{"jitter of max", Policy{Jitter: 0.5, Max: 10 * time.Second}, at(100), 0.5, opened.Add(7500 * time.Millisecond), ByMax},
		{"over already", Policy{Jitter: 0.5}, at(-10), 0.5, at(-10), ByExpiry},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, limit := tt.policy.Deadline(opened, tt.validUntil, tt.random)
			if !got.Equal(tt.want) || limit != tt.limit {
				t.Errorf("Deadline = %v, %v, want %v, %v", got, limit, tt.want, tt.limit)
			}
		})
	}
}

func TestScheduleCallsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Schedule
		start := time.Now()
		var mu sync.Mutex
		got := make(map[string]time.Duration)
		add := func(name string, after time.Duration) *Entry {
			return s.Add(start.Add(after), func() {
				mu.Lock()
				defer mu.Unlock()
				got[name] = time.Since(start)
			})
		}
		add("late", 2*time.Hour)
		add("early", time.Second)
		stopped := add("stopped", time.Minute)
		add("past", -time.Hour)
		time.Sleep(30 * time.Second)
		if !stopped.Stop() {
			t.Error("Stop before the time reports that the call had begun")
		}
		if stopped.Stop() {
			t.Error("a second Stop reports that it stopped something")
		}
		add("between", time.Minute)
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		want := map[string]time.Duration{
			"late": 2 * time.Hour, "early": time.Second, "past": 0, "between": time.Minute,
		}
		if len(got) != len(want) {
			t.Errorf("called %v, want %v", got, want)
		}
		for name, after := range want {
			if got[name] != after {
				t.Errorf("%s was called after %v, want %v", name, got[name], after)
			}
		}
	})
}

// Nothing runs while nothing is scheduled: synctest fails on a goroutine that
// is left.
func TestScheduleEndsWithItsLastEntry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Schedule
		for range 3 {
			e := s.Add(time.Now().Add(time.Hour), func() { t.Error("called although stopped") })
			synctest.Wait()
			e.Stop()
			synctest.Wait()
			if s.running {
				t.Error("runs with nothing scheduled")
			}
		}
	})
}

// Timers stand still while a machine sleeps and do not follow a clock that is
// set, so that the wall clock must be looked at again within 15 s.
func TestScheduleLooksAtTheClockAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Schedule
		e := s.Add(time.Now().Add(time.Hour), func() {})
		defer e.Stop()
		synctest.Wait()
		s.mu.Lock()
		wait := min(time.Until(s.entries[0].at), recheck)
		// What a clock that has been set forward looks like from here.
		called := make(chan time.Time, 1)
		s.entries[0].at = time.Now()
		s.entries[0].call = func() { called <- time.Now() }
		s.mu.Unlock()
		start := time.Now()
		if late := (<-called).Sub(start); late > 15*time.Second || wait > 15*time.Second {
			t.Errorf("noticed after %v", late)
		}
	})
}

func TestScheduleUnderLoad(t *testing.T) {
	var s Schedule
	var calls sync.WaitGroup
	for i := range 1000 {
		calls.Add(1)
		e := s.Add(time.Now().Add(time.Duration(i%20)*time.Millisecond), calls.Done)
		if i%3 == 0 && e.Stop() {
			calls.Done()
		}
	}
	calls.Wait()
}

func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r Registry
		start := time.Now()
		var last time.Duration
		const n = 6000
		for i := range n {
			s := &Session{ID: strconv.Itoa(i)}
			s.Close = func() {
				last = time.Since(start)
				go func() {
					time.Sleep(100 * time.Millisecond)
					r.Remove(s)
				}()
			}
			r.Add(s)
		}
		if left := r.Drain(3*time.Second, 4500*time.Millisecond); left != 0 {
			t.Errorf("%d sessions left", left)
		}
		if last > 3*time.Second || last < 2*time.Second {
			t.Errorf("the last of %d was closed after %v, want nearly 3s", n, last)
		}
	})
}

// Clients that come back while the server stops must not get a socket that
// nobody closes.
func TestNothingIsAddedWhileDraining(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r Registry
		s := &Session{Close: func() {}}
		if !r.Add(s) {
			t.Fatal("not added")
		}
		go r.Drain(3*time.Second, 4500*time.Millisecond)
		time.Sleep(time.Second)
		if r.Add(&Session{Close: func() {}}) || r.Len() != 1 {
			t.Error("added while draining")
		}
		r.Remove(s)
	})
}

// One that hangs is not waited for without end, and few are not kept waiting.
func TestDrainIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r Registry
		r.Add(&Session{ID: "hangs", Close: func() {}})
		s := &Session{ID: "ends"}
		s.Close = func() { r.Remove(s) }
		r.Add(s)
		start := time.Now()
		if left := r.Drain(3*time.Second, 4500*time.Millisecond); left != 1 {
			t.Errorf("%d sessions left, want 1", left)
		}
		if took := time.Since(start); took != 4500*time.Millisecond {
			t.Errorf("took %v, want 4.5s", took)
		}
		r.Remove(s) // again: without effect
		if r.Len() != 1 {
			t.Errorf("Len = %d, want 1", r.Len())
		}
	})
}
