// Package store is what nodes share: revocations and lockouts. A node holds
// everything in memory and never asks the store while a client waits; the
// store only tells it of changes, and takes its own.
package store

import (
	"context"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/session"
)

// Store connects a node to the others. Its methods are safe for concurrent
// use.
type Store interface {
	// Name tells what is shared from what others share, also after a restart.
	// It has no secrets. It is empty if nothing is shared.
	Name() string
	// Follow tells n what the others do, from now on until ctx ends, and
	// returns then. It connects again whenever it has to. It is called once; if
	// it panics, the node takes the store to be away, and it is called again.
	Follow(ctx context.Context, n Node)
	// Refill has the store ask soon for what the node knows, which has learned
	// by other means what the store may lack. It never waits.
	Refill()
	// Current returns when the node last had all that there is; zero if it
	// never had.
	Current() time.Time
	// Revoke has r count on all nodes. It returns when that is certain; an
	// error says that it is not, but the store goes on trying while the process
	// lives. Normally this node does not hear of it again by way of Follow.
	Revoke(ctx context.Context, r session.Revocation) error
	// Unrevoke has the revocation with this key count no more, as Revoke.
	Unrevoke(ctx context.Context, key string) error
	// Fail counts failures of an address, and never waits. If they are too
	// many on all nodes together, all are told by [Node.LockedOut].
	Fail(address string, n int, rule session.LockoutRule)
	// Release lets an address in again on all nodes. It never waits.
	Release(address string)
}

// Node is one process, as a store sees it. Its methods do not wait long, and
// are called one at a time.
type Node interface {
	// Revoked and Unrevoked say what others have done, perhaps again.
	Revoked(all []session.Revocation)
	Unrevoked(key string)
	// LockedOut says that an address is locked out until a moment, and Released
	// that it is not.
	LockedOut(address string, until time.Time)
	Released(address string)
	// Complete says that Revoked has been told all there is: from then on the
	// node may let clients in.
	Complete()
	// Known returns all that the node knows, to refill a store that has lost
	// it.
	Known() []session.Revocation
	// Outage says that the store cannot be reached, and nil that it can again.
	Outage(err error)
}

// Alone is the store of a node that has no others. What it knows survives by
// other means.
type Alone struct{}

// Name implements [Store].
func (Alone) Name() string { return "" }

// Refill implements [Store].
func (Alone) Refill() {}

// Current implements [Store].
func (Alone) Current() time.Time { return time.Now() }

// Follow implements [Store].
func (Alone) Follow(ctx context.Context, n Node) {
	n.Complete()
	<-ctx.Done()
}

// Revoke implements [Store].
func (Alone) Revoke(context.Context, session.Revocation) error { return nil }

// Unrevoke implements [Store].
func (Alone) Unrevoke(context.Context, string) error { return nil }

// Fail implements [Store].
func (Alone) Fail(string, int, session.LockoutRule) {}

// Release implements [Store].
func (Alone) Release(string) {}

// Interface guard
var _ Store = Alone{}
