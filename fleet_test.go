package websocketauth

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/session"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/store"
)

// scriptedStore is a store that does what a test says.
type scriptedStore struct {
	store.Alone
	name    string
	follow  func(ctx context.Context, n store.Node, call int)
	current func() time.Time
	calls   atomic.Int32
	refills atomic.Int32
}

func (s *scriptedStore) Name() string { return s.name }
func (s *scriptedStore) Refill()      { s.refills.Add(1) }

func (s *scriptedStore) Current() time.Time {
	if s.current == nil {
		return time.Time{}
	}
	return s.current()
}

func (s *scriptedStore) Follow(ctx context.Context, n store.Node) {
	s.follow(ctx, n, int(s.calls.Add(1)))
}

// asSaved has the process use s for what it has saved, while the test runs.
func asSaved(t *testing.T, s *snapshot) {
	t.Helper()
	was := saved
	saved = s
	t.Cleanup(func() { saved = was })
}

// TestFleetPanic: a store that panics is away until it tells better, and is
// followed again.
func TestFleetPanic(t *testing.T) {
	asSaved(t, newSnapshot())
	synctest.Test(t, func(t *testing.T) {
		shares := &scriptedStore{name: "panics", follow: func(ctx context.Context, n store.Node, call int) {
			if call < 3 {
				panic("in the store")
			}
			time.Sleep(time.Second)
			n.Outage(nil)
			n.Complete()
			<-ctx.Done()
		}}
		f := &fleet{store: shares}
		f.start(zap.NewNop())
		time.Sleep(2500 * time.Millisecond)
		if !f.away.Load() || f.complete.Load() || shares.calls.Load() != 3 {
			t.Errorf("away %v, complete %v after %d calls", f.away.Load(), f.complete.Load(), shares.calls.Load())
		}
		time.Sleep(time.Second)
		if f.away.Load() || !f.complete.Load() {
			t.Errorf("away %v, complete %v after the store is back", f.away.Load(), f.complete.Load())
		}
		if err := f.Destruct(); err != nil {
			t.Error(err)
		}
	})
}

// TestFleetKnows: who may be let in depends on what the store and the snapshot
// have told, and a snapshot is one of the store whose set it had.
func TestFleetKnows(t *testing.T) {
	for _, tc := range []struct {
		name     string
		state    int32
		of       string // whose snapshot it is
		store    string // empty: the node has no others
		complete bool
		want     bool
	}{
		{"alone, not read yet", snapshotUnread, "", "", true, false},
		{"alone, unreadable", snapshotUnreadable, "", "", true, false},
		{"alone, read", snapshotRead, "", "", true, true},
		{"alone, not started", snapshotRead, "", "", false, false},
		{"shared, told, not read yet", snapshotUnread, "", "a", true, false},
		{"shared, told, unreadable", snapshotUnreadable, "", "a", true, true},
		{"shared, told, read", snapshotRead, "", "a", true, true},
		{"shared, not told, no snapshot of it", snapshotRead, "", "a", false, false},
		{"shared, not told, snapshot of another", snapshotRead, "b", "a", false, false},
		{"shared, not told, snapshot of it", snapshotRead, "a", "a", false, true},
		{"shared, not told, unreadable", snapshotUnreadable, "a", "a", false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newSnapshot()
			s.state.Store(tc.state)
			if tc.of != "" {
				s.complete = []string{tc.of}
			}
			asSaved(t, s)
			f := &fleet{store: &scriptedStore{name: tc.store}}
			f.complete.Store(tc.complete)
			if err := f.knows(); (err == nil) != tc.want {
				t.Errorf("knows: %v, want %v", err, tc.want)
			}
		})
	}
}

// TestSnapshotOfNoCompleteSet: what is revoked on a node that never knew all
// is saved, and does not make it one that knows all after a restart; what the
// store has told does, also if it was nothing.
func TestSnapshotOfNoCompleteSet(t *testing.T) {
	ownDataDir(t)
	synctest.Test(t, func(t *testing.T) {
		storage, s := newStorage(nil), newSnapshot()
		asSaved(t, s)
		f := &fleet{store: &scriptedStore{name: "redis:a"}}
		restart := func() {
			time.Sleep(time.Minute)
			s = newSnapshot()
			asSaved(t, s)
			f = &fleet{store: f.store}
			s.use(storage, s.logger)
		}
		s.use(storage, s.logger)
		revokeFor(t, "incomplete")
		s.changed()
		restart()
		if !storage.holds("incomplete") || f.knows() == nil {
			t.Errorf("saved: %v, knows: %v", storage.holds("incomplete"), f.knows())
		}
		f.Complete()
		restart()
		if err := f.knows(); err != nil {
			t.Errorf("has known all, and knows: %v", err)
		}
		restart() // that nobody has told anything since changes nothing
		if err := f.knows(); err != nil {
			t.Errorf("after another start: %v", err)
		}
	})
}

// TestSnapshotReadLate: when what was saved can be read at last, it counts, the
// store is told, and what has come meanwhile is saved with it.
func TestSnapshotReadLate(t *testing.T) {
	ownDataDir(t)
	synctest.Test(t, func(t *testing.T) {
		storage := newStorage(map[string]string{"a.json": snapshotText(t, "late", time.Hour), "b.json": "{"})
		shares := &scriptedStore{name: "redis:a"}
		a, s := new(App), newSnapshot()
		asSaved(t, s)
		a.held = new(atomic.Pointer[fleet])
		a.held.Store(&fleet{store: shares})
		apps.started(a)
		defer apps.ended(a)
		s.use(storage, s.logger)
		time.Sleep(time.Second)
		revokeFor(t, "meanwhile")
		s.changed()
		time.Sleep(10 * time.Minute)
		late := session.Identity{Issuer: "snapshot", TokenID: "late"}
		if _, found := revocations.Find(late, time.Now()); found || storage.holds("meanwhile") || shares.refills.Load() != 0 {
			t.Error("something has come of what cannot be read")
		}
		if err := s.flush(t.Context()); err == nil {
			t.Error("what cannot be read is written over")
		}
		good := snapshotText(t, "late", time.Hour)
		storage.mu.Lock()
		for name := range storage.files {
			storage.files[name] = []byte(good)
		}
		storage.mu.Unlock()
		time.Sleep(time.Minute)
		defer revocations.Remove(session.Revocation{Issuer: "snapshot", TokenID: "late"}.Key())
		if _, found := revocations.Find(late, time.Now()); !found || !storage.holds("meanwhile") {
			t.Errorf("the revocation counts: %v, saved: %v", found, storage.holds("meanwhile"))
		}
		if got := shares.refills.Load(); got != 1 {
			t.Errorf("the store was told %d times", got)
		}
	})
}

// TestFleetLag: how far a node is behind shows, also before it has known
// anything at all.
func TestFleetLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at time.Time
		f := &fleet{store: &scriptedStore{name: "lags", current: func() time.Time { return at }}}
		if got := f.lag(); got != 0 {
			t.Errorf("lag %v before the start", got)
		}
		f.started = time.Now()
		time.Sleep(10 * time.Second)
		if got := f.lag(); got != 10*time.Second {
			t.Errorf("lag %v where the store never told anything, want 10s", got)
		}
		at = time.Now().Add(-3 * time.Second)
		if got := f.lag(); got != 3*time.Second {
			t.Errorf("lag %v, want 3s", got)
		}
		at = time.Now().Add(time.Hour) // the clock was set
		if got := f.lag(); got != 0 {
			t.Errorf("lag %v, want none", got)
		}
		if got := (&fleet{store: store.Alone{}, started: time.Now()}).lag(); got != 0 {
			t.Errorf("lag %v of a node that has no others", got)
		}
	})
}

// TestEndedRevocationEndsNobody: what a store or a snapshot says of the past is
// no reason to end a socket.
func TestEndedRevocationEndsNobody(t *testing.T) {
	s := &socket{handler: &Handler{}, request: &request{}}
	s.session = session.Session{ID: "past", Socket: s, Close: func() {}}
	if !sockets.Add(&s.session) {
		t.Fatal("nothing can be added")
	}
	defer sockets.Remove(&s.session)
	sockets.Identify(&s.session, session.Identity{Issuer: "past", TokenID: "one"})
	apply(session.Revocation{Issuer: "past", TokenID: "one", Until: time.Now().Add(-time.Second)})
	if s.isOver() {
		t.Error("the socket has ended")
	}
}
