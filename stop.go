package websocketauth

import (
	"context"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
)

func init() {
	caddy.OnExit(func(context.Context) { drain(defaultDrain) })
}

const (
	// drainWait is how long the process waits for its sockets in all: less than
	// the 5 s after which service managers commonly lose patience.
	drainWait = 4500 * time.Millisecond
	// exitPoll is how often it is looked whether the process stops, where
	// nothing tells.
	exitPoll = 100 * time.Millisecond
)

var drainOnce sync.Once

// drain closes all sockets of the process with code 1001 and waits until they
// have ended, drainWait at the most; a second call waits for the first. The
// close frames are spread over spread, so that not all clients come back at
// once.
func drain(spread time.Duration) {
	drainOnce.Do(func() { sockets.Drain(spread, drainWait) })
}

// drainOnStop drains the process when it stops. Caddy alone sends no close
// frame where stream_close_delay is set, and waits for HTTP/2 and HTTP/3
// sockets before it cleans up any handler: its event comes before both.
func (a *App) drainOnStop() error {
	events, err := eventsOf(a.ctx)
	if err != nil {
		return err
	}
	return events.On("stopping", drainHandler{a})
}

// drainHandler handles the event stopping, which comes at reloads, too.
type drainHandler struct{ app *App }

// Handle implements caddyevents.Handler. With a shutdown_delay, in which Caddy
// goes on serving so that a load balancer can learn of the stop, the sockets
// have that long, too.
func (d drainHandler) Handle(context.Context, caddy.Event) error {
	if !caddy.Exiting() {
		return nil
	}
	spread := d.app.drain()
	if servers := d.app.servers(); servers != nil && servers.ShutdownDelay > 0 {
		time.AfterFunc(time.Duration(servers.ShutdownDelay), func() { drain(spread) })
		return nil
	}
	drain(spread)
	return nil
}

// drainUnattended drains the process when it stops, in the place of the event:
// no configuration has websocket_auth any more, and sockets of older ones are
// left. Without it Caddy would wait for those of HTTP/2 and HTTP/3 without end.
func drainUnattended() {
	for apps.newest() == nil && sockets.Len() > 0 {
		if caddy.Exiting() {
			drain(defaultDrain)
			return
		}
		time.Sleep(exitPoll)
	}
}
