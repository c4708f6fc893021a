package websocketauth

import (
	"hash/maphash"
	"sync/atomic"
	"time"
)

const (
	// logsPerSecond is how many refusals of one client are logged in a second:
	// of one address, or IPv6 /64, since who has one address of it has all.
	logsPerSecond = 10
	logBuckets    = 1024
)

var logSeed = maphash.MakeSeed()

// logLimit keeps a flood of refusals from flooding the log. Its memory is
// bounded: clients share buckets by a hash that they cannot foresee, so that
// at the worst a line is missing that would have been there. The zero value
// is ready; it is safe for concurrent use.
type logLimit struct {
	// Each bucket is the second (high half) and the lines in it (low half).
	buckets [logBuckets]atomic.Uint64
}

// allow reports whether a line about client may be written now, and how many
// were not since the last one.
func (l *logLimit) allow(client string, now time.Time) (suppressed uint32, ok bool) {
	bucket := l.bucket(client)
	second := uint64(uint32(now.Unix()))
	for {
		old := bucket.Load()
		lines := uint32(old)
		if old>>32 != second {
			if lines > logsPerSecond {
				suppressed = lines - logsPerSecond
			}
			if bucket.CompareAndSwap(old, second<<32|1) {
				return suppressed, true
			}
			suppressed = 0
			continue
		}
		if lines == 1<<32-1 || bucket.CompareAndSwap(old, old+1) {
			return 0, lines < logsPerSecond
		}
	}
}

func (l *logLimit) bucket(client string) *atomic.Uint64 {
	return &l.buckets[maphash.String(logSeed, client)%logBuckets]
}
