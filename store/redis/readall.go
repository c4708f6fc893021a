package redis

import (
	"context"
	"crypto/rand"
	"fmt"
	"strconv"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/session"
)

// readAll reads everything, and brings back what the node knows and Redis does
// not.
func (f *follower) readAll(ctx context.Context) error {
	answer, err := run(ctx, f.client, helloScript, f.keys(), rand.Text(), f.store.settle.Milliseconds())
	if err != nil {
		return err
	}
	hello, err := texts(answer)
	if err != nil || len(hello) != 2 {
		return fmt.Errorf("a greeting of Redis has %d parts, want 2: %w", len(hello), err)
	}
	at, err := parsePosition(hello[1])
	if err != nil {
		return err
	}
	f.store.queue.again()
	there := make(map[string]value)
	if err := f.scan(ctx, "revocations", func(page [][2]string) { f.takePage(page, there) }); err != nil {
		return err
	}
	if err := f.scan(ctx, "lockouts", f.takeLockouts); err != nil {
		return err
	}
	if err := f.refill(ctx, there); err != nil {
		return err
	}
	// Only at the end: if something has failed, all is read again.
	f.epoch, f.at = hello[0], at
	f.store.queue.reads(at)
	return nil
}

// scan calls take with the fields and values of a hash, page by page. A field
// may come more than once.
func (f *follower) scan(ctx context.Context, name string, take func(page [][2]string)) error {
	for cursor := "0"; ; {
		answer, err := run(ctx, f.client, scanScript, []string{f.store.key(name)}, cursor, page, maxValue)
		if err != nil {
			return err
		}
		parts, err := list(answer)
		if err != nil || len(parts) != 2 {
			return fmt.Errorf("a page of Redis has %d parts, want 2", len(parts))
		}
		flat, err := texts(parts[1])
		if err != nil {
			return err
		}
		var fields [][2]string
		for i := 0; i+1 < len(flat); i += 2 {
			fields = append(fields, [2]string{flat[i], flat[i+1]})
		}
		take(fields)
		if cursor, _ = parts[0].(string); cursor == "0" || cursor == "" {
			return nil
		}
	}
}

// takePage tells the node of revocations, and notes what is there.
func (f *follower) takePage(fields [][2]string, there map[string]value) {
	now := time.Now()
	var revoked []session.Revocation
	for _, pair := range fields {
		field := pair[0]
		if field == "epoch" {
			continue
		}
		v, err := decode(pair[1])
		if err == nil && v.Removed {
			continue
		}
		var r session.Revocation
		if err == nil {
			r, err = v.revocation(field)
		}
		if err != nil {
			f.store.odd.Add(1)
			continue
		}
		if !r.Until.After(now) {
			continue
		}
		there[field] = v
		f.store.queue.finds(field)
		revoked = append(revoked, r)
	}
	f.revoke(revoked)
}

func (f *follower) takeLockouts(fields [][2]string) {
	now := time.Now()
	for _, pair := range fields {
		until, err := parseLockout(pair[0], pair[1], now)
		if err != nil {
			f.store.odd.Add(1)
		} else if until.After(now) {
			f.node.LockedOut(pair[0], until)
		}
	}
}

// refill brings what the node knows and is not there. If it has been removed
// while the node was away, the node is told.
func (f *follower) refill(ctx context.Context, there map[string]value) error {
	now := time.Now()
	var missing []*operation
	for _, r := range f.node.Known() {
		if !r.Until.After(now) || r.Check() != nil {
			continue
		}
		o, err := encode("refill", r)
		if err != nil {
			f.store.odd.Add(1)
			continue
		}
		if v, ok := there[o.field]; (ok && v.includes(o)) || f.store.queue.own(o.field) {
			continue
		}
		missing = append(missing, o)
	}
	for len(missing) > 0 {
		some := missing[:min(batch, len(missing))]
		missing = missing[len(some):]
		answers, err := f.store.apply(ctx, f.client, some)
		if err != nil {
			return err
		}
		for i, o := range some {
			if answers[i] == "removed" && !f.store.queue.own(o.field) {
				f.unrevoke(o.field)
			}
		}
	}
	return nil
}

// includes tells whether a value says all that an operation would.
func (v value) includes(o *operation) bool {
	until, err := strconv.ParseInt(o.until, 10, 64)
	if err != nil || until > v.Until {
		return false
	}
	if v.IssuedBefore == nil {
		return true
	}
	before, err := strconv.ParseInt(o.issuedBefore, 10, 64)
	return err == nil && before <= *v.IssuedBefore
}
