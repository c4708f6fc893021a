// Package redisstore is the store redis as a Caddy module: nodes share
// revocations and lockouts by a Redis. It is a package of its own so that only
// who imports it links a Redis client.
package redisstore

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2"

	websocketauth "github.com/caddy-websocket-auth/caddy-websocket-auth"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/store"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/store/redis"
)

func init() {
	caddy.RegisterModule(Store{})
}

// What a node does while Redis is away.
const (
	outageServe  = "serve"
	outageRefuse = "refuse"
)

// Store has nodes share revocations and lockouts by a Redis, 6.2 or later. Each
// node holds all of it in memory and is told of changes, so that no handshake
// waits for Redis.
type Store struct {
	// The URL of the Redis, such as `rediss://user:password@host:6380/0`;
	// `redis` instead of `rediss` is without TLS, and
	// `unix://user:password@/path?db=0` is a socket. Best a placeholder such as
	// `{env.REDIS_URL}` or `{file./run/secrets/redis}`: placeholders are
	// resolved when the config is loaded, and the admin API shows them as they
	// are written.
	URL string `json:"url,omitempty"`

	// What the names of all keys in Redis begin with, at most 128 bytes; other
	// fleets in the same Redis must have another. Default: `websocket_auth`
	Prefix string `json:"prefix,omitempty"`

	// What a node does while Redis is away: `serve` goes on with what it
	// knows, `refuse` lets nobody in. A node that has never known all that is
	// revoked lets nobody in anyway. Default: serve
	OnOutage string `json:"on_outage,omitempty"`

	store *redis.Store
	key   string
}

// CaddyModule returns the Caddy module information.
func (Store) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "websocket_auth.stores.redis",
		New: func() caddy.Module { return new(Store) },
	}
}

// Provision sets up the store. It does not connect.
func (s *Store) Provision(caddy.Context) error {
	if s.OnOutage != "" && s.OnOutage != outageServe && s.OnOutage != outageRefuse {
		return fmt.Errorf("store redis: %w", unknownOutage(s.OnOutage))
	}
	url, err := resolved(s.URL)
	if err != nil {
		return fmt.Errorf("store redis: %w", err)
	}
	if s.store, err = redis.New(redis.Config{URL: url, Prefix: s.Prefix}); err != nil {
		return fmt.Errorf("store redis: %w", err)
	}
	// The pool's key stays in memory for long: it is no place for a password.
	sum := sha256.Sum256([]byte(s.Prefix + "\x00" + url))
	s.key = "redis:" + hex.EncodeToString(sum[:])
	return nil
}

// resolved returns url with its placeholders resolved. Its errors quote
// nothing of it, which may be a password with braces in it.
func resolved(url string) (string, error) {
	if url == "" {
		return "", errors.New("the URL is missing: store redis <url>, e.g. store redis {env.REDIS_URL}")
	}
	text, err := caddy.NewReplacer().ReplaceOrErr(url, true, true)
	if err != nil {
		return "", errors.New("a placeholder in the URL is unknown or empty; write \\{ for a brace that is meant")
	}
	return text, nil
}

// Store implements [websocketauth.SharedStore].
func (s *Store) Store() store.Store { return s.store }

// Key implements [websocketauth.SharedStore].
func (s *Store) Key() string { return s.key }

// ServesAlone implements [websocketauth.SharedStore].
func (s *Store) ServesAlone() bool { return s.OnOutage != outageRefuse }

// Interface guards
var (
	_ caddy.Provisioner         = (*Store)(nil)
	_ websocketauth.SharedStore = (*Store)(nil)
)
