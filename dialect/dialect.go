// Package dialect knows how applications speak: which message carries a
// credential, what may pass before anybody has logged in, what keeps a
// connection alive, and how a client is told that its credential was
// accepted, refused, or must be renewed. It sees messages, never connections,
// and does not know whether a credential is good.
package dialect

import (
	"errors"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

// Dialect is how one kind of application speaks, as configured. It is
// immutable and safe for concurrent use.
type Dialect interface {
	// Traits tells what the protocol knows.
	Traits() Traits
	// Start returns the speaker for one socket.
	Start(o Opening) Speaker
}

// Traits are what a protocol knows. A configuration that wants more is refused
// when it is loaded.
type Traits struct {
	// Login: a message of the client's can carry a credential.
	Login bool
	// Every: each message can carry one, and it can be taken out.
	Every bool
	// Renew: a message can renew the credential of an open socket.
	Renew bool
	// Once: only the first message can carry a credential, and a later one
	// could not be told from data. Where a request has logged in, the
	// application would still take the first message for one.
	Once bool
	// ServerFirst: clients wait for the application's first message, so that
	// a login by message needs the application to be dialled early.
	ServerFirst bool
	// Fallback: its clients can also speak over plain HTTP requests.
	Fallback bool
	// Unread are the last segments, in small letters, of the paths of plain
	// requests that carry messages of the protocol in their bodies, credentials
	// among them, and that nobody reads.
	Unread []string
	// Subprotocols are those of the protocol, the preferred one first. Empty
	// if it has none.
	Subprotocols []string
}

// Opening is what a speaker knows of its socket from the handshake.
type Opening struct {
	// Subprotocol is the one that was agreed; empty if none is known.
	Subprotocol string
	// Query is the raw query of the request, without any credential.
	Query string
	// Early: the application is connected before login. What may come before
	// login goes to it at once; otherwise nothing does.
	Early bool
	// Every: each message of the client must carry its credential.
	Every bool
}

// State says how much may pass while a message is read.
type State int

// The states of a socket.
const (
	// Pending: nobody has logged in.
	Pending State = iota
	// Open: messages pass.
	Open
	// Suspended: the credential has ended and may be renewed.
	Suspended
)

// Speaker follows one socket. Client and App are called one message at a time
// each, but may run at the same time as each other and as Say. What they are
// given is valid only during the call. What they return must stay as it is until
// the next call of the same method, and a Part's Context for as long as the
// socket lives.
//
// What the application could take for a credential is a Login in every state,
// whatever has logged the socket in: the application never sees one that nobody
// has verified.
type Speaker interface {
	// Client takes a message of the client's apart. Together the parts are the
	// whole message, in its order. An error ends the socket: the message can be
	// read in two ways, or could be one of the protocol's that carries a
	// credential and cannot be read plainly. What begins as no message of the
	// protocol does is Data.
	Client(s State, m proxy.Message) ([]Part, error)
	// Foreign tells whether a message that begins so, and is too long to be
	// read, is none of the protocol's, so that it may pass. A [Skipper] sees it
	// in pieces then, and is asked before any of it is there.
	Foreign(begin proxy.Message) bool
	// App takes a message of the application's apart. It is asked only while
	// the state is Pending (with Opening.Early) or Suspended.
	App(s State, m proxy.Message) ([]Part, error)
	// Say returns what the gate tells the client when e happens.
	Say(e Event, f Facts) Words
	// Idle tells whether no message has to be read any more while the socket
	// is open: none of the client's can carry a credential, whatever has logged
	// it in, and nothing is to be learned for what is said at the end.
	Idle() bool
}

// Follower is a speaker of a protocol whose packets may span messages, so that
// words of the gate's own may not stand between any two messages.
type Follower interface {
	Speaker
	// Follow is given every byte of the application's messages that goes to
	// the client, in order.
	Follow(p []byte)
	// AtBorder tells whether the client has got whole packets so far.
	AtBorder() bool
}

// Kind says what a part is.
type Kind int

// The kinds of parts.
const (
	// Data is the application's business. It passes when the socket is open,
	// waits while it is suspended, and ends it when nobody has logged in. Of
	// the application's it waits before login, too.
	Data Kind = iota
	// Harmless may come before login: from the client it goes to the
	// application first of all (at once with Opening.Early), from the
	// application it is the greeting and goes to the client at once. Otherwise
	// it is Data.
	Harmless
	// KeepAlive is a sign of life. It passes when the socket is open.
	// Otherwise it goes nowhere, and ToClient and ToApp are sent instead.
	KeepAlive
	// Login carries a credential. If that is good, Message goes on; if not,
	// nothing does.
	Login
)

// Part is what is to be done with a message, or with a part of one.
type Part struct {
	Kind Kind
	// Whole: the part is the whole message, which goes on as it came.
	Whole bool
	// Message goes on where Whole is not set and Nothing is not.
	Message proxy.Message
	// Nothing: nothing goes on; a Login that the application never sees.
	Nothing bool
	// Credential is what Login carries, without a scheme such as Bearer.
	// Empty means that there is none, where there must be one.
	Credential string
	// ToClient and ToApp are what the gate says itself about a KeepAlive.
	ToClient, ToApp []proxy.Message
	// Context is handed to Say as Facts.Context when this part is answered.
	Context any
}

// Event is something that the client may be told.
type Event int

// The events.
const (
	// Opened: the socket is open, and a login is awaited.
	Opened Event = iota
	// Accepted: the login is good.
	Accepted
	// Renewed: the renewal is good.
	Renewed
	// Prompt: the credential will end; a new one is wanted.
	Prompt
	// Suspend: it has ended, the socket waits for a new one.
	Suspend
	// NotRenewed: a renewal, or a message with its own credential, is refused
	// and the socket lives on, unless the words have a close code.
	NotRenewed

	// With each event from here on the socket ends.

	// Refused: the credential is missing or bad.
	Refused
	// Forbidden: a rule refuses.
	Forbidden
	// Expired: the credential has ended.
	Expired
	// Revoked: the credential is no longer good.
	Revoked
	// Timeout: no login, or no renewal, in time.
	Timeout
	// Unavailable: nobody can tell now whether the credential is good.
	Unavailable
	// Stop: this server stops.
	Stop
	// Failed: any other end.
	Failed
)

// Facts are what can be said about an event.
type Facts struct {
	// Now is the time.
	Now time.Time
	// ExpiresAt is when the credential ends; zero if there is none.
	ExpiresAt time.Time
	// Reason is a word for the client, such as "expired"; empty if all is
	// well.
	Reason string
	// Subject is the identity's; empty before login.
	Subject string
	// Session is the id of the socket.
	Session string
	// Context is the Part's that is answered; nil if none is.
	Context any
}

// Words are what the gate says.
type Words struct {
	// Messages go to the client. None is silence.
	Messages []proxy.Message
	// Code is the close code where the event ends the socket. CloseNone is
	// what the gate sends for it by itself.
	Code proxy.CloseCode
}

// ErrAmbiguous says that a message carries a credential which two parsers
// would read in two ways, as JSON with a member twice.
var ErrAmbiguous = errors.New("the message can be read in two ways")

// ErrProtocol says that a message breaks the protocol where a credential is
// looked for.
var ErrProtocol = errors.New("the message is not of the protocol")
