package auth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"encoding/base64"
)

// bindingClaim is the claim of RFC 7800 that says to what a token is bound,
// and certificateMethod its member for a client certificate, RFC 8705 section
// 3.1.
const (
	bindingClaim      = "cnf"
	certificateMethod = "x5t#S256"
)

type connectionKey struct{}

// WithConnection returns a ctx for credentials that have come over the
// connection with this TLS state. Who has opened it has proved to have the key
// of its client certificate, and so may use what is bound to that. Without it,
// and where state is nil, nothing is proved.
func WithConnection(ctx context.Context, state *tls.ConnectionState) context.Context {
	return context.WithValue(ctx, connectionKey{}, state)
}

// CheckBinding returns nil if the client that ctx speaks of, see
// [WithConnection], may use what id stands for: it is bound to nothing, or to
// what that client has proved to have. Else it returns a *RefusedError. It is to
// be called for each connection and each request that is to count as id's, since
// id may be remembered from another one.
func (id *Identity) CheckBinding(ctx context.Context) error {
	return checkBinding(ctx, id.Claims)
}

// checkBinding is the one rule for tokens that are of use only together with
// something else. What is bound in a way that is not known here is refused: as a
// bearer token it would be good for a thief, too (RFC 8705 section 3, RFC 9449
// section 7.1).
func checkBinding(ctx context.Context, claims Claims) error {
	cnf, bound := claims[bindingClaim]
	if !bound {
		return nil
	}
	methods, ok := cnf.(map[string]any)
	if !ok || len(methods) == 0 {
		return Refuse(ReasonBinding, "cnf does not say to what the token is bound")
	}
	if _, dpop := methods["jkt"]; dpop {
		return Refuse(ReasonBinding, "token is bound to a key by DPoP (cnf has jkt), which is not supported: "+
			"have the provider issue tokens without DPoP for this app")
	}
	want, ok := methods[certificateMethod].(string)
	if !ok || len(methods) > 1 {
		return Refuse(ReasonBinding, "cnf binds the token in another way than by "+certificateMethod+", which is not supported")
	}
	state, _ := ctx.Value(connectionKey{}).(*tls.ConnectionState)
	if state == nil || len(state.PeerCertificates) == 0 {
		return Refuse(ReasonUnproved, "token is bound to a client certificate, and the client has shown none: "+
			"let Caddy ask for it with client_auth")
	}
	sum := sha256.Sum256(state.PeerCertificates[0].Raw)
	got := base64.RawURLEncoding.EncodeToString(sum[:])
	if subtle.ConstantTimeCompare([]byte(got), []byte(want)) != 1 {
		return Refuse(ReasonUnproved, "token is bound to another client certificate than the client's")
	}
	return nil
}

// checkBinding explains what the token is bound to.
func (t *verification) checkBinding(ctx context.Context) error {
	if err := checkBinding(ctx, t.claims); err != nil {
		return err
	}
	if _, bound := t.claims[bindingClaim]; bound {
		t.note("bound to the client's certificate (cnf has %s)", certificateMethod)
	} else {
		t.note("not bound, whoever has the token may use it")
	}
	return nil
}
