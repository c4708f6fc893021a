package websocketauth

import (
	"errors"
	"fmt"
	"hash/maphash"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/dialect"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

// conversation reads the messages of one socket: it asks the dialect what they
// are, and lets log in, renews or refuses. The gate calls it with one message
// of each side at a time.
type conversation struct {
	s     *socket
	early bool // the application is connected before login
	// passages is the list of the last verdict on the client's, to be used
	// again.
	passages []proxy.Passage
	// vouched is the identity of the last good credential, where each message
	// has its own, and mark that credential's hash.
	vouched *auth.Identity
	mark    uint64
}

var markSeed = maphash.MakeSeed()

// followedConversation is one whose dialect must see what the client gets.
type followedConversation struct {
	*conversation
	dialect.Follower
}

// Client and App are the conversation's, and so is Broken.
func (c followedConversation) Client(m proxy.Message) proxy.Verdict { return c.conversation.Client(m) }

// App implements proxy.Reader.
func (c followedConversation) App(m proxy.Message) proxy.Verdict { return c.conversation.App(m) }

// Foreign implements proxy.Reader.
func (c followedConversation) Foreign(m proxy.Message) bool { return c.conversation.Foreign(m) }

// Follow implements proxy.Follower. A panic ends the socket: this may be called
// on a goroutine on which it would end the process.
func (c followedConversation) Follow(p []byte) {
	defer c.endOnPanic()
	c.Follower.Follow(p)
}

// AtBorder implements proxy.Follower. A panic ends the socket.
func (c followedConversation) AtBorder() bool {
	defer c.endOnPanic()
	return c.Follower.AtBorder()
}

// skippedConversation is one whose dialect must also see what passes unread.
type skippedConversation struct {
	followedConversation
	skipper dialect.Skipper
}

// SkipClient implements proxy.Skipper. A panic ends the socket.
func (c skippedConversation) SkipClient(p []byte) error {
	defer c.endOnPanic()
	return c.skipper.SkipClient(c.state(), p)
}

// SkipApp implements proxy.Skipper. A panic ends the socket.
func (c skippedConversation) SkipApp(p []byte) {
	defer c.endOnPanic()
	c.skipper.SkipApp(p)
}

// reading returns how the messages of s are read, nil if none has to be.
func (s *socket) reading() *proxy.Reading {
	h := s.handler
	pending := s.identity == nil
	if s.speaker == nil || !pending && h.renew == nil && h.every == nil && s.speaker.Idle() {
		return nil
	}
	c := &conversation{s: s, early: pending && h.first.early}
	r := &proxy.Reading{
		Reader: c, Pending: pending, Strict: h.every != nil,
		Limit: defaultMaxMessage, OpenLimit: openMaxMessage,
		HoldMessages: pendingMessages, HoldBytes: pendingBytes,
	}
	if follower, ok := s.speaker.(dialect.Follower); ok {
		r.Reader = followedConversation{c, follower}
	}
	if skipper, ok := s.speaker.(dialect.Skipper); ok {
		r.Reader = skippedConversation{followedConversation{c, skipper}, skipper}
	}
	if h.first != nil {
		r.Limit = h.first.maxSize
	}
	if h.every != nil {
		r.OpenLimit = h.first.openSize
	}
	if h.renew != nil {
		r.HoldMessages, r.HoldBytes = h.renew.holdMessages, h.renew.holdSize
	}
	return r
}

const (
	// defaultMaxMessage is how long a message may be that is looked into before
	// somebody has logged in, where no login by message says.
	defaultMaxMessage = 16 << 10
	// openMaxMessage is the same for afterwards, where no more is allowed
	// before.
	openMaxMessage = 1 << 20
	// pendingMessages and pendingBytes are how much of what may come before
	// login is kept for the application.
	pendingMessages = 64
	pendingBytes    = 256 << 10
)

// endOnPanic is to be deferred: a panic ends the socket.
func (c *conversation) endOnPanic() {
	if p := recover(); p != nil {
		c.s.refuse(fmt.Errorf("panic while reading a message: %T", p), nil)
	}
}

// Client implements proxy.Reader. A panic ends the socket, and what it returns
// then is the zero value: nothing goes on.
func (c *conversation) Client(m proxy.Message) proxy.Verdict {
	defer c.endOnPanic()
	return c.client(m)
}

func (c *conversation) client(m proxy.Message) (v proxy.Verdict) {
	if c.s.polledBy.id != "" && c.state() == dialect.Pending {
		c.s.loggedInByPolling()
	}
	parts, err := c.s.speaker.Client(c.state(), m)
	if err != nil {
		c.s.refuse(brokenBy(err), nil)
		return proxy.Verdict{Ends: true}
	}
	v.Instead = c.passages[:0]
	for i := range parts {
		c.take(&parts[i], &v)
		if c.s.isOver() {
			return proxy.Verdict{Ends: true}
		}
	}
	c.passages = v.Instead
	c.maybeStopReading()
	return v
}

// take decides about one part.
func (c *conversation) take(p *dialect.Part, v *proxy.Verdict) {
	state := c.s.gate.State()
	switch {
	case p.Kind == dialect.Login:
		if c.mayLogin(p) {
			forward(p, v, false)
		}
	case state == proxy.StateOpen:
		forward(p, v, false)
	case p.Kind == dialect.KeepAlive:
		c.s.gate.Say(p.ToClient...)
		if state != proxy.StatePending || c.early {
			c.s.gate.SayToApp(p.ToApp...)
		}
	case state == proxy.StateSuspended:
		forward(p, v, false) // the gate holds it
	case p.Kind == dialect.Harmless:
		forward(p, v, c.early)
	default:
		c.badMessage(auth.Refuse(auth.ReasonMissing, "a message before the login"), p)
	}
}

// forward adds what goes on of p.
func forward(p *dialect.Part, v *proxy.Verdict, now bool) {
	switch {
	case p.Whole:
		v.Whole, v.Now = true, now
	case !p.Nothing:
		v.Instead = append(v.Instead, proxy.Passage{Message: p.Message, Now: now})
	}
}

// mayLogin verifies the credential of p, and reports whether what is left of
// the message goes on.
func (c *conversation) mayLogin(p *dialect.Part) bool {
	s := c.s
	id, err := c.verify(p.Credential)
	if err == nil {
		current := s.current()
		if current == nil {
			s.logIn(id, p.Context)
			return !s.isOver()
		}
		every := s.handler.every != nil
		if every && id == current && s.gate.State() == proxy.StateOpen {
			return true // the same token as before: nothing is new
		}
		if _, err = s.renewBy(id, !every, p.Context); err == nil {
			return true
		}
	}
	c.badMessage(err, p)
	return false
}

// verify checks a credential as that of a handshake is checked.
func (c *conversation) verify(credential string) (*auth.Identity, error) {
	if credential == "" {
		return nil, auth.Refuse(auth.ReasonMissing, "the message has no credential")
	}
	if len(credential) > auth.MaxCredential {
		return nil, auth.Refuse(auth.ReasonMalformed, "the credential is too long")
	}
	h := c.s.handler
	if c.s.current() == nil { // the store may have gone since the handshake
		if err := h.app.ready(); err != nil {
			return nil, &auth.OutageError{Err: err}
		}
	}
	// Verifiers bound themselves in time, and the context ends with the socket.
	id, err := h.vouched(c.s.handshake.Context(), credential, c.s.request.clientIP, h.every == nil)
	if reasonOf(err) == reasonLockout {
		if again := c.again(credential); again != nil {
			id, err = again, checkRevoked(again)
		}
	}
	if err != nil {
		return nil, err
	}
	if h.every != nil && id != c.vouched { // else it is the same credential as before
		c.vouched, c.mark = id, maphash.String(markSeed, credential)
	}
	return id, c.s.request.meetsRules(id)
}

// again returns the identity of a credential of which each message has one, if
// it is that of the message before and still good. It goes on counting while the
// client's address is locked out, which may be somebody else's doing. No other
// is looked at: whoever is locked out is to learn nothing of what it guesses.
func (c *conversation) again(credential string) *auth.Identity {
	current := c.s.current()
	if c.vouched == nil || current == nil || maphash.String(markSeed, credential) != c.mark {
		return nil
	}
	id, err := c.s.handler.verify(c.s.handshake.Context(), credential, false)
	if err != nil || sameIdentity(current, id) != nil {
		return nil
	}
	return id
}

// badMessage answers a message whose credential is missing or bad.
func (c *conversation) badMessage(err error, p *dialect.Part) {
	s := c.s
	every := s.handler.every
	switch {
	case every != nil && every.onBad == onBadDrop:
		s.observeRefused(reasonOf(err), err)
	case every != nil && every.onBad == onBadTell, every == nil && s.current() != nil:
		s.tell(reasonOf(err), err, p.Context)
	default:
		s.refuse(err, p.Context)
	}
}

// tell tells the client that its credential is refused, while the socket lives
// on, unless the protocol demands an end.
func (s *socket) tell(reason auth.Reason, err error, context any) {
	s.observeRefused(reason, err)
	s.mu.Lock()
	defer s.gate.Flush() // without the lock: it may have to wait for the client
	defer s.mu.Unlock()
	words := s.wordsLocked(dialect.NotRenewed, refusals[reason].word, context)
	if words.Code == proxy.CloseNone {
		s.gate.Queue(words.Messages...)
		return
	}
	s.over = true
	s.gate.End(proxy.End{
		Cause: proxy.Cause(reason), Code: words.Code, Reason: refusals[reason].word, Farewell: words.Messages,
	})
}

// maybeStopReading has the rest of the socket only watched, once nothing more
// is to be found in messages.
func (c *conversation) maybeStopReading() {
	h := c.s.handler
	if h.renew == nil && h.every == nil && c.s.gate.State() == proxy.StateOpen && c.s.speaker.Idle() {
		c.s.gate.StopReading()
	}
}

// App implements proxy.Reader. A panic ends the socket, as in Client.
func (c *conversation) App(m proxy.Message) proxy.Verdict {
	defer c.endOnPanic()
	return c.app(m)
}

func (c *conversation) app(m proxy.Message) (v proxy.Verdict) {
	state := c.state()
	parts, err := c.s.speaker.App(state, m)
	if err != nil {
		c.s.refuse(&proxy.UpstreamError{Err: errors.New("the application does not speak the dialect")}, nil)
		return proxy.Verdict{}
	}
	for i := range parts {
		switch p := &parts[i]; p.Kind {
		case dialect.KeepAlive:
			// Not c.s.gate.Say: whoever calls this writes to the client.
			c.s.gate.Queue(p.ToClient...)
			c.s.gate.SayToApp(p.ToApp...)
		default:
			forward(p, &v, p.Kind == dialect.Harmless && state == dialect.Pending)
		}
	}
	return v
}

// Foreign implements proxy.Reader. A panic ends the socket, and what it returns
// then is the zero value: nothing passes unread.
func (c *conversation) Foreign(begin proxy.Message) bool {
	defer c.endOnPanic()
	return c.s.speaker.Foreign(begin)
}

// Broken implements proxy.Reader.
func (c *conversation) Broken(err error) proxy.End {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.s.over = true
	return c.s.endOfLocked(brokenBy(err), nil)
}

// state returns the gate's state as the dialects call it.
func (c *conversation) state() dialect.State {
	switch c.s.gate.State() {
	case proxy.StatePending:
		return dialect.Pending
	case proxy.StateSuspended:
		return dialect.Suspended
	default:
		return dialect.Open
	}
}

func (s *socket) isOver() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over
}
