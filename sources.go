package websocketauth

import (
	"errors"
	"fmt"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
)

// The sources a credential can come from.
const (
	sourceSubprotocol = "subprotocol"
	sourceQuery       = "query"
	sourceHeader      = "header"
	sourceCookie      = "cookie"
)

// Source is one place where a credential travels.
type Source struct {
	// Which place: `subprotocol`, `query`, `header` or `cookie`.
	Source string `json:"source"`

	// For `subprotocol`: the forms to look for, of `bearer`, `kubernetes`,
	// `phoenix`, `jupyter`, `appsync`, `bare`, and any prefix that ends in
	// `*`. Default: all but prefixes
	Forms []string `json:"forms,omitempty"`

	// For `query`, `header` and `cookie`: the names of the parameters, of the
	// one header, or of the cookies. Default: `access_token` for `query`,
	// `Authorization` with Bearer for `header`; `cookie` needs a name
	Names []string `json:"names,omitempty"`
}

// provisionSources returns what is configured, or the default.
func provisionSources(configured []Source) (auth.Sources, error) {
	if len(configured) == 0 {
		return auth.DefaultSources(), nil
	}
	sources := make(auth.Sources, 0, len(configured))
	seen := make(map[string]bool)
	for _, c := range configured {
		if seen[c.Source] && c.Source != sourceHeader {
			return nil, fmt.Errorf("from %s is given twice: write all its names in one line", c.Source)
		}
		seen[c.Source] = true
		source, err := c.source()
		if err != nil {
			return nil, err
		}
		sources = append(sources, source)
	}
	return sources, nil
}

func (s Source) source() (auth.Source, error) {
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
	return nil, fmt.Errorf("from %s is unknown: use subprotocol, query, header or cookie", s.Source)
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
