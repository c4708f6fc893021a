package session

import (
	"cmp"
	"iter"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Identity is whom a socket belongs to, as far as it can be looked for.
type Identity struct {
	// Issuer is the iss claim; empty is a value like any other.
	Issuer string
	// Subject, TokenID and SessionID are sub, jti and sid; empty if there is
	// none.
	Subject, TokenID, SessionID string
	// IssuedAt is the iat claim; zero if there is none.
	IssuedAt time.Time
}

// Session is one live socket. What is exported is not to be changed once it
// has been added.
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
	// Socket is the socket itself, for whoever has added it.
	Socket any

	ended chan struct{}
	order uint64 // of adding

	// Of the registry's, guarded by its lock.
	identity           Identity
	joined             uint64 // order of becoming the subject's; zero before
	bySubject, byToken link
	bySession, inOrder link
	inSubject, inToken bool
	inSession, inAll   bool
}

// link chains the sessions of one value of an index.
type link struct{ prev, next *Session }

// index finds sessions by a claim, whoever has issued it: two issuers seldom
// have the same, and an operator may not know which it was.
type index struct {
	first map[string]*Session
	link  func(*Session) *link
}

func (x *index) add(claim string, s *Session) {
	if x.first == nil {
		x.first = make(map[string]*Session)
	}
	first := x.first[claim]
	*x.link(s) = link{next: first}
	if first != nil {
		x.link(first).prev = s
	}
	x.first[claim] = s
}

func (x *index) remove(claim string, s *Session) {
	l := x.link(s)
	switch {
	case l.prev != nil:
		x.link(l.prev).next = l.next
	case l.next != nil:
		x.first[claim] = l.next
	default:
		delete(x.first, claim)
	}
	if l.next != nil {
		x.link(l.next).prev = l.prev
	}
	*l = link{}
}

// Registry is the live sockets of a process. The zero value is ready for use;
// its methods are safe for concurrent use.
type Registry struct {
	mu       sync.Mutex          // guards the following
	sessions map[string]*Session // by id
	subjects index
	tokens   index
	sids     index
	first    *Session // in the order of adding
	last     *Session
	added    uint64
	joined   uint64
	draining bool
}

// Add registers s, of which nobody is known yet. It must be called before the
// client is told that its socket is open. It returns false, and does nothing,
// once Drain was called: a socket that is opened then would not be closed. A
// session that was removed may be added again: it keeps its place among those of
// its subject.
func (r *Registry) Add(s *Session) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.draining {
		return false
	}
	s.ended = make(chan struct{}) // under the lock: Drain waits for it
	if r.sessions == nil {
		r.sessions = make(map[string]*Session)
		r.subjects.link = func(s *Session) *link { return &s.bySubject }
		r.tokens.link = func(s *Session) *link { return &s.byToken }
		r.sids.link = func(s *Session) *link { return &s.bySession }
	}
	r.sessions[s.ID] = s
	r.added++
	s.order, s.inAll = r.added, true
	s.inOrder = link{prev: r.last}
	if r.last != nil {
		r.last.inOrder.next = s
	} else {
		r.first = s
	}
	r.last = s
	return true
}

// Identify says whom s belongs to, from a login or a renewal on. It does
// nothing for a session that is not registered.
func (r *Registry) Identify(s *Session, id Identity) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !s.inAll {
		return
	}
	r.forgetLocked(s)
	if s.joined == 0 || s.identity.Issuer != id.Issuer || s.identity.Subject != id.Subject {
		r.joined++
		s.joined = r.joined
	}
	s.identity = id
	if s.inSubject = id.Subject != ""; s.inSubject {
		r.subjects.add(id.Subject, s)
	}
	if s.inToken = id.TokenID != ""; s.inToken {
		r.tokens.add(id.TokenID, s)
	}
	if s.inSession = id.SessionID != ""; s.inSession {
		r.sids.add(id.SessionID, s)
	}
}

// IdentityOf returns whom s belongs to.
func (r *Registry) IdentityOf(s *Session) Identity {
	r.mu.Lock()
	defer r.mu.Unlock()
	return s.identity
}

// forgetLocked takes s out of the indexes.
func (r *Registry) forgetLocked(s *Session) {
	id := s.identity
	if s.inSubject {
		r.subjects.remove(id.Subject, s)
	}
	if s.inToken {
		r.tokens.remove(id.TokenID, s)
	}
	if s.inSession {
		r.sids.remove(id.SessionID, s)
	}
	s.inSubject, s.inToken, s.inSession = false, false, false
}

// Remove takes s out, whose socket has ended.
func (r *Registry) Remove(s *Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !s.inAll {
		return
	}
	r.forgetLocked(s)
	delete(r.sessions, s.ID)
	if s.inOrder.prev != nil {
		s.inOrder.prev.inOrder.next = s.inOrder.next
	} else {
		r.first = s.inOrder.next
	}
	if s.inOrder.next != nil {
		s.inOrder.next.inOrder.prev = s.inOrder.prev
	} else {
		r.last = s.inOrder.prev
	}
	s.inOrder, s.inAll = link{}, false
	close(s.ended)
}

// Get returns the session with this id, or nil.
func (r *Registry) Get(id string) *Session {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sessions[id]
}

// Len returns how many sockets live.
func (r *Registry) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.sessions)
}

// Filter says which sessions are meant: those for which all holds that is set.
type Filter struct {
	// Issuer counts where OfIssuer is set. If it is empty then, those are
	// meant whose token has none, and not those of whom nobody is known.
	Issuer   string
	OfIssuer bool
	// The others count where they are not empty.
	Subject, TokenID, SessionID, Site string
}

// IsZero tells whether f means all sessions.
func (f Filter) IsZero() bool { return f == Filter{} }

func (f Filter) matches(s *Session) bool {
	id := &s.identity
	return (!f.OfIssuer || s.joined != 0 && f.Issuer == id.Issuer) &&
		(f.Subject == "" || f.Subject == id.Subject) &&
		(f.TokenID == "" || f.TokenID == id.TokenID) &&
		(f.SessionID == "" || f.SessionID == id.SessionID) &&
		(f.Site == "" || f.Site == s.Site)
}

// Find returns the sessions that f means, in the order of their opening. With a
// subject, jti or sid it looks at those alone that have it.
func (r *Registry) Find(f Filter) []*Session {
	r.mu.Lock()
	found := r.findLocked(f)
	r.mu.Unlock()
	sortByOrder(found)
	return found
}

func sortByOrder(sessions []*Session) {
	slices.SortFunc(sessions, func(a, b *Session) int { return cmp.Compare(a.order, b.order) })
}

// Before returns the sessions of the same site and subject that became the
// subject's before s did, in that order: who opens a socket and logs in later
// comes after those that have logged in meanwhile.
func (r *Registry) Before(s *Session) []*Session {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := s.identity
	found := r.findLocked(Filter{Issuer: id.Issuer, OfIssuer: true, Subject: id.Subject, Site: s.Site})
	found = slices.DeleteFunc(found, func(other *Session) bool { return other.joined >= s.joined })
	slices.SortFunc(found, func(a, b *Session) int { return cmp.Compare(a.joined, b.joined) })
	return found
}

func (r *Registry) findLocked(f Filter) (found []*Session) {
	all, _ := r.meantLocked(f)
	for s := range all {
		found = append(found, s)
	}
	return found
}

// meantLocked returns the sessions that f means, and whether they come in the
// order of their opening: those that are found by a claim do not.
func (r *Registry) meantLocked(f Filter) (all iter.Seq[*Session], ordered bool) {
	s, ordered, next := r.first, true, func(s *Session) *Session { return s.inOrder.next }
	for _, way := range []struct {
		claim string
		in    *index
	}{{f.TokenID, &r.tokens}, {f.SessionID, &r.sids}, {f.Subject, &r.subjects}} {
		if way.claim != "" {
			s, ordered = way.in.first[way.claim], false
			next = func(s *Session) *Session { return way.in.link(s).next }
			break
		}
	}
	return func(yield func(*Session) bool) {
		for s := s; s != nil; s = next(s) {
			if f.matches(s) && !yield(s) {
				return
			}
		}
	}, ordered
}

// Page returns at most limit of the sessions that f means, from the place
// after on: the next of the page before, or empty for the first. total is how
// many f means in all; next is empty on the last page. A place that cannot be
// one is the end.
func (r *Registry) Page(f Filter, after string, limit int) (page []*Session, total int, next string) {
	from, err := strconv.ParseUint(after, 36, 64)
	if after != "" && err != nil {
		from = ^uint64(0)
	}
	page, total = r.pageAfter(f, from, limit+1)
	sortByOrder(page)
	if len(page) > limit {
		page = page[:limit]
		next = strconv.FormatUint(page[limit-1].order, 36)
	}
	return page, total, next
}

// pageAfter returns those of the sessions that f means which were added after
// from: the first n of them at the least, but no more if they come in order.
func (r *Registry) pageAfter(f Filter, from uint64, n int) (page []*Session, total int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	all, ordered := r.meantLocked(f)
	for s := range all {
		total++
		if s.order > from && (!ordered || len(page) < n) {
			page = append(page, s)
		}
	}
	return page, total
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
	return r.findLocked(Filter{})
}
