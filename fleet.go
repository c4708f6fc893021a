package websocketauth

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/session"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/store"
)

// fleetPool has the stores of all configurations of this process, so that a
// reload does not connect anew. It holds *fleet by the store's key.
var fleetPool = caddy.NewUsagePool()

// fleet is this node's part in what nodes share. It lives as long as a
// configuration uses the store.
type fleet struct {
	key   string
	store store.Store

	mu      sync.Mutex // guards the following
	logger  *zap.Logger
	cancel  context.CancelFunc // nil until it has started
	done    chan struct{}      // closed when it follows no more
	started time.Time

	complete atomic.Bool // the store has told all there is
	away     atomic.Bool // it cannot be reached
}

// acquireFleet returns the fleet of a store, which is not asked anything. The
// caller must release it.
func acquireFleet(key string, shares store.Store) (*fleet, error) {
	value, _, err := fleetPool.LoadOrNew(key, func() (caddy.Destructor, error) {
		return &fleet{key: key, store: shares, logger: zap.NewNop()}, nil
	})
	if err != nil {
		return nil, err
	}
	f, ok := value.(*fleet)
	if !ok {
		return nil, errors.New("the pool of stores has a value of another type")
	}
	return f, nil
}

// release gives the fleet back.
func (f *fleet) release() error {
	_, err := fleetPool.Delete(f.key)
	return err
}

// start follows the store, if it is not followed already.
func (f *fleet) start(logger *zap.Logger) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.logger = logger
	if f.cancel != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	f.cancel, f.done, f.started = cancel, make(chan struct{}), time.Now()
	if f.store.Name() == "" {
		f.complete.Store(true) // nobody else knows more
	}
	go f.follow(ctx)
}

// follow runs until ctx ends. A panic of the store means that it is away.
func (f *fleet) follow(ctx context.Context) {
	defer close(f.done)
	for ctx.Err() == nil {
		func() {
			defer func() {
				if p := recover(); p != nil {
					f.Outage(fmt.Errorf("panic in the store: %T", p))
				}
			}()
			f.store.Follow(ctx, f)
		}()
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// Destruct implements [caddy.Destructor].
func (f *fleet) Destruct() error {
	f.mu.Lock()
	cancel, done := f.cancel, f.done
	f.mu.Unlock()
	if cancel != nil {
		cancel()
		<-done
	}
	return nil
}

func (f *fleet) log() *zap.Logger {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.logger
}

// Revoked implements [store.Node].
func (f *fleet) Revoked(all []session.Revocation) {
	for _, r := range all {
		if err := r.Check(); err != nil {
			f.log().Warn("a revocation in the store is none", zap.Error(err))
			continue
		}
		apply(r)
	}
	saved.changed()
}

// Unrevoked implements [store.Node].
func (f *fleet) Unrevoked(key string) {
	if revocations.Remove(key) {
		saved.changed()
	}
}

// LockedOut implements [store.Node].
func (f *fleet) LockedOut(address string, until time.Time) { lockouts.Lock(address, until) }

// Released implements [store.Node].
func (f *fleet) Released(address string) { lockouts.Forget(address, time.Now()) }

// Complete implements [store.Node].
func (f *fleet) Complete() {
	f.complete.Store(true)
	if name := f.store.Name(); name != "" {
		saved.told(name)
	}
}

// Known implements [store.Node].
func (f *fleet) Known() []session.Revocation { return revocations.All(time.Now()) }

// Outage implements [store.Node].
func (f *fleet) Outage(err error) {
	switch was := f.away.Swap(err != nil); {
	case err != nil && !was:
		f.log().Error("the store cannot be reached, see on_outage", zap.Error(err))
	case err == nil && was:
		f.log().Info("the store can be reached again")
	}
}

// lag returns for how long this node has not had all that the store knows.
func (f *fleet) lag() time.Duration {
	if f.store.Name() == "" {
		return 0 // nobody else knows more
	}
	since := f.store.Current()
	if since.IsZero() {
		f.mu.Lock()
		since = f.started
		f.mu.Unlock()
	}
	if since.IsZero() {
		return 0 // it is not followed yet
	}
	return max(time.Since(since), 0)
}

// ready tells whether this node knows enough of the revocations to let anybody
// in. Until it has had a complete set once, it does not.
func (a *App) ready() error {
	f := a.fleet()
	if f == nil {
		return errors.New("no configuration serves")
	}
	if err := f.knows(); err != nil {
		return err
	}
	if f.away.Load() && !a.servesAlone {
		return errors.New("the store cannot be reached")
	}
	return nil
}

// knows returns why this node does not know what is revoked. What a store has
// told is enough, even if nobody can read what was saved before the start; but
// as long as that is yet to be read, it is waited for.
func (f *fleet) knows() error {
	name, complete := f.store.Name(), f.complete.Load()
	switch {
	case saved.unread():
		return errors.New("what was revoked before the last start is not known yet")
	case name != "" && complete:
		return nil
	case !saved.isRead():
		return errors.New("what was revoked before the last start cannot be read")
	case !complete && !saved.isComplete(name):
		return errors.New("the store has not told yet what is revoked")
	}
	return nil
}
