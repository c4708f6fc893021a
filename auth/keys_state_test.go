package auth

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestRemoteState: the state of a set says what serves, how old it is, and why
// the last fetch failed.
func TestRemoteState(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &provider{keys: keySetOf("b", "a")}
		r := p.remote(t)
		defer r.Close()
		start := time.Now()
		is := func(when string, state KeyState, ids []string, age time.Duration, failed bool) {
			t.Helper()
			s := r.State()
			if s.State != state || !slices.Equal(s.KeyIDs, ids) || s.Keys != len(ids) || (s.Err != nil) != failed {
				t.Errorf("%s: %+v", when, s)
			}
			if got := time.Since(s.FetchedAt); s.FetchedAt.IsZero() != (ids == nil) || ids != nil && got != age {
				t.Errorf("%s: fetched %v ago, want %v", when, got, age)
			}
			if s.TriedAt.IsZero() != (state == KeysAwaited) || s.TriedAt.After(time.Now()) {
				t.Errorf("%s: tried at %v", when, s.TriedAt)
			}
		}
		is("before the first fetch", KeysAwaited, nil, 0, false)
		find(t, r, "a")
		is("fetched", KeysFresh, []string{"a", "b"}, 0, false)
		time.Sleep(30 * time.Second)
		is("later", KeysFresh, []string{"a", "b"}, 30*time.Second, false)
		p.set(func() { p.keys = nil })
		time.Sleep(2 * time.Hour)
		fetched := r.State().FetchedAt
		is("away", KeysStale, []string{"a", "b"}, time.Since(fetched), true)
		time.Sleep(25 * time.Hour)
		is("away for too long", KeysMissing, nil, 0, true)
		if time.Since(start) < 27*time.Hour {
			t.Error("the clock stood still")
		}
		p.set(func() { p.keys = keySetOf("c") })
		time.Sleep(time.Minute)
		if s := r.State(); s.State != KeysFresh || !slices.Equal(s.KeyIDs, []string{"c"}) || s.Err != nil {
			t.Errorf("back again: %+v", s)
		}
	})
}
