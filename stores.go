package websocketauth

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/store"
)

func init() {
	caddy.RegisterModule(MemoryStore{})
}

const (
	// storesPrefix is in front of the ids of the modules that are stores.
	storesPrefix = "websocket_auth.stores."
	// redisPackage has the store redis, and is linked only by who wants it.
	redisPackage = "github.com/caddy-websocket-auth/caddy-websocket-auth/redisstore"
)

// MemoryStore is the store of a node that has no others: it shares nothing.
// Revocations outlast a restart by Caddy's storage all the same.
type MemoryStore struct{}

// CaddyModule returns the Caddy module information.
func (MemoryStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "websocket_auth.stores.memory",
		New: func() caddy.Module { return new(MemoryStore) },
	}
}

// Store implements [SharedStore].
func (MemoryStore) Store() store.Store { return store.Alone{} }

// Key implements [SharedStore].
func (MemoryStore) Key() string { return "memory" }

// ServesAlone implements [SharedStore].
func (MemoryStore) ServesAlone() bool { return true }

// UnmarshalCaddyfile sets up the store from Caddyfile tokens. Syntax:
//
//	store memory
func (MemoryStore) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the store's name
	if d.NextArg() || d.NextBlock(0) {
		return d.Errf("'store memory' takes no argument and no block: remove them, or use store redis <url>")
	}
	return nil
}

// Interface guards
var (
	_ SharedStore           = MemoryStore{}
	_ caddyfile.Unmarshaler = MemoryStore{}
)
