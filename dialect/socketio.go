package dialect

import (
	"bytes"
	"fmt"
	"net/url"
	"strings"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

// SocketIOConfig is how the dialect socketio is configured.
type SocketIOConfig struct {
	// Credential are JSON pointers into the object with which a client
	// connects to a namespace, its `auth`. At most one credential may stand
	// there. Default: /token, /access_token, /authorization, /authToken.
	Credential []string
	// Pass is forward or strip: whether the application sees the credential.
	// Default: strip.
	Pass string
	// Path is that of the requests with which clients poll, as they write it.
	// Default: /socket.io/.
	Path string
}

// defaultSocketIOPath is that of Socket.IO's clients and servers.
const defaultSocketIOPath = "/socket.io/"

// defaultSocketIOCredential are the names that applications use.
var defaultSocketIOCredential = []string{"/token", "/access_token", "/authorization", "/authToken"}

// NewSocketIO returns the dialect of Socket.IO 3 and 4, protocol 5 over
// Engine.IO 4, in which the credential comes with the CONNECT packet of a
// namespace: 40{"token":"…"} or 40/admin,{"token":"…"}.
//
// A client that asks for Engine.IO 3 (Socket.IO 2) is connected by the server
// unasked: it can log in by its request only. Its later CONNECT packets may
// carry a credential in the query of a namespace, 40/admin?token=…, which cannot
// be taken out.
// Packets that are coded otherwise than by Socket.IO's own parser, such as
// with socket.io-msgpack-parser, are not read.
//
// The dialect is a [Poller], too. An error names the word that is wrong.
func NewSocketIO(c SocketIOConfig) (Dialect, error) {
	pass, err := checkPass(c.Pass, passStrip, passForward, passStrip)
	if err != nil {
		return nil, err
	}
	places, err := parsePlaces(c.Credential, defaultSocketIOCredential)
	if err != nil {
		return nil, err
	}
	switch {
	case c.Path == "":
		c.Path = defaultSocketIOPath
	case c.Path[0] != '/' || strings.ContainsAny(c.Path, "?#*{} "):
		return nil, fmt.Errorf("path %q is none that is compared exactly: write one such as %s", c.Path, defaultSocketIOPath)
	}
	d := &socketIO{auth: newPlaced(nil, places), strip: pass == passStrip, path: c.Path}
	for _, p := range places {
		d.names = append(d.names, p[0])
	}
	return d, nil
}

// socketIO is the dialect as configured.
type socketIO struct {
	auth  *placed
	names []string // with which the pointers begin
	strip bool
	path  string // of the polling transport
}

func (d *socketIO) Traits() Traits {
	return Traits{Login: true, Renew: true, ServerFirst: true, Fallback: true}
}

// Start reads the protocol's version as the server does, which takes anything
// but a single 4 for 3.
func (d *socketIO) Start(o Opening) Speaker {
	query, err := url.ParseQuery(o.Query)
	version := query["EIO"]
	return &socketIOSpeaker{socketIO: d, old: err != nil || len(version) != 1 || version[0] != "4"}
}

// Packets of Engine.IO 4, and of Socket.IO within its messages.
const (
	engineOpen      = "0{" // from the server, with the id of the session
	engineClose     = "1"
	enginePing      = "2" // from the server; in Engine.IO 3 from the client
	enginePong      = "3"
	engineProbe     = "2probe" // of a client that comes from polling
	engineProbeOK   = "3probe"
	engineUpgrade   = "5"
	engineNoop      = "6"
	socketIOConnect = "40"
	socketIORefuse  = "44" // CONNECT_ERROR
)

// socketIOSpeaker follows one socket.
type socketIOSpeaker struct {
	*socketIO
	old bool // Engine.IO 3
}

// Idle is false: a client may connect to further namespaces at any time.
func (s *socketIOSpeaker) Idle() bool { return false }

// Foreign is true for what is binary and no CONNECT packet to anybody. A text is
// a packet to all servers, and some find further ones behind its beginning.
func (s *socketIOSpeaker) Foreign(begin proxy.Message) bool {
	return begin.Binary && !couldConnect(begin, false)
}

// namespace is the Context of a CONNECT packet, as it stands in the packet;
// empty for the main one.
type namespace string

func (s *socketIOSpeaker) Client(st State, m proxy.Message) ([]Part, error) {
	kind := packetForeign
	if !m.Binary {
		kind = packetOf(m.Data)
	}
	switch {
	case kind == packetConnect:
		return s.connect(st, m)
	case kind == packetBad || couldConnect(m, true):
		return nil, ErrProtocol
	case m.Binary:
		return asWhole, nil
	default:
		return s.engine(st, m), nil
	}
}

// engine takes apart what Engine.IO says of itself.
func (s *socketIOSpeaker) engine(st State, m proxy.Message) []Part {
	switch string(m.Data) {
	case engineProbe, engineUpgrade, engineNoop:
		return []Part{{Kind: Harmless, Whole: true}}
	case enginePong:
		if !s.old {
			return clientLife(st, texts(enginePong), nil)
		}
	case enginePing:
		if s.old {
			return clientLife(st, texts(enginePing), texts(enginePong))
		}
	}
	return asWhole
}

// connect takes a CONNECT packet apart. In a socket that somebody has logged in
// one without a credential is the application's business.
func (s *socketIOSpeaker) connect(st State, m proxy.Message) ([]Part, error) {
	c, err := s.readConnect(m.Data)
	switch {
	case err != nil:
		return nil, err
	case !c.there && (s.old || st != Pending):
		return asWhole, nil
	}
	p := Part{Kind: Login, Credential: c.text, Context: c.namespace}
	if s.strip && c.there {
		p.Message = proxy.Message{Data: c.rest}
	} else {
		p.Whole = true
	}
	return []Part{p}, nil
}

// App is asked for the greeting and for signs of life only.
func (s *socketIOSpeaker) App(st State, m proxy.Message) ([]Part, error) {
	if m.Binary {
		return asWhole, nil
	}
	switch string(m.Data) {
	case engineProbeOK, engineNoop:
		return []Part{{Kind: Harmless, Whole: true}}, nil
	case enginePing:
		if !s.old {
			return appLife(st, texts(enginePing), texts(enginePong)), nil
		}
	case enginePong:
		if s.old {
			return appLife(st, texts(enginePong), nil), nil
		}
	}
	if bytes.HasPrefix(m.Data, []byte(engineOpen)) {
		return []Part{{Kind: Harmless, Whole: true}}, nil
	}
	return asWhole, nil
}

// Say refuses a namespace in the words of the real server, upon which the
// client tells its application and waits for it to connect again. Everything
// else is silence: after a transport that closes without a word clients come
// back by themselves, and ask for their auth anew. The close code means
// nothing to them.
func (s *socketIOSpeaker) Say(e Event, f Facts) Words {
	ns, asked := f.Context.(namespace)
	if !asked {
		return Words{}
	}
	var why string
	switch e {
	case Refused, NotRenewed:
		why = "unauthorized"
	case Forbidden:
		why = "forbidden"
	default:
		return Words{}
	}
	packet := socketIORefuse
	if ns != "" {
		packet += string(ns) + ","
	}
	packet += `{"message":` + quoted(why)
	if f.Reason != "" {
		packet += `,"data":{"reason":` + quoted(f.Reason) + `}`
	}
	return Words{Messages: texts(packet + "}")}
}
