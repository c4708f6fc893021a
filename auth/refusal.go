package auth

import (
	"errors"
	"time"
)

// Reason says why a credential or a request was refused. It is a closed set
// of snake_case words: safe as a metric label, in a log and in the
// placeholder {http.websocket_auth.error}. It never holds anything that a
// client has sent.
type Reason string

// The reasons this package gives. What each of them looks like on the wire
// (HTTP status, close code) is decided in one table of the top package.
const (
	// ReasonMissing: no configured source holds a credential.
	ReasonMissing Reason = "missing_credential"
	// ReasonAmbiguous: one source holds more than one credential.
	ReasonAmbiguous Reason = "ambiguous_credential"
	// ReasonMalformed: the credential is not of the shape it must have.
	ReasonMalformed Reason = "malformed_token"
	// ReasonAlgorithm: the algorithm is not one the configuration names.
	ReasonAlgorithm Reason = "algorithm_not_allowed"
	// ReasonUnknownKey: no key of the provider has this key id, and a fetch
	// has shown so.
	ReasonUnknownKey Reason = "unknown_key"
	// ReasonSignature: the signature does not verify.
	ReasonSignature Reason = "bad_signature"
	// ReasonExpired: the token's time is over.
	ReasonExpired Reason = "expired"
	// ReasonNotYetValid: nbf or iat lies in the future.
	ReasonNotYetValid Reason = "not_yet_valid"
	// ReasonIssuer: iss is not a configured issuer.
	ReasonIssuer Reason = "wrong_issuer"
	// ReasonAudience: aud names none of the configured audiences.
	ReasonAudience Reason = "wrong_audience"
	// ReasonType: the token is of a kind that is not accepted here.
	ReasonType Reason = "wrong_token_type"
	// ReasonClaims: a claim is missing or has an impossible value.
	ReasonClaims Reason = "bad_claims"
	// ReasonLifetime: the token lives longer than max_lifetime allows.
	ReasonLifetime Reason = "lifetime_too_long"
	// ReasonUnproved: the token is bound to what the client has not proved to
	// have.
	ReasonUnproved Reason = "binding_not_proved"
	// ReasonBinding: the token is bound in a way that is not supported.
	ReasonBinding Reason = "binding_not_supported"
	// ReasonScope: a required scope is missing.
	ReasonScope Reason = "insufficient_scope"
	// ReasonClaimRule: a required claim has none of the allowed values.
	ReasonClaimRule Reason = "claim_not_allowed"
	// ReasonOrigin: the page's origin may not connect.
	ReasonOrigin Reason = "origin_not_allowed"
)

// RefusedError says that a credential or request is refused: the client must
// bring another one. Err is for the operator's log and is never sent to the
// client; it holds no byte of the credential and no claim's value, and is at
// most 256 bytes long.
type RefusedError struct {
	Reason Reason
	Err    error
}

// Refuse returns a *RefusedError whose text for operators is detail.
func Refuse(reason Reason, detail string) *RefusedError {
	return &RefusedError{Reason: reason, Err: errors.New(detail)}
}

// Error returns the reason word and nothing else, because Caddy hands error
// texts to error pages, which may print them.
func (e *RefusedError) Error() string { return string(e.Reason) }

// Unwrap returns the detail for operators.
func (e *RefusedError) Unwrap() error { return e.Err }

// OutageError says that nobody could tell whether the credential is good,
// because something that is needed for it is away. It is never the client's
// fault: the answer is "try again", and it counts against nobody.
type OutageError struct {
	// Err is the cause, for operators. It holds no credential.
	Err error
	// RetryAfter is when it is worth trying again. Zero means unknown.
	RetryAfter time.Duration
}

// Error returns fixed text, for the same reason as [RefusedError.Error].
func (e *OutageError) Error() string { return "verification_unavailable" }

// Unwrap returns the cause.
func (e *OutageError) Unwrap() error { return e.Err }
