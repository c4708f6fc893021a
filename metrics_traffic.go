package websocketauth

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

const (
	// trafficShards is over how many locks the live gates are spread, so that
	// reading 100,000 of them keeps no socket from opening or ending.
	trafficShards = 64
	// trafficEvery is how often the live gates are read at the most, however
	// often somebody looks.
	trafficEvery = time.Second
)

// traffic adds up what passes the gates of all sockets. Gates count for
// themselves, so that messages of different sockets never meet at one counter;
// they are read when somebody looks, and for the last time at their end. The
// zero value is ready for use; its methods are safe for concurrent use.
type traffic struct {
	messagesIn, messagesOut atomic.Int64
	bytesIn, bytesOut       atomic.Int64

	next   atomic.Uint32 // shard
	shards [trafficShards]trafficShard

	mu     sync.Mutex // guards the following
	readAt time.Time
}

// trafficShard is some of the live gates.
type trafficShard struct {
	mu   sync.Mutex // guards the following, and the meters in it
	live map[*meter]struct{}
}

// counter is a gate, as far as it counts.
type counter interface{ Stats() proxy.Stats }

// meter is a gate and what of it is in the sums.
type meter struct {
	of    counter
	shard *trafficShard
	last  proxy.Stats
}

// add has what passes a gate counted, until remove.
func (t *traffic) add(of counter) *meter {
	m := &meter{of: of, shard: &t.shards[t.next.Add(1)%trafficShards]}
	m.shard.mu.Lock()
	defer m.shard.mu.Unlock()
	if m.shard.live == nil {
		m.shard.live = make(map[*meter]struct{})
	}
	m.shard.live[m] = struct{}{}
	return m
}

// remove reads a gate for the last time. More than once does no harm.
func (t *traffic) remove(m *meter) {
	m.shard.mu.Lock()
	defer m.shard.mu.Unlock()
	if _, live := m.shard.live[m]; live {
		t.readLocked(m)
		delete(m.shard.live, m)
	}
}

// read reads all gates, unless that was done just now.
func (t *traffic) read(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(t.readAt) < trafficEvery {
		return
	}
	t.readAt = now
	for i := range t.shards {
		t.readShard(&t.shards[i])
	}
}

func (t *traffic) readShard(s *trafficShard) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for m := range s.live {
		t.readLocked(m)
	}
}

// readLocked adds what has passed since a gate was read last. The caller holds
// the lock of its shard.
func (t *traffic) readLocked(m *meter) {
	now := m.of.Stats()
	if now == m.last {
		return // most sockets are idle most of the time
	}
	t.messagesIn.Add(now.MessagesIn - m.last.MessagesIn)
	t.messagesOut.Add(now.MessagesOut - m.last.MessagesOut)
	t.bytesIn.Add(now.BytesIn - m.last.BytesIn)
	t.bytesOut.Add(now.BytesOut - m.last.BytesOut)
	m.last = now
}
