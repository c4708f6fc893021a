package dialect

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

// JSONConfig says how an application speaks whose messages are JSON. The zero
// value is the documented protocol: the client sends
// {"type":"auth","token":"…"}, which the application never sees. It is told
// {"type":"auth_ok","expires_in":3600} or
// {"type":"auth_error","reason":"expired"} and, before the end,
// {"type":"auth_required","expires_in":30}. A field that is not set keeps its
// default, whatever else is set.
//
// Pointers are JSON pointers, RFC 6901. In the templates {expires_in},
// {expires_at}, {reason}, {subject}, {session} and {message.<path>} are
// replaced by JSON text, quotes included.
type JSONConfig struct {
	// Which messages carry a credential. All conditions must hold. With a
	// credential in every message it does not apply. Default: type is auth
	Match []Condition `json:"match,omitempty"`
	// Where the credential is. A leading "Bearer " is taken off. Default:
	// /token
	Credential string `json:"credential,omitempty"`
	// What stands in front of the JSON in messages of the client's that carry
	// a credential, such as 40. Takes \n, \r, \t, \0, \xHH and \\. Default:
	// nothing
	Prefix string `json:"prefix,omitempty"`
	// What ends each of several records in one message, such as \n or \x1e,
	// with at least one control character, since others can stand in JSON. Each
	// record is a message of its own; what the gate says ends with it, too.
	// Takes what prefix takes. Default: a message is one record
	Separator string `json:"separator,omitempty"`
	// What the application sees of a message with a credential: consume
	// (nothing), forward (all of it) or strip (all but the credential). With a
	// credential in every message it is strip. Default: consume
	Pass string `json:"pass,omitempty"`
	// What a renewal looks like, where it differs from a login. A login that
	// comes later counts as a renewal, too, so that its credential never
	// reaches the application by surprise. Default: like a login
	Renew *JSONRenewal `json:"renew,omitempty"`
	// What the client may say before login: messages for which any of these
	// holds. Default: nothing
	Allow []Condition `json:"allow,omitempty"`
	// The same for the application, where it is connected before login.
	// Default: nothing
	AllowOut []Condition `json:"allow_out,omitempty"`
	// What the gate says when the socket opens and a login is awaited. Empty
	// is silence. Default: silence
	Greeting *string `json:"greeting,omitempty"`
	// What it says when a credential is accepted. Empty is silence. Default:
	// {"type":"auth_ok","expires_in":{expires_in}}
	Accepted *string `json:"accepted,omitempty"`
	// What it says when one is refused, missing, or not there in time. Empty is
	// silence. Default:
	// {"type":"auth_error","reason":{reason}}
	Refused *string `json:"refused,omitempty"`
	// What it says to have a new one before the end. Empty is silence.
	// Default: {"type":"auth_required","expires_in":{expires_in}}
	Prompt *string `json:"prompt,omitempty"`
	// What it says when the credential has ended, or the longest time of a
	// socket. Empty is silence. Default: as prompt where a renewal is awaited,
	// else
	// {"type":"auth_error","reason":{reason}}
	Expired *string `json:"expired,omitempty"`
	// Close codes by event: refused, forbidden, expired, revoked, timeout,
	// unavailable, stop. Each is 1000, 1001, 1008, 1011 to 1013, or 3000 to
	// 4999. Default: those of the directive
	Code map[string]int `json:"code,omitempty"`
}

// JSONRenewal says how a renewal differs from a login.
type JSONRenewal struct {
	// Which messages are renewals. Default: as a login
	Match []Condition `json:"match,omitempty"`
	// Where the credential is. Default: as in a login
	Credential string `json:"credential,omitempty"`
	// What the application sees of it. Default: as of a login
	Pass string `json:"pass,omitempty"`
	// What the gate says when it is accepted. Default: as to a login
	Accepted *string `json:"accepted,omitempty"`
}

// Condition is one that a message must meet.
type Condition struct {
	// The member that is looked at.
	Pointer string `json:"pointer,omitempty"`
	// What it may be: JSON numbers, true, false, null and quoted strings stand
	// for themselves, all else is text. Default: anything, if it is there
	Values []string `json:"values,omitempty"`
}

// The defaults of JSONConfig.
const (
	defaultCredential = "/token"
	defaultAccepted   = `{"type":"auth_ok","expires_in":{expires_in}}`
	defaultRefused    = `{"type":"auth_error","reason":{reason}}`
	defaultPrompt     = `{"type":"auth_required","expires_in":{expires_in}}`
)

// closing are the events for which a close code may be set, by the words of
// the configuration.
var closing = []closeWord{
	{"refused", Refused},
	{"forbidden", Forbidden},
	{"expired", Expired},
	{"revoked", Revoked},
	{"timeout", Timeout},
	{"unavailable", Unavailable},
	{"stop", Stop},
}

// closeWord is the word of an event.
type closeWord struct {
	word  string
	event Event
}

// NewJSON returns the dialect that c describes. Errors name the word, its
// value, and the fix.
func NewJSON(c JSONConfig) (Dialect, error) {
	d := new(jsonDialect)
	var err error
	if d.prefix, err = unescape(c.Prefix); err != nil {
		return nil, fmt.Errorf("prefix %q: %w", c.Prefix, err)
	}
	if d.separator, err = unescape(c.Separator); err != nil {
		return nil, fmt.Errorf("separator %q: %w", c.Separator, err)
	}
	if d.separator != "" && strings.IndexFunc(d.separator, isControl) < 0 {
		return nil, fmt.Errorf("separator %q can stand inside of JSON: use one with a control character, "+
			`such as \n or \x1e`, c.Separator)
	}
	if err := d.readRules(c); err != nil {
		return nil, err
	}
	if err := d.readTemplates(c); err != nil {
		return nil, err
	}
	return d, d.readCodes(c.Code)
}

// readRules reads what is looked for in messages.
func (d *jsonDialect) readRules(c JSONConfig) error {
	login := JSONRenewal{Match: c.Match, Credential: c.Credential, Pass: c.Pass}
	if len(login.Match) == 0 {
		login.Match = []Condition{{Pointer: "/type", Values: []string{"auth"}}}
	}
	if login.Credential == "" {
		login.Credential = defaultCredential
	}
	var b ruleBuilder
	first, err := b.rule(login)
	if err != nil {
		return err
	}
	d.rules = []*rule{first}
	if c.Renew != nil {
		renew := *c.Renew
		if len(renew.Match) == 0 {
			renew.Match = login.Match
		}
		if renew.Credential == "" {
			renew.Credential = login.Credential
		}
		if renew.Pass == "" {
			renew.Pass = login.Pass
		}
		r, err := b.rule(renew)
		if err != nil {
			return fmt.Errorf("renew: %w", err)
		}
		d.rules = []*rule{r, first}
	}
	if d.allow, err = b.conditions("allow", c.Allow); err != nil {
		return err
	}
	d.client = newFinder(b.pointers...)
	d.size = len(b.pointers)

	var out ruleBuilder
	if d.allowOut, err = out.conditions("allow_out", c.AllowOut); err != nil {
		return err
	}
	d.app = newFinder(out.pointers...)
	return nil
}

// readTemplates reads what the gate says.
func (d *jsonDialect) readTemplates(c JSONConfig) error {
	renewed := c.Accepted
	if c.Renew != nil && c.Renew.Accepted != nil {
		renewed = c.Renew.Accepted
	}
	suspended := c.Expired
	if suspended == nil {
		suspended = c.Prompt
	}
	for _, t := range []struct {
		word   string
		to     **template
		text   *string
		preset string
	}{
		{"greeting", &d.greeting, c.Greeting, ""},
		{"accepted", &d.accepted, c.Accepted, defaultAccepted},
		{"renew: accepted", &d.renewed, renewed, defaultAccepted},
		{"refused", &d.refused, c.Refused, defaultRefused},
		{"prompt", &d.prompt, c.Prompt, defaultPrompt},
		{"expired", &d.expired, c.Expired, defaultRefused},
		{"expired", &d.suspended, suspended, defaultPrompt},
	} {
		text := t.preset
		if t.text != nil {
			text = *t.text
		}
		parsed, err := parseTemplate(text)
		if err != nil {
			return fmt.Errorf("%s: %w", t.word, err)
		}
		for _, r := range d.rules {
			if err := parsed.shows(r.pointer); err != nil {
				return fmt.Errorf("%s: %w", t.word, err)
			}
		}
		*t.to = parsed
		d.answers = d.answers || parsed.usesMessage()
	}
	return nil
}

// readCodes reads the close codes.
func (d *jsonDialect) readCodes(codes map[string]int) error {
	d.codes = make(map[Event]proxy.CloseCode, len(codes))
	for _, word := range slices.Sorted(maps.Keys(codes)) {
		code := codes[word]
		i := slices.IndexFunc(closing, func(c closeWord) bool { return c.word == word })
		if i < 0 {
			return fmt.Errorf("code %s: there is no such event, but refused, forbidden, expired, "+
				"revoked, timeout, unavailable and stop", word)
		}
		if code == 1014 {
			return fmt.Errorf("code %s 1014: it is not sent, because gorilla/websocket and tungstenite "+
				"call it a protocol error: use 1013", word)
		}
		if !sendable(code) {
			return fmt.Errorf("code %s %d: no server may send that, use one from 3000 to 4999, "+
				"or 1000, 1001, 1008 or 1011 to 1013", word, code)
		}
		d.codes[closing[i].event] = proxy.CloseCode(code)
	}
	return nil
}

// sendable tells whether a server may end a socket with code for a reason of
// the application's: RFC 6455 section 7.4.
func sendable(code int) bool {
	switch {
	case code == 1000, code == 1001, code == 1008, code >= 1011 && code <= 1013:
		return true
	default:
		return code >= 3000 && code <= 4999
	}
}

// isControl tells whether r is a control character that JSON strings cannot
// hold: RFC 8259 section 7.
func isControl(r rune) bool { return r < ' ' }

// unescape reads \n, \r, \t, \0, \xHH and \\.
func unescape(text string) (string, error) {
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			out.WriteByte(text[i])
			continue
		}
		i++
		if i == len(text) {
			return "", errors.New(`a backslash is written \\`)
		}
		if at := strings.IndexByte(`nrt0\`, text[i]); at >= 0 {
			out.WriteByte("\n\r\t\x00\\"[at])
			continue
		}
		b, err := strconv.ParseUint(text[min(i+1, len(text)):min(i+3, len(text))], 16, 8)
		if text[i] != 'x' || i+2 >= len(text) || err != nil {
			return "", errors.New(`after a backslash there may be n, r, t, 0, \ or x and two hexadecimal digits`)
		}
		out.WriteByte(byte(b))
		i += 2
	}
	return out.String(), nil
}
