package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lestrrat-go/jwx/v3/jws/jwsbb"
)

// verification is the verification of one token, step by step.
type verification struct {
	cfg   *JWTConfig
	now   time.Time
	token string
	notes *strings.Builder // what Explain shows; nil for Verify

	parts    compact
	claims   Claims // unverified until the signature is
	keys     KeySet
	found    []*Key
	key      *Key   // the one that has signed
	vouched  KeySet // that had key when the token was verified, for Recheck
	validity validity
	identity *Identity
}

// verificationStep is one check. run returns the errors of [Verifier]; only
// looking for the key can wait. needs names the steps without which it makes
// no sense.
type verificationStep struct {
	name  string
	needs []string
	run   func(*verification, context.Context) error
}

var (
	// readingSteps look at the token without believing it. They cost little.
	// Only the issuer is looked at, to choose among the configured key sets.
	readingSteps = []verificationStep{
		{"shape", nil, (*verification).checkShape},
		{"header", []string{"shape"}, (*verification).checkHeader},
		{"payload", []string{"shape"}, (*verification).checkPayload},
		{"algorithm", []string{"header", "shape"}, (*verification).checkAlgorithm},
		{"issuer", []string{"payload", "shape"}, (*verification).checkIssuer},
	}
	// signatureSteps find out who has made the token. They come after
	// readingSteps.
	signatureSteps = []verificationStep{
		{"key", []string{"algorithm", "issuer", "header"}, (*verification).findKey},
		{"signature", []string{"key"}, (*verification).checkSignature},
	}
	// verificationSteps are all checks of a credential, in order. The first
	// that fails decides. What it claims is judged when the signature is known
	// to be good.
	verificationSteps = slices.Concat(readingSteps, signatureSteps, []verificationStep{
		{"type", []string{"header", "payload"}, (*verification).checkType},
		{"audience", []string{"payload"}, (*verification).checkAudience},
		{"times", []string{"payload"}, (*verification).checkTimes},
		{"claims", []string{"payload", "times"}, (*verification).checkClaims},
		{"binding", []string{"payload"}, (*verification).checkBinding},
	})
)

// run takes the steps in order, up to the first that fails. A panic is an
// error, too; its text could hold the token, so it is not passed on.
func (t *verification) run(ctx context.Context, steps ...verificationStep) (err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("panic while verifying a token")
		}
	}()
	for _, step := range steps {
		if err := step.run(t, ctx); err != nil {
			return err
		}
	}
	return nil
}

// note says what was found, for Explain. It must not be given what the token
// holds.
func (t *verification) note(format string, args ...any) {
	if t.notes != nil {
		fmt.Fprintf(t.notes, format, args...)
	}
}

func (t *verification) checkShape(context.Context) (err error) {
	if t.parts, err = splitCompact(t.token); err != nil {
		return err
	}
	t.note("three parts, %d bytes", len(t.token))
	return nil
}

func (t *verification) checkHeader(context.Context) error {
	if err := t.parts.readHeader(); err != nil {
		return err
	}
	kid := "no key id"
	if t.parts.kid != "" {
		kid = "a key id"
	}
	t.note("one JSON object, with %s", kid)
	return nil
}

func (t *verification) checkPayload(context.Context) error {
	claims, err := decodeObject(t.parts.payload)
	if err != nil {
		return Refuse(ReasonMalformed, "token payload "+err.Error())
	}
	t.claims = claims
	t.note("one JSON object, %d claims", len(claims))
	return nil
}

func (t *verification) checkAlgorithm(context.Context) error {
	if !slices.Contains(t.cfg.Algorithms, t.parts.alg) {
		return Refuse(ReasonAlgorithm, "token's alg is none of "+strings.Join(t.cfg.Algorithms, " "))
	}
	t.note("%s is one of %s", t.parts.alg, strings.Join(t.cfg.Algorithms, " "))
	return nil
}

// checkIssuer also chooses the keys. An iss that is not configured never
// causes a request.
func (t *verification) checkIssuer(context.Context) error {
	t.keys = t.cfg.Keys
	if len(t.cfg.Issuers) == 0 {
		if iss, _ := nameText(t.claims["iss"]); slices.Contains(t.cfg.OtherIssuers, iss) {
			return Refuse(ReasonIssuer, "iss is the issuer of another verify, and this one has no issuer")
		}
		t.note("not checked, no issuer is configured")
		return nil
	}
	iss, ok := t.claims["iss"].(string)
	if !ok {
		return Refuse(ReasonIssuer, "iss is missing or no text")
	}
	i := slices.Index(t.cfg.Issuers, iss)
	if i < 0 {
		return Refuse(ReasonIssuer, "iss is not a configured issuer (compared exactly, a slash at the end counts)")
	}
	if t.keys == nil {
		t.keys = t.cfg.IssuerKeys[t.cfg.Issuers[i]]
	}
	t.note("%s", t.cfg.Issuers[i])
	return nil
}

func (t *verification) findKey(ctx context.Context) (err error) {
	if t.found, err = t.keys.Find(ctx, t.parts.alg, t.parts.kid); err != nil {
		return err
	}
	t.note("%d to try", len(t.found))
	return nil
}

// checkSignature gives the library only what it needs: the key, the bytes that
// were signed and the signature. The rest of the header is none of its
// business.
func (t *verification) checkSignature(context.Context) error {
	signed := []byte(t.token[:strings.LastIndexByte(t.token, '.')])
	for _, k := range t.found {
		// A key comes with the algorithms it serves, and Find has chosen by
		// them; the token cannot make another use of it.
		if jwsbb.Verify(k.material, t.parts.alg, signed, t.parts.signature) == nil {
			t.key = k
			t.note("good")
			return nil
		}
	}
	return Refuse(ReasonSignature, "signature does not verify with the provider's key")
}

// checkType tells access tokens from other kinds (RFC 8725 section 3.11).
func (t *verification) checkType(context.Context) error {
	typ := t.parts.typ
	switch {
	case slices.Contains(foreignTypes, typ):
		return Refuse(ReasonType, "typ is that of a token which is never a credential")
	case t.hasLogoutEvent(): // whatever its typ
		return Refuse(ReasonType, "token is a logout token, which is never a credential")
	case len(t.cfg.Types) > 0 && !slices.Contains(t.cfg.Types, typ):
		return Refuse(ReasonType, "typ is missing or not a configured type")
	case len(t.cfg.Types) == 0 && strings.HasSuffix(typ, "+jwt") && typ != "at+jwt":
		return Refuse(ReasonType, "typ is that of another kind of token: name it with type to accept it")
	case !t.cfg.IDTokens && t.isIDToken():
		return Refuse(ReasonType, "token is an ID token, which is for the client that asked for it: "+
			"send the access token, or set id_tokens")
	}
	if len(t.cfg.Types) > 0 && typ == "at+jwt" {
		// RFC 9068 section 2.2.
		for _, name := range []string{"iss", "exp", "aud", "sub", "client_id", "iat", "jti"} {
			if _, there := t.claims[name]; !there {
				return Refuse(ReasonClaims, "token has typ at+jwt without "+name+", which RFC 9068 requires")
			}
		}
	}
	t.note("not that of another kind of token")
	return nil
}

// isIDToken reports whether the token looks like an ID token (OpenID Connect
// Core sections 2 and 3.3.2.11). They have no typ of their own.
func (t *verification) isIDToken() bool {
	has := func(name string) bool { _, there := t.claims[name]; return there }
	access := has("scope") || has("scp") || t.parts.typ == "at+jwt"
	return has("at_hash") || has("c_hash") || has("nonce") && !access
}

func (t *verification) checkAudience(context.Context) error {
	if len(t.cfg.Audiences) == 0 {
		t.note("not checked, no audience is configured")
		return nil
	}
	var named []any
	switch aud := t.claims["aud"].(type) {
	case string:
		named = []any{aud}
	case []any:
		named = aud
	}
	for _, aud := range named {
		if text, ok := aud.(string); ok && slices.Contains(t.cfg.Audiences, text) {
			t.note("%s", text)
			return nil
		}
	}
	return Refuse(ReasonAudience, "aud is missing or names no configured audience")
}

func (t *verification) checkTimes(context.Context) (err error) {
	t.validity, err = readValidity(t.claims, t.cfg.Leeway, t.cfg.MaxLifetime)
	if err != nil {
		return err
	}
	if left := t.validity.until.Sub(t.now).Round(time.Second); left > 0 {
		t.note("ends in %v", left)
	} else {
		t.note("ended %v ago", -left)
	}
	return t.validity.check(t.now)
}

// checkClaims reads the claims that say who it is.
func (t *verification) checkClaims(context.Context) error {
	id := &Identity{
		key: t.key, keys: t.keys,
		Verifier: "jwt", Block: t.cfg.Block, Claims: t.claims, Scopes: readScopes(t.claims),
		IssuedAt: t.validity.issuedAt, ValidUntil: t.validity.until,
	}
	for _, c := range []struct {
		to   *string
		name string
	}{{&id.Issuer, "iss"}, {&id.Subject, "sub"}, {&id.TokenID, "jti"}, {&id.SessionID, "sid"}} {
		v, there := t.claims[c.name]
		text, ok := nameText(v)
		if there && !ok {
			return Refuse(ReasonClaims, c.name+" is neither text nor a whole number")
		}
		if err := checkName(c.name, text); err != nil {
			return err
		}
		*c.to = text
	}
	v, _ := t.claims.Lookup(t.cfg.UserClaim)
	user, ok := nameText(v)
	if !ok || user == "" {
		return Refuse(ReasonClaims, "user_claim "+t.cfg.UserClaim.text+" is missing, empty, or neither text nor a whole number")
	}
	if err := checkName("user_claim "+t.cfg.UserClaim.text, user); err != nil {
		return err
	}
	id.User = user
	t.identity = id
	t.note("user_claim %s is there, %d scopes", t.cfg.UserClaim.text, len(id.Scopes))
	return nil
}

// nameText returns a claim that names something: text, or a whole number as
// it was sent. All text of a token is Unicode, decodeObject sees to that.
func nameText(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), !strings.ContainsAny(v.String(), ".eE") && v.String() != "-0"
	}
	return "", false
}

// readScopes returns the scopes of scope or, where that is missing, scp: text
// split at spaces, or an array of texts. What is no scope (RFC 6749 section 3.3)
// grants nothing: the app gets all of them in one text, where a scope with a
// space in it would be two.
func readScopes(claims Claims) []string {
	v, ok := claims["scope"]
	if !ok {
		v = claims["scp"]
	}
	switch v := v.(type) {
	case string:
		scopes := strings.FieldsFunc(v, func(r rune) bool { return r == ' ' })
		return slices.DeleteFunc(scopes, func(s string) bool { return !isScopeToken(s) })
	case []any:
		var scopes []string
		for _, s := range v {
			if text, ok := s.(string); ok && isScopeToken(text) {
				scopes = append(scopes, text)
			}
		}
		return scopes
	}
	return nil
}
