package websocketauth

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("websocket_logout", parseLogoutCaddyfile)
	httpcaddyfile.RegisterDirectiveOrder("websocket_logout", httpcaddyfile.Before, "basic_auth")
}

func parseLogoutCaddyfile(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(LogoutHandler)
	return handler, handler.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	websocket_logout [<matcher>] {
//	    issuer   <url>
//	    jwks_url <url>
//	    audience <client_id>...
//	    ca       <file>
//	    all_sessions
//	}
func (h *LogoutHandler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive's name
	if err := noArgs(d, d.Val()); err != nil {
		return err
	}
	return unmarshalBlock(d, nil, h.unmarshalWord)
}

// unmarshalWord reads one subdirective.
func (h *LogoutHandler) unmarshalWord(d *caddyfile.Dispenser) error {
	switch d.Val() {
	case "issuer":
		return stringArg(d, &h.Issuer)
	case "jwks_url":
		return stringArg(d, &h.JWKSURL)
	case "audience":
		return listArg(d, &h.Audiences)
	case "ca":
		return stringArg(d, &h.CA)
	case "all_sessions":
		return flagArg(d, &h.AllSessions)
	}
	return d.Errf("unrecognized subdirective '%s' of websocket_logout: "+
		"use issuer, jwks_url, audience, ca or all_sessions", d.Val())
}
