package websocketauth

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
)

// namedVerifier is a verifier and what it is called in the configuration.
type namedVerifier struct {
	auth.Verifier
	name string
	// block stands for its block of the configuration, since several may have
	// the same name. It is in all identities that it vouches for.
	block string
	// accepted takes how long it took to vouch. It is found once: messages come
	// often.
	accepted prometheus.Observer
}

// blockVerifier is a verifier that knows better than its JSON what stands for
// its block, and marks identities itself.
type blockVerifier interface{ blockOf() string }

// issuerVerifier is a verifier that may speak for certain issuers only.
type issuerVerifier interface {
	// speaksFor returns the issuers that its configuration names.
	speaksFor() []string
	// leave tells it, if it names none, for whom others speak.
	leave(issuers []string) error
}

// namedVerifierOf returns the verifier of a loaded module, whose configuration
// raw was.
func namedVerifierOf(module any, raw json.RawMessage) (namedVerifier, error) {
	verifier, ok := module.(auth.Verifier)
	if !ok {
		return namedVerifier{}, fmt.Errorf("module %T is no verifier of credentials", module)
	}
	name := module.(caddy.Module).CaddyModule().ID.Name()
	v := namedVerifier{
		Verifier: verifier, name: name, block: blockHash(raw),
		accepted: counts.verifications.WithLabelValues(name, resultAccepted),
	}
	if knows, ok := verifier.(blockVerifier); ok {
		v.block = knows.blockOf()
	}
	return v, nil
}

// blockHash returns what stands for a block. It may have secrets in it, so it is
// hashed.
func blockHash(config []byte) string {
	sum := sha256.Sum256(config)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// keepApart sees to it that no verifier speaks for the issuers of another one:
// their users would be one and the same to the app.
func keepApart(verifiers []namedVerifier) error {
	var issuers []string
	for _, v := range verifiers {
		if named, ok := v.Verifier.(issuerVerifier); ok {
			issuers = append(issuers, named.speaksFor()...)
		}
	}
	for _, v := range verifiers {
		if named, ok := v.Verifier.(issuerVerifier); ok {
			if err := named.leave(issuers); err != nil {
				return err
			}
		}
	}
	return nil
}

// vouch is Verify with what must hold whoever vouches. Verifiers that mark what
// they vouch for have seen to it themselves.
func (v *namedVerifier) vouch(ctx context.Context, credential string, now time.Time) (*auth.Identity, error) {
	id, err := v.Verify(ctx, credential, now)
	if err != nil || id == nil || id.Block == v.block {
		return id, err
	}
	if err := id.CheckNames(); err != nil {
		return nil, err
	}
	if err := id.CheckBinding(ctx); err != nil {
		return nil, err
	}
	marked := *id // it may be shared
	marked.Block = v.block
	return &marked, nil
}

// verify asks the verifiers in order. The first that vouches decides. If none
// does, a verifier that cannot tell outweighs those that refuse, because it
// might have vouched.
func (h *Handler) verify(ctx context.Context, credential string, timed bool) (*auth.Identity, error) {
	now := time.Now()
	began := now
	var outage, refusal error
	for i := range h.verifiers {
		v := &h.verifiers[i]
		if timed && i > 0 {
			began = time.Now()
		}
		id, err := v.vouch(ctx, credential, now)
		if timed {
			v.observeVerified(began, err)
		}
		switch {
		case err == nil && id != nil:
			return id, nil
		case err == nil:
			return nil, fmt.Errorf("verifier %s vouched for nobody", v.name)
		case reasonOf(err) == reasonInternal:
			return nil, err
		case reasonOf(err) == reasonUnavailable:
			outage = err
		case refusal == nil || telling(err) > telling(refusal):
			refusal = err
		}
	}
	if outage != nil {
		return nil, outage
	}
	return nil, refusal
}

// telling returns how much a verifier's refusal says, compared with those of
// the others: the least, if the token was not made for it; not much, if it looks
// forged, but may be one that another verifier knows.
func telling(err error) int {
	switch reasonOf(err) {
	case auth.ReasonIssuer:
		return 0
	case auth.ReasonUnknownKey, auth.ReasonAlgorithm:
		return 1
	case auth.ReasonSignature, auth.ReasonMalformed:
		return 2
	default:
		return 3
	}
}
