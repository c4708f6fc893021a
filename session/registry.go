package session

import (
	"sync"
	"time"
)

// Session is one live socket.
type Session struct {
	// ID is ours, and cannot be guessed.
	ID string
	// Site is where it came in.
	Site string
	// Opened is when.
	Opened time.Time
	// Close ends the socket because this server stops. It may be called more
	// than once and does not wait.
	Close func()

	ended chan struct{}
}

// Registry is the live sockets of a process. The zero value is ready for use;
// its methods are safe for concurrent use.
type Registry struct {
	mu       sync.Mutex // guards the following
	sessions map[*Session]struct{}
	draining bool
}

// Add registers s. It must be called before the client is told that its
// socket is open. It returns false, and does nothing, once Drain was called:
// a socket that is opened then would not be closed.
func (r *Registry) Add(s *Session) bool {
	s.ended = make(chan struct{})
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.draining {
		return false
	}
	if r.sessions == nil {
		r.sessions = make(map[*Session]struct{})
	}
	r.sessions[s] = struct{}{}
	return true
}

// Remove takes s out, whose socket has ended.
func (r *Registry) Remove(s *Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.sessions[s]; ok {
		delete(r.sessions, s)
		close(s.ended)
	}
}

// Len returns how many sockets live.
func (r *Registry) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.sessions)
}

// perSession is how far apart Drain closes sockets at the most.
const perSession = time.Millisecond

// Drain closes all sockets, spread evenly over at most spread, and returns
// when they have ended, or when wait is over. It returns how many have not.
// No socket can be added from then on.
func (r *Registry) Drain(spread, wait time.Duration) (left int) {
	deadline := time.NewTimer(wait)
	defer deadline.Stop()
	sessions := r.drainable()
	start := time.Now()
	step := perSession
	if n := time.Duration(len(sessions)); n > 0 {
		step = min(step, spread/n)
	}
	for i, s := range sessions {
		s.Close()
		// Many are closed at a time where a step is shorter than a sleep.
		if ahead := time.Duration(i)*step - time.Since(start); ahead > time.Millisecond {
			time.Sleep(ahead)
		}
	}
	for _, s := range sessions {
		select {
		case <-s.ended:
		case <-deadline.C:
			return r.Len()
		}
	}
	return r.Len()
}

// drainable lets nothing more in and returns all that is there.
func (r *Registry) drainable() []*Session {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.draining = true
	sessions := make([]*Session, 0, len(r.sessions))
	for s := range r.sessions {
		sessions = append(sessions, s)
	}
	return sessions
}
