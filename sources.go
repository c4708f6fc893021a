package websocketauth

import (
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
)

// The sources a credential can come from.
const (
	sourceSubprotocol  = "subprotocol"
	sourceQuery        = "query"
	sourceHeader       = "header"
	sourceCookie       = "cookie"
	sourceFirstMessage = "first_message"
	sourceEveryMessage = "every_message"
)

const sourceList = "subprotocol, query, header, cookie, first_message or every_message"

// Source is one place where a credential travels.
type Source struct {
	// Which place: `subprotocol`, `query`, `header` or `cookie` of the request,
	// `first_message` or `every_message` of the socket. Those of the request
	// are asked first.
	Source string `json:"source"`

	// For `subprotocol`: the forms to look for, of `bearer`, `kubernetes`,
	// `phoenix`, `jupyter`, `appsync`, `bare`, and any prefix that ends in
	// `*`. Default: all but prefixes
	Forms []string `json:"forms,omitempty"`

	// For `query`, `header` and `cookie`: the names of the parameters, of the
	// one header, or of the cookies. Default: `access_token` for `query`,
	// `Authorization` with Bearer for `header`; `cookie` needs a name
	Names []string `json:"names,omitempty"`

	// For `first_message` and `every_message`: the time from the handshake to
	// the end of the message that logs in, at most 1m. Default: 5s
	Within caddy.Duration `json:"within,omitempty"`

	// For `first_message`: the largest message, in bytes, that may log in or
	// renew; a larger one ends a socket before the login, and passes unread
	// after it. For `every_message`: the largest of the client's messages at
	// all. From 1 KiB to 16 MiB. Default: 16384 (16 KiB); for `every_message`
	// 1048576 (1 MiB) after the login
	MaxSize int64 `json:"max_size,omitempty"`

	// For `first_message`: connect the application before login, because it
	// speaks first. Its handshake has no claims then. Default: false
	Early bool `json:"early,omitempty"`

	// For `every_message`: what becomes of a message without a good
	// credential, also before the login: `drop` loses it, `tell` loses it and
	// tells the client, `close` ends the socket. Default: close
	OnBad string `json:"on_bad,omitempty"`
}

// provisionSources returns the sources of the request that are configured, or
// the default. None is left where credentials come in messages only.
func provisionSources(configured []Source) (auth.Sources, error) {
	if len(configured) == 0 {
		return auth.DefaultSources(), nil
	}
	sources := make(auth.Sources, 0, len(configured))
	seen := make(map[string]bool)
	for _, c := range configured {
		switch {
		case !seen[c.Source] || c.Source == sourceHeader:
		case c.inMessages():
			return nil, fmt.Errorf("from %s is given twice: remove one", c.Source)
		default:
			return nil, fmt.Errorf("from %s is given twice: write all its names in one line", c.Source)
		}
		seen[c.Source] = true
		if c.inMessages() {
			continue
		}
		source, err := c.source()
		if err != nil {
			return nil, err
		}
		sources = append(sources, source)
	}
	return sources, nil
}

// check refuses what no other source is needed to judge.
func (s Source) check() error {
	if s.inMessages() {
		return s.checkMessages()
	}
	_, err := s.source()
	return err
}

// source returns a source of the request.
func (s Source) source() (auth.Source, error) {
	if word := s.messageWord(); word != "" {
		return nil, fmt.Errorf("from %s takes no %s: it is for credentials in messages", s.Source, word)
	}
	if s.Source != sourceSubprotocol && len(s.Forms) > 0 {
		return nil, fmt.Errorf("from %s takes names, not forms", s.Source)
	}
	switch s.Source {
	case sourceSubprotocol:
		if len(s.Names) > 0 {
			return nil, errors.New("from subprotocol takes forms, not names")
		}
		return auth.NewSubprotocolSource(s.Forms)
	case sourceQuery:
		return auth.NewQuerySource(s.Names)
	case sourceHeader:
		switch len(s.Names) {
		case 0:
			return auth.NewHeaderSource("")
		case 1:
			return auth.NewHeaderSource(s.Names[0])
		}
		return nil, errors.New("from header takes one name: write one line for each header")
	case sourceCookie:
		return auth.NewCookieSource(s.Names)
	}
	return nil, fmt.Errorf("from %s is unknown: use %s", s.Source, sourceList)
}

// Requirement is one condition on the identity: scopes, or a claim.
type Requirement struct {
	// The scopes that the credential must have, all of them.
	Scopes []string `json:"scopes,omitempty"`

	// The claim that must have one of the values: a name, a dotted path, or a
	// JSON pointer.
	Claim string `json:"claim,omitempty"`

	// The values, any of which will do. Where the claim is an array, one of
	// its elements must be one of them.
	Values []string `json:"values,omitempty"`
}

func (r Requirement) rule() (auth.Rule, error) {
	switch {
	case len(r.Scopes) > 0 && (r.Claim != "" || len(r.Values) > 0):
		return nil, errors.New("require: scopes and claim in one requirement: make two of them")
	case r.Claim != "" || len(r.Values) > 0:
		return auth.NewClaimRule(r.Claim, r.Values)
	}
	return auth.NewScopeRule(r.Scopes)
}
