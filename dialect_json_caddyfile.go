package websocketauth

import (
	"strconv"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/dialect"
)

// UnmarshalCaddyfile sets up the dialect from Caddyfile tokens. Syntax:
//
//	dialect json {
//	    # * which message carries a credential, and where in it
//	    match      <pointer> [<value>...]
//	    credential <pointer>
//	    prefix     <text>
//	    separator  <text>
//	    pass       consume|forward|strip
//
//	    # where a renewal looks different from a login
//	    renew {
//	        # *
//	        match      <pointer> [<value>...]
//	        credential <pointer>
//	        pass       consume|forward|strip
//	        accepted   <text>
//	    }
//
//	    # * what may pass before login
//	    allow      <pointer> [<value>...]
//	    allow_out  <pointer> [<value>...]
//
//	    # what the gate says
//	    greeting   <text>
//	    accepted   <text>
//	    refused    <text>
//	    prompt     <text>
//	    expired    <text>
//
//	    # * refused, forbidden, expired, revoked, timeout, unavailable or stop
//	    code       <event> <code>
//	}
//
// Words with a * may be given more than once.
func (j *JSONDialect) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return unmarshalDialect(d, repeatableJSON, j.unmarshalWord)
}

// repeatableJSON are the words that may be given more than once.
var repeatableJSON = map[string]bool{"match": true, "allow": true, "allow_out": true, "code": true}

// unmarshalWord reads one subdirective.
func (j *JSONDialect) unmarshalWord(d *caddyfile.Dispenser) error {
	switch d.Val() {
	case "match":
		return conditionArg(d, &j.Match)
	case "credential":
		return stringArg(d, &j.Credential)
	case "prefix":
		return stringArg(d, &j.Prefix)
	case "separator":
		return stringArg(d, &j.Separator)
	case "pass":
		return wordArg(d, &j.Pass, passConsume, passForward, passStrip)
	case "renew":
		return j.unmarshalRenew(d)
	case "allow":
		return conditionArg(d, &j.Allow)
	case "allow_out":
		return conditionArg(d, &j.AllowOut)
	case "greeting":
		return textArg(d, &j.Greeting)
	case "accepted":
		return textArg(d, &j.Accepted)
	case "refused":
		return textArg(d, &j.Refused)
	case "prompt":
		return textArg(d, &j.Prompt)
	case "expired":
		return textArg(d, &j.Expired)
	case "code":
		return j.unmarshalCode(d)
	}
	return d.Errf("unrecognized subdirective '%s' of dialect json: use match, credential, prefix, separator, pass, "+
		"renew, allow, allow_out, greeting, accepted, refused, prompt, expired or code", d.Val())
}

// unmarshalRenew reads the block of a renewal.
func (j *JSONDialect) unmarshalRenew(d *caddyfile.Dispenser) error {
	if err := noArgs(d, "renew"); err != nil {
		return err
	}
	r := new(dialect.JSONRenewal)
	j.Renew = r
	return unmarshalBlock(d, repeatableJSON, func(d *caddyfile.Dispenser) error {
		return unmarshalRenewal(d, r)
	})
}

// unmarshalRenewal reads one subdirective of a renewal.
func unmarshalRenewal(d *caddyfile.Dispenser, r *dialect.JSONRenewal) error {
	switch d.Val() {
	case "match":
		return conditionArg(d, &r.Match)
	case "credential":
		return stringArg(d, &r.Credential)
	case "pass":
		return wordArg(d, &r.Pass, passConsume, passForward, passStrip)
	case "accepted":
		return textArg(d, &r.Accepted)
	}
	return d.Errf("unrecognized subdirective '%s' of renew: use match, credential, pass or accepted", d.Val())
}

// unmarshalCode reads an event and its close code.
func (j *JSONDialect) unmarshalCode(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) != 2 {
		return d.Errf("'code' takes an event and a close code, such as code expired 4401")
	}
	if _, given := j.Code[args[0]]; given {
		return d.Errf("'code %s' is given twice: remove one", args[0])
	}
	code, err := strconv.ParseUint(args[1], 10, 16)
	if err != nil {
		return d.Errf("'code %s' takes a close code such as 4401, not '%s'", args[0], args[1])
	}
	if j.Code == nil {
		j.Code = make(map[string]int)
	}
	j.Code[args[0]] = int(code)
	return nil
}

// conditionArg reads a JSON pointer and what values may be there, and adds it
// to the conditions.
func conditionArg(d *caddyfile.Dispenser, to *[]dialect.Condition) error {
	name := d.Val()
	args := d.RemainingArgs()
	if len(args) == 0 || args[0] == "" {
		return d.Errf("'%s' takes a JSON pointer such as /type, and values that may be there", name)
	}
	*to = append(*to, dialect.Condition{Pointer: args[0], Values: args[1:]})
	return nil
}
