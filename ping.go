package websocketauth

import (
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

// pinging is how clients are found that have died without a word.
type pinging struct {
	interval, timeout time.Duration
}

// causeSilent: the client did not answer a ping.
const causeSilent proxy.Cause = "client_silent"

// watchLife looks after quiet clients, if the handler wants that.
func (s *socket) watchLife() {
	if s.handler.ping == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over {
		s.pinger = schedule.Add(time.Now().Add(s.handler.ping.interval), s.lookForLife)
	}
}

// lookForLife pings a client that was quiet since it was looked at last, and
// ends its socket if it stays quiet. Whatever the client sends is a sign of
// life.
func (s *socket) lookForLife() {
	s.mu.Lock()
	if s.over || s.gate == nil {
		s.mu.Unlock()
		return
	}
	g := s.gate
	heard := g.Stats().BytesIn
	wait, ping := s.handler.ping.interval, false
	switch {
	case heard != s.heard:
		s.heard, s.asked = heard, false
	case !s.asked:
		s.asked, ping = true, true
		wait = s.handler.ping.timeout
	case g.PingSent():
		s.over = true
		s.mu.Unlock()
		g.End(proxy.End{Cause: causeSilent, Code: proxy.CloseTimeout, Reason: "timeout"})
		return
	default: // the client takes nothing, which has a limit of its own
		wait = s.handler.ping.timeout
	}
	s.pinger = schedule.Add(time.Now().Add(wait), s.lookForLife)
	s.mu.Unlock()
	if ping {
		g.Ping() // may wait for the client, which must not keep the lock
	}
}
