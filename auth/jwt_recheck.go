package auth

import (
	"context"
	"time"
)

// Rechecker is a verifier that can tell what it would make of an identity that
// another one has vouched for, without the credential.
type Rechecker interface {
	// Recheck returns nil if it would vouch for id at now, as far as its claims
	// tell. The errors are those of [Verifier].
	Recheck(ctx context.Context, id *Identity, now time.Time) error
}

// recheckSteps are those that look at claims only. Which key has signed, and
// the header, are not known any more.
var recheckSteps = []verificationStep{
	{"issuer", nil, (*verification).checkIssuer},
	{"audience", nil, (*verification).checkAudience},
	{"times", nil, (*verification).checkTimes},
	{"claims", nil, (*verification).checkClaims},
}

// Recheck implements [Rechecker].
func (v *JWT) Recheck(ctx context.Context, id *Identity, now time.Time) error {
	t := &verification{cfg: &v.cfg, now: now, claims: id.Claims}
	return t.run(ctx, recheckSteps...)
}

// Interface guard
var _ Rechecker = (*JWT)(nil)
