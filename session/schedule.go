// Package session knows who is connected and until when. It knows neither
// Caddy nor frames: what ends a socket is a function that it is given.
package session

import (
	"container/heap"
	"sync"
	"time"
)

// recheck is how often the wall clock is looked at again. Timers run on
// another clock, which stands still while a machine sleeps and does not move
// when the wall clock is set.
const recheck = 15 * time.Second

// Schedule calls functions at points of wall-clock time. One goroutine serves
// all of them, and runs only while something is scheduled. The zero value is
// ready for use; its methods are safe for concurrent use.
type Schedule struct {
	mu      sync.Mutex // guards the following
	entries entryHeap
	running bool
	wake    chan struct{} // has room for one
}

// Entry is one scheduled call.
type Entry struct {
	schedule *Schedule
	at       time.Time
	call     func()
	index    int // in the heap; -1 when it is not in it
}

// Add schedules call for the moment at, on a goroutine of its own. A moment
// that is over is now.
func (s *Schedule) Add(at time.Time, call func()) *Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	// Round drops the monotonic reading, which is what must not be compared.
	e := &Entry{schedule: s, at: at.Round(0), call: call}
	heap.Push(&s.entries, e)
	if !s.running {
		s.running = true
		s.wake = make(chan struct{}, 1)
		go s.run(s.wake)
	} else if e.index == 0 {
		s.wakeLocked()
	}
	return e
}

// Stop takes the call back and reports whether it had not begun.
func (e *Entry) Stop() bool {
	s := e.schedule
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.index < 0 {
		return false
	}
	heap.Remove(&s.entries, e.index)
	if len(s.entries) == 0 {
		s.wakeLocked() // nothing to wait for: the goroutine ends
	}
	return true
}

func (s *Schedule) wakeLocked() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run serves until nothing is scheduled.
func (s *Schedule) run(wake <-chan struct{}) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-wake:
		}
		next, ok := s.callDue()
		if !ok {
			return
		}
		timer.Reset(next)
	}
}

// callDue starts what is due and returns how long to wait, or false, and
// nothing runs any more, if nothing is scheduled.
func (s *Schedule) callDue() (time.Duration, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now().Round(0)
	for len(s.entries) > 0 && !s.entries[0].at.After(now) {
		e := heap.Pop(&s.entries).(*Entry)
		go e.call()
	}
	if len(s.entries) == 0 {
		s.running = false
		return 0, false
	}
	return min(s.entries[0].at.Sub(now), recheck), true
}

// entryHeap is the entries, the earliest first: container/heap.
type entryHeap []*Entry

func (h entryHeap) Len() int           { return len(h) }
func (h entryHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h entryHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements heap.Interface.
func (h *entryHeap) Push(x any) {
	e := x.(*Entry)
	e.index = len(*h)
	*h = append(*h, e)
}

// Pop implements heap.Interface.
func (h *entryHeap) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	e.index = -1
	return e
}
