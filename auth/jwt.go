package auth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// JWTConfig says which signed tokens count. Its words are those of the
// configuration file, and so are those of the errors of [NewJWT].
type JWTConfig struct {
	// Issuers are the accepted values of iss, compared byte by byte. Empty
	// means that iss is not checked.
	Issuers []string
	// OtherIssuers are values of iss that other verifiers speak for. Without
	// Issuers, a token of theirs is refused whoever has signed it.
	OtherIssuers []string
	// Block is what identities are marked with, see [Identity].
	Block string
	// Audiences are the accepted values of aud, of which the token must name
	// one. Empty means that aud is not checked.
	Audiences []string
	// AnyAudience allows that both Issuers and Audiences are empty.
	AnyAudience bool
	// Algorithms are the accepted values of alg. Empty means HS256 if the
	// keys are a secret, else RS256, PS256, ES256 and EdDSA.
	Algorithms []string
	// Types are the accepted values of typ. Empty means any but those of
	// other kinds of token. With at+jwt, such tokens must be as RFC 9068
	// section 2.2 has them.
	Types []string
	// Leeway is how long after exp a token still counts, at most 5 minutes.
	Leeway time.Duration
	// MaxLifetime refuses tokens that live longer, from iat to exp. Zero
	// means any.
	MaxLifetime time.Duration
	// UserClaim says where the user's name is. The zero value means sub.
	UserClaim ClaimPath
	// IDTokens accepts ID tokens, which are for the client that asked for
	// them and not for a service, and are refused otherwise.
	IDTokens bool
	// Keys verifies the tokens of all issuers. If nil, IssuerKeys has a set
	// for each of Issuers.
	Keys       KeySet
	IssuerKeys map[string]KeySet
}

// JWT verifies signed tokens (RFC 7519) in the compact serialisation. It
// remembers verified tokens until they end. It is safe for concurrent use and
// implements [Verifier].
type JWT struct {
	cfg   JWTConfig
	cache tokenCache
}

// defaultAlgorithms are accepted when the configuration names none.
var defaultAlgorithms = []string{"RS256", "PS256", "ES256", "EdDSA"}

// foreignTypes are the kinds of token that are never a credential here,
// whatever the configuration says: logout tokens and security events, proofs
// of possession, and answers of a token introspection. Somebody who can see
// such a token must not be able to log in with it (RFC 8725 section 3.11).
var foreignTypes = []string{"logout+jwt", "secevent+jwt", "dpop+jwt", "token-introspection+jwt"}

// NewJWT checks cfg and returns its verifier. The error names the word of the
// configuration and the fix.
func NewJWT(cfg JWTConfig) (*JWT, error) {
	if cfg.UserClaim.text == "" {
		cfg.UserClaim = ClaimPath{text: "sub"}
	}
	cfg.Types = slices.Clone(cfg.Types)
	for i, typ := range cfg.Types {
		cfg.Types[i] = normalType(typ)
	}
	for _, check := range []func(*JWTConfig) error{
		(*JWTConfig).checkKeys, (*JWTConfig).checkBinding,
		(*JWTConfig).checkTimes, (*JWTConfig).checkAlgorithms,
	} {
		if err := check(&cfg); err != nil {
			return nil, err
		}
	}
	return &JWT{cfg: cfg}, nil
}

// checkBinding refuses a configuration that is not bound to anybody.
func (c *JWTConfig) checkBinding() error {
	if len(c.Issuers) == 0 && len(c.Audiences) == 0 && !c.AnyAudience {
		return errors.New("neither audience nor issuer is set, so every token that these keys sign would get in, " +
			"whatever app it is for: add audience <aud>, or insecure_any_audience if that is meant")
	}
	if slices.Contains(c.Issuers, "") || slices.Contains(c.Audiences, "") || slices.Contains(c.Types, "") {
		return errors.New("issuer, audience and type must not be empty texts: remove them")
	}
	for _, typ := range c.Types {
		if slices.Contains(foreignTypes, typ) {
			return fmt.Errorf("type %q is never a credential: remove it", typ)
		}
	}
	return nil
}

func (c *JWTConfig) checkTimes() error {
	if c.Leeway < 0 || c.Leeway > maxLeeway {
		return fmt.Errorf("leeway %v is not between 0 and %v: clocks that differ by more must be set", c.Leeway, maxLeeway)
	}
	if c.MaxLifetime < 0 {
		return fmt.Errorf("max_lifetime %v is negative: remove it, or give a duration such as 1h", c.MaxLifetime)
	}
	return nil
}

func (c *JWTConfig) checkKeys() error {
	if c.Keys != nil {
		return nil
	}
	if len(c.Issuers) == 0 {
		return errors.New("no key source: add jwks_url <url>, jwks_file <path>, secret <key>, " +
			"or issuer <url>, whose keys are found by discovery")
	}
	for _, issuer := range c.Issuers {
		if c.IssuerKeys[issuer] == nil {
			return fmt.Errorf("issuer %q has no keys", issuer)
		}
	}
	return nil
}

// checkAlgorithms sets the default algorithms, and keeps secrets and public
// keys apart: a public key that is taken for a secret is one everybody knows.
func (c *JWTConfig) checkAlgorithms() error {
	symmetric := c.Keys != nil && c.Keys.Symmetric()
	if len(c.Algorithms) == 0 {
		c.Algorithms = defaultAlgorithms
		if symmetric {
			c.Algorithms = []string{"HS256"}
		}
	}
	for _, name := range c.Algorithms {
		alg, err := lookupAlgorithm(name)
		switch {
		case err != nil:
			return err
		case alg.hmac > 0 && !symmetric:
			return fmt.Errorf("algorithms names %s, which needs a shared secret, "+
				"but the keys are public ones: remove it, or use secret in a verify of its own", name)
		case alg.hmac == 0 && symmetric:
			return fmt.Errorf("algorithms names %s, which needs a public key, "+
				"but secret is a shared one: remove it, or use jwks_url or jwks_file", name)
		}
		if s, ok := c.Keys.(*StaticKeys); ok && symmetric && s.secret < alg.hmac {
			return fmt.Errorf("secret has %d bytes, %s needs at least %d: make a longer one", s.secret, name, alg.hmac)
		}
	}
	return nil
}

// Verify implements [Verifier]. A token that it has verified before costs a
// hash and a look-up.
func (v *JWT) Verify(ctx context.Context, token string, now time.Time) (*Identity, error) {
	var hash tokenHash
	if len(token) <= MaxTokenSize { // the first step refuses longer ones
		hash = v.cache.hash(token)
		if id := v.cache.get(hash, now); id != nil {
			// It is remembered for whoever comes with it.
			if err := id.CheckBinding(ctx); err != nil {
				return nil, err
			}
			return id, nil
		}
	}
	t := &verification{cfg: &v.cfg, now: now, token: token}
	if err := t.run(ctx, verificationSteps...); err != nil {
		return nil, err
	}
	v.cache.put(hash, &verified{
		identity: t.identity, validity: t.validity,
		key: t.key, keys: t.keys, size: len(token),
	}, now)
	return t.identity, nil
}

// Forget makes v forget the verified tokens whose identity matches, so that
// they are verified anew. It returns how many there were. match must not call
// v.
func (v *JWT) Forget(match func(*Identity) bool) int { return v.cache.forget(match) }

// Check is the outcome of one check of a token. It holds no byte of the
// token.
type Check struct {
	Name   string
	OK     bool
	Detail string
}

// Explain verifies a token like [JWT.Verify], and says check by check what it
// found, also after a check has failed. All are OK exactly if Verify accepts
// the token. Claims are shown to be good or bad even if the signature is not.
func (v *JWT) Explain(ctx context.Context, token string, now time.Time) []Check {
	t := &verification{cfg: &v.cfg, now: now, token: token, notes: new(strings.Builder)}
	var checks []Check
	failed := make(map[string]bool)
	for _, step := range verificationSteps {
		t.notes.Reset()
		c := Check{Name: step.name}
		if i := slices.IndexFunc(step.needs, func(name string) bool { return failed[name] }); i >= 0 {
			c.Detail = "not checked, because the check of " + step.needs[i] + " failed"
		} else if err := t.run(ctx, step); err != nil {
			c.Detail = explainError(err)
			if t.notes.Len() > 0 {
				c.Detail += ": " + t.notes.String()
			}
		} else {
			c.OK, c.Detail = true, t.notes.String()
		}
		failed[c.Name] = !c.OK
		checks = append(checks, c)
	}
	return checks
}

// explainError returns the operator's text of a refusal or outage.
func explainError(err error) string {
	if refused, ok := errors.AsType[*RefusedError](err); ok && refused.Err != nil {
		return refused.Err.Error()
	}
	if outage, ok := errors.AsType[*OutageError](err); ok && outage.Err != nil {
		return "cannot tell: " + outage.Err.Error()
	}
	return err.Error()
}
