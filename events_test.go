package websocketauth

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// eventHandler is a function that handles events.
type eventHandler func(caddy.Event) error

// Handle implements caddyevents.Handler.
func (h eventHandler) Handle(_ context.Context, e caddy.Event) error { return h(e) }

// newQueue returns a queue whose one subscriber, to "heard", is h.
func newQueue(t *testing.T, h eventHandler) (*eventQueue, *observer.ObservedLogs) {
	t.Helper()
	ctx, err := caddy.ProvisionContext(&caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}})
	if err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zapcore.WarnLevel)
	a := &App{ctx: ctx, logger: zap.New(core)}
	if a.events, err = eventsOf(ctx); err != nil {
		t.Fatal(err)
	}
	if err := a.events.On("heard", h); err != nil {
		t.Fatal(err)
	}
	q := new(eventQueue)
	q.app.Store(a)
	return q, logs
}

// TestEventsInOrder: subscribers are told in order, also after one of them has
// panicked, and nobody else is troubled.
func TestEventsInOrder(t *testing.T) {
	told := make(chan any, 100)
	q, logs := newQueue(t, func(e caddy.Event) error {
		n := e.Data["n"]
		told <- n
		switch n {
		case int64(2):
			panic("a handler's own fault")
		case int64(3):
			return errors.New("and this one's")
		}
		return nil
	})
	if !q.wants("heard") || q.wants("unheard") {
		t.Errorf("wants: %v, %v; want only what somebody hears", q.wants("heard"), q.wants("unheard"))
	}
	for n := range 5 {
		q.emit("heard", []zap.Field{zap.Int("n", n)})
		q.emit("unheard", nil)
	}
	for want := range int64(5) {
		if n := <-told; n != want {
			t.Errorf("told of %v, want %v", n, want)
		}
	}
	if logs.FilterMessage("panic in a handler of an event").Len() != 1 {
		t.Errorf("the panic is not in the log: %v", logs.All())
	}
	q.app.Store(nil)
	if q.wants("heard") {
		t.Error("an event is wanted without a configuration")
	}
	q.emit("heard", nil) // and does no harm
}

// TestSlowEventHandler: a handler that never returns holds up nobody, and its
// backlog is bounded.
func TestSlowEventHandler(t *testing.T) {
	release, began := make(chan struct{}), make(chan struct{}, 1)
	q, logs := newQueue(t, func(caddy.Event) error {
		select {
		case began <- struct{}{}:
		default:
		}
		<-release
		return nil
	})
	q.emit("heard", nil)
	<-began
	before := counterValue(t, metricPrefix+"events_dropped_total")
	const extra = 10
	for range maxEvents + extra {
		q.emit("heard", nil) // would never return if it waited
	}
	if lines := logs.FilterMessage("events are dropped, because their handlers are too slow").Len(); lines != 1 {
		t.Errorf("%d lines about events that are dropped, want 1", lines)
	}
	if got := counterValue(t, metricPrefix+"events_dropped_total") - before; got != extra {
		t.Errorf("%v events dropped, want %v", got, extra)
	}
	close(release)
}

// counterValue returns the value of one of the process's counters.
func counterValue(t *testing.T, name string) float64 {
	t.Helper()
	ctx, err := caddy.ProvisionContext(&caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}})
	if err != nil {
		t.Fatal(err)
	}
	if err := ctx.GetMetricsRegistry().Register(counts); err != nil {
		t.Fatal(err)
	}
	families, err := ctx.GetMetricsRegistry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			return family.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// TestAnnouncedByTheNewest: subscribers are told once all of their
// configuration has started, until a newer one has.
func TestAnnouncedByTheNewest(t *testing.T) {
	load := func() *App {
		t.Helper()
		ctx, err := caddy.ProvisionContext(&caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}})
		if err != nil {
			t.Fatal(err)
		}
		a, err := appOf(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	start := func(a *App) { a.events.Emit(a.ctx, "started", nil) }
	old, replacing := load(), load()
	if announced.app.Load() == old || announced.app.Load() == replacing {
		t.Error("a configuration counts that has not started")
	}
	start(old)
	if announced.app.Load() != old {
		t.Error("the configuration that has started does not count")
	}
	start(replacing)
	if err := old.Cleanup(); err != nil {
		t.Error(err)
	}
	if announced.app.Load() != replacing {
		t.Error("the newest configuration does not count")
	}
	if err := replacing.Cleanup(); err != nil {
		t.Error(err)
	}
	if announced.app.Load() != nil {
		t.Error("a configuration counts that has ended")
	}
}

// TestEventData: an event has what the line has, in forms that programs read,
// and of bounded size.
func TestEventData(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 20, 13, 0, 0, 5, time.FixedZone("", 3600))
	got := eventData([]zap.Field{
		zap.String("subject", strings.Repeat("s", 300)), zap.String("site", strings.Repeat("x", 300)),
		zap.Time("valid_until", at), zap.Duration("duration", 1500*time.Millisecond),
		zap.Uint16("code", 3000), zap.Bool("suspended", true), zap.Int64("bytes_in", 1<<40),
		zap.Error(errors.New("for the log alone")),
	})
	want := map[string]any{
		"subject": strings.Repeat("s", 300), "site": strings.Repeat("x", maxEventText),
		"valid_until": "2026-11-20T12:00:00Z", "duration": 1.5,
		"code": uint16(3000), "suspended": true, "bytes_in": int64(1 << 40),
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("data %v, want %v", got, want)
	}
}

// TestNoticesGoTogether: the line and the event of an occasion have the same
// fields, each goes out without the other, and nobody is asked for fields that
// nobody wants.
func TestNoticesGoTogether(t *testing.T) {
	told := make(chan string, 10)
	q, _ := newQueue(t, nil)
	a := q.app.Load()
	if err := a.events.On("both", eventHandler(func(e caddy.Event) error {
		told <- fmt.Sprint(e.Data)
		return nil
	})); err != nil {
		t.Fatal(err)
	}
	old := announced.app.Swap(a)
	defer announced.app.Store(old)
	asked := 0
	fields := func() []zap.Field { asked++; return []zap.Field{zap.String("session", "S")} }
	core, logs := observer.New(zapcore.InfoLevel)
	log := zap.New(core)
	var events []string
	for _, tc := range []struct {
		level zapcore.Level
		n     notice
		line  bool
		event bool
	}{
		{zapcore.InfoLevel, notice{"line", "both"}, true, true},
		{zapcore.DebugLevel, notice{"line", "both"}, false, true},
		{zapcore.InfoLevel, notice{"line", "nobody's"}, true, false},
		{zapcore.DebugLevel, notice{"line", "nobody's"}, false, false},
	} {
		asked = 0
		notify(log, tc.level, tc.n, fields)
		if want := tc.line || tc.event; (asked == 1) != want {
			t.Errorf("%+v: asked %d times for the fields", tc, asked)
		}
		lines := logs.TakeAll()
		if (len(lines) == 1) != tc.line {
			t.Errorf("%+v: %d lines", tc, len(lines))
		}
		if tc.event {
			events = append(events, <-told)
		}
	}
	if want := []string{"map[session:S]", "map[session:S]"}; !slices.Equal(events, want) {
		t.Errorf("events %v, want %v", events, want)
	}
}
