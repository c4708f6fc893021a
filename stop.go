package websocketauth

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
)

const (
	// drainSpread is the time over which the close frames are spread when the
	// process stops, so that not all clients come back at once.
	drainSpread = 3 * time.Second
	// drainWait is how long the process waits for its sockets in all: less
	// than the 5 s after which service managers commonly lose patience.
	drainWait = 4500 * time.Millisecond
)

var drainOnce sync.Once

// drainOnStop has all sockets of the process closed with code 1001 when it
// stops. Caddy alone sends no close frame where stream_close_delay is set, and
// waits for HTTP/2 and HTTP/3 sockets before it cleans up any handler: its
// event comes before both.
func drainOnStop(ctx caddy.Context) error {
	app, err := ctx.App("events")
	if err != nil {
		return fmt.Errorf("loading the events app: %w", err)
	}
	events, ok := app.(*caddyevents.App)
	if !ok {
		return errors.New("the events app is not Caddy's")
	}
	return events.On("stopping", drainHandler{})
}

// drainHandler handles the event stopping, which comes at reloads, too.
type drainHandler struct{}

// Handle implements caddyevents.Handler.
func (drainHandler) Handle(context.Context, caddy.Event) error {
	if caddy.Exiting() {
		drainOnce.Do(func() { sockets.Drain(drainSpread, drainWait) })
	}
	return nil
}
