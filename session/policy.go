package session

import "time"

// Policy says until when a socket may live.
type Policy struct {
	// IgnoreExpiry lets sockets outlive their credential.
	IgnoreExpiry bool
	// Max is the longest a socket may live. Zero means no limit.
	Max time.Duration
	// Renew lets a credential be renewed: Warn before its end the client is
	// asked to, and for Grace after it the socket waits.
	Renew       bool
	Warn, Grace time.Duration
	// Jitter is the share of a socket's life, 0 to 1, by which it may end
	// early, so that sockets that began together do not end together.
	Jitter float64
}

// Limit is the thing that ends a socket's life.
type Limit int

// The limits a policy knows.
const (
	// NoLimit: the socket lives as long as its two ends wish.
	NoLimit Limit = iota
	// ByExpiry: its credential's time is over.
	ByExpiry
	// ByMax: it has lived for Policy.Max.
	ByMax
)

// Deadline returns when a socket that was opened at opened, with a credential
// that is good until validUntil, must end, and what ends it. A credential that
// may be renewed does not. random, from 0 to
// 1 exclusive, chooses within the jitter. The result is never later than
// either limit.
func (p Policy) Deadline(opened, validUntil time.Time, random float64) (time.Time, Limit) {
	var at time.Time
	limit := NoLimit
	if !p.IgnoreExpiry && !p.Renew {
		at, limit = validUntil, ByExpiry
	}
	if p.Max > 0 {
		if end := opened.Add(p.Max); limit == NoLimit || end.Before(at) {
			at, limit = end, ByMax
		}
	}
	if limit == NoLimit {
		return time.Time{}, NoLimit
	}
	if life := at.Sub(opened); life > 0 {
		at = at.Add(-time.Duration(random * p.Jitter * float64(life)))
	}
	return at, limit
}

// Expiry returns when the credential counts as ended, within the jitter. since
// is when it was presented.
func (p Policy) Expiry(since, validUntil time.Time, random float64) time.Time {
	at, _ := Policy{Jitter: p.Jitter}.Deadline(since, validUntil, random)
	return at
}

// Prompt returns when to ask for a new credential: Warn before expiry, but
// never in the first half of the credential's life, because the next one may
// be no longer.
func (p Policy) Prompt(since, expiry time.Time) time.Time {
	return expiry.Add(-max(min(p.Warn, expiry.Sub(since)/2), 0))
}
