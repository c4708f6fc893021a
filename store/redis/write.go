package redis

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/redis/go-redis/v9"
)

// How much is sent at once.
const (
	batch = 64
	page  = 200
)

// Bounds of what lies in Redis.
const (
	maxStream   = 100_000 // messages; some more, since nodes of the stream are kept whole
	maxLockouts = 1 << 16
	streamAge   = 24 * time.Hour
	pruneEvery  = 5 * time.Minute
	// pruneAfter is more than clocks differ.
	pruneAfter = 5 * time.Minute
)

// writer sends what this node has to say.
type writer struct {
	store  *Store
	client *redis.Client
}

// run sends until ctx ends.
func (w *writer) run(ctx context.Context) {
	again, gathered := stopped(), stopped()
	prune := time.NewTimer(jittered(pruneEvery))
	for _, timer := range []*time.Timer{again, gathered, prune} {
		defer timer.Stop()
	}
	for attempt := 0; ; {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-w.store.failures.wake:
			gathered.Reset(tick)
			continue
		case <-prune.C:
			// What this node cannot do another will.
			_ = guarded(ctx, w.prune)
			prune.Reset(jittered(pruneEvery))
			continue
		case <-gathered.C:
			err = guarded(ctx, w.sendFailures)
		case <-w.store.queue.wake:
			err = guarded(ctx, w.sendQueue)
		case <-w.store.retry:
			err = guarded(ctx, w.sendAll)
		case <-again.C:
			err = guarded(ctx, w.sendAll)
		}
		w.store.queue.fails(err)
		if err == nil {
			attempt = 0
			continue
		}
		again.Reset(pause(attempt))
		attempt++
	}
}

// guarded makes a panic of what it calls an error: on the writer's goroutine it
// would end the process.
func guarded(ctx context.Context, send func(context.Context) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic while sending: %T", p)
		}
	}()
	return send(ctx)
}

func (w *writer) sendAll(ctx context.Context) error {
	if err := w.sendQueue(ctx); err != nil {
		return err
	}
	return w.sendFailures(ctx)
}

// sendQueue sends all that waits in the queue.
func (w *writer) sendQueue(ctx context.Context) error {
	for {
		operations := w.store.queue.next(batch)
		if len(operations) == 0 {
			return nil
		}
		answers, err := w.store.apply(ctx, w.client, operations)
		if err != nil {
			return err
		}
		for i, o := range operations {
			if err := w.store.queue.acknowledge(o, answers[i]); err != nil {
				return err
			}
		}
	}
}

// apply sends operations and returns what became of each.
func (s *Store) apply(ctx context.Context, client *redis.Client, operations []*operation) ([]string, error) {
	arguments := []any{s.origin, time.Now().UnixMilli(), maxValue, maxStream}
	for _, o := range operations {
		arguments = append(arguments, o.arguments()...)
	}
	keys := []string{s.key("revocations"), s.key("changes"), s.key("done:" + s.origin + ":")}
	answer, err := run(ctx, client, applyScript, keys, arguments...)
	if err != nil {
		return nil, err
	}
	answers, err := texts(answer)
	if err == nil && len(answers) != len(operations) {
		err = fmt.Errorf("Redis has answered %d of %d operations", len(answers), len(operations)) //nolint:staticcheck // a name
	}
	return answers, err
}

// sendFailures sends the failures and releases since the last time. Failures
// that cannot be sent are forgotten: when they could be, their time is over.
func (w *writer) sendFailures(ctx context.Context) error {
	failed, released := w.store.failures.take()
	if len(failed)+len(released) == 0 {
		return nil
	}
	keys := []string{w.store.key("lockouts"), w.store.key("changes")}
	arguments := []any{w.store.origin, maxStream, maxLockouts}
	for address := range released {
		keys = append(keys, w.store.key("failures:"+address))
		arguments = append(arguments, address, 0, 0, 0, 0)
	}
	now := time.Now()
	for address, f := range failed {
		keys = append(keys, w.store.key("failures:"+address))
		arguments = append(arguments, address, f.n, f.rule.Failures,
			max(f.rule.Window.Milliseconds(), 1), now.Add(f.rule.Duration).UnixMilli())
	}
	if _, err := run(ctx, w.client, lockoutsScript, keys, arguments...); err != nil {
		w.store.failures.putBack(released)
		return err
	}
	return nil
}

// prune removes what has ended from Redis. Any node does it now and then.
func (w *writer) prune(ctx context.Context) error {
	before := time.Now().Add(-pruneAfter).UnixMilli()
	for _, name := range []string{"revocations", "lockouts"} {
		for cursor := "0"; ; {
			answer, err := run(ctx, w.client, pruneScript, []string{w.store.key(name)}, cursor, page, before, maxValue)
			if err != nil {
				return err
			}
			if cursor, _ = answer.(string); cursor == "0" || cursor == "" {
				break
			}
		}
	}
	_, err := run(ctx, w.client, trimScript, []string{w.store.key("changes")}, streamAge.Milliseconds())
	return err
}

// run runs a script.
func run(ctx context.Context, client *redis.Client, s *redis.Script, keys []string, arguments ...any) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, replyTimeout)
	defer cancel()
	return s.Run(ctx, client, keys, arguments...).Result()
}

// pause returns how long to wait after a number of vain attempts: at most 2 s,
// and not all nodes the same.
func pause(attempt int) time.Duration {
	longest := min(50*time.Millisecond<<min(attempt, 10), maxPause)
	return longest/2 + rand.N(longest/2) //nolint:gosec // not a secret
}

// jittered returns about d.
func jittered(d time.Duration) time.Duration {
	return d/2 + rand.N(d) //nolint:gosec // not a secret
}

// stopped returns a timer that does not run.
func stopped() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}
