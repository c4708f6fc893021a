package websocketauth

import (
	"errors"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// Defaults and limits of pings.
const (
	defaultPingTimeout = 10 * time.Second
	minPing            = time.Second
	maxPing            = time.Hour
)

// Ping finds clients that are gone without a word.
type Ping struct {
	// How long a client may be silent before it is sent a ping, from 1s to 1h.
	// Default: 0 (for ever)
	Interval caddy.Duration `json:"interval,omitempty"`

	// How long it may be silent then before its socket is ended, from 1s to
	// 1h. Default: 10s
	Timeout caddy.Duration `json:"timeout,omitempty"`
}

// pinging returns how pings are sent, nil if none are.
func (p Ping) pinging() (*pinging, error) {
	if p == (Ping{}) {
		return nil, nil
	}
	how := &pinging{interval: time.Duration(p.Interval), timeout: time.Duration(p.Timeout)}
	if how.timeout == 0 {
		how.timeout = defaultPingTimeout
	}
	switch {
	case how.interval == 0:
		return nil, errors.New("ping needs an interval: use one such as ping 30s")
	case how.interval < minPing || how.interval > maxPing:
		return nil, fmt.Errorf("ping: the interval %s is not from %s to %s", how.interval, minPing, maxPing)
	case how.timeout < minPing || how.timeout > maxPing:
		return nil, fmt.Errorf("ping: the timeout %s is not from %s to %s", how.timeout, minPing, maxPing)
	}
	return how, nil
}

// unmarshalPing reads one duration or two.
func (h *Handler) unmarshalPing(d *caddyfile.Dispenser) (err error) {
	args := d.RemainingArgs()
	if len(args) < 1 || len(args) > 2 {
		return d.Errf("'ping' takes one duration or two, not %d: ping <interval> [<timeout>]", len(args))
	}
	if h.Ping.Interval, err = positiveDuration(d, "ping", args[0]); err != nil {
		return err
	}
	if len(args) == 2 {
		if h.Ping.Timeout, err = positiveDuration(d, "ping", args[1]); err != nil {
			return err
		}
	}
	if _, err := h.Ping.pinging(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}
