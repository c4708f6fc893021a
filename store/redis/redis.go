// Package redis is the store of nodes that share a Redis, 6.2 or later.
//
// The whole set of revocations lies in a hash, and changes of it are messages
// of a stream. A node reads the hash once and then the stream from where it
// was, so that it misses nothing while it is cut off. If it cannot be told
// that nothing was missed, because its position is gone from the stream or the
// data is not what it was, it reads the hash again, and brings back what
// others have lost.
//
// With <prefix> for [Config.Prefix], the keys are:
//
//	<prefix>:revocations         hash: what is revoked, and what no longer is
//	<prefix>:changes             stream of messages
//	<prefix>:lockouts            hash: address to end of its lockout
//	<prefix>:failures:<address>  counter, gone after the window
//	<prefix>:done:<node>:<n>     operation of a node, gone after an hour
//	<prefix>:settling            there for 5 s after data began empty
//
// A user with an ACL needs these keys and
//
//	+eval +evalsha +xread +hget +hset +hdel +hlen +hscan +hstrlen +xadd +xrange
//	+xrevrange +xtrim +set +get +del +exists +incrby +pexpire +pttl
//
// Whoever may write these keys may revoke and lock out; nobody else should.
package redis

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/store"
)

// Times that bound how late a node is.
const (
	// dialTimeout and the longest pause between attempts together are under
	// the 5 s in which a node catches up.
	dialTimeout = 1500 * time.Millisecond
	maxPause    = 2 * time.Second
	// replyTimeout is how long an answer may take, beyond what it is asked to
	// wait for a change.
	replyTimeout = 3 * time.Second
	// settleTime is how long a node does not believe data that began empty:
	// as long as others need to bring back what they know.
	settleTime = 5 * time.Second
	// maxWait is how long Revoke and Unrevoke wait, even if their context does
	// not end.
	maxWait = 5 * time.Second
)

// maxPrefix bounds a prefix, in bytes.
const maxPrefix = 128

// Config says where Redis is.
type Config struct {
	// URL begins with redis:, rediss: (TLS) or unix:, and may hold user,
	// password and the number of a database. It takes no other parameter.
	URL string
	// Prefix begins the names of all keys. Default: websocket_auth
	Prefix string
	// TLS is used with rediss. Nil trusts the authorities of the system.
	TLS *tls.Config
}

// Store is a [store.Store]. New makes it; its methods are safe for concurrent
// use.
type Store struct {
	options *redis.Options
	dialer  *dialer
	prefix  string
	name    string
	origin  string // of our messages: who sent them
	settle  time.Duration

	queue    queue
	failures failures
	retry    chan struct{} // has room for one: Redis can be reached again
	ended    chan struct{} // closed when Follow has returned

	followed atomic.Bool // Follow was called
	refill   atomic.Bool // all is to be read and brought back again
	odd      atomic.Uint64
	current  atomic.Int64 // Unix ms; zero if never
}

// New returns a store, which connects when it is told to follow. Errors say
// what is wrong with the config, without the URL, which may hold a password.
func New(config Config) (*Store, error) {
	options, d, err := parseURL(config)
	if err != nil {
		return nil, err
	}
	prefix := config.Prefix
	if prefix == "" {
		prefix = "websocket_auth"
	}
	if len(prefix) > maxPrefix || strings.ContainsFunc(prefix, unicode.IsControl) {
		return nil, errors.New("the prefix is longer than 128 bytes or has control characters")
	}
	s := &Store{
		options: options, dialer: d, prefix: prefix, origin: rand.Text(), settle: settleTime,
		name:  fmt.Sprintf("redis:%s/%d:%s", options.Addr, options.DB, prefix),
		retry: make(chan struct{}, 1), ended: make(chan struct{}),
	}
	s.queue.wake = make(chan struct{}, 1)
	s.failures.wake = make(chan struct{}, 1)
	return s, nil
}

func parseURL(config Config) (*redis.Options, *dialer, error) {
	if _, query, found := strings.Cut(config.URL, "?"); found &&
		(!strings.HasPrefix(query, "db=") || strings.ContainsAny(query, "&;")) {
		return nil, nil, errors.New("the URL of Redis takes no parameter but db")
	}
	parsed, err := redis.ParseURL(config.URL)
	if err != nil {
		return nil, nil, errors.New("the URL of Redis is not one: it has the form redis[s]://[user:password@]host[:port][/database], " +
			"or unix://[user:password@]/path[?db=database], with %-escapes where user or password have special characters")
	}
	secure := parsed.TLSConfig
	if secure != nil && config.TLS != nil {
		name := secure.ServerName
		if secure = config.TLS.Clone(); secure.ServerName == "" {
			secure.ServerName = name
		}
	}
	d := &dialer{secure: secure}
	return &redis.Options{
		Network: parsed.Network, Addr: parsed.Addr, DB: parsed.DB,
		Username: parsed.Username, Password: parsed.Password,
		Dialer:      d.dial,
		DialTimeout: dialTimeout, ReadTimeout: replyTimeout, WriteTimeout: replyTimeout,
		ContextTimeoutEnabled: true,
		// Follow tries again, and knows when.
		MaxRetries: -1, DialerRetries: 1,
		// One connection waits for changes while another sends.
		PoolSize: 2, PipelinePoolSize: -1,
		// The least that any server and proxy understands.
		Protocol: 2, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}, d, nil
}

// Odd returns how many values and messages could not be read since the start.
// They are left alone and have no effect.
func (s *Store) Odd() uint64 { return s.odd.Load() }

// Current returns when this node last had all that there is; zero if it never
// had.
func (s *Store) Current() time.Time {
	if ms := s.current.Load(); ms != 0 {
		return time.UnixMilli(ms)
	}
	return time.Time{}
}

// Name implements [store.Store]: it is the server and the prefix.
func (s *Store) Name() string { return s.name }

// Refill implements [store.Store].
func (s *Store) Refill() { s.refill.Store(true) }

// Follow implements [store.Store]. If the node panics, so does Follow, and may
// be called again: then it begins anew, with what waits to be sent.
func (s *Store) Follow(ctx context.Context, n store.Node) {
	defer func() {
		if ctx.Err() != nil {
			close(s.ended)
		}
	}()
	// A command does not notice that its context ends, but that its connection
	// does.
	stop := context.AfterFunc(ctx, s.dialer.close)
	defer stop()
	client := redis.NewClient(s.options)
	var writing sync.WaitGroup
	defer writing.Wait()
	defer client.Close()
	following, end := context.WithCancel(ctx)
	defer end()
	writing.Go(func() { (&writer{store: s, client: client}).run(following) })
	// After a panic the node takes the store to be away until it is told better.
	again := s.followed.Swap(true)
	(&follower{store: s, client: client, node: n, out: again}).run(ctx)
}

// clean returns err as it may be logged: a server that does not know a
// command repeats its arguments, which may be a password.
func (s *Store) clean(err error) error {
	text := err.Error()
	if before, _, found := strings.Cut(text, "with args beginning"); found {
		text = before + "with other arguments"
	}
	if password := s.options.Password; password != "" {
		text = strings.ReplaceAll(text, password, "…")
	}
	text = strings.ToValidUTF8(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text), "")
	if runes := []rune(text); len(runes) > 300 {
		text = string(runes[:300]) + "…"
	}
	return errors.New(text)
}

// Interface guard
var _ store.Store = (*Store)(nil)
