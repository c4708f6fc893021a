package proxy

// Stats are what has passed a gate. Bytes are those on the wire, frame headers
// included. Messages are those that the two sides have sent, without control
// frames, also if they are held or taken out; what the gate says itself counts
// in bytes alone.
type Stats struct {
	// BytesIn and MessagesIn are the client's.
	BytesIn, MessagesIn int64
	// BytesOut and MessagesOut went to the client.
	BytesOut, MessagesOut int64
}

// Stats returns what has passed so far.
func (g *Gate) Stats() Stats {
	return Stats{
		BytesIn: g.in.bytes.Load(), MessagesIn: g.in.messages.Load(),
		BytesOut: g.out.bytes.Load(), MessagesOut: g.out.messages.Load(),
	}
}

// Ping sends the client a ping as soon as a frame may be put in. Its answer
// shows in [Stats] as anything else that the client sends.
func (g *Gate) Ping() {
	o := &g.out
	var payload [8]byte
	key, other := newMask(), newMask()
	copy(payload[:], key[:])
	copy(payload[4:], other[:])
	o.saysMu.Lock()
	o.ping = appendFrame(nil, OpPing, payload[:], false)
	o.saysMu.Unlock()
	o.unsaid.Store(true)
	g.Flush()
}

// PingSent tells whether the last ping has gone out.
func (g *Gate) PingSent() bool {
	g.out.saysMu.Lock()
	defer g.out.saysMu.Unlock()
	return g.out.ping == nil
}

// Hears tells whether the client is being read. It is not while the handler
// behind is busy: what the client sends then may be waiting.
func (g *Gate) Hears() bool {
	if g.in.mu.TryLock() {
		g.in.mu.Unlock()
		return false
	}
	return true
}

// Ending tells whether the socket is being ended: no message begins to pass in
// either direction.
func (g *Gate) Ending() bool { return g.ending.Load() }
