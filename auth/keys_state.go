package auth

import (
	"slices"
	"time"
)

// KeysAwaited means that no fetch has ended yet.
const KeysAwaited KeyState = "awaited"

// KeySetState is how a key set stands, for whoever looks after it. It holds no
// key.
type KeySetState struct {
	State KeyState
	// FetchedAt is when the keys that serve were fetched; zero if there are
	// none.
	FetchedAt time.Time
	// Keys is how many serve, and KeyIDs which, in a steady order. A key need
	// not have an id.
	Keys   int
	KeyIDs []string
	// TriedAt is when the last fetch ended; zero if none has.
	TriedAt time.Time
	// Err is why the last fetch failed; nil if it has not.
	Err error
}

// State returns how the set stands. It never waits for the network.
func (r *RemoteKeys) State() KeySetState {
	r.mu.Lock()
	s := KeySetState{State: KeysAwaited, TriedAt: r.finished, Err: r.failure}
	r.mu.Unlock()
	if t := r.table.Load(); t != nil && time.Since(t.at) <= maxStale {
		s.FetchedAt, s.Keys = t.at, len(t.keys)
		for _, k := range t.keys {
			if k.id != "" {
				s.KeyIDs = append(s.KeyIDs, k.id)
			}
		}
		slices.Sort(s.KeyIDs)
	}
	switch {
	case s.TriedAt.IsZero():
	case s.Err == nil && !s.FetchedAt.IsZero():
		s.State = KeysFresh
	case !s.FetchedAt.IsZero():
		s.State = KeysStale
	default:
		s.State = KeysMissing
	}
	return s
}
