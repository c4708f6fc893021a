package redis

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/session"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/store"
)

// How long the server is asked to wait for a change. Data that has been
// replaced is noticed after it.
const (
	waitForChange   = time.Second
	waitForSettling = 100 * time.Millisecond
)

// follower tells a node what the others do. Its methods are called by one
// goroutine.
type follower struct {
	store  *Store
	client *redis.Client
	node   store.Node

	epoch    string // of the data that was read; empty before the first time
	at       position
	complete bool // the node has been told
	out      bool // the node takes the store to be away
	well     bool // something has worked since the last error
}

// run follows until ctx ends.
func (f *follower) run(ctx context.Context) {
	for attempt := 0; ; attempt++ {
		err := f.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		f.outage(err)
		if f.well {
			f.well, attempt = false, 0
		}
		timer := time.NewTimer(pause(attempt))
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// outage tells the node when Redis goes and when it comes back; nil says that
// it is there.
func (f *follower) outage(err error) {
	switch {
	case err != nil && !f.out:
		f.out = true
		f.node.Outage(f.store.clean(err))
	case err == nil && f.out:
		f.out = false
		f.node.Outage(nil)
	}
}

// follow reads changes until something fails.
func (f *follower) follow(ctx context.Context) error {
	// What has not come back may be lost.
	f.store.queue.again()
	for back := false; ; {
		c, err := f.changes(ctx)
		if err == nil && c.lost {
			if err = f.readAll(ctx); err == nil {
				continue
			}
		}
		if err != nil {
			return err
		}
		if !back {
			back, f.well = true, true
			signal(f.store.retry) // the writer need not wait
		}
		f.outage(f.store.queue.failure())
		f.take(c.messages)
		if len(c.messages) == page {
			continue
		}
		if !c.settling && !f.complete {
			f.complete = true
			f.node.Complete()
		}
		f.store.current.Store(time.Now().UnixMilli())
		if err := f.wait(ctx); err != nil {
			return err
		}
	}
}

// wait returns when there is a change, or after a while.
func (f *follower) wait(ctx context.Context) error {
	patience := waitForChange
	if !f.complete {
		patience = waitForSettling
	}
	ctx, cancel := context.WithTimeout(ctx, patience+replyTimeout)
	defer cancel()
	err := f.client.XRead(ctx, &redis.XReadArgs{
		Streams: []string{f.store.key("changes"), f.at.String()}, Count: 1, Block: patience,
	}).Err()
	if errors.Is(err, redis.Nil) {
		return nil
	}
	return err
}

// entry is a message as it comes.
type entry struct {
	at     position
	fields []string
}

// changes are what the script of this name answers.
type changes struct {
	lost, settling bool
	messages       []entry
}

// changes returns what has come after the position.
func (f *follower) changes(ctx context.Context) (c changes, err error) {
	if f.store.refill.Swap(false) {
		f.epoch = "" // until all has been read
	}
	if f.epoch == "" {
		return changes{lost: true}, nil
	}
	answer, err := run(ctx, f.client, changesScript, f.keys(), f.epoch, f.at.String(), page, maxMessage)
	if err != nil {
		return c, err
	}
	parts, err := list(answer)
	if err != nil || len(parts) == 1 {
		return changes{lost: true}, err
	}
	if len(parts) != 3 {
		return c, fmt.Errorf("an answer of Redis has %d parts, want 3", len(parts))
	}
	settling, _ := parts[1].(int64)
	c.settling = settling != 0
	entries, err := list(parts[2])
	if err != nil {
		return c, err
	}
	for _, item := range entries {
		e, err := parseEntry(item)
		if err != nil {
			return c, err
		}
		c.messages = append(c.messages, e)
	}
	return c, nil
}

func parseEntry(item any) (e entry, err error) {
	parts, err := list(item)
	if err != nil || len(parts) != 2 {
		return e, fmt.Errorf("an entry of the stream has %d parts, want 2", len(parts))
	}
	at, _ := parts[0].(string)
	if e.at, err = parsePosition(at); err != nil {
		return e, err
	}
	e.fields, err = texts(parts[1])
	return e, err
}

// keys are those of the scripts that read.
func (f *follower) keys() []string {
	return []string{f.store.key("revocations"), f.store.key("changes"), f.store.key("settling")}
}

// take tells the node of messages. What is removed and revoked again in one go
// is never let through in between.
func (f *follower) take(messages []entry) {
	if len(messages) == 0 {
		return
	}
	now := time.Now()
	final := make(map[string][]message)
	for _, e := range messages {
		f.at = e.at
		m, err := parseMessage(e.fields, now)
		if err != nil {
			f.store.odd.Add(1)
			continue
		}
		switch m.kind {
		case "revoke", "unrevoke":
			if f.store.queue.passes(m, f.store.origin) {
				final[m.field] = following(final[m.field], m)
			}
		case "lockout":
			if m.until.After(now) {
				f.node.LockedOut(m.address, m.until)
			}
		case "release":
			f.node.Released(m.address)
		}
	}
	f.tell(final, now)
	f.store.queue.reads(f.at)
}

// following returns what counts of messages of one revocation when another
// comes: a removal ends what was before it, a revocation a removal.
func following(before []message, m message) []message {
	if m.kind == "unrevoke" || len(before) > 0 && before[0].kind == "unrevoke" {
		return []message{m}
	}
	return append(before, m)
}

// tell tells the node of changes of revocations.
func (f *follower) tell(final map[string][]message, now time.Time) {
	var revoked []session.Revocation
	for field, messages := range final {
		for _, m := range messages {
			switch {
			case m.kind == "unrevoke":
				f.unrevoke(field)
			case m.revoked.Until.After(now):
				revoked = append(revoked, m.revoked)
			}
		}
	}
	f.revoke(revoked)
}

func (f *follower) revoke(all []session.Revocation) {
	if len(all) > 0 {
		f.store.queue.tells()
		f.node.Revoked(all)
	}
}

func (f *follower) unrevoke(field string) {
	if key, err := keyOf(field); err == nil {
		f.store.queue.tells()
		f.node.Unrevoked(key)
	}
}
