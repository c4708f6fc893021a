package websocketauth

import (
	"context"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// drainWait is how long the process waits for its sockets in all: less than the
// 5 s after which service managers commonly lose patience.
const drainWait = 4500 * time.Millisecond

var drainOnce sync.Once

// drainOnStop has all sockets of the process closed with code 1001 when it
// stops. Caddy alone sends no close frame where stream_close_delay is set, and
// waits for HTTP/2 and HTTP/3 sockets before it cleans up any handler: its
// event comes before both. The close frames are spread over spread, so that not
// all clients come back at once.
func drainOnStop(ctx caddy.Context, spread time.Duration) error {
	events, err := eventsOf(ctx)
	if err != nil {
		return err
	}
	return events.On("stopping", drainHandler{spread})
}

// drainHandler handles the event stopping, which comes at reloads, too.
type drainHandler struct{ spread time.Duration }

// Handle implements caddyevents.Handler.
func (d drainHandler) Handle(context.Context, caddy.Event) error {
	if caddy.Exiting() {
		drainOnce.Do(func() { sockets.Drain(d.spread, drainWait) })
	}
	return nil
}
