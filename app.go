package websocketauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.uber.org/zap"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/store"
)

func init() {
	caddy.RegisterModule(App{})
}

// appName is the name of the app, and of the global option that configures it.
const appName = "websocket_auth"

// App is what all sites of a server share: where revocations and lockouts are
// shared with other nodes, when a client address is locked out, and how
// sockets end when the server stops. Without a configuration of its own it has
// the defaults.
type App struct {
	// What nodes share revocations and lockouts by. Default: `memory`, for a
	// node that has no others
	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=websocket_auth.stores inline_key=store"`

	// When a client address is locked out. Default: never
	Lockout *Lockout `json:"lockout,omitempty"`

	// The time over which the close frames are spread when the server stops,
	// at most 4s; 0 sends all at once. Default: 3s
	Drain *caddy.Duration `json:"drain,omitempty"`

	// What changes after Provision is behind pointers: Caddy copies modules to
	// ask for their name.
	logger  *zap.Logger
	ctx     caddy.Context
	events  *caddyevents.App
	held    *atomic.Pointer[fleet] // nil when the configuration has ended
	longest *atomic.Int64          // nanoseconds that a token may live
	// rechecks: some handler ends sockets of before that it would refuse.
	rechecks *atomic.Bool
	matchers *matcherCheck
	// generation counts configurations: a later one has a greater one.
	generation int64
	// servesAlone: while the store is away, what is known counts.
	servesAlone bool
}

// Lockout says when a client address is locked out: IPv6 by /64.
type Lockout struct {
	// How many failures lock it out.
	Failures int `json:"failures"`

	// Within which time.
	Window caddy.Duration `json:"window"`

	// For how long.
	Duration caddy.Duration `json:"duration"`
}

// SharedStore is what a store's module gives.
type SharedStore interface {
	// Store returns the store itself. It does not connect.
	Store() store.Store
	// Key tells stores apart: two configurations with the same key share one
	// connection.
	Key() string
	// ServesAlone tells whether the node goes on with what it knows while the
	// store is away.
	ServesAlone() bool
}

// CaddyModule returns the Caddy module information.
func (App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "websocket_auth",
		New: func() caddy.Module { return new(App) },
	}
}

// maxDrain is the longest time over which close frames may be spread: service
// managers commonly lose patience after 5 s.
const (
	defaultDrain = 3 * time.Second
	maxDrain     = 4 * time.Second
)

// Provision sets up the app. It does not connect to a store.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx, a.logger = ctx, ctx.Logger()
	a.held, a.longest, a.rechecks = new(atomic.Pointer[fleet]), new(atomic.Int64), new(atomic.Bool)
	a.matchers = new(matcherCheck)
	a.generation = generations.Add(1)
	if err := a.check(); err != nil {
		return err
	}
	key, shares := "memory", store.Store(store.Alone{})
	a.servesAlone = true
	if a.StoreRaw != nil {
		if err := a.checkStoreName(); err != nil {
			return err
		}
		module, err := ctx.LoadModule(a, "StoreRaw")
		if err != nil {
			return err
		}
		shared, ok := module.(SharedStore)
		if !ok {
			return fmt.Errorf("module %T is no store", module)
		}
		key, shares, a.servesAlone = shared.Key(), shared.Store(), shared.ServesAlone()
	}
	if err := a.drainOnStop(); err != nil {
		return err
	}
	if err := a.announceWhenStarted(); err != nil {
		return err
	}
	var err error
	if a.ctx, err = eventContext(ctx); err != nil {
		return err
	}
	f, err := acquireFleet(key, shares)
	if err != nil {
		return err
	}
	a.held.Store(f)
	return counts.register(ctx, a)
}

// checkStoreName refuses a store that Caddy would not find: its own error
// quotes all of the configuration, also a password.
func (a *App) checkStoreName() error {
	var named struct {
		Store string `json:"store"`
	}
	if err := json.Unmarshal(a.StoreRaw, &named); err != nil || named.Store == "" {
		return errors.New(`store has no name: add "store": "memory" or "store": "redis" to it`)
	}
	if _, err := caddy.GetModule(storesPrefix + named.Store); err != nil {
		return errors.New(unknownStore(named.Store))
	}
	return nil
}

// drain returns over which time close frames are spread.
func (a *App) drain() time.Duration {
	if a.Drain == nil {
		return defaultDrain
	}
	return time.Duration(*a.Drain)
}

// check refuses what cannot work.
func (a *App) check() error {
	switch l := a.Lockout; {
	case a.drain() < 0 || a.drain() > maxDrain:
		return fmt.Errorf("drain %v is not from 0 to %v", a.drain(), maxDrain)
	case l != nil && (l.Failures < 1 || l.Window <= 0 || l.Duration <= 0):
		return errors.New("lockout needs a number of failures, a window and a duration, e.g. lockout 100 1m 1m")
	}
	return nil
}

// Start implements caddy.App. It reads what was revoked before the last stop,
// and has the store tell of what others do.
func (a *App) Start() error {
	// Sockets of the configuration before renew by its rules, so what is revoked
	// under this one must outlast the tokens of that one, too.
	if before := apps.newest(); before != nil {
		a.admits(before.Longest())
	}
	apps.started(a)
	a.takeOver()
	return nil
}

// takeOver has the storage, the store and the log of a's configuration used.
func (a *App) takeOver() {
	saved.use(a.ctx.Storage(), a.logger)
	if f := a.held.Load(); f != nil {
		f.start(a.logger)
	}
}

// Stop implements caddy.App.
func (a *App) Stop() error {
	if !caddy.Exiting() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return saved.flush(ctx)
}

// Cleanup lets go of the store. A configuration that is rejected after it has
// started gives back to the one before it what that one had used.
func (a *App) Cleanup() error {
	rejected := apps.ended(a)
	before := apps.newest()
	announced.app.CompareAndSwap(a, before)
	if rejected && before != nil {
		before.takeOver()
	}
	if a.held == nil { // never provisioned
		return nil
	}
	f := a.held.Swap(nil)
	if f == nil { // Provision has failed
		return nil
	}
	if before == nil && !caddy.Exiting() {
		endUnguarded() // the new configuration has no websocket_auth at all
		go drainUnattended()
	}
	return f.release()
}

// fleet returns the fleet that counts for what was set up by a: its own, or
// when its configuration has ended the newest one's. It is nil when the
// process stops.
func (a *App) fleet() *fleet {
	if f := a.held.Load(); f != nil {
		return f
	}
	if n := apps.newest(); n != nil {
		return n.held.Load()
	}
	return nil
}

// runningApps are the apps of the configurations that serve, the newest last.
// There are two while one takes the other's place, or fails to.
type runningApps struct {
	mu  sync.Mutex
	all []*App
}

var (
	apps        runningApps
	generations atomic.Int64
)

func (r *runningApps) started(a *App) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, a)
}

// ended takes a out, and reports whether it was the newest.
func (r *runningApps) ended(a *App) (newest bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.Index(r.all, a)
	if i < 0 {
		return false
	}
	r.all = slices.Delete(r.all, i, i+1)
	return i == len(r.all)
}

// newest returns the app of the newest configuration, nil if none serves.
func (r *runningApps) newest() *App {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.all) == 0 {
		return nil
	}
	return r.all[len(r.all)-1]
}

// appOf returns the app of a configuration.
func appOf(ctx caddy.Context) (*App, error) {
	loaded, err := ctx.App(appName)
	if err != nil {
		return nil, err
	}
	app, ok := loaded.(*App)
	if !ok {
		return nil, fmt.Errorf("the app %s is %T", appName, loaded)
	}
	return app, nil
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
