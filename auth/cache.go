package auth

import (
	"crypto/sha256"
	"sync"
	"time"
)

const (
	cacheShards = 32
	// maxCachedBytes is how many bytes of token text all remembered tokens
	// may have together, 16,000 tokens of 1 KiB. What is kept of them takes a
	// few times that: it is the claims, not the token.
	maxCachedBytes = 16 << 20
)

// tokenCache remembers verified tokens by their hash until they end, so that
// a reconnect costs a look-up and no signature check. Tokens themselves are
// not kept. When a shard is full it forgets first what has ended, then what
// ends soonest among a few. It belongs to one configuration of one verifier.
// The zero value is ready and safe for concurrent use.
type tokenCache struct {
	shards [cacheShards]cacheShard
	// buffers are *[MaxTokenSize]byte. A token is hashed out of one, because
	// making a slice of a string allocates, and a buffer on the stack would
	// stay with the socket's goroutine.
	buffers sync.Pool
}

type cacheShard struct {
	mu sync.RWMutex
	// Guarded by mu.
	tokens map[tokenHash]*verified
	bytes  int
}

// tokenHash is the SHA-256 of a token.
type tokenHash = [sha256.Size]byte

// verified is what is known of a token whose signature and claims are good.
type verified struct {
	identity *Identity
	validity validity
	key      *Key
	keys     KeySet // where key must still be
	size     int    // of the token, in bytes
}

// hash returns the key of a token, which has at most MaxTokenSize bytes.
func (c *tokenCache) hash(token string) tokenHash {
	buf, ok := c.buffers.Get().(*[MaxTokenSize]byte)
	if !ok {
		buf = new([MaxTokenSize]byte)
	}
	n := copy(buf[:], token)
	hash := sha256.Sum256(buf[:n])
	clear(buf[:n])
	c.buffers.Put(buf)
	return hash
}

// get returns the identity of a token that holds at now, or nil. A token
// whose key is no longer in its set is unknown.
func (c *tokenCache) get(hash tokenHash, now time.Time) *Identity {
	s := &c.shards[hash[0]%cacheShards]
	s.mu.RLock()
	v := s.tokens[hash]
	s.mu.RUnlock()
	if v == nil {
		return nil
	}
	if v.validity.check(now) != nil || !v.keys.Holds(v.key) {
		s.remove(hash, v)
		return nil
	}
	return v.identity
}

// put remembers a verified token.
func (c *tokenCache) put(hash tokenHash, v *verified, now time.Time) {
	s := &c.shards[hash[0]%cacheShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tokens == nil {
		s.tokens = make(map[tokenHash]*verified)
	}
	s.dropLocked(hash)
	s.sweepLocked(now, v.size)
	s.tokens[hash] = v
	s.bytes += v.size
}

// forget removes all tokens whose identity matches, and returns how many.
func (c *tokenCache) forget(match func(*Identity) bool) int {
	n := 0
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		for hash, v := range s.tokens {
			if match(v.identity) {
				s.dropLocked(hash)
				n++
			}
		}
		s.mu.Unlock()
	}
	return n
}

// remove removes v, unless another has taken its place.
func (s *cacheShard) remove(hash tokenHash, v *verified) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tokens[hash] == v {
		s.dropLocked(hash)
	}
}

func (s *cacheShard) dropLocked(hash tokenHash) {
	if v, ok := s.tokens[hash]; ok {
		s.bytes -= v.size
		delete(s.tokens, hash)
	}
}

// sweepLocked makes room for size bytes. It looks at a few tokens each time,
// in the map's random order: a whole pass under the lock would be felt.
func (s *cacheShard) sweepLocked(now time.Time, size int) {
	const look = 8
	seen := 0
	for hash, v := range s.tokens {
		if v.validity.check(now) != nil {
			s.dropLocked(hash)
		}
		if seen++; seen == look {
			break
		}
	}
	for s.bytes+size > maxCachedBytes/cacheShards && len(s.tokens) > 0 {
		s.dropSoonestLocked(look)
	}
}

// dropSoonestLocked drops the token that ends first among look tokens.
func (s *cacheShard) dropSoonestLocked(look int) {
	var soonest tokenHash
	var until time.Time
	seen := 0
	for hash, v := range s.tokens {
		if seen == 0 || v.validity.until.Before(until) {
			soonest, until = hash, v.validity.until
		}
		if seen++; seen == look {
			break
		}
	}
	s.dropLocked(soonest)
}
