package auth

import (
	"context"
	"crypto"
	"crypto/subtle"
	"slices"
	"time"
)

// Rechecker is a verifier that can tell what it would make of an identity that
// one of its kind has vouched for under another configuration, without the
// credential.
type Rechecker interface {
	// Recheck returns nil if it would vouch for id at now, for the client that
	// ctx speaks of, see [WithConnection], as far as its claims and its key
	// tell. Whether it is the one that has vouched it must tell itself: others
	// may be called the same. It does not wait. The errors are those of
	// [Verifier].
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
	t := &verification{cfg: &v.cfg, now: now, claims: id.Claims, key: id.key, vouched: id.keys}
	if err := t.run(ctx, recheckSteps...); err != nil {
		return err
	}
	if t.identity.User != id.User {
		return Refuse(ReasonClaims, "user_claim names another user than before")
	}
	return nil
}

// liker is a [KeySet] that can tell whether it has a key, whatever its id.
type liker interface {
	// hasLike reports that. known is false if there are no keys yet.
	hasLike(k *Key) (has, known bool)
}

// checkKey looks for the key that has signed, which is known already: only who
// has that key could have vouched. A set that has no keys just now has vouched
// if it is the same one; another one, which has not been fetched yet, could be
// anybody's.
func (t *verification) checkKey(context.Context) error {
	has, known := false, false
	if set, ok := t.keys.(liker); ok && t.key != nil {
		has, known = set.hasLike(t.key)
	}
	switch {
	case has, !known && t.keys == t.vouched && t.key != nil:
		return nil
	case known:
		return Refuse(ReasonUnknownKey, "the key that has signed is not a configured one")
	}
	return Refuse(ReasonUnknownKey, "other keys are configured than before, and have not been fetched yet")
}

// hasLike implements [liker].
func (s *StaticKeys) hasLike(k *Key) (has, known bool) { return s.table.hasLike(k), true }

// hasLike implements [liker].
func (r *RemoteKeys) hasLike(k *Key) (has, known bool) {
	table := r.current()
	return table != nil && table.hasLike(k), table != nil
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
