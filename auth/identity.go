// Package auth answers who a client is, and until when: it finds the
// credential in a request, verifies it and applies the rules that the
// identity must meet. It knows HTTP and JOSE, but neither Caddy nor
// WebSockets, logs nothing and keeps no global state.
package auth

import (
	"context"
	"time"
)

// Identity is what a verifier vouches for. It is immutable once returned: a
// verified token may be remembered, and its identity shared by many sockets.
type Identity struct {
	// Verifier is the name of the verifier that vouches ("jwt").
	Verifier string
	// Block stands for the block of the configuration that vouches: there may
	// be several of that name, and one does not speak for another. It is
	// opaque, and the same under another configuration with the same block.
	Block string
	// Issuer is the iss claim, exactly as sent; empty if there is none.
	Issuer string
	// Subject is the sub claim; empty if there is none.
	Subject string
	// User is the value of the configured user claim, as text.
	User string
	// TokenID is the jti claim; empty if there is none.
	TokenID string
	// SessionID is the provider's session, the sid claim; empty if none.
	SessionID string
	// Scopes are the values of scope or scp, in the token's order.
	Scopes []string
	// IssuedAt is the iat claim; the zero time if there is none.
	IssuedAt time.Time
	// ValidUntil is the moment from which the identity no longer holds:
	// exp plus the configured leeway.
	ValidUntil time.Time
	// Claims are all claims of the credential.
	Claims Claims

	key  *Key   // that has signed the credential; nil if none has
	keys KeySet // where key was found
}

// CheckNames returns a *RefusedError if an app could not tell the names in id
// from others. Verifiers that are not of this package must be followed by it.
func (id *Identity) CheckNames() error {
	for _, name := range []struct{ what, text string }{
		{"issuer", id.Issuer},
		{"subject", id.Subject},
		{"token id", id.TokenID},
		{"session id", id.SessionID},
		{"user", id.User},
	} {
		if err := checkName(name.what, name.text); err != nil {
			return err
		}
	}
	return nil
}

// Verifier turns a credential into an identity.
//
// Verify returns a *RefusedError if the credential is bad, an *OutageError if
// it cannot tell, and any other error only for a bug; every error means deny.
// It is safe for concurrent use and bounded in time by ctx and by itself.
type Verifier interface {
	Verify(ctx context.Context, credential string, now time.Time) (*Identity, error)
}
