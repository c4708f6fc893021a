package websocketauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/session"
)

const (
	// snapshotFolder is where in Caddy's storage revocations are kept: a file
	// for each node, because nodes may share a storage.
	snapshotFolder = "websocket_auth/revocations"
	// storageTimeout bounds each use of the storage.
	storageTimeout = 5 * time.Second
	// startTimeout is how long a start waits for it.
	startTimeout = 2 * time.Second
	// saveDelay is how many changes are saved together.
	saveDelay = 200 * time.Millisecond
)

// saved keeps the revocations of this process across restarts.
var saved snapshot

// snapshot is the revocations in Caddy's storage.
type snapshot struct {
	once     sync.Once
	restored atomic.Bool // there was a snapshot, and it is known
	broken   atomic.Bool // there was one that cannot be read

	mu      sync.Mutex // guards the following
	storage certmagic.Storage
	logger  *zap.Logger
	version uint64 // of what is known
	timer   *time.Timer

	saving  sync.Mutex // held while the storage is written; guards the following
	written uint64     // the version in the storage
}

// savedRevocations is the form in which they are kept.
type savedRevocations struct {
	Version     int               `json:"version"`
	Revocations []revocationEntry `json:"revocations"`
}

// use has the storage of a configuration used from now on. The first time it
// reads what is there; if that takes long, it goes on in the background, and
// nobody is let in meanwhile.
func (s *snapshot) use(storage certmagic.Storage, logger *zap.Logger) {
	s.mu.Lock()
	s.storage, s.logger = storage, logger
	s.mu.Unlock()
	s.once.Do(func() {
		s.broken.Store(true) // until it is known better
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.restore(storage, logger)
		}()
		select {
		case <-done:
		case <-time.After(startTimeout):
			logger.Warn("the storage is slow, nobody is let in until the revocations in it are known")
		}
	})
}

// restore reads all snapshots. One that cannot be read means that nobody is
// let in: what was revoked must not come back to life.
func (s *snapshot) restore(storage certmagic.Storage, logger *zap.Logger) {
	for {
		known, found, err := readSnapshots(storage)
		if err == nil {
			for _, r := range known {
				revocations.Add(r, time.Now())
			}
			s.restored.Store(found)
			s.broken.Store(false)
			s.catchUp()
			return
		}
		logger.Error("revocations of before the last stop cannot be read: nobody is let in until they are; "+
			"delete the file if it is beyond repair", zap.String("folder", snapshotFolder), zap.Error(err))
		time.Sleep(storageTimeout)
	}
}

// readSnapshots returns what is kept, and whether there is anything at all.
func readSnapshots(storage certmagic.Storage) (known []session.Revocation, found bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), storageTimeout)
	defer cancel()
	names, err := storage.List(ctx, snapshotFolder, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	for _, name := range names {
		if path.Ext(name) != ".json" {
			continue
		}
		text, err := storage.Load(ctx, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, false, err
		}
		found = true
		var file savedRevocations
		if err := json.Unmarshal(text, &file); err != nil || file.Version != 1 {
			return nil, false, fmt.Errorf("%s is not a list of revocations", name)
		}
		for _, entry := range file.Revocations {
			r := entry.revocation()
			if err := r.Check(); err != nil {
				return nil, false, fmt.Errorf("%s: %w", name, err)
			}
			known = append(known, r)
		}
	}
	return known, found, nil
}

// catchUp saves what has changed while the storage was not to be written.
func (s *snapshot) catchUp() {
	s.mu.Lock()
	behind := s.version > 0
	s.mu.Unlock()
	if behind {
		s.changed()
	}
}

// changed has what is known saved soon.
func (s *snapshot) changed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	if s.storage != nil && s.timer == nil {
		s.timer = time.AfterFunc(saveDelay, func() {
			ctx, cancel := context.WithTimeout(context.Background(), storageTimeout)
			defer cancel()
			if err := s.flush(ctx); err != nil {
				s.mu.Lock()
				logger := s.logger
				s.mu.Unlock()
				logger.Error("revocations cannot be saved, and would be forgotten by a restart", zap.Error(err))
			}
		})
	}
}

// flush saves what is known, if that has not been saved.
func (s *snapshot) flush(ctx context.Context) error {
	s.saving.Lock()
	defer s.saving.Unlock()
	s.mu.Lock()
	storage, version := s.storage, s.version
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
	s.mu.Unlock()
	if storage == nil || version == s.written {
		return nil
	}
	if s.broken.Load() {
		// What is there may be repaired, and must not be written over.
		return errors.New("saving revocations: what was revoked before the last start cannot be read")
	}
	file := savedRevocations{Version: 1, Revocations: []revocationEntry{}}
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

// revocationEntry is a revocation as JSON, in the admin API and in the
// storage. Exactly one of subject, jti and sid is set.
type revocationEntry struct {
	Issuer       string     `json:"issuer"`
	Subject      string     `json:"subject,omitempty"`
	TokenID      string     `json:"jti,omitempty"`
	SessionID    string     `json:"sid,omitempty"`
	IssuedBefore *time.Time `json:"issued_before,omitempty"`
	Until        time.Time  `json:"until"`
	Reason       string     `json:"reason,omitempty"`
}

func entryOf(r session.Revocation) revocationEntry {
	e := revocationEntry{
		Issuer: r.Issuer, Subject: r.Subject, TokenID: r.TokenID, SessionID: r.SessionID,
		Until: r.Until.UTC(), Reason: r.Reason,
	}
	if !r.IssuedBefore.IsZero() {
		before := r.IssuedBefore.UTC()
		e.IssuedBefore = &before
	}
	return e
}

func (e revocationEntry) revocation() session.Revocation {
	r := session.Revocation{
		Issuer: e.Issuer, Subject: e.Subject, TokenID: e.TokenID, SessionID: e.SessionID,
		Until: e.Until, Reason: e.Reason,
	}
	if e.IssuedBefore != nil {
		r.IssuedBefore = *e.IssuedBefore
	}
	return r
}
