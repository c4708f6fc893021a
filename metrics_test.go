package websocketauth

import (
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/session"
)

// fakeGate is a gate that has counted so much.
type fakeGate struct {
	mu    sync.Mutex
	stats proxy.Stats
}

func (g *fakeGate) Stats() proxy.Stats {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.stats
}

func (g *fakeGate) pass(n int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stats.MessagesIn += n
	g.stats.MessagesOut += 2 * n
	g.stats.BytesIn += 10 * n
	g.stats.BytesOut += 20 * n
}

func (t *traffic) sums() proxy.Stats {
	return proxy.Stats{
		MessagesIn: t.messagesIn.Load(), MessagesOut: t.messagesOut.Load(),
		BytesIn: t.bytesIn.Load(), BytesOut: t.bytesOut.Load(),
	}
}

// TestTraffic: everything is counted once, whenever it is read.
func TestTraffic(t *testing.T) {
	t.Parallel()
	var all traffic
	var a, b fakeGate
	now := time.Now()
	first, second := all.add(&a), all.add(&b)
	for _, step := range []struct {
		name string
		do   func()
		want int64 // messages in
	}{
		{"nothing yet", func() { all.read(now) }, 0},
		{"too early to look again", func() { a.pass(1); all.read(now.Add(trafficEvery - 1)) }, 0},
		{"looked at", func() { all.read(now.Add(trafficEvery)) }, 1},
		{"again", func() { all.read(now.Add(2 * trafficEvery)) }, 1},
		{"both", func() { a.pass(2); b.pass(3); all.read(now.Add(3 * trafficEvery)) }, 6},
		{"at the end", func() { a.pass(4); all.remove(first) }, 10},
		{"ended twice", func() { a.pass(5); all.remove(first) }, 10},
		{"after the end", func() { all.read(now.Add(4 * trafficEvery)) }, 10},
		{"the other lives on", func() { b.pass(1); all.read(now.Add(5 * trafficEvery)) }, 11},
		{"the last", func() { b.pass(1); all.remove(second) }, 12},
	} {
		step.do()
		n := step.want
		want := proxy.Stats{MessagesIn: n, MessagesOut: 2 * n, BytesIn: 10 * n, BytesOut: 20 * n}
		if got := all.sums(); got != want {
			t.Errorf("%s: %+v, want %+v", step.name, got, want)
		}
	}
	for i := range all.shards {
		if n := len(all.shards[i].live); n > 0 {
			t.Errorf("%d gates that have ended are kept", n)
		}
	}
}

// TestTrafficAtOnce: gates come, count and go while others look.
func TestTrafficAtOnce(t *testing.T) {
	t.Parallel()
	var all traffic
	const sockets, rounds = 50, 40
	stop := make(chan struct{})
	var looking, living sync.WaitGroup
	looking.Go(func() {
		last := int64(0)
		for now := time.Now(); ; now = now.Add(trafficEvery) {
			select {
			case <-stop:
				return
			default:
			}
			all.read(now)
			if sum := all.messagesIn.Load(); sum < last {
				t.Errorf("the counter went from %d to %d", last, sum)
			} else {
				last = sum
			}
		}
	})
	for range sockets {
		living.Go(func() {
			for range rounds {
				g := new(fakeGate)
				m := all.add(g)
				g.pass(1)
				g.pass(2)
				all.remove(m)
			}
		})
	}
	living.Wait()
	close(stop)
	looking.Wait()
	if got, want := all.messagesIn.Load(), int64(sockets*rounds*3); got != want {
		t.Errorf("%d messages, want %d", got, want)
	}
}

// BenchmarkTrafficRead is what a scrape costs with 100,000 sockets.
func BenchmarkTrafficRead(b *testing.B) {
	var all traffic
	for range 100_000 {
		all.add(new(fakeGate))
	}
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(trafficEvery)
		all.read(now)
	}
}

// TestMetricsOfConfigurations: configurations overlap, and each shows the same
// counts. A configuration that is only validated leaves nothing behind.
func TestMetricsOfConfigurations(t *testing.T) {
	shown := func(ctx caddy.Context) map[string]float64 {
		t.Helper()
		families, err := ctx.GetMetricsRegistry().Gather()
		if err != nil {
			t.Fatal(err) // also where a metric is not as it was described
		}
		sums := make(map[string]float64)
		for _, family := range families {
			for _, metric := range family.GetMetric() {
				sums[family.GetName()] += metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
			}
		}
		return sums
	}
	provision := func() caddy.Context {
		t.Helper()
		ctx, err := caddy.ProvisionContext(&caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}})
		if err != nil {
			t.Fatal(err)
		}
		app, err := appOf(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := counts.register(ctx, app); err != nil {
			t.Errorf("registered twice: %v", err)
		}
		return ctx
	}
	old := provision()
	const suspensions = metricPrefix + "sessions_suspended_total"
	before := shown(old)[suspensions]
	counts.suspended.Inc()
	replacing := provision()
	counts.suspended.Inc()
	for name, ctx := range map[string]caddy.Context{"old": old, "new": replacing} {
		if got := shown(ctx)[suspensions]; got != before+2 {
			t.Errorf("the %s configuration shows %v, want %v", name, got, before+2)
		}
		if got := shown(ctx)[metricPrefix+"store_up"]; got != 1 {
			t.Errorf("the %s configuration shows store_up %v, want 1", name, got)
		}
	}
}

// TestLabelsAreBounded: a verifier can write anything into an identity, and
// only what the configuration names becomes a label.
func TestLabelsAreBounded(t *testing.T) {
	t.Parallel()
	h := &Handler{verifiers: []namedVerifier{{name: "jwt"}, {name: "guest"}}}
	for _, tc := range []struct {
		id   *auth.Identity
		want string
	}{
		{nil, ""},
		{&auth.Identity{Verifier: "jwt"}, "jwt"},
		{&auth.Identity{Verifier: "guest"}, "guest"},
		{&auth.Identity{Verifier: "alice@example.com"}, "other"},
		{&auth.Identity{}, "other"},
	} {
		if got := h.verifierName(tc.id); got != tc.want {
			t.Errorf("verifierName(%+v) = %q, want %q", tc.id, got, tc.want)
		}
	}
}

// TestLockedOutCount: those count that are locked out at that moment.
func TestLockedOutCount(t *testing.T) {
	t.Parallel()
	var l session.Lockouts
	now := time.Now()
	l.Fail("a", 1, session.LockoutRule{Failures: 9, Window: time.Minute, Duration: time.Minute}, now)
	l.Lock("b", now.Add(time.Minute))
	l.Lock("c", now.Add(2*time.Minute))
	for after, want := range map[time.Duration]int{0: 2, time.Minute: 1, 2 * time.Minute: 0} {
		if got := l.LockedOut(now.Add(after)); got != want {
			t.Errorf("%d locked out after %v, want %d", got, after, want)
		}
	}
}
