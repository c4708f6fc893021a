package websocketauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/session"
)

// fakeStorage is a storage in memory. What is set must not change while it is
// used, but through its methods.
type fakeStorage struct {
	certmagic.Storage // nothing else is asked for

	slow time.Duration // each use takes so long

	mu       sync.Mutex // guards the following
	fails    error
	panics   bool
	files    map[string][]byte
	modified map[string]time.Time
	stores   int
}

func newStorage(files map[string]string) *fakeStorage {
	s := &fakeStorage{files: make(map[string][]byte), modified: make(map[string]time.Time)}
	for name, text := range files {
		s.files[path.Join(snapshotFolder, name)] = []byte(text)
	}
	return s
}

func (s *fakeStorage) set(fails error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fails = fails
}

// begin is each use of the storage.
func (s *fakeStorage) begin(ctx context.Context) error {
	timer := time.NewTimer(s.slow)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.panics {
		panic("in the storage")
	}
	return s.fails
}

func (s *fakeStorage) Store(ctx context.Context, name string, value []byte) error {
	s.mu.Lock()
	s.stores++
	s.mu.Unlock()
	if err := s.begin(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[name], s.modified[name] = value, time.Now()
	return nil
}

func (s *fakeStorage) Load(ctx context.Context, name string) ([]byte, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if text, ok := s.files[name]; ok {
		return text, nil
	}
	return nil, fs.ErrNotExist
}

func (s *fakeStorage) Delete(ctx context.Context, name string) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.files, name)
	return nil
}

func (s *fakeStorage) List(ctx context.Context, folder string, _ bool) (names []string, err error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range s.files {
		if path.Dir(name) == folder {
			names = append(names, name)
		}
	}
	if names == nil {
		return nil, fs.ErrNotExist
	}
	slices.Sort(names)
	return names, nil
}

func (s *fakeStorage) Stat(ctx context.Context, name string) (certmagic.KeyInfo, error) {
	if err := s.begin(ctx); err != nil {
		return certmagic.KeyInfo{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return certmagic.KeyInfo{Key: name, Modified: s.modified[name]}, nil
}

// holds tells whether any file has text in it.
func (s *fakeStorage) holds(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, file := range s.files {
		if strings.Contains(string(file), text) {
			return true
		}
	}
	return false
}

func (s *fakeStorage) stored() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stores
}

// revokeFor has a jti of its own revoked while the test runs.
func revokeFor(t *testing.T, jti string) {
	t.Helper()
	r := session.Revocation{Issuer: "snapshot", TokenID: jti, Until: time.Now().Add(time.Hour)}
	apply(r)
	t.Cleanup(func() { revocations.Remove(r.Key()) })
}

// ownDataDir gives the test an instance id of its own.
func ownDataDir(t *testing.T) {
	t.Helper()
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	if _, err := instanceID(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestSnapshotIsTriedAgain: what cannot be saved is saved as soon as it can
// be, though nothing changes any more; a stop before that tries once more.
func TestSnapshotIsTriedAgain(t *testing.T) {
	ownDataDir(t)
	for name, fail := range map[string]func(*fakeStorage, bool){
		"an error": func(s *fakeStorage, is bool) {
			s.set(map[bool]error{true: errors.New("disk full")}[is])
		},
		"a panic": func(s *fakeStorage, is bool) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.panics = is
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				storage, s := newStorage(nil), newSnapshot()
				s.use(storage, s.logger)
				fail(storage, true)
				revokeFor(t, "again")
				s.changed()
				time.Sleep(10 * time.Minute)
				tries := storage.stored()
				if most := int(10 * time.Minute / maxSavePause * 2); name == "an error" && (tries < 10 || tries > most) {
					t.Errorf("%d tries in ten minutes, want 10 to %d", tries, most)
				}
				if s.flush(t.Context()) == nil || !s.fails() {
					t.Error("saved although the storage fails")
				}
				fail(storage, false)
				time.Sleep(maxSavePause + time.Second)
				if !storage.holds("again") || s.fails() {
					t.Error("not saved after the storage has come back")
				}
				tries = storage.stored()
				time.Sleep(10 * time.Minute)
				if storage.stored() != tries {
					t.Error("saved again although nothing has changed")
				}
				fail(storage, true)
				revokeFor(t, "stop")
				s.changed()
				time.Sleep(time.Second)
				fail(storage, false)
				if err := s.flush(t.Context()); err != nil || !storage.holds("stop") {
					t.Errorf("not saved at a stop: %v", err)
				}
				time.Sleep(time.Minute) // the last timer
			})
		})
	}
}

// TestSnapshotDoesNotWait: a storage that hangs holds up neither a stop nor an
// answer, and what it takes late is there.
func TestSnapshotDoesNotWait(t *testing.T) {
	ownDataDir(t)
	synctest.Test(t, func(t *testing.T) {
		storage, s := &hangingStorage{newStorage(nil), make(chan struct{})}, newSnapshot()
		s.use(storage, s.logger)
		revokeFor(t, "hangs")
		s.changed()
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			start := time.Now()
			if err := s.flush(ctx); err == nil || time.Since(start) != time.Second {
				t.Errorf("flush: %v after %v, want an error after 1s", err, time.Since(start))
			}
			cancel()
		}
		close(storage.hangs)
		time.Sleep(time.Minute)
		if !storage.holds("hangs") {
			t.Error("not saved")
		}
	})
}

// hangingStorage takes nothing until it hangs no more, whatever the context.
type hangingStorage struct {
	*fakeStorage
	hangs chan struct{}
}

func (s *hangingStorage) Store(ctx context.Context, name string, value []byte) error {
	<-s.hangs
	return s.fakeStorage.Store(context.WithoutCancel(ctx), name, value)
}

// TestSnapshotInAnotherStorage: a configuration may bring another storage; what
// was revoked before is there after a restart with it.
func TestSnapshotInAnotherStorage(t *testing.T) {
	ownDataDir(t)
	synctest.Test(t, func(t *testing.T) {
		old, replacing, s := newStorage(nil), newStorage(nil), newSnapshot()
		s.use(old, s.logger)
		revokeFor(t, "moved")
		s.changed()
		time.Sleep(time.Second)
		s.use(replacing, s.logger)
		time.Sleep(time.Second)
		if !old.holds("moved") || !replacing.holds("moved") {
			t.Errorf("saved in the old one: %v, in the new one: %v", old.holds("moved"), replacing.holds("moved"))
		}
	})
}

// TestSnapshotCure: where the storage cannot be read, a configuration with one
// that can is the cure.
func TestSnapshotCure(t *testing.T) {
	ownDataDir(t)
	synctest.Test(t, func(t *testing.T) {
		broken, s := newStorage(nil), newSnapshot()
		broken.set(errors.New("away"))
		s.use(broken, s.logger)
		synctest.Wait()
		if s.isRead() || s.unread() {
			t.Error("not known to be unreadable")
		}
		s.use(newStorage(nil), s.logger)
		time.Sleep(time.Minute)
		if !s.isRead() {
			t.Error("the storage of the first configuration is asked for ever")
		}
	})
}

// snapshotText is a file with a revocation that ends after a time.
func snapshotText(t *testing.T, jti string, after time.Duration, complete ...string) string {
	t.Helper()
	text, err := json.Marshal(savedRevocations{Version: 1, Complete: complete, Revocations: []revocationEntry{
		{Issuer: "snapshot", TokenID: jti, Until: time.Now().Add(after)},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestSnapshotsOfNodesThatAreGone: files in which nothing counts are removed
// when nobody has written them for long, and no others.
func TestSnapshotsOfNodesThatAreGone(t *testing.T) {
	ownDataDir(t)
	synctest.Test(t, func(t *testing.T) {
		const day = 24 * time.Hour
		empty := `{"version":1,"revocations":[]}`
		storage := newStorage(map[string]string{
			"gone.json": snapshotText(t, "gone", -8*day), "empty.json": empty,
			"counts.json": snapshotText(t, "counts", time.Hour), "recent.json": snapshotText(t, "recent", -day),
			"idle.json": empty, "nobody-knows.json": empty, "other": "x",
		})
		for name, age := range map[string]time.Duration{
			"gone": 8 * day, "empty": 8 * day, "counts": 300 * day, "recent": 8 * day, "idle": 6 * day,
		} {
			storage.modified[path.Join(snapshotFolder, name+".json")] = time.Now().Add(-age)
		}
		found, err := readSnapshots(storage)
		if err != nil || len(found.revocations) != 3 {
			t.Errorf("found %+v, %v", found, err)
		}
		var left []string
		for name := range storage.files {
			left = append(left, path.Base(name))
		}
		slices.Sort(left)
		if want := []string{"counts.json", "idle.json", "nobody-knows.json", "other", "recent.json"}; !slices.Equal(left, want) {
			t.Errorf("left are %v, want %v", left, want)
		}
	})
}

// TestManySnapshots: the time-out of the storage is for each file, or a fleet
// whose nodes come and go could not start any more.
func TestManySnapshots(t *testing.T) {
	ownDataDir(t)
	synctest.Test(t, func(t *testing.T) {
		files := make(map[string]string)
		for n := range 50 {
			files[fmt.Sprint(n, ".json")] = snapshotText(t, fmt.Sprint("many", n), time.Hour)
		}
		storage := newStorage(files)
		storage.slow = time.Second
		if found, err := readSnapshots(storage); err != nil || len(found.revocations) != 50 {
			t.Errorf("%d revocations found, %v; want 50", len(found.revocations), err)
		}
	})
}
