package websocketauth

import (
	"sync"
	"time"
)

const (
	// maxForged is how many forged tokens in a second are found out at the
	// cost of a signature check each; beyond it, no signature is checked in
	// that second.
	maxForged = 50
	// maxForgedOfClient is how many of them may be one client's, so that one
	// alone cannot have the provider turned away.
	maxForgedOfClient = 10
)

// floodLimit bounds what forged logout tokens cost. Good ones count for
// nothing: a provider may end all its sessions at once. Checks that run at the
// same moment may exceed the limits by as many as there are processors. The
// zero value is ready for use; its methods are safe for concurrent use.
type floodLimit struct {
	mu sync.Mutex // guards the following, which are of one second
	at int64
	// forged are the tokens in all, byClient those of each that has sent
	// any: as many clients as tokens at the most.
	forged   int
	byClient map[string]int
}

// allow reports whether a signature of client's may be checked at now.
func (f *floodLimit) allow(client string, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.turnLocked(now)
	return f.forged < maxForged && f.byClient[client] < maxForgedOfClient
}

// fail counts a signature of client's that was bad.
func (f *floodLimit) fail(client string, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.turnLocked(now)
	f.forged++
	f.byClient[client]++
}

// turnLocked begins a new second.
func (f *floodLimit) turnLocked(now time.Time) {
	if at := now.Unix(); f.at != at || f.byClient == nil {
		f.at, f.forged, f.byClient = at, 0, make(map[string]int)
	}
}
