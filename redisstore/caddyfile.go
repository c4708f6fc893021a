package redisstore

import (
	"errors"
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// UnmarshalCaddyfile sets up the store from Caddyfile tokens. Syntax:
//
//	store redis <url> {
//	    prefix    <text>
//	    on_outage serve|refuse
//	}
//
// No error quotes the URL, which may have a password in it.
func (s *Store) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the store's name
	switch args := d.RemainingArgs(); {
	case len(args) != 1:
		return d.Errf("'store redis' takes one argument, its URL, not %d: store redis <url>", len(args))
	case args[0] == "":
		return d.Errf("'store redis' takes one argument, its URL, which is empty")
	default:
		s.URL = args[0]
	}
	seen := make(map[string]bool)
	var last string
	for d.NextBlock(0) {
		word := d.Val()
		switch {
		case isURL(word):
			return d.Errf("a URL stands in front of a line: it belongs behind 'store redis'")
		case word == "{":
			return d.Errf("'%s' takes no block: remove it", last)
		case seen[word]:
			return d.Errf("'%s' is given twice: remove one", word)
		}
		seen[word], last = true, word
		if err := s.unmarshalWord(d); err != nil {
			return err
		}
	}
	return nil
}

// unmarshalWord reads one subdirective.
func (s *Store) unmarshalWord(d *caddyfile.Dispenser) error {
	switch d.Val() {
	case "prefix":
		return oneArg(d, &s.Prefix)
	case "on_outage":
		if err := oneArg(d, &s.OnOutage); err != nil {
			return err
		}
		if s.OnOutage != outageServe && s.OnOutage != outageRefuse {
			return d.WrapErr(unknownOutage(s.OnOutage))
		}
		return nil
	}
	return d.Errf("unrecognized subdirective '%s' of store redis: use prefix or on_outage", d.Val())
}

// isURL tells whether text may be a URL that somebody has put in the wrong
// place: it may have a password in it, and is not quoted.
func isURL(text string) bool { return strings.Contains(text, ":") }

// unknownOutage refuses a value of on_outage.
func unknownOutage(value string) error {
	if isURL(value) {
		return errors.New("'on_outage' is no URL: use serve or refuse")
	}
	return fmt.Errorf("'on_outage %s' is unknown: use serve or refuse", value)
}

// oneArg reads exactly one argument, which is not empty.
func oneArg(d *caddyfile.Dispenser, to *string) error {
	name := d.Val()
	args := d.RemainingArgs()
	if len(args) != 1 || args[0] == "" {
		return d.Errf("'%s' takes one argument, which is not empty", name)
	}
	*to = args[0]
	return nil
}

// Interface guard
var _ caddyfile.Unmarshaler = (*Store)(nil)
