package websocketauth

import (
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/dialect"
)

// dialectsPrefix is in front of the ids of the modules that are dialects.
const dialectsPrefix = "http.websocket_auth.dialects."

// dialectNames are ours, as errors list them.
const dialectNames = "json, raw, graphql, graphql_legacy, socketio, actioncable, phoenix, stomp, mqtt, signalr or home_assistant"

// What the application sees of a message that carries a credential.
const (
	passConsume = "consume" // nothing
	passForward = "forward" // all of it
	passStrip   = "strip"   // all but the credential
)

// spoken is what a dialect's module embeds: the dialect that Provision makes of
// its words. It is nil until then.
type spoken struct {
	dialect.Dialect `json:"-"`
}

// itself returns the dialect, of which the module hides all but the methods of
// dialect.Dialect.
func (s *spoken) itself() dialect.Dialect { return s.Dialect }

// speak makes a module the dialect that a constructor has returned, or hands
// its error on. name is the module's.
func (s *spoken) speak(name string, d dialect.Dialect, err error) error {
	if err != nil {
		return fmt.Errorf("dialect %s: %w", name, err)
	}
	s.Dialect = d
	return nil
}

// unmarshalDialect reads the tokens of a dialect's module: its name, and a
// block in which word reads each subdirective.
func unmarshalDialect(d *caddyfile.Dispenser, repeatable map[string]bool, word func(*caddyfile.Dispenser) error) error {
	d.Next() // the dialect's name
	if err := noArgs(d, "dialect "+d.Val()); err != nil {
		return err
	}
	return unmarshalBlock(d, repeatable, word)
}

// unmarshalPlaced reads the tokens of the module name, whose words say where the
// credential is, and by one of passes what the application sees of it.
func unmarshalPlaced(d *caddyfile.Dispenser, name string, credential *[]string, pass *string, passes ...string) error {
	return unmarshalDialect(d, nil, func(d *caddyfile.Dispenser) error {
		switch d.Val() {
		case "credential":
			return listArg(d, credential)
		case "pass":
			return wordArg(d, pass, passes...)
		}
		return d.Errf("unrecognized subdirective '%s' of dialect %s: use credential or pass", d.Val(), name)
	})
}

// provisionDialect loads the dialect, or the default where one is needed, and
// refuses what it cannot do.
func (h *Handler) provisionDialect(ctx caddy.Context) error {
	var module any
	var err error
	switch {
	case h.DialectRaw != nil:
		module, err = ctx.LoadModule(h, "DialectRaw")
	case h.first != nil || h.renew != nil:
		module, err = ctx.LoadModuleByID(dialectsPrefix+"json", nil)
	default:
		return nil
	}
	if err != nil {
		return err
	}
	speaks, _ := module.(dialect.Dialect)
	if ours, ok := module.(interface{ itself() dialect.Dialect }); ok {
		speaks = ours.itself()
	}
	if speaks == nil {
		return fmt.Errorf("module %T is no dialect", module)
	}
	h.transport, _ = speaks.(dialect.PollingTransport)
	if h.HTTP == httpAuthenticate {
		h.poller = h.transport
	}
	h.dialect, h.dialectName = speaks, module.(caddy.Module).CaddyModule().ID.Name()
	if err := h.checkTraits(h.dialect.Traits()); err != nil {
		return fmt.Errorf("dialect %s %w", h.dialectName, err)
	}
	h.warnEarly()
	return nil
}

// warnEarly says what early costs.
func (h *Handler) warnEarly() {
	if h.first == nil || !h.first.early {
		return
	}
	h.logger.Warn("early: the application is connected before login, so claims are empty in its handshake, " +
		"and in a header_up, wherever the credential comes in a message")
}

// checkTraits refuses what the protocol cannot do. The errors go on after the
// name of the dialect.
func (h *Handler) checkTraits(t dialect.Traits) error {
	switch {
	case h.every != nil && !t.Every:
		return errors.New("has no place for a credential in each message: use from first_message, or dialect json")
	case h.first != nil && !t.Login:
		return errors.New("has no message that logs in: use a source of the request, such as from query or from cookie, " +
			"or see its words in docs/dialects.md")
	case h.every != nil && t.ServerFirst:
		return errors.New("waits for the application to speak first, which from every_message does not let it: " +
			"use from first_message with early")
	case h.first != nil && t.ServerFirst && !h.first.early:
		return errors.New("waits for the application to speak first: add early to from first_message, " +
			"so that it is connected before login")
	case t.Once && h.first == nil:
		return errors.New("is for from first_message: without it nobody looks at the message that its applications " +
			"take for a token; add from first_message, or remove the dialect")
	case t.Once && len(h.sources) > 0:
		return errors.New("does not go beside a source of the request: whoever logs in by that could still send a first " +
			"message, which its applications take for a token; remove the other from, or use dialect json")
	case h.renew != nil && !t.Renew && h.renew.path == "":
		return errors.New("has no message that renews a credential: add path <path> to on_expiry renew, " +
			"to which clients POST it, or use on_expiry close")
	}
	return h.checkPlain(t)
}

// checkPlain refuses what leaves plain requests unguarded, or lets none in.
func (h *Handler) checkPlain(t dialect.Traits) error {
	switch {
	case t.Fallback && h.HTTP == "":
		return errors.New("has clients that fall back to plain requests, which pass unless you say otherwise: " +
			"add http authenticate, or http reject")
	case h.first != nil && len(h.sources) == 0 && h.HTTP == httpAuthenticate && !t.Fallback:
		return errors.New("reads messages, and plain requests send none: http authenticate needs a source of the request, " +
			"such as from cookie")
	}
	return nil
}
