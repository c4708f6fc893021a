package auth

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// kidCoolDown is the time between two fetches because of an unknown key
	// id, so that a flood of them is no flood for the provider.
	kidCoolDown = 30 * time.Second
	// maxStale is how long the last good keys serve while no fetch works.
	maxStale = 24 * time.Hour
	// emptyRetry is the time between two fetches while there are no keys at
	// all. It is short, so that a provider that comes back is noticed.
	emptyRetry = 1500 * time.Millisecond
	// staleRetry and maxStaleRetry are the shortest and the longest time
	// between two fetches while old keys serve.
	staleRetry    = 5 * time.Second
	maxStaleRetry = time.Minute
	// startDelay is how long a new set waits with its first fetch unless a
	// token needs it: a configuration that is only tried asks nobody.
	startDelay = time.Second
	// maxAskedKids is how many unknown key ids are remembered. When they are
	// more, all are forgotten, and "unknown" becomes "cannot tell".
	maxAskedKids = 256
)

// RemoteConfig says where keys come from. Exactly one of URL and Issuer is
// given.
type RemoteConfig struct {
	// URL is that of a JSON Web Key Set.
	URL string
	// Issuer is the issuer whose OpenID Connect discovery document names the
	// key set.
	Issuer string
	// AllowHTTP allows plain http to other machines. To this one it is
	// always allowed.
	AllowHTTP bool
	// RootCAs are whom to trust for the provider's certificate. Nil means
	// those of the system.
	RootCAs *x509.CertPool
	// Transport makes the requests. Nil means a new one with time-outs, over
	// RootCAs.
	Transport http.RoundTripper
	// Events is told what happens.
	Events KeyEvents
}

// KeyState says how a key set stands after a fetch.
type KeyState string

const (
	// KeysFresh: the last fetch worked.
	KeysFresh KeyState = "fresh"
	// KeysStale: the last fetch failed, and older keys serve.
	KeysStale KeyState = "stale"
	// KeysMissing: the last fetch failed, and there are no keys.
	KeysMissing KeyState = "missing"
)

// KeyEvents are functions that are told what happens to a key set. Each may
// be nil. They run on the set's goroutine and must not call the set.
type KeyEvents struct {
	// StateChanged is called once per change, with the cause unless the new
	// state is KeysFresh.
	StateChanged func(state KeyState, cause error)
	// OddKeys is called when keys are seen that cannot be used or are not as
	// they should be, and again when their number has changed, with one
	// error each.
	OddKeys func(odd []error)
}

// RemoteKeys is a set of public keys that is fetched over HTTP, in the
// background and when a token needs it, one fetch at a time. It keeps the
// last good keys while the provider is away. It is safe for concurrent use.
//
// One goroutine, started by [NewRemoteKeys] and ended by Close, makes all
// fetches.
type RemoteKeys struct {
	fetcher *keyFetcher
	events  KeyEvents
	table   atomic.Pointer[datedTable]
	wake    chan struct{}
	cancel  context.CancelFunc
	done    chan struct{}

	// Used by the goroutine alone.
	failures int
	oddKeys  int
	state    KeyState

	mu sync.Mutex // guards what follows
	// flight is the fetch that is asked for or under way, or nil.
	flight *flight
	closed bool
	// demanded is when a token last caused a fetch.
	demanded time.Time
	// finished is when the last fetch ended, and failure how.
	finished time.Time
	failure  error
	// begun counts fetches; good is the number of the last that worked.
	begun, good uint64
	// asked has key ids that no key has, with the number of fetches begun
	// when they were first asked for.
	asked map[string]uint64
}

// datedTable is a table with the time of its fetch. It is wall clock time: the
// monotonic clock stands still while a machine sleeps.
type datedTable struct {
	*keyTable
	at time.Time
}

// flight is one fetch. err may be read when done is closed.
type flight struct {
	done chan struct{}
	err  error
}

// NewRemoteKeys returns the set of cfg. It does not wait for the network. The
// caller must call Close. The error says what is wrong with cfg.
func NewRemoteKeys(cfg RemoteConfig) (*RemoteKeys, error) {
	fetcher, err := newKeyFetcher(cfg)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &RemoteKeys{
		fetcher: fetcher, events: cfg.Events,
		wake: make(chan struct{}, 1), cancel: cancel, done: make(chan struct{}),
		asked: make(map[string]uint64),
	}
	go r.run(ctx)
	return r, nil
}

// Close ends the background work and waits for its end. The keys that are
// there serve on until they are too old: a socket opened under an old
// configuration may still renew.
func (r *RemoteKeys) Close() {
	r.cancel()
	<-r.done
}

// Symmetric implements [KeySet].
func (r *RemoteKeys) Symmetric() bool { return false }

// Holds implements [KeySet].
func (r *RemoteKeys) Holds(k *Key) bool { return r.current().holds(k) }

// current returns the table if it is not too old, else nil.
func (r *RemoteKeys) current() *keyTable {
	t := r.table.Load()
	if t == nil || time.Since(t.at) > maxStale {
		return nil
	}
	return t.keyTable
}

// Find implements [KeySet]. It waits for a fetch, 5 s at most, if there are no
// keys, or if the key id is unknown and no token has caused a fetch in the
// last 30 s.
func (r *RemoteKeys) Find(ctx context.Context, alg, kid string) ([]*Key, error) {
	// Twice, because the first fetch may have begun before this call, and
	// cannot tell then whether the key is unknown.
	for range 2 {
		keys, known := r.current().find(alg, kid)
		switch {
		case len(keys) > 0:
			return keys, nil
		case known:
			return nil, errWrongAlgorithm
		}
		f, err := r.ask(kid)
		if err != nil {
			return nil, err
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, &OutageError{Err: fmt.Errorf("waiting for keys: %w", ctx.Err())}
		}
		if f.err != nil {
			return nil, &OutageError{Err: f.err, RetryAfter: emptyRetry}
		}
	}
	if keys, _ := r.current().find(alg, kid); len(keys) > 0 {
		return keys, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return nil, r.unknownLocked(kid)
}

// ask returns the fetch to wait for, or why there is none.
func (r *RemoteKeys) ask(kid string) (*flight, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	switch {
	case r.closed:
		return nil, &OutageError{Err: errors.New("key set is closed")}
	case r.flight != nil:
	case r.current() == nil && now.Sub(r.finished) < emptyRetry:
		return nil, &OutageError{Err: r.failure, RetryAfter: emptyRetry}
	case r.current() != nil && now.Sub(r.demanded) < kidCoolDown:
		err := r.unknownLocked(kid)
		r.rememberLocked(kid)
		return nil, err
	default:
		if r.current() != nil { // else it is the first fetch, for any key id
			r.demanded = now
		}
		r.flight = &flight{done: make(chan struct{})}
		r.wake <- struct{}{} // never blocks: one flight, one slot
	}
	r.rememberLocked(kid)
	return r.flight, nil
}

// rememberLocked notes that kid was asked for and is not there.
func (r *RemoteKeys) rememberLocked(kid string) {
	if _, ok := r.asked[kid]; ok {
		return
	}
	if len(r.asked) >= maxAskedKids {
		clear(r.asked)
	}
	r.asked[kid] = r.begun
}

// unknownLocked says what an unknown key id means: a refusal if the last
// fetch worked and one that worked began after the id was first asked for,
// else nobody can tell.
func (r *RemoteKeys) unknownLocked(kid string) error {
	at, asked := r.asked[kid]
	if asked && r.good > at && r.failure == nil {
		return Refuse(ReasonUnknownKey, "no key of the provider has the token's kid and algorithm")
	}
	return &OutageError{
		Err:        errors.New("key id is unknown, and the time for another fetch has not come"),
		RetryAfter: max(time.Second, kidCoolDown-time.Since(r.demanded)),
	}
}

// run makes all fetches, until ctx ends.
func (r *RemoteKeys) run(ctx context.Context) {
	defer close(r.done)
	timer := time.NewTimer(startDelay)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			r.shut()
			return
		case <-r.wake:
		case <-timer.C:
		}
		timer.Reset(r.refresh(ctx))
	}
}

// shut lets go whoever waits.
func (r *RemoteKeys) shut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	if r.flight != nil {
		r.flight.err = errors.New("key set is closed")
		close(r.flight.done)
		r.flight = nil
	}
}

// refresh makes one fetch and returns when the next one is due.
func (r *RemoteKeys) refresh(ctx context.Context) time.Duration {
	r.begin()
	fetched, err := r.fetcher.fetch(ctx)
	if err == nil {
		old := r.table.Load()
		table := newKeyTable(fetched.keys)
		if old != nil {
			table = table.keeping(old.keyTable)
		}
		r.table.Store(&datedTable{keyTable: table, at: time.Now().Round(0)})
	}
	r.finish(err)
	if ctx.Err() != nil {
		return 0 // closed: not the provider's fault
	}
	r.tell(fetched.odd, err)
	if err != nil {
		r.failures++
		return r.retryIn()
	}
	r.failures = 0
	return fetched.fresh
}

// tell calls the events' functions if there is news.
func (r *RemoteKeys) tell(odd []error, err error) {
	state := KeysFresh
	switch {
	case err != nil && r.current() != nil:
		state = KeysStale
	case err != nil:
		state = KeysMissing
	}
	if state != r.state && r.events.StateChanged != nil {
		r.events.StateChanged(state, err)
	}
	r.state = state
	if err != nil {
		return
	}
	if len(odd) != r.oddKeys && len(odd) > 0 && r.events.OddKeys != nil {
		r.events.OddKeys(odd)
	}
	r.oddKeys = len(odd)
}

// begin numbers the fetch and makes it the one to wait for.
func (r *RemoteKeys) begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.begun++
	if r.flight == nil {
		r.flight = &flight{done: make(chan struct{})}
		return
	}
	// The timer and a token may both have called: one fetch serves both.
	select {
	case <-r.wake:
	default:
	}
}

// finish lets go whoever waits.
func (r *RemoteKeys) finish(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failure = err
	r.finished = time.Now()
	if err == nil {
		r.good = r.begun
	}
	r.flight.err = err
	close(r.flight.done)
	r.flight = nil
}

// retryIn says how long to wait after a failure.
func (r *RemoteKeys) retryIn() time.Duration {
	if r.current() == nil {
		return emptyRetry
	}
	return min(maxStaleRetry, staleRetry<<min(r.failures-1, 10))
}
