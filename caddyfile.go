package websocketauth

import (
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("websocket_auth", parseCaddyfile)
	httpcaddyfile.RegisterDirectiveOrder("websocket_auth", httpcaddyfile.After, "forward_auth")
}

func parseCaddyfile(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Handler)
	return handler, handler.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	websocket_auth [<matcher>] [<jwks_url> [<audience>...]] {
//	    name <text>
//
//	    # * who vouches, tried in order
//	    verify <verifier> ...
//
//	    # * where the credential travels
//	    from subprotocol [<form>...]
//	    from query       [<name>...]
//	    from header      [<name>]
//	    from cookie      <name>...
//
//	    # who may enter; lines are ANDed
//	    origins <origin>...
//	    require scope <scope>...
//	    require claim <path> <value>...
//
//	    # how long
//	    on_expiry   close|ignore
//	    max_session <duration>
//	    jitter      <percent>
//
//	    # how refusals look, and what is no WebSocket
//	    reject status|close
//	    http   pass|authenticate|reject
//
//	    insecure_plaintext
//	}
//
// Words with a * may be given more than once, as may require.
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive's name
	if args := d.RemainingArgs(); len(args) > 0 {
		h.addShortVerifier(args)
	}
	seen := make(map[string]bool)
	var word string
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := noBlock(d, word); err != nil {
			return err
		}
		if word = d.Val(); !repeatable[word] {
			if err := once(d, seen); err != nil {
				return err
			}
		}
		if err := h.unmarshalWord(d); err != nil {
			return err
		}
	}
	return nil
}

// repeatable are the words that may be given more than once.
var repeatable = map[string]bool{"verify": true, "from": true, "require": true}

// unmarshalWord reads one subdirective.
func (h *Handler) unmarshalWord(d *caddyfile.Dispenser) error {
	switch d.Val() {
	case "name":
		return stringArg(d, &h.Name)
	case "verify":
		return h.unmarshalVerify(d)
	case "from":
		return h.unmarshalFrom(d)
	case "origins":
		return listArg(d, &h.Origins)
	case "require":
		return h.unmarshalRequire(d)
	case "on_expiry":
		return wordArg(d, &h.OnExpiry.Policy, expiryClose, expiryIgnore)
	case "max_session":
		return durationArg(d, &h.MaxSession)
	case "jitter":
		return percentArg(d, &h.Jitter)
	case "reject":
		return wordArg(d, &h.Reject, rejectStatus, rejectClose)
	case "http":
		return wordArg(d, &h.HTTP, httpPass, httpAuthenticate, httpReject)
	case "insecure_plaintext":
		return flagArg(d, &h.InsecurePlaintext)
	}
	return d.Errf("unrecognized subdirective '%s' of websocket_auth: use name, verify, from, origins, require, "+
		"on_expiry, max_session, jitter, reject, http or insecure_plaintext", d.Val())
}

// addShortVerifier is the one-line form: a key set's URL and the audiences.
func (h *Handler) addShortVerifier(args []string) {
	v := JWTVerifier{JWKSURL: args[0], Audiences: args[1:]}
	h.VerifiersRaw = append(h.VerifiersRaw, caddyconfig.JSONModuleObject(v, "verifier", "jwt", nil))
}

func (h *Handler) unmarshalVerify(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.Errf("'verify' needs the name of a verifier, e.g. verify jwt <jwks_url>")
	}
	name := d.Val()
	id := "http.websocket_auth.verifiers." + name
	if _, err := caddy.GetModule(id); err != nil {
		return d.Errf("'verify %s' is unknown: use jwt, or a Caddy that has the module %s", name, id)
	}
	module, err := caddyfile.UnmarshalModule(d, id)
	if err != nil {
		return err
	}
	h.VerifiersRaw = append(h.VerifiersRaw, caddyconfig.JSONModuleObject(module, "verifier", name, nil))
	return nil
}

func (h *Handler) unmarshalFrom(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.Errf("'from' needs a source: subprotocol, query, header or cookie")
	}
	source := Source{Source: args[0]}
	switch args[0] {
	case sourceSubprotocol:
		source.Forms = args[1:]
	case sourceQuery, sourceHeader, sourceCookie:
		source.Names = args[1:]
	}
	if _, err := source.source(); err != nil {
		return d.WrapErr(err)
	}
	h.Sources = append(h.Sources, source)
	return nil
}

func (h *Handler) unmarshalRequire(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) < 2 {
		return d.Errf("'require' needs scope <scope>... or claim <path> <value>...")
	}
	var requirement Requirement
	switch args[0] {
	case "scope":
		requirement.Scopes = args[1:]
	case "claim":
		requirement.Claim, requirement.Values = args[1], args[2:]
	default:
		return d.Errf("'require %s' is unknown: use scope or claim", args[0])
	}
	if _, err := requirement.rule(); err != nil {
		return d.WrapErr(err)
	}
	h.Require = append(h.Require, requirement)
	return nil
}

// wordArg reads exactly one argument, which is one of words, two at least.
func wordArg(d *caddyfile.Dispenser, to *string, words ...string) error {
	name := d.Val()
	if err := stringArg(d, to); err != nil {
		return err
	}
	if slices.Contains(words, *to) {
		return nil
	}
	last := len(words) - 1
	return d.Errf("'%s %s' is unknown: use %s or %s", name, *to, strings.Join(words[:last], ", "), words[last])
}

// percentArg reads exactly one percentage, with or without the sign.
func percentArg(d *caddyfile.Dispenser, to *float64) error {
	name := d.Val()
	var text string
	if err := stringArg(d, &text); err != nil {
		return err
	}
	percent, err := strconv.ParseFloat(strings.TrimSuffix(text, "%"), 64)
	if err != nil || percent != percent {
		return d.Errf("'%s' takes a percentage such as 10, not '%s'", name, text)
	}
	*to = percent
	return nil
}

// Interface guard
var _ caddyfile.Unmarshaler = (*Handler)(nil)
