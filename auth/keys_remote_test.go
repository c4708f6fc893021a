package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// provider is an identity provider in memory, for tests in which time is
// that of testing/synctest.
type provider struct {
	mu       sync.Mutex
	requests []string
	at       []time.Time
	keys     []byte        // the key set; nil means that connections fail
	status   int           // 0 means 200
	header   http.Header   // of the answer
	delay    time.Duration // before the answer
	states   []KeyState
	odd      int
}

func (p *provider) RoundTrip(req *http.Request) (*http.Response, error) {
	p.mu.Lock()
	p.requests = append(p.requests, req.URL.String())
	p.at = append(p.at, time.Now())
	keys, status, header, delay := p.keys, p.status, p.header, p.delay
	p.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
	if keys == nil {
		return nil, errors.New("connection refused")
	}
	if status == 0 {
		status = http.StatusOK
	}
	return &http.Response{
		StatusCode: status, Header: header.Clone(),
		Body: io.NopCloser(strings.NewReader(string(keys))), Request: req,
	}, nil
}

func (p *provider) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

func (p *provider) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.requests)
}

// remote returns a set that asks p.
func (p *provider) remote(t *testing.T) *RemoteKeys {
	t.Helper()
	r, err := NewRemoteKeys(RemoteConfig{
		URL: "https://id.example.com/jwks.json", Transport: p,
		Events: KeyEvents{
			StateChanged: func(state KeyState, cause error) {
				if (cause == nil) != (state == KeysFresh) {
					t.Errorf("state %s with cause %v", state, cause)
				}
				p.set(func() { p.states = append(p.states, state) })
			},
			OddKeys: func(odd []error) { p.set(func() { p.odd += len(odd) }) },
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func keySetOf(kids ...string) []byte {
	var keys []map[string]any
	for _, kid := range kids {
		keys = append(keys, jwkOf(edKey().Public(), kid, nil))
	}
	return jwksOf(keys...)
}

// find returns the reason of Find's error, "" for none.
func find(t *testing.T, r *RemoteKeys, kid string) Reason {
	t.Helper()
	keys, err := r.Find(t.Context(), "EdDSA", kid)
	if (len(keys) == 0) != (err != nil) {
		t.Errorf("Find returns %d keys and %v", len(keys), err)
	}
	if outage, ok := errors.AsType[*OutageError](err); ok && outage.RetryAfter <= 0 && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("outage without a time to come back: %v", detailOf(err))
	}
	return reasonOf(err)
}

// TestRemoteFetchesInTheBackground: nothing waits at the start, a request
// that comes first fetches at once, and cache headers are clamped.
func TestRemoteFetchesInTheBackground(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]time.Duration{
		"": 15 * time.Minute, "max-age=600": 10 * time.Minute, "public, max-age=5": time.Minute,
		"max-age=31536000": time.Hour, "no-store": time.Minute, "max-age=nonsense": 15 * time.Minute,
	} {
		synctest.Test(t, func(t *testing.T) {
			p := &provider{keys: keySetOf("a"), header: http.Header{"Cache-Control": {header}}}
			r := p.remote(t)
			time.Sleep(500 * time.Millisecond)
			if p.count() != 0 {
				t.Error("asked before anybody needs it")
			}
			time.Sleep(time.Second)
			if p.count() != 1 || find(t, r, "a") != "" {
				t.Fatalf("%d requests after 1.5 s", p.count())
			}
			time.Sleep(5 * want)
			r.Close()
			if got := p.at[1].Sub(p.at[0]); got != want {
				t.Errorf("Cache-Control %q: asked again after %v, want %v", header, got, want)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		p := &provider{keys: keySetOf("a"), delay: time.Second}
		r := p.remote(t)
		if got := find(t, r, "a"); got != "" {
			t.Errorf("first request: %q", got)
		}
		r.Close()
		if p.count() != 1 || time.Since(p.at[0]) != time.Second {
			t.Errorf("%d requests", p.count())
		}
	})
}

// TestRemoteRotation: the first token with a new key succeeds, and one with a
// withdrawn key stops.
func TestRemoteRotation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &provider{keys: keySetOf("a", "b")}
		r := p.remote(t)
		time.Sleep(2 * time.Second)
		found, err := r.Find(t.Context(), "EdDSA", "a")
		if err != nil {
			t.Fatal(err)
		}
		kept, err := r.Find(t.Context(), "EdDSA", "b")
		if err != nil {
			t.Fatal(err)
		}
		p.set(func() { p.keys = keySetOf("b", "c") })
		if !r.Holds(found[0]) {
			t.Error("the key is gone before it was withdrawn")
		}
		if got := find(t, r, "c"); got != "" {
			t.Errorf("new key: %q", got)
		}
		if r.Holds(found[0]) {
			t.Error("a withdrawn key is held")
		}
		if !r.Holds(kept[0]) {
			t.Error("a key that stays is another one: its tokens are forgotten")
		}
		time.Sleep(time.Minute)
		if got := find(t, r, "a"); got != ReasonUnknownKey {
			t.Errorf("withdrawn key: %q", got)
		}
		r.Close()
	})
}

// TestAttackKidFlood: random key ids cause one fetch per cool-down, and good
// tokens do not notice.
func TestAttackKidFlood(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &provider{keys: keySetOf("a"), delay: 100 * time.Millisecond}
		r := p.remote(t)
		time.Sleep(2 * time.Second)
		var wg sync.WaitGroup
		var mu sync.Mutex
		got := make(map[Reason]int)
		for i := range 10_000 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond) // 10 s in all
				reason := find(t, r, fmt.Sprint("evil", i))
				start := time.Now()
				if good := find(t, r, "a"); good != "" || time.Since(start) > 0 {
					t.Errorf("good key: %q after %v", good, time.Since(start))
				}
				mu.Lock()
				got[reason]++
				mu.Unlock()
			})
		}
		wg.Wait()
		if n := p.count(); n != 2 {
			t.Errorf("%d requests, want the background's and one for the flood", n)
		}
		if got[ReasonUnknownKey]+got["outage"] != 10_000 || got["outage"] < 9000 {
			t.Errorf("outcomes %v", got)
		}
		r.Close()
		if len(r.asked) > maxAskedKids {
			t.Errorf("%d key ids are remembered", len(r.asked))
		}
	})
}

// TestRemoteUnknownKid: refused if a fetch has shown it, else nobody can tell.
func TestRemoteUnknownKid(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &provider{keys: keySetOf("a")}
		r := p.remote(t)
		time.Sleep(2 * time.Second)
		steps := []struct {
			name string
			wait time.Duration
			kid  string
			want Reason
			n    int // requests so far
		}{
			{"the first unknown one is looked up", 0, "x", ReasonUnknownKey, 2},
			{"and known to be unknown", time.Second, "x", ReasonUnknownKey, 2},
			{"another one is not looked up yet", 0, "y", "outage", 2},
			{"nor at the end of the cool-down", 28 * time.Second, "y", "outage", 2},
			{"but after it", 2 * time.Second, "z", ReasonUnknownKey, 3},
			{"and that fetch has answered for the other, too", 0, "y", ReasonUnknownKey, 3},
		}
		for _, step := range steps {
			time.Sleep(step.wait)
			if got := find(t, r, step.kid); got != step.want || p.count() != step.n {
				t.Errorf("%s: %q, %d requests, want %q, %d", step.name, got, p.count(), step.want, step.n)
			}
		}
		p.set(func() { p.keys = nil })
		time.Sleep(31 * time.Second)
		if got := find(t, r, "x"); got != "outage" {
			t.Errorf("with the provider away: %q", got)
		}
		if got := find(t, r, "x"); got != "outage" {
			t.Errorf("with the provider away, in the cool-down: %q", got)
		}
		if got := find(t, r, "a"); got != "" {
			t.Errorf("known key with the provider away: %q", got)
		}
		r.Close()
	})
}

// TestRemoteBudgets: unknown key ids do not use up the background's fetches.
func TestRemoteBudgets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &provider{keys: keySetOf("a"), header: http.Header{"Cache-Control": {"max-age=60"}}}
		r := p.remote(t)
		time.Sleep(2 * time.Second)
		find(t, r, "x")
		p.set(func() { p.keys = keySetOf("b") })
		if got := find(t, r, "b"); got != "outage" {
			t.Errorf("in the cool-down: %q", got)
		}
		time.Sleep(61 * time.Second)
		n := p.count()
		if got := find(t, r, "b"); got != "" || p.count() != n {
			t.Errorf("after the background's fetch: %q", got)
		}
		r.Close()
	})
}

// TestRemoteSingleFlight: a storm at the start causes one fetch.
func TestRemoteSingleFlight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &provider{keys: keySetOf("a"), delay: 2 * time.Second}
		r := p.remote(t)
		var wg sync.WaitGroup
		for i := range 500 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				if got := find(t, r, "a"); got != "" {
					t.Errorf("request %d: %q", i, got)
				}
			})
		}
		wg.Wait()
		if p.count() != 1 {
			t.Errorf("%d requests", p.count())
		}
		r.Close()
	})
}

func TestRemoteOddKeysAreTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &provider{keys: jwksOf(jwkOf(edKey().Public(), "a", nil), map[string]any{"kty": "odd"})}
		r := p.remote(t)
		time.Sleep(3 * time.Hour)
		r.Close()
		if p.odd != 1 || find(t, r, "a") != "" {
			t.Errorf("told of %d odd keys, want 1, once", p.odd)
		}
	})
}
