package auth

import (
	"container/list"
	"crypto/sha256"
	"sync"
	"time"
)

// maxSeenTokens is how many tokens are remembered, at about 200 bytes each.
// Beyond it the one that was used first is forgotten.
const maxSeenTokens = 1 << 16

// SeenTokens remembers the tokens that count once, by issuer and jti. Only
// tokens whose signature is good are to be added, so that nobody but a
// provider can fill it. The zero value is ready for use; its methods are safe
// for concurrent use.
type SeenTokens struct {
	mu     sync.Mutex // guards the following
	tokens map[seenKey]*list.Element
	order  list.List // of seenToken, as they were added
}

// seenKey is a hash, because a jti may be long.
type seenKey [sha256.Size]byte

type seenToken struct {
	key   seenKey
	until time.Time
}

func newSeenKey(issuer, id string) seenKey {
	// The issuer is hashed by itself, so that no other pair makes the same
	// text.
	of := sha256.Sum256([]byte(issuer))
	return sha256.Sum256(append(of[:], id...))
}

// Has reports whether the token was added, and its time is not over at now.
func (s *SeenTokens) Has(issuer, id string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hasLocked(newSeenKey(issuer, id), now)
}

// Add remembers a token until a moment. It reports false, and does nothing, if
// the token is there already.
func (s *SeenTokens) Add(issuer, id string, until, now time.Time) bool {
	key := newSeenKey(issuer, id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hasLocked(key, now) {
		return false
	}
	s.removeLocked(s.tokens[key])
	for e := s.order.Front(); e != nil; e = s.order.Front() {
		if len(s.tokens) < maxSeenTokens && now.Before(e.Value.(seenToken).until) {
			break
		}
		s.removeLocked(e)
	}
	if s.tokens == nil {
		s.tokens = make(map[seenKey]*list.Element)
	}
	s.tokens[key] = s.order.PushBack(seenToken{key, until})
	return true
}

// Forget makes the token count again.
func (s *SeenTokens) Forget(issuer, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.removeLocked(s.tokens[newSeenKey(issuer, id)])
}

func (s *SeenTokens) hasLocked(key seenKey, now time.Time) bool {
	e := s.tokens[key]
	return e != nil && now.Before(e.Value.(seenToken).until)
}

// removeLocked removes e, if it is not nil.
func (s *SeenTokens) removeLocked(e *list.Element) {
	if e != nil {
		delete(s.tokens, s.order.Remove(e).(seenToken).key)
	}
}
