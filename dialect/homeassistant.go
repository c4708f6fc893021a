package dialect

import (
	"fmt"
	"regexp"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

// HomeAssistantConfig is how the dialect home_assistant is configured.
type HomeAssistantConfig struct {
	// Pass is forward, strip or consume: whether the application sees the
	// login, sees it without the credential, or does not see it. With consume
	// the gate greets the client and accepts it in the application's stead,
	// which then speaks only about what comes after. Default: forward.
	Pass string
	// Version is what the gate calls itself towards clients, as ha_version.
	// Default: 2022.1.0, before which and with which clients ask for no
	// features.
	Version string
}

const defaultHomeAssistantVersion = "2022.1.0"

// homeAssistantVersion is how versions look: text that needs no quoting.
var homeAssistantVersion = regexp.MustCompile(`^[0-9A-Za-z.+-]{1,32}$`)

// NewHomeAssistant returns the dialect of Home Assistant's WebSocket API, in
// which a client logs in with {"type":"auth","access_token":"…"}. The same
// message renews the credential of an open socket; Home Assistant has no such
// thing, so the application never sees it. An error names the word that is
// wrong.
func NewHomeAssistant(c HomeAssistantConfig) (Dialect, error) {
	pass, err := checkPass(c.Pass, passForward, passForward, passStrip, passConsume)
	if err != nil {
		return nil, err
	}
	if c.Version == "" {
		c.Version = defaultHomeAssistantVersion
	}
	if !homeAssistantVersion.MatchString(c.Version) {
		return nil, fmt.Errorf("version %q is none: write one such as %s", c.Version, defaultHomeAssistantVersion)
	}
	return &homeAssistant{
		auth:    newPlaced([]pointer{{"type"}, {"id"}}, []pointer{{"access_token"}}),
		pass:    pass,
		version: c.Version,
	}, nil
}

// What tells a message apart.
const (
	homeAssistantType = iota
	homeAssistantID
)

// homeAssistant is the dialect as configured, and the speaker of each socket:
// it has nothing to remember.
type homeAssistant struct {
	auth          *placed
	pass, version string
}

func (d *homeAssistant) Traits() Traits {
	return Traits{Login: true, Renew: true, ServerFirst: d.pass != passConsume}
}

func (d *homeAssistant) Start(Opening) Speaker { return d }

// Idle is false: a message may carry a credential at any time.
func (d *homeAssistant) Idle() bool { return false }

// Foreign implements Speaker.
func (d *homeAssistant) Foreign(begin proxy.Message) bool { return foreignJSON(begin) }

func (d *homeAssistant) Client(st State, m proxy.Message) ([]Part, error) {
	switch {
	case begunWithout(m.Data) && refusedWithout(st, m, d.Client):
		return nil, ErrProtocol
	case st == Open && !mayHold(m, "auth"):
		return asWhole, nil
	}
	found, err := d.auth.findIn(m)
	kind := found[homeAssistantType]
	if err != nil {
		return unread(err, kind.couldBe(m.Data, "auth"))
	}
	switch {
	case kind.equals(m.Data, "auth") && m.Binary:
		return inBinary(st)
	case kind.equals(m.Data, "auth"):
		return d.login(st, m, found)
	case kind.equals(m.Data, "ping") && st == Suspended && !m.Binary:
		// The application wants the ids of what it sees to rise, and what is
		// held has lower ones: it is not asked.
		if pong, ok := homeAssistantPong(m.Data, found); ok {
			return []Part{{Kind: KeepAlive, Whole: true, ToClient: texts(pong)}}, nil
		}
	}
	return asWhole, nil
}

// login takes a login or a renewal apart.
func (d *homeAssistant) login(st State, m proxy.Message, found []span) ([]Part, error) {
	credential, err := d.auth.credential(m.Data, found)
	if err != nil {
		return nil, err
	}
	p := Part{Kind: Login, Credential: credential.text}
	switch {
	case st != Pending, d.pass == passConsume:
		p.Nothing = true
	case d.pass == passForward:
		p.Whole = true
	default:
		p.Message = proxy.Message{Data: d.auth.cut(m.Data, found)}
	}
	return []Part{p}, nil
}

// App is asked for the greeting, and for answers to pings of a time when the
// socket was open.
func (d *homeAssistant) App(st State, m proxy.Message) ([]Part, error) {
	if m.Binary {
		return asWhole, nil
	}
	found, err := d.auth.find(m.Data)
	switch kind := found[homeAssistantType]; {
	case err != nil:
	case st == Pending && kind.equals(m.Data, "auth_required") && d.pass != passConsume:
		return []Part{{Kind: Harmless, Whole: true}}, nil
	case st == Suspended && kind.equals(m.Data, "pong"):
		if pong, ok := homeAssistantPong(m.Data, found); ok {
			return appLife(st, texts(pong), nil), nil
		}
	}
	return asWhole, nil
}

// homeAssistantPong returns the answer to the ping that has the same id, which
// must be a number.
func homeAssistantPong(data []byte, found []span) (pong string, ok bool) {
	const longest = 20
	id := found[homeAssistantID]
	if !id.is() || id.end-id.start > longest || data[id.start] < '0' || data[id.start] > '9' {
		return "", false
	}
	return `{"id":` + string(id.raw(data)) + `,"type":"pong"}`, true
}

// Say speaks as Home Assistant does. After auth_invalid clients give up and ask
// their user; after a socket that is closed without it they come back, with a
// fresh token if theirs has expired. Whatever the close code is.
func (d *homeAssistant) Say(e Event, _ Facts) Words {
	switch e {
	case Opened:
		if d.pass == passConsume {
			return d.withVersion("auth_required")
		}
	case Accepted:
		if d.pass == passConsume {
			return d.withVersion("auth_ok")
		}
	case Renewed:
		return d.withVersion("auth_ok")
	case Prompt, Suspend:
		return d.withVersion("auth_required")
	case Refused, NotRenewed:
		return Words{Messages: texts(`{"type":"auth_invalid","message":"Invalid access token or password"}`)}
	case Forbidden:
		return Words{Messages: texts(`{"type":"auth_invalid","message":"Forbidden"}`)}
	default:
	}
	return Words{}
}

// withVersion returns a message that names the version.
func (d *homeAssistant) withVersion(kind string) Words {
	return Words{Messages: texts(`{"type":"` + kind + `","ha_version":"` + d.version + `"}`)}
}
