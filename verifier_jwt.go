package websocketauth

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
)

func init() {
	caddy.RegisterModule(JWTVerifier{})
}

// maxKeyFile is the largest key file read, in bytes.
const maxKeyFile = 1 << 20

// JWTVerifier lets in who has a signed token (JWT, RFC 7519) of a provider,
// such as an OAuth 2.0 access token.
//
// The keys come from exactly one of `jwks_url`, `jwks_file` and `secret`, or
// from the discovery document of each of the `issuers`. They are fetched in
// the background and when first needed, never while the configuration is
// loaded, and the last good ones serve on for 24 hours while the provider is
// away.
type JWTVerifier struct {
	// The accepted values of the token's `iss`, compared exactly. Without
	// another key source the keys are found by OpenID Connect discovery, and
	// each issuer's tokens are verified with its own keys only. Placeholders
	// are resolved when the config is loaded. Default: empty (not checked)
	Issuers []string `json:"issuers,omitempty"`

	// The URL of the provider's JSON Web Key Set. Placeholders are resolved
	// when the config is loaded. Default: empty
	JWKSURL string `json:"jwks_url,omitempty"`

	// A file with public keys: a JSON Web Key Set, a single JSON Web Key, or
	// PEM. It is read when the config is loaded, at most 1 MiB. Placeholders
	// are resolved when the config is loaded. Default: empty
	JWKSFile string `json:"jwks_file,omitempty"`

	// The shared key of HS256, HS384 or HS512, at least as long as the hash:
	// 32, 48 or 64 bytes. Best a placeholder such as `{env.KEY}` or
	// `{file./run/secrets/key}`: placeholders are resolved when the config is
	// loaded. Default: empty
	Secret string `json:"secret,omitempty"`

	// The accepted values of the token's `aud`, of which it must name one.
	// Placeholders are resolved when the config is loaded. Default: empty (not
	// checked)
	Audiences []string `json:"audiences,omitempty"`

	// The accepted signature algorithms, of `RS256`, `RS384`, `RS512`,
	// `PS256`, `PS384`, `PS512`, `ES256`, `ES384`, `ES512`, `EdDSA`, `Ed25519`
	// and, with a secret, `HS256`, `HS384`, `HS512`. Default: `RS256`, `PS256`,
	// `ES256` and `EdDSA`; with a secret, `HS256`
	Algorithms []string `json:"algorithms,omitempty"`

	// The accepted values of the `typ` in the token's header, in any letter
	// case, with or without `application/`. With `at+jwt`, such tokens must
	// have all that RFC 9068 requires. Default: empty (any but those of other
	// kinds of token)
	Types []string `json:"types,omitempty"`

	// How long after its `exp` a token still counts, at most 5 minutes.
	// Default: 0
	Leeway caddy.Duration `json:"leeway,omitempty"`

	// Refuse tokens that live longer than this, from `iat` to `exp`, and those
	// that do not say so. Default: 0 (any)
	MaxLifetime caddy.Duration `json:"max_lifetime,omitempty"`

	// The claim with the user's name, text or a whole number: a claim's name,
	// a path such as `profile.names.0`, or a JSON pointer. Default: `sub`
	UserClaim string `json:"user_claim,omitempty"`

	// A PEM file with the certificates to trust when keys are fetched. It is
	// read when the config is loaded. Placeholders are resolved when the
	// config is loaded. Default: those of the system
	CA string `json:"ca,omitempty"`

	// Accept ID tokens. They are for the client that asked for them, and
	// any app of the same provider has one of each of its users. Default:
	// false
	IDTokens bool `json:"id_tokens,omitempty"`

	// Fetch keys over plain http from another machine, too, where whoever is
	// on the way can exchange them. Default: false
	InsecureHTTPKeys bool `json:"insecure_http_keys,omitempty"`

	// Load without audiences and issuers: every token that these keys have
	// signed gets in, whatever app it is for. Default: false
	InsecureAnyAudience bool `json:"insecure_any_audience,omitempty"`

	cfg      auth.JWTConfig
	jwt      *auth.JWT
	resolved [sha256.Size]byte // stands for the configuration and the files
	logger   *zap.Logger
	acquired *heldKeys
}

// CaddyModule returns the Caddy module information.
func (JWTVerifier) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.websocket_auth.verifiers.jwt",
		New: func() caddy.Module { return new(JWTVerifier) },
	}
}

// Provision sets up the verifier and says what is wrong with its
// configuration. It does not wait for the network.
func (v *JWTVerifier) Provision(ctx caddy.Context) error {
	v.logger, v.acquired = ctx.Logger(), new(heldKeys)
	resolved, err := v.resolve(caddy.NewReplacer())
	if err != nil {
		return fmt.Errorf("verify jwt: %w", err)
	}
	if err := v.setUp(resolved); err != nil {
		return fmt.Errorf("verify jwt: %w", err)
	}
	app, err := appOf(ctx)
	if err != nil {
		return err
	}
	if v.MaxLifetime == 0 {
		app.admits(0)
	} else {
		app.admits(auth.LongestLife(time.Duration(v.MaxLifetime), time.Duration(v.Leeway)))
	}
	v.logUnchecked()
	return nil
}

// resolve returns the configuration with its placeholders resolved. They are
// not stored back: the admin API shows the configuration, and a secret must
// not appear there.
func (v *JWTVerifier) resolve(repl *caddy.Replacer) (*JWTVerifier, error) {
	r := *v
	for _, field := range []struct {
		name string
		text *string
	}{
		{"jwks_url", &r.JWKSURL},
		{"jwks_file", &r.JWKSFile},
		{"secret", &r.Secret},
		{"ca", &r.CA},
	} {
		resolved, err := repl.ReplaceOrErr(*field.text, true, true)
		if err != nil && field.name == "secret" {
			// The error quotes the placeholder, which may be part of a
			// secret with braces in it.
			err = errors.New("a placeholder in it is unknown or empty; write \\{ for a brace that is meant")
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", field.name, err)
		}
		*field.text = resolved
	}
	for _, field := range []struct {
		name  string
		texts *[]string
	}{{"issuer", &r.Issuers}, {"audience", &r.Audiences}} {
		var texts []string
		for _, text := range *field.texts {
			resolved, err := repl.ReplaceOrErr(text, true, true)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", field.name, err)
			}
			texts = append(texts, resolved)
		}
		*field.texts = texts
	}
	return &r, nil
}

// setUp makes the verifier from a resolved configuration.
func (v *JWTVerifier) setUp(r *JWTVerifier) error {
	all := newResolution()
	if err := all.addJSON(r); err != nil {
		return err
	}
	cfg := auth.JWTConfig{
		Issuers: r.Issuers, Audiences: r.Audiences, AnyAudience: r.InsecureAnyAudience,
		Algorithms: r.Algorithms, Types: r.Types,
		Leeway: time.Duration(r.Leeway), MaxLifetime: time.Duration(r.MaxLifetime),
		IDTokens: r.IDTokens,
	}
	if r.UserClaim != "" {
		path, err := auth.ParseClaimPath(r.UserClaim)
		if err != nil {
			return fmt.Errorf("user_claim: %w", err)
		}
		cfg.UserClaim = path
	}
	if err := v.loadKeys(r, &cfg, all); err != nil {
		return err
	}
	// All that it resolves to: one of two that differ in anything does not speak
	// for the other.
	resolved, err := json.Marshal(r) //nolint:gosec // G117: hashed at once, and kept nowhere
	if err != nil {
		return err
	}
	cfg.Block = blockHash(resolved)
	v.cfg, v.resolved = cfg, all.sum()
	v.jwt, err = auth.NewJWT(cfg)
	return err
}

// blockOf implements [blockVerifier].
func (v *JWTVerifier) blockOf() string { return v.cfg.Block }

// speaksFor implements [issuerVerifier].
func (v *JWTVerifier) speaksFor() []string { return v.cfg.Issuers }

// leave implements [issuerVerifier].
func (v *JWTVerifier) leave(issuers []string) (err error) {
	v.cfg.OtherIssuers = issuers
	v.jwt, err = auth.NewJWT(v.cfg)
	return err
}

// loadKeys sets the keys of cfg, and adds to all what their files hold.
func (v *JWTVerifier) loadKeys(r *JWTVerifier, cfg *auth.JWTConfig, all *resolution) error {
	if err := oneKeySource(r); err != nil {
		return err
	}
	switch {
	case r.Secret != "":
		keys, err := auth.NewSecretKeys([]byte(r.Secret))
		if err != nil {
			return err
		}
		cfg.Keys = keys
		return nil
	case r.JWKSFile != "":
		keys, err := v.readKeys(r.JWKSFile, all)
		if err != nil {
			return err
		}
		cfg.Keys = keys
		return nil
	}
	return v.acquire(r, cfg, all)
}

// oneKeySource refuses several key sources: which of them verifies a token
// must not depend on the token.
func oneKeySource(r *JWTVerifier) error {
	var first string
	for _, source := range []struct{ name, value string }{
		{"jwks_url", r.JWKSURL}, {"jwks_file", r.JWKSFile}, {"secret", r.Secret},
	} {
		switch {
		case source.value == "":
		case first != "":
			return fmt.Errorf("%s and %s are both set: keep one, and give the other a verify of its own", first, source.name)
		default:
			first = source.name
		}
	}
	if r.CA != "" && first != "" && first != "jwks_url" {
		return fmt.Errorf("ca is set, but no keys are fetched with %s: remove ca", first)
	}
	return nil
}

// readKeys reads the key file.
func (v *JWTVerifier) readKeys(path string, all *resolution) (*auth.StaticKeys, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("jwks_file: %w", err)
	}
	if info.Size() > maxKeyFile {
		return nil, fmt.Errorf("jwks_file %s has more than %d bytes", path, maxKeyFile)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("jwks_file: %w", err)
	}
	all.add(text)
	keys, odd, err := auth.NewStaticKeys(text)
	if err != nil {
		return nil, fmt.Errorf("jwks_file %s: %w", path, err)
	}
	if len(odd) > 0 {
		v.logger.Warn("keys of the file are not as they should be",
			zap.String("key_source", path), zap.Int("count", len(odd)), zap.Errors("errors", odd))
	}
	return keys, nil
}

// acquire takes the key sets that are fetched from the pool: one for
// jwks_url, else one for each issuer.
func (v *JWTVerifier) acquire(r *JWTVerifier, cfg *auth.JWTConfig, all *resolution) error {
	source := keySource{url: r.JWKSURL, allowHTTP: r.InsecureHTTPKeys}
	var ca *x509.CertPool
	if r.CA != "" {
		var err error
		if ca, source.ca, err = loadCA(r.CA); err != nil {
			return err
		}
		all.add(source.ca[:])
	}
	take := func() (auth.KeySet, error) {
		keys, err := acquireKeys(source, ca, v.logger)
		if err != nil {
			return nil, err // never a typed nil: that would count as a set
		}
		v.acquired.add(keys)
		return keys, nil
	}
	var err error
	if r.JWKSURL != "" {
		cfg.Keys, err = take()
		return err
	}
	cfg.IssuerKeys = make(map[string]auth.KeySet, len(r.Issuers))
	for _, issuer := range r.Issuers {
		source.issuer = issuer
		if cfg.IssuerKeys[issuer], err = take(); err != nil {
			return err
		}
	}
	return nil
}

// logUnchecked says which claims are not checked.
func (v *JWTVerifier) logUnchecked() {
	switch {
	case len(v.Audiences) == 0 && len(v.Issuers) == 0:
		v.logger.Warn("neither audience nor issuer is checked, every token of these keys gets in")
	case len(v.Audiences) == 0:
		v.logger.Warn("audience is not checked, tokens for other apps of the issuer get in",
			zap.Strings("issuers", v.Issuers))
	case len(v.Issuers) == 0:
		v.logger.Info("issuer is not checked, the keys and the audience decide",
			zap.Strings("audiences", v.Audiences))
	}
}

// Cleanup gives the key sets back.
func (v *JWTVerifier) Cleanup() error {
	return v.acquired.release(v.logger)
}

// Verify implements [auth.Verifier].
func (v *JWTVerifier) Verify(ctx context.Context, credential string, now time.Time) (*auth.Identity, error) {
	if v.jwt == nil {
		return nil, errors.New("jwt verifier is not provisioned")
	}
	return v.jwt.Verify(ctx, credential, now)
}

// Resolved implements [resolver].
func (v *JWTVerifier) Resolved() [sha256.Size]byte { return v.resolved }

// Recheck implements [auth.Rechecker].
func (v *JWTVerifier) Recheck(ctx context.Context, id *auth.Identity, now time.Time) error {
	if v.jwt == nil {
		return errors.New("jwt verifier is not provisioned")
	}
	return v.jwt.Recheck(ctx, id, now)
}

// Retain keeps the key sets for a socket that may renew its credential under
// this configuration after another one has taken its place. release must be
// called when it has ended.
func (v *JWTVerifier) Retain() (release func()) {
	return v.acquired.retain()
}

// Explain says check by check what the verifier makes of a token.
func (v *JWTVerifier) Explain(ctx context.Context, token string, now time.Time) []auth.Check {
	if v.jwt == nil {
		return []auth.Check{{Name: "verifier", Detail: "jwt verifier is not provisioned"}}
	}
	return v.jwt.Explain(ctx, token, now)
}

// Interface guards
var (
	_ auth.Verifier         = (*JWTVerifier)(nil)
	_ auth.Rechecker        = (*JWTVerifier)(nil)
	_ retainer              = (*JWTVerifier)(nil)
	_ blockVerifier         = (*JWTVerifier)(nil)
	_ issuerVerifier        = (*JWTVerifier)(nil)
	_ resolver              = (*JWTVerifier)(nil)
	_ auth.KeySet           = (*pooledKeys)(nil)
	_ caddy.Provisioner     = (*JWTVerifier)(nil)
	_ caddy.CleanerUpper    = (*JWTVerifier)(nil)
	_ caddyfile.Unmarshaler = (*JWTVerifier)(nil)
)
