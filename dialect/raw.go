package dialect

import (
	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

// RawConfig says how an application speaks whose clients send the bare token
// as their first message, as text. White space around it and a leading
// "Bearer " are taken off. The protocol has no words for anything else: a later
// token could not be told from data, so that there is no renewal, and clients
// are told by close codes alone. The zero value is ready to use.
type RawConfig struct {
	// What the application sees of the first message: consume (nothing) or
	// forward (all of it). Default: consume
	Pass string `json:"pass,omitempty"`
}

// NewRaw returns the dialect that c describes.
func NewRaw(c RawConfig) (Dialect, error) {
	pass, err := checkPass(c.Pass, passConsume, passConsume, passForward)
	if err != nil {
		return nil, err
	}
	return rawDialect{forward: pass == passForward}, nil
}

// rawDialect is its own speaker, since nothing has to be kept of a socket.
type rawDialect struct{ forward bool }

// Traits implements Dialect.
func (d rawDialect) Traits() Traits { return Traits{Login: true, Once: true} }

// Start implements Dialect.
func (d rawDialect) Start(Opening) Speaker { return d }

// Client implements Speaker.
func (d rawDialect) Client(st State, m proxy.Message) ([]Part, error) {
	if st != Pending || m.Binary {
		return asWhole, nil
	}
	return []Part{{
		Kind: Login, Credential: bearer(string(m.Data)),
		Whole: d.forward, Nothing: !d.forward,
	}}, nil
}

// Foreign implements Speaker. After the first message everything is data.
func (d rawDialect) Foreign(proxy.Message) bool { return true }

// App implements Speaker.
func (d rawDialect) App(State, proxy.Message) ([]Part, error) { return asWhole, nil }

// Say implements Speaker.
func (d rawDialect) Say(Event, Facts) Words { return Words{} }

// Idle implements Speaker.
func (d rawDialect) Idle() bool { return true }
