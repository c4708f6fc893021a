package websocketauth

import "github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

// UnmarshalCaddyfile sets up the verifier from Caddyfile tokens. Syntax:
//
//	verify jwt [<jwks_url>] {
//	    # where the keys come from: one of these, else discovery from the issuers
//	    jwks_url   <url>
//	    jwks_file  <path>
//	    secret     <key>
//
//	    # what a token must be
//	    issuer     <url>...
//	    audience   <aud>...
//	    algorithms <alg>...
//	    type       <typ>...
//	    leeway     <duration>
//	    max_lifetime <duration>
//	    user_claim <path>
//
//	    ca         <file>
//	    id_tokens
//	    insecure_http_keys
//	    insecure_any_audience
//	}
func (v *JWTVerifier) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the verifier's name
	seen := make(map[string]bool)
	if d.NextArg() {
		v.JWKSURL = d.Val()
		seen["jwks_url"] = true
		if d.NextArg() {
			return d.Errf("'verify jwt' takes one URL, not '%s' as well: for audiences use audience <aud>", d.Val())
		}
	}
	var word string
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := noBlock(d, word); err != nil {
			return err
		}
		word = d.Val()
		if err := once(d, seen); err != nil {
			return err
		}
		if err := v.unmarshalWord(d); err != nil {
			return err
		}
	}
	return nil
}

// unmarshalWord reads one subdirective.
func (v *JWTVerifier) unmarshalWord(d *caddyfile.Dispenser) error {
	switch d.Val() {
	case "jwks_url":
		return stringArg(d, &v.JWKSURL)
	case "jwks_file":
		return stringArg(d, &v.JWKSFile)
	case "secret":
		return stringArg(d, &v.Secret)
	case "issuer":
		return listArg(d, &v.Issuers)
	case "audience":
		return listArg(d, &v.Audiences)
	case "algorithms":
		return listArg(d, &v.Algorithms)
	case "type":
		return listArg(d, &v.Types)
	case "leeway":
		return durationArg(d, &v.Leeway)
	case "max_lifetime":
		return durationArg(d, &v.MaxLifetime)
	case "user_claim":
		return stringArg(d, &v.UserClaim)
	case "ca":
		return stringArg(d, &v.CA)
	case "id_tokens":
		return flagArg(d, &v.IDTokens)
	case "insecure_http_keys":
		return flagArg(d, &v.InsecureHTTPKeys)
	case "insecure_any_audience":
		return flagArg(d, &v.InsecureAnyAudience)
	}
	return d.Errf("unrecognized subdirective '%s' of verify jwt: use jwks_url, jwks_file, secret, issuer, audience, "+
		"algorithms, type, leeway, max_lifetime, user_claim, ca, id_tokens, insecure_http_keys or insecure_any_audience", d.Val())
}
