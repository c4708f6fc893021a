package websocketauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/session"
)

const (
	// snapshotFolder is where in Caddy's storage revocations are kept: a file
	// for each node, because nodes may share a storage.
	snapshotFolder = "websocket_auth/revocations"
	// abandoned is how long a file was not written, and all in it has ended,
	// before it is taken for that of a node that does not come back.
	abandoned = 7 * 24 * time.Hour
)

// savedRevocations is the form in which they are kept.
type savedRevocations struct {
	Version int `json:"version"`
	// Complete are the names of the stores that had told all there is: what is
	// missing here was not revoked at that time.
	Complete    []string          `json:"complete,omitempty"`
	Revocations []revocationEntry `json:"revocations"`
}

// foundSnapshots is what all files together say.
type foundSnapshots struct {
	revocations []session.Revocation
	complete    []string
}

// readSnapshots returns what is kept, and removes what nobody needs any more.
// One file that cannot be read makes all worthless: what was revoked must not
// come back to life.
func readSnapshots(storage certmagic.Storage) (found foundSnapshots, err error) {
	defer recovered(&err)
	names, err := listSnapshots(storage)
	if err != nil {
		return found, err
	}
	var old []string
	for _, name := range names {
		file, err := readSnapshot(storage, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return found, err
		}
		found.complete = append(found.complete, file.Complete...)
		var until time.Time
		for _, entry := range file.Revocations {
			found.revocations = append(found.revocations, entry.revocation())
			if entry.Until.After(until) {
				until = entry.Until
			}
		}
		if time.Since(until) > abandoned {
			old = append(old, name)
		}
	}
	slices.Sort(found.complete)
	found.complete = slices.Compact(found.complete)
	for _, name := range old {
		removeAbandoned(storage, name)
	}
	return found, nil
}

func listSnapshots(storage certmagic.Storage) ([]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), storageTimeout)
	defer cancel()
	names, err := storage.List(ctx, snapshotFolder, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return slices.DeleteFunc(names, func(name string) bool { return path.Ext(name) != ".json" }), err
}

// readSnapshot reads a file, in which nothing may be wrong.
func readSnapshot(storage certmagic.Storage, name string) (file savedRevocations, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), storageTimeout)
	defer cancel()
	text, err := storage.Load(ctx, name)
	if err != nil {
		return file, err
	}
	if err := json.Unmarshal(text, &file); err != nil || file.Version != 1 {
		return file, fmt.Errorf("%s is not a list of revocations", name)
	}
	for _, entry := range file.Revocations {
		if err := entry.revocation().Check(); err != nil {
			return file, fmt.Errorf("%s: %w", name, err)
		}
	}
	return file, nil
}

// removeAbandoned removes a file in which nothing counts, if no node has
// written it for long: where nodes come and go, they would become ever more.
// What cannot be removed stays.
func removeAbandoned(storage certmagic.Storage, name string) {
	ctx, cancel := context.WithTimeout(context.Background(), storageTimeout)
	defer cancel()
	info, err := storage.Stat(ctx, name)
	if err == nil && !info.Modified.IsZero() && time.Since(info.Modified) > abandoned {
		_ = storage.Delete(ctx, name)
	}
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
