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
	wait, ping := s.handler.ping.timeout, false
	switch {
	case heard != s.heard:
		s.heard, s.asked, s.pinged = heard, false, false
		wait = s.handler.ping.interval
	case !s.asked:
		s.asked, ping = true, true
	case !g.Hears():
		s.pinged = false // its answer may be there, behind what the application has not taken
	case !s.pinged:
		s.pinged = g.PingSent() // else the client takes nothing, which has a limit of its own
	default:
		s.over = true
		s.mu.Unlock()
		g.End(proxy.End{Cause: causeSilent, Code: proxy.CloseTimeout, Reason: "timeout"})
		return
	}
	s.pinger = schedule.Add(time.Now().Add(wait), s.lookForLife)
	s.mu.Unlock()
	if ping {
		g.Ping() // may wait for the client, which must not keep the lock
		s.mu.Lock()
		s.pinged = g.PingSent()
		s.mu.Unlock()
	}
}
