package dialect

import (
	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

// PhoenixConfig is how the dialect phoenix is configured.
type PhoenixConfig struct {
	// Credential are JSON pointers into the payload with which a client joins
	// a topic. At most one credential may stand there. Default: /token,
	// /access_token, /user_token.
	Credential []string
	// Pass is forward or strip: whether the application sees the credential.
	// Default: forward, because Supabase and most applications of Phoenix
	// verify it for each topic again.
	Pass string
}

// defaultPhoenixCredential are the names that applications and Supabase use.
var defaultPhoenixCredential = []string{"/token", "/access_token", "/user_token"}

// NewPhoenix returns the dialect of Phoenix Channels, and of Supabase Realtime,
// in which the credential comes with the payload of phx_join. Each further
// join with one is a renewal. So is the event access_token, with which
// Supabase's client renews: it goes on with the application unless the
// credential is to be taken out, and then not at all, since nothing is left of
// it.
//
// Both forms of messages are read, arrays (vsn=2.0.0) and objects (vsn=1.0.0);
// a server fails on the one that it has not agreed on. Binary messages are
// data, unless they are of an event that carries a credential. An error names
// the word that is wrong.
func NewPhoenix(c PhoenixConfig) (Dialect, error) {
	pass, err := checkPass(c.Pass, passForward, passForward, passStrip)
	if err != nil {
		return nil, err
	}
	places, err := parsePlaces(c.Credential, defaultPhoenixCredential)
	if err != nil {
		return nil, err
	}
	return &phoenix{
		arrays:  newPlaced(phoenixHeads(phoenixArray), below(phoenixArray[phoenixPayload], places)),
		objects: newPlaced(phoenixHeads(phoenixObject), below(phoenixObject[phoenixPayload], places)),
		strip:   pass == passStrip,
	}, nil
}

// phoenix is the dialect as configured, and the speaker of each socket: it has
// nothing to remember.
type phoenix struct {
	arrays, objects *placed
	strip           bool
}

func (d *phoenix) Traits() Traits {
	return Traits{
		Login: true, Renew: true, Fallback: true, Unread: []string{"longpoll"}, Subprotocols: []string{"phoenix"},
	}
}

func (d *phoenix) Start(Opening) Speaker { return d }

// Idle is false: a client may join further topics at any time.
func (d *phoenix) Idle() bool { return false }

// Foreign implements Speaker. A binary push whose event is not in the beginning
// could be any.
func (d *phoenix) Foreign(begin proxy.Message) bool {
	if begin.Binary && len(begin.Data) > 0 && begin.Data[0] == phoenixPush {
		event, is := phoenixPushEvent(begin)
		if !is || event == phoenixJoin || event == phoenixRenewal {
			return false
		}
	}
	return foreignJSON(begin)
}

// The events that carry a credential.
const (
	phoenixJoin    = "phx_join"
	phoenixRenewal = "access_token"
)

func (d *phoenix) Client(st State, m proxy.Message) ([]Part, error) {
	switch {
	case begunWithout(m.Data) && refusedWithout(st, m, d.Client):
		return nil, ErrProtocol
	case st == Open && !mayHold(m, phoenixJoin, phoenixRenewal):
		return asWhole, nil
	}
	if event, is := phoenixPushEvent(m); is {
		switch {
		case event == phoenixJoin, event == phoenixRenewal:
			return inBinary(st)
		case couldBeJSON(m.Data, true): // in UTF-16, which may begin with a NUL, too
			return nil, ErrProtocol
		}
		return asWhole, nil
	}
	msg, err := d.read(m)
	if err != nil {
		return unread(err, msg.couldBe(phoenixEvent, phoenixJoin) || msg.couldBe(phoenixEvent, phoenixRenewal))
	}
	switch {
	case m.Binary && (msg.is(phoenixEvent, phoenixJoin) || msg.is(phoenixEvent, phoenixRenewal)):
		return inBinary(st)
	case m.Binary:
	case msg.is(phoenixEvent, phoenixJoin):
		return d.join(st, msg)
	case msg.is(phoenixEvent, phoenixRenewal) && st != Pending:
		return d.renewal(msg), nil
	case msg.is(phoenixTopic, "phoenix") && msg.is(phoenixEvent, "heartbeat"):
		refs := msg.refs()
		return clientLife(st, texts(refs.message("heartbeat", "{}")), texts(refs.reply("ok", "{}"))), nil
	}
	return asWhole, nil
}

// join takes a join apart. In a socket that is open one without a credential
// is the application's business.
func (d *phoenix) join(st State, msg *phoenixMessage) ([]Part, error) {
	credential, err := msg.places.credential(msg.data, msg.found)
	switch {
	case err != nil:
		return nil, err
	case st != Pending && !credential.there:
		return asWhole, nil
	}
	p := Part{Kind: Login, Credential: credential.text, Context: msg.refs(), Whole: true}
	if d.strip && credential.there {
		p.Whole, p.Message = false, proxy.Message{Data: msg.places.cut(msg.data, msg.found)}
	}
	return []Part{p}, nil
}

// renewal takes Supabase's event apart.
func (d *phoenix) renewal(msg *phoenixMessage) []Part {
	token := msg.found[phoenixAccessToken]
	if !token.is() || string(token.raw(msg.data)) == "null" {
		return asWhole
	}
	text, _ := token.text(msg.data)
	return []Part{{Kind: Login, Credential: bearer(text), Context: msg.refs(), Whole: !d.strip, Nothing: d.strip}}
}

// App is asked for signs of life only: the answers to heartbeats.
func (d *phoenix) App(st State, m proxy.Message) ([]Part, error) {
	if m.Binary || st != Suspended {
		return asWhole, nil
	}
	msg, err := d.read(m)
	if err == nil && msg.is(phoenixTopic, "phoenix") && msg.is(phoenixEvent, "phx_reply") {
		return appLife(st, texts(msg.refs().reply("ok", "{}")), nil), nil
	}
	return asWhole, nil
}

// Say refuses a join as the real server does. Everything else is silence: a
// client whose socket is closed comes back, with the parameters that it is
// given then, unless the close code is 1000.
func (d *phoenix) Say(e Event, f Facts) Words {
	refs, asked := f.Context.(phoenixRefs)
	if !asked || refs.ref == "null" {
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
	response := `{"reason":` + quoted(why)
	if f.Reason != "" {
		response += `,"detail":` + quoted(f.Reason)
	}
	return Words{Messages: texts(refs.reply("error", response+"}"))}
}
