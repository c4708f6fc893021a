package websocketauth

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// maxEvents is how many events may wait for those that are told one after
// another of what has happened: more than the sockets that commonly end at one
// moment, and about 16 MiB. Beyond it they are dropped, and counted.
const maxEvents = 16384

// maxEventText is how long a text in an event may be that is not the
// identity's, which its token limits, in bytes.
const maxEventText = 256

// announced are the events of this process. They go to the subscribers of the
// newest configuration, whatever that of the socket.
var announced eventQueue

// eventQueue tells the subscribers of what has happened, in the order in which
// it has, and never on the time of whom it has happened to: a handler of an
// event may run a program or wait for the network. The zero value is ready for
// use; its methods are safe for concurrent use.
//
// A goroutine runs while events wait.
type eventQueue struct {
	// app is of whose configuration the subscribers are; nil if there is none.
	app atomic.Pointer[App]

	mu      sync.Mutex // guards the following
	waiting []waitingEvent
	running bool
	dropped bool // since the last moment at which none has waited
}

type waitingEvent struct {
	name string
	data map[string]any
}

// eventsOf returns the app that events go through.
func eventsOf(ctx caddy.Context) (*caddyevents.App, error) {
	app, err := ctx.App("events")
	if err != nil {
		return nil, fmt.Errorf("loading the events app: %w", err)
	}
	events, ok := app.(*caddyevents.App)
	if !ok {
		return nil, errors.New("the events app is not Caddy's")
	}
	return events, nil
}

// announceWhenStarted has the subscribers of a's configuration told from the
// moment on at which all of it has started: the events app takes subscriptions
// until it has, and apps start in no fixed order.
func (a *App) announceWhenStarted() (err error) {
	if a.events, err = eventsOf(a.ctx); err != nil {
		return err
	}
	return a.events.On("started", announceHandler{a})
}

type announceHandler struct{ app *App }

// Handle implements caddyevents.Handler.
func (h announceHandler) Handle(context.Context, caddy.Event) error {
	announced.app.Store(h.app)
	go h.app.recheck() // not before: the configuration might yet be rejected
	return nil
}

// wants tells whether anybody would hear of an event. It costs next to nothing.
func (q *eventQueue) wants(name string) bool {
	app := q.app.Load()
	return app != nil && app.events.ShouldEmit(name)
}

// emit has the subscribers told of an event, with the fields of the log line of
// the same occasion. It never waits.
func (q *eventQueue) emit(name string, fields []zap.Field) {
	if q.add(waitingEvent{name, eventData(fields)}) {
		return
	}
	if app := q.app.Load(); app != nil {
		app.logger.Warn("events are dropped, because their handlers are too slow", zap.Int("waiting", maxEvents))
	}
}

// add has the subscribers told of e, unless too many wait. ok is false for the
// first event that is dropped, not for those that follow it.
func (q *eventQueue) add(e waitingEvent) (ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) >= maxEvents {
		counts.eventsDropped.Inc()
		ok, q.dropped = q.dropped, true
		return ok
	}
	q.waiting = append(q.waiting, e)
	if !q.running {
		q.running = true
		go q.run()
	}
	return true
}

// run tells of events until none waits.
func (q *eventQueue) run() {
	for {
		e, more := q.take()
		if !more {
			return
		}
		q.tell(e)
	}
}

func (q *eventQueue) take() (e waitingEvent, more bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		q.waiting, q.running, q.dropped = nil, false, false
		return waitingEvent{}, false
	}
	e, q.waiting[0] = q.waiting[0], waitingEvent{}
	q.waiting = q.waiting[1:]
	return e, true
}

// tell has the handlers of one event run. A panic of theirs must not end the
// process.
func (q *eventQueue) tell(e waitingEvent) {
	app := q.app.Load()
	if app == nil {
		return
	}
	defer func() {
		if p := recover(); p != nil {
			app.logger.Error("panic in a handler of an event", zap.String("event", e.name), zap.Any("panic", p))
		}
	}()
	app.events.Emit(app.ctx, e.name, e.data)
}

// eventData returns the fields of a log line as the data of an event: times as
// RFC 3339 says, durations in seconds.
func eventData(fields []zap.Field) map[string]any {
	encoder := zapcore.NewMapObjectEncoder()
	for _, field := range fields {
		if field.Type != zapcore.ErrorType { // what operators' eyes alone are for
			field.AddTo(encoder)
		}
	}
	for key, value := range encoder.Fields {
		switch v := value.(type) {
		case time.Time:
			encoder.Fields[key] = v.UTC().Format(time.RFC3339)
		case time.Duration:
			encoder.Fields[key] = v.Seconds()
		case string:
			if key == "site" || key == "client_ip" {
				encoder.Fields[key] = v[:min(len(v), maxEventText)]
			}
		}
	}
	return encoder.Fields
}
