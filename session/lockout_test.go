package session

import (
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"
)

var threeInAMinute = LockoutRule{Failures: 3, Window: time.Minute, Duration: 5 * time.Minute}

func TestLockoutRule(t *testing.T) {
	t.Parallel()
	var l Lockouts
	for i := range 2 {
		if l.Fail("a", 1, threeInAMinute, inSeconds(i)) || !l.Until("a", inSeconds(i)).IsZero() {
			t.Errorf("locked out after %d failures", i+1)
		}
	}
	if !l.Fail("a", 1, threeInAMinute, inSeconds(2)) {
		t.Error("not locked out after 3 failures")
	}
	if got := l.Until("a", inSeconds(3)); !got.Equal(inSeconds(302)) {
		t.Errorf("Until = %v, want %v", got, inSeconds(302))
	}
	if !l.Until("b", inSeconds(3)).IsZero() {
		t.Error("another address is locked out")
	}
	if l.Fail("a", 100, threeInAMinute, inSeconds(200)) || !l.Until("a", inSeconds(200)).Equal(inSeconds(302)) {
		t.Error("failures while locked out make it longer")
	}
	if !l.Until("a", inSeconds(302)).IsZero() {
		t.Error("locked out for too long")
	}
	// The count begins again.
	if l.Fail("a", 2, threeInAMinute, inSeconds(303)) || !l.Fail("a", 1, threeInAMinute, inSeconds(304)) {
		t.Error("not locked out after exactly 3 failures more")
	}
}

func TestLockoutWindow(t *testing.T) {
	t.Parallel()
	var l Lockouts
	l.Fail("a", 2, threeInAMinute, moment)
	if l.Fail("a", 1, threeInAMinute, inSeconds(60)) {
		t.Error("locked out by failures of two windows")
	}
	if !l.Fail("a", 2, threeInAMinute, inSeconds(61)) {
		t.Error("not locked out within the second window")
	}
}

func TestNoLockoutRule(t *testing.T) {
	t.Parallel()
	var l Lockouts
	if l.Fail("a", 1000, LockoutRule{}, moment) || l.Len() != 0 {
		t.Error("locked out, or remembered, without a rule")
	}
	if !l.Fail("a", 1000, LockoutRule{Failures: 3, Window: time.Second, Duration: time.Second}, moment) {
		t.Error("many failures at once do not lock out")
	}
}

func TestLockoutsOfOthers(t *testing.T) {
	t.Parallel()
	var l Lockouts
	l.Lock("a", inSeconds(100))
	l.Lock("a", inSeconds(50)) // heard late: does not shorten
	l.Lock("b", inSeconds(-1))
	if got := l.All(moment); len(got) != 1 || got[0].Address != "a" || !got[0].Until.Equal(inSeconds(100)) {
		t.Errorf("All = %v", got)
	}
	if !l.Forget("a", moment) || l.Forget("a", moment) || l.Forget("b", moment) || !l.Until("a", moment).IsZero() {
		t.Error("Forget is wrong about who was locked out")
	}
	if l.Fail("a", 2, threeInAMinute, moment) {
		t.Error("failures before the release count")
	}
}

// The success or release of one address does not touch the count of another.
func TestFailuresAreOfOneAddress(t *testing.T) {
	t.Parallel()
	var l Lockouts
	l.Fail("a", 2, threeInAMinute, moment)
	l.Fail("b", 2, threeInAMinute, moment)
	l.Forget("b", moment)
	if !l.Fail("a", 1, threeInAMinute, moment) {
		t.Error("the failures of another address are forgotten, too")
	}
}

// A million addresses take bounded memory, and do not push out the one that
// goes on failing.
func TestLockoutFlood(t *testing.T) {
	var l Lockouts
	rule := LockoutRule{Failures: 100, Window: time.Hour, Duration: time.Hour}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	locked := false
	for i := range 1_000_000 {
		l.Fail("2001:db8:"+strconv.Itoa(i), 1, rule, moment)
		if i%10_000 == 0 {
			locked = l.Fail("192.0.2.1", 1, rule, moment) || locked
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if l.Len() > maxLockoutAddresses {
		t.Errorf("%d addresses are remembered", l.Len())
	}
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 32<<20 {
		t.Errorf("they take %d MiB", grown>>20)
	}
	if !locked {
		t.Error("who fails all the time has been forgotten")
	}
}

// Addresses that fail once do not push out one that is locked out.
func TestFloodDoesNotRelease(t *testing.T) {
	t.Parallel()
	var l Lockouts
	rule := LockoutRule{Failures: 3, Window: time.Hour, Duration: time.Hour}
	if !l.Fail("192.0.2.1", 3, rule, moment) {
		t.Fatal("not locked out")
	}
	for i := range maxLockoutAddresses + 10 {
		l.Fail(fmt.Sprint("b", i), 1, rule, moment)
	}
	if l.Until("192.0.2.1", moment).IsZero() {
		t.Error("released by the failures of others")
	}
	// Nor do those that are locked out keep all others from being counted.
	for i := range maxLockoutAddresses {
		l.Fail(fmt.Sprint("c", i), 3, rule, moment)
	}
	l.Fail("192.0.2.2", 2, rule, moment)
	for i := range 1000 {
		l.Fail(fmt.Sprint("d", i), 1, rule, moment)
	}
	if !l.Fail("192.0.2.2", 1, rule, moment) {
		t.Error("many that are locked out keep others from being counted")
	}
	if l.Len() > maxLockoutAddresses || l.recent.Len()+l.locked.Len() != l.Len() {
		t.Errorf("%d addresses are remembered", l.Len())
	}
}

func TestLockoutsUnderLoad(t *testing.T) {
	t.Parallel()
	var l Lockouts
	var all sync.WaitGroup
	var mu sync.Mutex
	locked := 0
	for range 8 {
		all.Go(func() {
			for n := range 1000 {
				if l.Fail(fmt.Sprint(n%10), 1, LockoutRule{Failures: 800, Window: time.Hour, Duration: time.Hour}, moment) {
					mu.Lock()
					locked++
					mu.Unlock()
				}
				l.Until(fmt.Sprint(n%10), moment)
			}
		})
	}
	all.Wait()
	if locked != 10 || len(l.All(moment)) != 10 {
		t.Errorf("%d were locked out, %d are; want 10", locked, len(l.All(moment)))
	}
}
