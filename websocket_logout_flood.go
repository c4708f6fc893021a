package websocketauth

import (
	"sync"
	"time"
)

const (
	// maxForged is how many forged tokens in a second are found out at the
	// cost of a signature check each; beyond it, signatures are checked in that
	// second only for clients that have sent good ones before.
	maxForged = 50
	// maxForgedOfClient is how many of them may be one client's, so that one
	// alone cannot have the provider turned away.
	maxForgedOfClient = 10
	// maxProviders is how many clients are known that have sent good tokens.
	maxProviders = 1024
)

// logoutFlood is that of all configurations: a reload forgets no provider.
var logoutFlood floodLimit

// floodLimit bounds what forged logout tokens cost. Good ones count for
// nothing: a provider may end all its sessions at once. Checks that run at the
// same moment may exceed the limits by as many as there are processors. The
// zero value is ready for use; its methods are safe for concurrent use.
type floodLimit struct {
	mu sync.Mutex // guards the following
	// forged are the tokens of the second at in all, byClient those of each
	// that has sent any: as many clients as tokens at the most.
	at       int64
	forged   int
	byClient map[string]int
	// providers are the clients that have ever sent a good token. Whoever would
	// keep somebody logged in must not have them turned away by forging many.
	providers map[string]struct{}
}

// allow reports whether a signature of client's may be checked at now.
func (f *floodLimit) allow(client string, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.turnLocked(now)
	_, known := f.providers[client]
	return (known || f.forged < maxForged) && f.byClient[client] < maxForgedOfClient
}

// succeed notes that client has sent a good token.
func (f *floodLimit) succeed(client string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.providers == nil {
		f.providers = make(map[string]struct{})
	}
	if len(f.providers) < maxProviders {
		f.providers[client] = struct{}{}
	}
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
