package websocketauth

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// expiryRenew is the policy that lets a client renew its credential.
const expiryRenew = "renew"

// Defaults and limits of renewal. A socket whose credential has ended costs
// memory for what is held, so that both are bounded.
const (
	defaultWarn         = 30 * time.Second
	defaultGrace        = 30 * time.Second
	maxGrace            = time.Hour
	defaultHoldMessages = 256
	maxHoldMessages     = 1 << 16
	defaultHoldSize     = 1 << 20
	maxHoldSize         = 64 << 20
)

// OnExpiry is what happens when a credential ends.
type OnExpiry struct {
	// The policy: `close` ends the socket, `ignore` lets it live on, `renew`
	// lets the client present a new credential. Default: close
	Policy string `json:"policy,omitempty"`

	// For `renew`: how long before the end the client is asked for a new
	// credential, in the words of the dialect, if it has any. 0 does not ask.
	// Default: 30s
	Warn *caddy.Duration `json:"warn,omitempty"`

	// For `renew`: how long after the end the socket waits for a new
	// credential, at most 1h. No message passes meanwhile. 0 does not wait.
	// Default: 30s
	Grace *caddy.Duration `json:"grace,omitempty"`

	// For `renew`: how many messages are held meanwhile in each direction, at
	// most 65536. One more ends the socket. Default: 256
	HoldMessages int `json:"hold_messages,omitempty"`

	// For `renew`: how many bytes of messages are held meanwhile in each
	// direction, at most 64 MiB. One more ends the socket. Default: 1048576
	// (1 MiB)
	HoldSize int64 `json:"hold_size,omitempty"`

	// For `renew`: the path to which a client may also POST a new credential
	// as `Authorization: Bearer`, with the id of the socket as the query's
	// `session`. Default: empty (none)
	Path string `json:"path,omitempty"`
}

// renewal is how a credential may be renewed.
type renewal struct {
	warn, grace  time.Duration // 0: not asked for, not waited for
	holdMessages int           // in each direction
	holdSize     int64         // bytes in each direction
	path         string        // of the request that renews; empty if none does
}

// check refuses what cannot work, whatever the rest of the handler is.
func (o OnExpiry) check() error {
	switch o.Policy {
	case "", expiryClose, expiryIgnore:
		if word := o.renewWord(); word != "" {
			return fmt.Errorf("on_expiry: %s is for renew: remove it, or use on_expiry renew", word)
		}
		return nil
	case expiryRenew:
		return o.checkRenew()
	}
	return fmt.Errorf("on_expiry '%s' is unknown: use close, ignore or renew", o.Policy)
}

// renewWord returns one of the words that are given and that only renew has,
// or "".
func (o OnExpiry) renewWord() string {
	switch {
	case o.Warn != nil:
		return "warn"
	case o.Grace != nil:
		return "grace"
	case o.HoldMessages != 0 || o.HoldSize != 0:
		return "hold"
	case o.Path != "":
		return "path"
	}
	return ""
}

func (o OnExpiry) checkRenew() error {
	switch {
	case o.Warn != nil && *o.Warn < 0:
		return errors.New("on_expiry renew: warn is negative: use a duration such as 30s, or 0 to ask for nothing")
	case o.Grace != nil && (*o.Grace < 0 || time.Duration(*o.Grace) > maxGrace):
		return fmt.Errorf("on_expiry renew: grace %s is not from 0 to %s", time.Duration(*o.Grace), maxGrace)
	case o.HoldMessages < 0 || o.HoldMessages > maxHoldMessages:
		return fmt.Errorf("on_expiry renew: hold of %d messages is not from 1 to %d", o.HoldMessages, maxHoldMessages)
	case o.HoldSize < 0 || o.HoldSize > maxHoldSize:
		return fmt.Errorf("on_expiry renew: hold of %d bytes is not from 1 to 64MiB", o.HoldSize)
	case o.Path != "" && !strings.HasPrefix(o.Path, "/"):
		return fmt.Errorf("on_expiry renew: path '%s' does not begin with /: use one such as /renew", o.Path)
	case strings.ContainsAny(o.Path, "?#*{}% "):
		return fmt.Errorf("on_expiry renew: path '%s' is compared exactly: use letters, digits, /, - and _", o.Path)
	}
	return nil
}

// renewal returns how a credential may be renewed, nil if it may not.
func (o OnExpiry) renewal() *renewal {
	if o.Policy != expiryRenew {
		return nil
	}
	r := &renewal{
		warn: defaultWarn, grace: defaultGrace,
		holdMessages: o.HoldMessages, holdSize: o.HoldSize, path: o.Path,
	}
	if o.Warn != nil {
		r.warn = time.Duration(*o.Warn)
	}
	if o.Grace != nil {
		r.grace = time.Duration(*o.Grace)
	}
	if r.holdMessages == 0 {
		r.holdMessages = defaultHoldMessages
	}
	if r.holdSize == 0 {
		r.holdSize = defaultHoldSize
	}
	return r
}
