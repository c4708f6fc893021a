package auth

import (
	"context"
	"crypto"
	"crypto/subtle"
	"slices"
	"time"
)

// Rechecker is a verifier that can tell what it would make of an identity that
// another one has vouched for, without the credential.
type Rechecker interface {
	// Recheck returns nil if it would vouch for id at now, as far as its claims
	// and its key tell. It does not wait. The errors are those of [Verifier].
	Recheck(ctx context.Context, id *Identity, now time.Time) error
}

// recheckSteps are those that look at claims, and at the key that has signed.
// The header is not known any more.
var recheckSteps = []verificationStep{
	{"issuer", nil, (*verification).checkIssuer},
	{"audience", nil, (*verification).checkAudience},
	{"times", nil, (*verification).checkTimes},
	{"claims", nil, (*verification).checkClaims},
	{"key", nil, (*verification).checkKey},
	{"binding", nil, (*verification).checkBinding},
}

// Recheck implements [Rechecker].
func (v *JWT) Recheck(ctx context.Context, id *Identity, now time.Time) error {
	t := &verification{cfg: &v.cfg, now: now, claims: id.Claims, key: id.key}
	return t.run(ctx, recheckSteps...)
}

// lacker is a [KeySet] that can tell that it does not have a key, whatever its
// id. One that has not been fetched cannot.
type lacker interface{ lacks(k *Key) bool }

// checkKey looks for the key that has signed, which is known already.
func (t *verification) checkKey(context.Context) error {
	if set, ok := t.keys.(lacker); ok && t.key != nil && set.lacks(t.key) {
		return Refuse(ReasonUnknownKey, "the key that has signed is not a configured one")
	}
	return nil
}

// lacks implements [lacker].
func (s *StaticKeys) lacks(k *Key) bool { return !s.table.hasLike(k) }

// lacks implements [lacker].
func (r *RemoteKeys) lacks(k *Key) bool {
	table := r.current()
	return table != nil && !table.hasLike(k)
}

// hasLike reports whether a key of t verifies what k does.
func (t *keyTable) hasLike(k *Key) bool { return slices.ContainsFunc(t.keys, k.like) }

// like reports whether k and other are the same key, whatever their ids.
func (k *Key) like(other *Key) bool {
	if secret, ok := k.material.([]byte); ok {
		same, ok := other.material.([]byte)
		return ok && subtle.ConstantTimeCompare(secret, same) == 1
	}
	public, ok := k.material.(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(other.material)
}

// Interface guard
var _ Rechecker = (*JWT)(nil)
