package websocketauth

import (
	"errors"
	"fmt"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// What happens when a user has as many sockets as allowed and opens one more.
const (
	perUserRefuse  = "refuse"
	perUserReplace = "replace"
)

// SessionsPerUser limits the sockets of each user, of an issuer's subject that
// is.
type SessionsPerUser struct {
	// How many sockets a user may have at this site and node. Default: 0 (any
	// number)
	Max int `json:"max,omitempty"`

	// What happens when there is one more: `refuse` refuses it, `replace` lets
	// it in and ends the user's oldest. Default: refuse
	Policy string `json:"policy,omitempty"`
}

// limit returns the limit in force, nil if there is none.
func (s SessionsPerUser) limit() (*perUserLimit, error) {
	switch {
	case s == SessionsPerUser{}:
		return nil, nil
	case s.Max < 1:
		return nil, errors.New("sessions_per_user needs a number from 1, e.g. sessions_per_user 5")
	case s.Policy != "" && s.Policy != perUserRefuse && s.Policy != perUserReplace:
		return nil, fmt.Errorf("sessions_per_user '%s' is unknown: use refuse or replace", s.Policy)
	}
	return &perUserLimit{max: s.Max, replace: s.Policy == perUserReplace}, nil
}

// unmarshalSessionsPerUser reads a number, and what happens beyond it.
func (h *Handler) unmarshalSessionsPerUser(d *caddyfile.Dispenser) (err error) {
	args := d.RemainingArgs()
	if len(args) < 1 || len(args) > 2 {
		return d.Errf("'sessions_per_user' takes one argument or two, not %d: sessions_per_user <n> [refuse|replace]",
			len(args))
	}
	if h.SessionsPerUser.Max, err = positive(d, "sessions_per_user", args[0]); err != nil {
		return err
	}
	if len(args) == 2 {
		h.SessionsPerUser.Policy = args[1]
		if args[1] == "" {
			return d.Errf("'sessions_per_user' has an empty argument: use refuse or replace")
		}
	}
	if _, err := h.SessionsPerUser.limit(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}
