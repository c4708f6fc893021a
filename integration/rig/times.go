package rig

import (
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/internal/pace"
)

// Soon returns a whole second that is at least d away, and at most three more:
// when a token can end. On a machine that is busy it is farther away, though
// no more than half as far as patience reaches.
func Soon(d time.Duration) time.Time {
	return time.Now().Add(Busy(d) + 3*time.Second).Truncate(time.Second)
}

// LaterThan returns a whole second that is at least d after another one.
func LaterThan(second time.Time, d time.Duration) time.Time {
	return second.Add(Busy(d) + time.Second - 1).Truncate(time.Second)
}

// Busy returns how long what takes d may take on a machine that is busy. It is so
// much shorter than Patience that several in a row are.
func Busy(d time.Duration) time.Duration { return min(pace.Scale(d), d+Patience/5) }

// Receive returns the next of what comes.
func Receive[T any](t testing.TB, what string, from <-chan T, within time.Duration) T {
	t.Helper()
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case v := <-from:
		return v
	case <-timer.C:
		t.Fatalf("no %s within %v", what, within)
		panic("not reached")
	}
}

// Eventually waits until problem returns an empty text.
func Eventually(t testing.TB, within time.Duration, problem func() string) {
	t.Helper()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	for {
		text := problem()
		if text == "" {
			return
		}
		select {
		case <-ticker.C:
		case <-deadline.C:
			t.Fatalf("after %v: %s", within, text)
		}
	}
}

// Lag is how late this machine is.
type Lag struct{ watch *pace.Watch }

// MeasureLag measures until the test ends.
func MeasureLag(t testing.TB) *Lag {
	t.Helper()
	return &Lag{pace.Start(t)}
}

// InTime expects what happened at the moment at not before due, and at most
// within after it, give or take what the machine is late.
func (l *Lag) InTime(t testing.TB, what string, due, at time.Time, within time.Duration) {
	t.Helper()
	l.watch.InTime(t, what, due, at, within)
}

// Patience is how long a test waits for an event before it gives up. It is no
// measure of speed: the machine may be busy.
const Patience = time.Minute
