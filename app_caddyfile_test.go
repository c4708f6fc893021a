package websocketauth

import (
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/session"
)

func init() {
	caddy.RegisterModule(noStore{})
	caddy.RegisterModule(otherStore{})
}

// noStore is a module in the place of a store.
type noStore struct{}

func (noStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "websocket_auth.stores.none", New: func() caddy.Module { return new(noStore) }}
}

// otherStore is a store that a node cannot do without.
type otherStore struct{ MemoryStore }

func (otherStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "websocket_auth.stores.other", New: func() caddy.Module { return new(otherStore) }}
}

func (otherStore) Key() string       { return "other" }
func (otherStore) ServesAlone() bool { return false }

// loadApp loads the app with this configuration, and returns what Provision
// says.
func loadApp(t *testing.T, config string) (*App, error) {
	t.Helper()
	ctx, err := caddy.ProvisionContext(&caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := caddy.NewContext(ctx)
	t.Cleanup(cancel)
	app := new(App)
	if err := caddy.StrictUnmarshalJSON([]byte(config), app); err != nil {
		t.Fatalf("%s: %v", config, err)
	}
	err = app.Provision(ctx)
	t.Cleanup(func() {
		if err := app.Cleanup(); err != nil {
			t.Error(err)
		}
	})
	return app, err
}

// TestAppConfigured: what the run-time finds in the app.
func TestAppConfigured(t *testing.T) {
	for name, tc := range map[string]struct {
		config string
		drain  time.Duration
		rule   session.LockoutRule
		key    string
		alone  bool
	}{
		"nothing":     {`{}`, 3 * time.Second, session.LockoutRule{}, "memory", true},
		"no drain":    {`{"drain":0}`, 0, session.LockoutRule{}, "memory", true},
		"long drain":  {`{"drain":"4s"}`, 4 * time.Second, session.LockoutRule{}, "memory", true},
		"memory":      {`{"store":{"store":"memory"}}`, 3 * time.Second, session.LockoutRule{}, "memory", true},
		"other store": {`{"store":{"store":"other"}}`, 3 * time.Second, session.LockoutRule{}, "other", false},
		"lockout": {
			`{"lockout":{"failures":100,"window":"1m","duration":"5m"}}`, 3 * time.Second,
			session.LockoutRule{Failures: 100, Window: time.Minute, Duration: 5 * time.Minute},
			"memory", true,
		},
	} {
		app, err := loadApp(t, tc.config)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if app.drain() != tc.drain {
			t.Errorf("%s: drains over %v, want %v", name, app.drain(), tc.drain)
		}
		if rule := app.lockoutRule(); rule != tc.rule {
			t.Errorf("%s: locks out by %+v, want %+v", name, rule, tc.rule)
		}
		if app.fleet().key != tc.key || app.servesAlone != tc.alone {
			t.Errorf("%s: store %s, alone %t, want %s, %t", name, app.fleet().key, app.servesAlone, tc.key, tc.alone)
		}
	}
}

// TestAppRefused: what cannot work does not load.
func TestAppRefused(t *testing.T) {
	for config, want := range map[string]string{
		`{"drain":"4001ms"}`: "drain 4.001s is not from 0 to 4s",
		`{"drain":"-1s"}`:    "drain -1s is not from 0 to 4s",
		`{"lockout":{}}`:     "lockout needs",
		`{"lockout":{"failures":-1,"window":"1m","duration":"1m"}}`: "lockout needs",
		`{"lockout":{"failures":1,"window":"1m"}}`:                  "lockout needs",
		`{"lockout":{"failures":1,"duration":"1m"}}`:                "lockout needs",
		`{"lockout":{"failures":1,"window":"1m","duration":"-1m"}}`: "lockout needs",
		`{"store":{"store":"none"}}`:                                "is no store",
		`{"store":{"store":"etcd"}}`:                                "'store etcd' is unknown: use memory or redis",
		`{"store":{"store":"memory","prefix":"chat"}}`:              `unknown field "prefix"`,
		`{"store":{"prefix":"chat"}}`:                               "store has no name",
		`{"store":{"url":"redis://:secret@h"}}`:                     "store has no name",
		`{"store":["redis://:secret@h"]}`:                           "store has no name",
		`{"store":{"store":"redis://:secret@h"}}`:                   "store redis <url>",
	} {
		_, err := loadApp(t, config)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: error %v, want %s", config, err, want)
		}
	}
}

// TestUnknownStore: the error for a store that is not there says what to do,
// and quotes no URL, which may have a password in it.
func TestUnknownStore(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"redis":                     "build one with the package github.com/caddy-websocket-auth/caddy-websocket-auth/redisstore",
		"etcd":                      "'store etcd' is unknown: use memory or redis",
		"redis://:secret@localhost": "store redis <url>",
		":secret@localhost":         "store redis <url>",
	} {
		text := unknownStore(name)
		if !strings.Contains(text, want) || strings.Contains(text, "secret") {
			t.Errorf("%s: %s, want %s", name, text, want)
		}
	}
}
