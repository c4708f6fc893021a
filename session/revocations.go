package session

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"time"
)

// Revocation says that what an issuer has vouched for is no longer good: one
// token, one session at the provider, or all of a subject's that was issued
// before a moment.
type Revocation struct {
	// Issuer is the iss claim that is meant; empty for tokens without one.
	Issuer string
	// Exactly one of these is set.
	Subject, TokenID, SessionID string
	// IssuedBefore is the moment up to which tokens are meant. Zero, which a
	// subject's cannot be, is any. In doubt of a second a token is meant, and
	// so is one that does not say when it was issued.
	IssuedBefore time.Time
	// Until is when it is forgotten: after the end of all tokens it means.
	Until time.Time
	// Reason is a note for people.
	Reason string
}

// Check returns what is wrong with r.
func (r Revocation) Check() error {
	set := 0
	for _, text := range []string{r.Subject, r.TokenID, r.SessionID} {
		if text != "" {
			set++
		}
	}
	switch {
	case set != 1:
		return errors.New("a revocation needs exactly one of subject, jti and sid")
	case strings.Contains(r.Issuer+r.Subject+r.TokenID+r.SessionID, "\x00"):
		return errors.New("a revocation cannot name a NUL, which keeps the parts of its key apart")
	case r.Until.IsZero():
		return errors.New("a revocation needs an until")
	case !writable(r.Until) || !writable(r.IssuedBefore):
		return errors.New("a revocation has a time whose year is not from 0 to 9999")
	case r.Subject != "" && r.IssuedBefore.IsZero():
		return errors.New("a revocation of a subject needs an issued_before")
	}
	return nil
}

// writable tells whether t can be written as RFC 3339 has it: one revocation
// that cannot would keep all others from being saved.
func writable(t time.Time) bool {
	year := t.UTC().Year()
	return year >= 0 && year <= 9999
}

// Key tells revocations of different things apart. It holds no control
// character but the one that separates its parts.
func (r Revocation) Key() string {
	kind, text := "subject", r.Subject
	switch {
	case r.TokenID != "":
		kind, text = "jti", r.TokenID
	case r.SessionID != "":
		kind, text = "sid", r.SessionID
	}
	return strings.Join([]string{kind, r.Issuer, text}, "\x00")
}

// Filter means the sessions that r may end.
func (r Revocation) Filter() Filter {
	return Filter{
		Issuer: r.Issuer, OfIssuer: true,
		Subject: r.Subject, TokenID: r.TokenID, SessionID: r.SessionID,
	}
}

// Means tells whether r means id.
func (r Revocation) Means(id Identity) bool {
	same := r.Issuer == id.Issuer && (r.Subject == "" || r.Subject == id.Subject) &&
		(r.TokenID == "" || r.TokenID == id.TokenID) && (r.SessionID == "" || r.SessionID == id.SessionID)
	return same && (r.IssuedBefore.IsZero() || id.IssuedAt.Unix() <= r.IssuedBefore.Unix() || id.IssuedAt.IsZero())
}

// merge returns what both say together of one thing.
func (r Revocation) merge(other Revocation) Revocation {
	if other.IssuedBefore.IsZero() || !r.IssuedBefore.IsZero() && other.IssuedBefore.After(r.IssuedBefore) {
		r.IssuedBefore = other.IssuedBefore
	}
	if other.Until.After(r.Until) {
		r.Until = other.Until
	}
	if other.Reason != "" {
		r.Reason = other.Reason
	}
	return r
}

// Revocations are all that count. The zero value is ready for use; its methods
// are safe for concurrent use.
type Revocations struct {
	mu    sync.RWMutex
	byKey map[string]Revocation
	due   int // how many may be added before what has ended is forgotten
}

// Add takes r in and reports whether that changed anything. What is known of
// the same thing counts on. r must have passed Check.
func (s *Revocations) Add(r Revocation, now time.Time) (changed bool) {
	if !r.Until.After(now) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byKey == nil {
		s.byKey = make(map[string]Revocation)
	}
	key := r.Key()
	old, known := s.byKey[key]
	if known && old.Until.After(now) {
		r = old.merge(r)
	}
	if known && r == old {
		return false
	}
	s.byKey[key] = r
	s.forgetLocked(now)
	return true
}

// forgetLocked forgets what has ended, at a cost that is spread over the
// additions.
func (s *Revocations) forgetLocked(now time.Time) {
	if s.due--; s.due > 0 {
		return
	}
	for key, r := range s.byKey {
		if !r.Until.After(now) {
			delete(s.byKey, key)
		}
	}
	s.due = len(s.byKey)/2 + 64
}

// Remove forgets the revocation with this key and reports whether there was
// one.
func (s *Revocations) Remove(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, known := s.byKey[key]
	delete(s.byKey, key)
	return known
}

// Find returns the revocation that means id at now.
func (s *Revocations) Find(id Identity, now time.Time) (Revocation, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.byKey) == 0 {
		return Revocation{}, false
	}
	for _, r := range []Revocation{
		{Issuer: id.Issuer, Subject: id.Subject},
		{Issuer: id.Issuer, TokenID: id.TokenID},
		{Issuer: id.Issuer, SessionID: id.SessionID},
	} {
		if r.Subject+r.TokenID+r.SessionID == "" {
			continue
		}
		if known, ok := s.byKey[r.Key()]; ok && known.Until.After(now) && known.Means(id) {
			return known, true
		}
	}
	return Revocation{}, false
}

// All returns what counts at now, in the order of the keys.
func (s *Revocations) All(now time.Time) []Revocation {
	known := s.counting(now)
	// Without the lock, for which handshakes wait.
	slices.SortFunc(known, func(a, b keyed) int { return strings.Compare(a.key, b.key) })
	all := make([]Revocation, len(known))
	for i := range known {
		all[i] = known[i].Revocation
	}
	return all
}

// keyed is a revocation with its key, which is dear to make.
type keyed struct {
	key string
	Revocation
}

// counting returns what counts at now, in no order.
func (s *Revocations) counting(now time.Time) []keyed {
	s.mu.RLock()
	defer s.mu.RUnlock()
	known := make([]keyed, 0, len(s.byKey))
	for key, r := range s.byKey {
		if r.Until.After(now) {
			known = append(known, keyed{key, r})
		}
	}
	return known
}

// Len returns how many are kept, also of those that have ended.
func (s *Revocations) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.byKey)
}
