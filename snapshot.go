package websocketauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
)

const (
	// storageTimeout bounds each use of the storage.
	storageTimeout = 5 * time.Second
	// startTimeout is how long a start waits for it.
	startTimeout = 2 * time.Second
	// saveDelay is how many changes are saved together.
	saveDelay = 200 * time.Millisecond
	// maxSavePause is the longest pause after a save that has failed.
	maxSavePause = 30 * time.Second
	// repeatUnread is how often the log says that nothing can be read.
	repeatUnread = time.Minute
)

// saved keeps the revocations of this process across restarts.
var saved = newSnapshot()

// What is known of what was saved before the start.
const (
	snapshotUnread     = iota // nothing yet
	snapshotUnreadable        // that it cannot be read
	snapshotRead              // all
)

// snapshot is the revocations in Caddy's storage.
type snapshot struct {
	once  sync.Once
	state atomic.Int32 // snapshotUnread, ...

	mu       sync.Mutex // guards the following
	storage  certmagic.Storage
	logger   *zap.Logger
	version  uint64      // of what is known
	complete []string    // the names of the stores that have told all there is
	timer    *time.Timer // there while a save is to come
	vain     int         // saves that have failed, one after another

	saving  chan struct{} // holds one while the storage is written; guards the following
	written uint64        // the version in the storage
}

func newSnapshot() *snapshot {
	return &snapshot{saving: make(chan struct{}, 1), logger: zap.NewNop()}
}

// use has the storage of a configuration used from now on. The first time it
// reads what is there; if that takes long, it goes on in the background, and
// nobody is let in meanwhile. Later ones may be another storage, in which all
// is saved, too.
func (s *snapshot) use(storage certmagic.Storage, logger *zap.Logger) {
	s.mu.Lock()
	s.storage, s.logger = storage, logger
	known := len(s.complete) > 0 || revocations.Len() > 0
	s.mu.Unlock()
	if known {
		s.changed()
	}
	s.once.Do(func() {
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.restore()
		}()
		select {
		case <-done:
		case <-time.After(startTimeout):
			logger.Warn("the storage is slow, nobody is let in until the revocations in it are known")
		}
	})
}

// current returns what the newest configuration has.
func (s *snapshot) current() (certmagic.Storage, *zap.Logger) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.storage, s.logger
}

// restore reads all snapshots, until it can. It asks the storage of the newest
// configuration, which may be the cure.
func (s *snapshot) restore() {
	var logged time.Time
	for {
		storage, logger := s.current()
		found, err := readSnapshots(storage)
		if err == nil {
			s.take(found)
			if !logged.IsZero() {
				logger.Info("revocations of before the last stop are read")
			}
			return
		}
		s.state.Store(snapshotUnreadable)
		if time.Since(logged) >= repeatUnread {
			logged = time.Now()
			logger.Error("revocations of before the last stop cannot be read: nobody is let in until they are, "+
				"or a store has told all; delete the file if it is beyond repair",
				zap.String("folder", snapshotFolder), zap.Error(err))
		}
		time.Sleep(storageTimeout)
	}
}

// take takes in what was saved before the start. If the node has served
// meanwhile, its sockets end, and its store is told.
func (s *snapshot) take(found foundSnapshots) {
	late := s.state.Load() != snapshotUnread
	now := time.Now()
	for _, r := range found.revocations {
		if revocations.Add(r, now) {
			end(r)
		}
	}
	s.mu.Lock()
	if len(s.complete) == 0 {
		s.complete = found.complete
	}
	known := s.version > 0 || len(s.complete) > 0 || revocations.Len() > 0
	s.mu.Unlock()
	s.state.Store(snapshotRead)
	if known {
		s.changed() // also what could not be saved until now
	}
	if a := apps.newest(); late && a != nil {
		if f := a.fleet(); f != nil {
			f.store.Refill()
		}
	}
}

// unread tells whether it is not known yet what was saved before the start,
// and nothing says that it never will be.
func (s *snapshot) unread() bool { return s.state.Load() == snapshotUnread }

// isRead tells whether it is known what was saved before the start.
func (s *snapshot) isRead() bool { return s.state.Load() == snapshotRead }

// fails tells whether what is known cannot be saved.
func (s *snapshot) fails() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.vain > 0 || s.state.Load() == snapshotUnreadable
}

// told notes that the store of this name has told all there is.
func (s *snapshot) told(name string) {
	s.mu.Lock()
	known := slices.Equal(s.complete, []string{name})
	s.complete = []string{name}
	s.mu.Unlock()
	if !known {
		s.changed()
	}
}

// isComplete tells whether all is here that the store of this name had told
// before the last stop.
func (s *snapshot) isComplete(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.complete, name)
}

// changed has what is known saved soon.
func (s *snapshot) changed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	s.saveInLocked(saveDelay)
}

// saveInLocked has all saved after a pause, if not sooner.
func (s *snapshot) saveInLocked(pause time.Duration) {
	if s.storage != nil && s.timer == nil {
		s.timer = time.AfterFunc(pause, s.saveNow)
	}
}

// saveNow saves, and has it tried again if it fails.
func (s *snapshot) saveNow() {
	s.mu.Lock()
	s.timer = nil // a change from now on needs another
	s.mu.Unlock()
	if !s.isRead() {
		return // take comes back to it
	}
	ctx, cancel := context.WithTimeout(context.Background(), storageTimeout)
	defer cancel()
	err := s.flush(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.vain = 0
		return
	}
	s.logger.Error("revocations cannot be saved, and would be forgotten by a restart: it is tried again", zap.Error(err))
	s.saveInLocked(min(time.Second<<min(s.vain, 10), maxSavePause))
	s.vain++
}

// flush saves what is known, if that has not been saved. It waits no longer
// than ctx, also for a storage that hangs.
func (s *snapshot) flush(ctx context.Context) error {
	select {
	case s.saving <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("saving revocations: the storage is busy: %w", ctx.Err())
	}
	done := make(chan error, 1)
	go func() {
		defer func() { <-s.saving }()
		done <- s.save(ctx)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("saving revocations: the storage has not answered: %w", ctx.Err())
	}
}

// save is flush. The caller holds s.saving.
func (s *snapshot) save(ctx context.Context) (err error) {
	defer recovered(&err)
	s.mu.Lock()
	storage, version, complete := s.storage, s.version, s.complete
	s.mu.Unlock()
	if storage == nil || version == s.written {
		return nil
	}
	if !s.isRead() {
		// What is there may be repaired, and must not be written over.
		return errors.New("saving revocations: what was revoked before the last start cannot be read")
	}
	file := savedRevocations{Version: 1, Complete: complete, Revocations: []revocationEntry{}}
	for _, r := range revocations.All(time.Now()) {
		file.Revocations = append(file.Revocations, entryOf(r))
	}
	text, err := json.Marshal(file)
	if err != nil {
		return err
	}
	id, err := instanceID(ctx)
	if err != nil {
		return fmt.Errorf("saving revocations: %w", err)
	}
	if err := storage.Store(ctx, path.Join(snapshotFolder, id+".json"), text); err != nil {
		return fmt.Errorf("saving revocations: %w", err)
	}
	s.written = version
	return nil
}

// recovered makes a panic of a storage an error: many of them are no part of
// Caddy.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("panic in the storage: %T", p)
	}
}
