package auth

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// TestRemoteDownAtTheStart: nobody waits long, and the set recovers by itself.
func TestRemoteDownAtTheStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &provider{}
		r := p.remote(t)
		for range 100 {
			find(t, r, "a")
			time.Sleep(10 * time.Millisecond)
		}
		if n := p.count(); n != 1 {
			t.Errorf("100 tokens in a second cause %d requests to a provider that is away", n)
		}
		for range 20 {
			if got := find(t, r, "a"); got != "outage" {
				t.Errorf("with the provider away: %q", got)
			}
			time.Sleep(time.Second)
		}
		p.set(func() { p.keys = keySetOf("a") })
		time.Sleep(5 * time.Second)
		n := p.count()
		if got := find(t, r, "a"); got != "" || p.count() != n {
			t.Errorf("5 s after its return: %q", got)
		}
		if n > 30 {
			t.Errorf("%d requests in 25 s", n)
		}
		r.Close()
		if fmt.Sprint(p.states) != "[missing fresh]" {
			t.Errorf("states %v, want one event per change", p.states)
		}
	})
}

// TestRemoteBadAnswers: whatever comes, the last good keys stay, for a day.
func TestRemoteBadAnswers(t *testing.T) {
	t.Parallel()
	good := keySetOf("a")
	for name, answer := range map[string]*provider{
		"away": {}, "500": {keys: good, status: 500}, "204": {keys: []byte{}, status: 204}, "404": {keys: good, status: 404},
		"no keys": {keys: []byte(`{"keys":[]}`)}, "no members": {keys: []byte(`{}`)},
		"HTML": {keys: []byte("<html>")}, "empty": {keys: []byte{}}, "cut off": {keys: good[:len(good)-5]},
		"only odd keys": {keys: []byte(`{"keys":[{"kty":"oct","k":"AAAA"}]}`)},
		"slow":          {keys: good, delay: 6 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := &provider{keys: good}
			r := p.remote(t)
			time.Sleep(2 * time.Second)
			p.set(func() { p.keys, p.status, p.delay = answer.keys, answer.status, answer.delay })
			time.Sleep(23 * time.Hour)
			if got := find(t, r, "a"); got != "" {
				t.Errorf("%s: after 23 h: %q", name, got)
			}
			if n := p.count(); n < 23*40 || n > 23*70 {
				t.Errorf("%s: %d requests in 23 h", name, n)
			}
			time.Sleep(2 * time.Hour)
			if got := find(t, r, "a"); got != "outage" {
				t.Errorf("%s: after 25 h: %q", name, got)
			}
			p.set(func() { p.keys, p.status, p.delay = good, 0, 0 })
			time.Sleep(8 * time.Second)
			if got := find(t, r, "a"); got != "" {
				t.Errorf("%s: back again: %q", name, got)
			}
			r.Close()
			if fmt.Sprint(p.states) != "[fresh stale missing fresh]" {
				t.Errorf("%s: states %v, want one event per change", name, p.states)
			}
		})
	}
}

// TestRemoteClose: who waits is let go, and the keys serve on.
func TestRemoteClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &provider{keys: keySetOf("a"), delay: 4 * time.Second}
		r := p.remote(t)
		go func() {
			time.Sleep(time.Second)
			r.Close()
		}()
		start := time.Now()
		_, err := r.Find(t.Context(), "EdDSA", "a")
		if reasonOf(err) != "outage" || time.Since(start) != time.Second {
			t.Errorf("while closing: %v after %v", err, time.Since(start))
		}
	})
	synctest.Test(t, func(t *testing.T) {
		p := &provider{keys: keySetOf("a")}
		r := p.remote(t)
		time.Sleep(2 * time.Second)
		r.Close()
		if got := find(t, r, "a"); got != "" {
			t.Errorf("after Close: %q", got)
		}
		if _, err := r.Find(t.Context(), "EdDSA", "b"); reasonOf(err) != "outage" {
			t.Errorf("unknown key after Close: %v", err)
		}
		time.Sleep(25 * time.Hour)
		if _, err := r.Find(t.Context(), "EdDSA", "a"); reasonOf(err) != "outage" {
			t.Errorf("a day after Close: %v", err)
		}
		if p.count() != 1 {
			t.Errorf("%d requests, want none after Close", p.count())
		}
	})
}

// TestRemoteWaitIsBounded by the caller's context.
func TestRemoteWaitIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &provider{keys: keySetOf("a"), delay: time.Minute}
		r := p.remote(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		_, err := r.Find(ctx, "EdDSA", "a")
		if reasonOf(err) != "outage" || time.Since(start) != time.Second {
			t.Errorf("%v after %v, want an outage after 1 s", err, time.Since(start))
		}
		start = time.Now()
		if got := find(t, r, "a"); got != "outage" || time.Since(start) > fetchTimeout {
			t.Errorf("%q after %v", got, time.Since(start))
		}
		r.Close()
	})
}
