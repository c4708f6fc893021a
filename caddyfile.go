package websocketauth

import (
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
//	    from first_message {
//	        within   <duration>
//	        max_size <size>
//	        early
//	    }
//	    from every_message {
//	        within   <duration>
//	        max_size <size>
//	        on_bad   drop|tell|close
//	    }
//
//	    # how the application speaks
//	    dialect <dialect> ...
//
//	    # who may enter; lines are ANDed
//	    origins <origin>...
//	    require scope <scope>...
//	    require claim <path> <value>...
//
//	    # how long
//	    on_expiry close|ignore
//	    on_expiry renew {
//	        warn  <duration>
//	        grace <duration>
//	        hold  <messages> <size>
//	        path  <path>
//	    }
//	    max_session <duration>
//	    jitter      <percent>
//	    on_reload   keep|recheck
//	    ping        <interval> [<timeout>]
//
//	    # how many
//	    pending           <n> [<per_address>]
//	    sessions_per_user <n> [refuse|replace]
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
	return unmarshalBlock(d, repeatable, h.unmarshalWord)
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
	case "dialect":
		return h.unmarshalDialect(d)
	case "origins":
		return listArg(d, &h.Origins)
	case "require":
		return h.unmarshalRequire(d)
	case "on_expiry":
		return h.unmarshalOnExpiry(d)
	case "max_session":
		return durationArg(d, &h.MaxSession)
	case "jitter":
		return percentArg(d, &h.Jitter)
	case "on_reload":
		return wordArg(d, &h.OnReload, reloadKeep, reloadRecheck)
	case "ping":
		return h.unmarshalPing(d)
	case "pending":
		return h.unmarshalPending(d)
	case "sessions_per_user":
		return h.unmarshalSessionsPerUser(d)
	case "reject":
		return wordArg(d, &h.Reject, rejectStatus, rejectClose)
	case "http":
		return wordArg(d, &h.HTTP, httpPass, httpAuthenticate, httpReject)
	case "insecure_plaintext":
		return flagArg(d, &h.InsecurePlaintext)
	}
	return d.Errf("unrecognized subdirective '%s' of websocket_auth: use name, verify, from, dialect, origins, "+
		"require, on_expiry, max_session, jitter, on_reload, ping, pending, sessions_per_user, reject, http "+
		"or insecure_plaintext", d.Val())
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

// unmarshalDialect reads the name of a dialect, and has its module read on.
func (h *Handler) unmarshalDialect(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.Errf("'dialect' needs the name of one: use %s", dialectNames)
	}
	name := d.Val()
	id := dialectsPrefix + name
	if _, err := caddy.GetModule(id); err != nil {
		return d.Errf("'dialect %s' is unknown: use %s, or a Caddy that has the module %s", name, dialectNames, id)
	}
	module, err := caddyfile.UnmarshalModule(d, id)
	if err != nil {
		return err
	}
	h.DialectRaw = caddyconfig.JSONModuleObject(module, "dialect", name, nil)
	return nil
}

// unmarshalPending reads one number or two.
func (h *Handler) unmarshalPending(d *caddyfile.Dispenser) (err error) {
	args := d.RemainingArgs()
	if len(args) < 1 || len(args) > 2 {
		return d.Errf("'pending' takes one number or two, not %d: pending <n> [<per_address>]", len(args))
	}
	if h.Pending.Max, err = positive(d, "pending", args[0]); err != nil {
		return err
	}
	if len(args) == 2 {
		if h.Pending.PerAddress, err = positive(d, "pending", args[1]); err != nil {
			return err
		}
	}
	if _, _, err := h.Pending.limits(); err != nil {
		return d.WrapErr(err)
	}
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

// Interface guard
var _ caddyfile.Unmarshaler = (*Handler)(nil)
