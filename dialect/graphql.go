package dialect

import (
	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

// GraphQLConfig says how a GraphQL application speaks. The zero value is
// graphql-transport-ws, the protocol of the library graphql-ws.
type GraphQLConfig struct {
	// Where connection_init may carry the credential, as JSON pointers: the
	// protocols leave it to the application. A leading "Bearer " is taken off.
	// Several places may hold the same credential, never two. Default:
	// /payload/Authorization /payload/authorization /payload/token
	// /payload/authToken /payload/access_token /payload/headers/Authorization
	Credential []string `json:"credential,omitempty"`
	// What the application sees of connection_init: forward (all of it) or
	// strip (all but the credential). Default: strip
	Pass string `json:"pass,omitempty"`
	// The protocol of the library subscriptions-transport-ws, whose
	// subprotocol is called graphql-ws, rather than graphql-transport-ws.
	Legacy bool `json:"legacy,omitempty"`
}

// defaultGraphQLPlaces are where the documentation of servers and clients puts
// the credential.
var defaultGraphQLPlaces = []string{
	"/payload/Authorization", "/payload/authorization", "/payload/token",
	"/payload/authToken", "/payload/access_token", "/payload/headers/Authorization",
}

// The subprotocols. The older one has the name of the newer one's library.
const (
	graphQLTransport = "graphql-transport-ws"
	graphQLLegacy    = "graphql-ws"
)

// Close codes of graphql-transport-ws, chosen by what its client does. It
// comes back, with fresh connectionParams, on 4403, 4408 and those of RFC 6455
// that say so; it gives up for good on 4401 and on 1008 and 1011.
const (
	graphQLForbidden   proxy.CloseCode = 4403 // retry
	graphQLInitTimeout proxy.CloseCode = 4408 // retry
	graphQLFinal       proxy.CloseCode = 4401 // final
)

// NewGraphQL returns the dialect that c describes. A credential comes with
// connection_init, which goes on to the application. Neither protocol can renew
// one: a second connection_init ends the socket (4429) where the application
// keeps to the protocol. Its credential is verified all the same, since not all
// do. What ends a credential closes with a code on
// which the client connects anew and asks for a fresh one.
func NewGraphQL(c GraphQLConfig) (Dialect, error) {
	pass, err := checkPass(c.Pass, passStrip, passForward, passStrip)
	if err != nil {
		return nil, err
	}
	places, err := parsePlaces(c.Credential, defaultGraphQLPlaces)
	if err != nil {
		return nil, err
	}
	heads := []pointer{{"type"}, {"payload"}}
	return &graphQL{in: newPlaced(heads, places), strip: pass == passStrip, legacy: c.Legacy}, nil
}

// What graphQL.in finds besides the credential.
const (
	graphQLType = iota
	graphQLPayload
)

// graphQL is its own speaker, since nothing has to be kept of a socket.
type graphQL struct {
	in     *placed
	strip  bool
	legacy bool
}

// Traits implements Dialect.
func (d *graphQL) Traits() Traits {
	protocol := graphQLTransport
	if d.legacy {
		protocol = graphQLLegacy
	}
	return Traits{Login: true, Subprotocols: []string{protocol}}
}

// Start implements Dialect.
func (d *graphQL) Start(Opening) Speaker { return d }

// Idle implements Speaker. Applications take connection_init at any time, if
// only some do.
func (d *graphQL) Idle() bool { return false }

// Foreign implements Speaker.
func (d *graphQL) Foreign(begin proxy.Message) bool { return foreignJSON(begin) }

// graphQLInit is the type of the message that carries the credential.
const graphQLInit = "connection_init"

// Client implements Speaker.
func (d *graphQL) Client(st State, m proxy.Message) ([]Part, error) {
	switch {
	case begunWithout(m.Data) && refusedWithout(st, m, d.Client):
		return nil, ErrProtocol
	case st == Open && !mayHold(m, graphQLInit):
		return asWhole, nil
	}
	found, err := d.in.findIn(m)
	kind := found[graphQLType]
	if err != nil {
		return unread(err, kind.couldBe(m.Data, graphQLInit))
	}
	switch {
	case kind.equals(m.Data, graphQLInit):
		return d.login(st, m, found)
	case m.Binary || d.legacy || st == Open:
		return asWhole, nil
	case kind.equals(m.Data, "ping"):
		return []Part{{Kind: KeepAlive, Whole: true, ToClient: pong(m.Data, found)}}, nil
	case kind.equals(m.Data, "pong") && st == Pending:
		return []Part{{Kind: KeepAlive, Whole: true}}, nil
	case kind.equals(m.Data, "pong"):
		return []Part{{Kind: KeepAlive, Whole: true, ToApp: texts(barePong)}}, nil
	}
	return asWhole, nil
}

// App implements Speaker.
func (d *graphQL) App(st State, m proxy.Message) ([]Part, error) {
	if m.Binary {
		return asWhole, nil
	}
	found, err := d.in.find(m.Data)
	switch kind := found[graphQLType]; {
	case err != nil:
		return asWhole, nil
	case d.legacy && kind.equals(m.Data, "ka"):
		return d.legacyKeepAlive(), nil
	case d.legacy:
		return asWhole, nil
	case kind.equals(m.Data, "ping"):
		return []Part{{Kind: KeepAlive, Whole: true, ToApp: pong(m.Data, found)}}, nil
	case kind.equals(m.Data, "pong") && st == Pending:
		return []Part{{Kind: KeepAlive, Whole: true}}, nil
	case kind.equals(m.Data, "pong"):
		return []Part{{Kind: KeepAlive, Whole: true, ToClient: texts(barePong)}}, nil
	}
	return asWhole, nil
}

// login reads connection_init. In a socket that somebody has logged in one
// without a credential is the application's business.
func (d *graphQL) login(st State, m proxy.Message, found []span) ([]Part, error) {
	credential, err := d.in.credential(m.Data, found)
	switch {
	case err != nil:
		return nil, err
	case st != Pending && !credential.there:
		return asWhole, nil
	case m.Binary:
		return inBinary(st)
	}
	p := Part{Kind: Login, Credential: credential.text, Whole: true}
	if d.strip && credential.there {
		p.Whole, p.Message = false, proxy.Message{Data: d.in.cut(m.Data, found)}
	}
	return []Part{p}, nil
}

// barePong is sent on in place of a pong that comes while the socket is
// suspended: whoever has asked in an open one waits for it, but its payload is
// data.
const barePong = `{"type":"pong"}`

// pong answers a ping, whose payload it repeats as the libraries do.
func pong(data []byte, found []span) []proxy.Message {
	if payload := found[graphQLPayload]; payload.is() {
		return texts(`{"type":"pong","payload":` + string(payload.raw(data)) + `}`)
	}
	return texts(barePong)
}

// Say implements Speaker. The newer protocol has no words before a close: its
// client takes any that it does not know for an error, and gives up (4400).
func (d *graphQL) Say(e Event, f Facts) Words {
	if d.legacy {
		return legacyWords(e, f)
	}
	switch e {
	case Refused, Expired, Revoked:
		return Words{Code: graphQLForbidden}
	case Timeout:
		return Words{Code: graphQLInitTimeout}
	case Forbidden:
		return Words{Code: graphQLFinal}
	case Unavailable, Failed:
		return Words{Code: proxy.CloseTryAgainLater}
	default:
		return Words{}
	}
}
