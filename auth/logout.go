package auth

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// The reasons that are given for logouts alone. The answers to them have a
// table of their own.
const (
	// ReasonLogoutRequest: the request is not as it must be.
	ReasonLogoutRequest Reason = "bad_logout_request"
	// ReasonReplayed: the token has been used before, and counts once.
	ReasonReplayed Reason = "replayed_token"
)

const (
	// maxLogoutAge is how long after its iat a logout token counts, beside
	// clockSkew. OpenID Connect Back-Channel Logout 1.0 section 4 asks
	// providers for no more.
	maxLogoutAge = 2 * time.Minute
	// seenGrace is how much longer than a logout token counts its jti is
	// remembered: a verification may wait for keys in between.
	seenGrace = time.Minute
	// logoutType is the typ of logout tokens, and anyType what libraries write
	// that were not told one (RFC 7519 section 5.1).
	logoutType = "logout+jwt"
	anyType    = "jwt"
	// logoutEvent is the member of events that makes a token a logout token.
	logoutEvent = "http://schemas.openid.net/event/backchannel-logout"
)

// LogoutConfig says which logout tokens count.
type LogoutConfig struct {
	// Issuer is the accepted value of iss, compared byte by byte.
	Issuer string
	// Audiences are the accepted values of aud: the client ids with which
	// users log in. The token must name one.
	Audiences []string
	// Keys are the issuer's public keys.
	Keys KeySet
	// Seen remembers the tokens that have been used. Verifiers of one issuer
	// must share it.
	Seen *SeenTokens
}

// LogoutVerifier verifies logout tokens, with which a provider says that a
// user has logged out (OpenID Connect Back-Channel Logout 1.0). It is safe for
// concurrent use.
type LogoutVerifier struct {
	cfg  JWTConfig
	seen *SeenTokens
}

// Logout is what a verified logout token says. At least one of Subject and
// SessionID is set.
type Logout struct {
	// Issuer and TokenID are the iss and jti claims.
	Issuer, TokenID string
	// Subject is who has logged out, the sub claim; empty if there is none.
	Subject string
	// SessionID is the provider's session that has ended, the sid claim;
	// empty if all of the subject's have.
	SessionID string
	// IssuedAt is the iat claim.
	IssuedAt time.Time

	until time.Time // from here on the token does not count
}

// ParseLogoutForm returns the one logout_token of a request's body, an HTML form
// (section 2.5). Other parameters are ignored, as demanded there. It returns
// *RefusedError with ReasonLogoutRequest.
func ParseLogoutForm(body string) (token string, err error) {
	form, err := url.ParseQuery(body)
	if err != nil {
		return "", Refuse(ReasonLogoutRequest, "the body is no form")
	}
	if tokens := form["logout_token"]; len(tokens) == 1 {
		return tokens[0], nil
	}
	return "", Refuse(ReasonLogoutRequest, "the body has not exactly one logout_token")
}

// NewLogoutVerifier checks cfg and returns its verifier. The error names the
// word of the configuration and the fix.
func NewLogoutVerifier(cfg LogoutConfig) (*LogoutVerifier, error) {
	switch {
	case cfg.Issuer == "":
		return nil, errors.New("issuer is missing: add issuer <url>, exactly as the provider's tokens have it in iss")
	case len(cfg.Audiences) == 0 || slices.Contains(cfg.Audiences, ""):
		return nil, errors.New("audience is missing or empty: add audience <client_id>, " +
			"the client with which the users log in, else a logout from any other app would count here")
	case cfg.Keys == nil || cfg.Keys.Symmetric():
		return nil, errors.New("issuer has no public keys: add jwks_url <url>")
	case cfg.Seen == nil:
		return nil, errors.New("nothing remembers the tokens that were used")
	}
	c := JWTConfig{Issuers: []string{cfg.Issuer}, Audiences: slices.Clone(cfg.Audiences), Keys: cfg.Keys}
	// The key decides which of them it serves, and a token's alg must be one
	// of those. There is no secret that could sign.
	for _, alg := range knownAlgorithms {
		if alg.hmac == 0 {
			c.Algorithms = append(c.Algorithms, alg.name)
		}
	}
	return &LogoutVerifier{cfg: c, seen: cfg.Seen}, nil
}

// Verify makes the checks of section 2.6 and a few more, the cheap ones first.
// From then on the token is used: see [LogoutVerifier.Forget].
//
// Before the signature is checked, which alone costs something, admit is
// called; its error is returned as it is. Else the errors are those of
// [Verifier].
func (v *LogoutVerifier) Verify(ctx context.Context, token string, now time.Time, admit func() error) (*Logout, error) {
	t := &verification{cfg: &v.cfg, now: now, token: token}
	if err := t.run(ctx, logoutReadingSteps...); err != nil {
		return nil, err
	}
	out := t.logout()
	replayed := Refuse(ReasonReplayed, "a token with this jti has been used before")
	if v.seen.Has(out.Issuer, out.TokenID, now) {
		return nil, replayed
	}
	if err := admit(); err != nil {
		return nil, err
	}
	if err := t.run(ctx, signatureSteps...); err != nil {
		return nil, err
	}
	if !v.seen.Add(out.Issuer, out.TokenID, out.until.Add(seenGrace), now) {
		return nil, replayed
	}
	return out, nil
}

// Forget makes the token count again of which l is what it says. It is to be
// called when the logout has failed, because the provider may try again.
func (v *LogoutVerifier) Forget(l *Logout) { v.seen.Forget(l.Issuer, l.TokenID) }

// logoutReadingSteps are all checks of a logout token that need no key. They
// come before the signature's, because they cost less and whoever asks learns
// nothing from them but what is in the specification.
var logoutReadingSteps = slices.Concat(readingSteps, []verificationStep{
	{"type", nil, (*verification).checkLogoutType},
	{"audience", nil, (*verification).checkAudience},
	{"times", nil, (*verification).checkLogoutTimes},
	{"events", nil, (*verification).checkLogoutEvent},
	{"claims", nil, (*verification).checkLogoutClaims},
})

// checkLogoutType tells logout tokens from ID tokens and access tokens, which
// the same provider signs with the same keys: whoever has one of those must
// not be able to log its user out (section 4.1). A typ that is missing or says
// no more than that it is a JWT is accepted, because many providers give none of
// its own: the claims decide then.
func (t *verification) checkLogoutType(context.Context) error {
	switch t.parts.typ {
	case "", anyType, logoutType:
	default:
		return Refuse(ReasonType, "typ is not "+logoutType)
	}
	// nonce is forbidden by the specification (sections 2.4 and 2.6).
	for _, name := range []string{"nonce", "at_hash", "c_hash", "s_hash", "scope", "scp"} {
		if _, there := t.claims[name]; there {
			return Refuse(ReasonType, "token has "+name+", so it is no logout token")
		}
	}
	return nil
}

// checkLogoutTimes allows for clocks that differ also at the token's end: a
// logout that is refused leaves somebody logged in.
func (t *verification) checkLogoutTimes(context.Context) (err error) {
	if t.validity, err = readValidity(t.claims, clockSkew, 0); err != nil {
		return err
	}
	if t.validity.issuedAt.IsZero() {
		return Refuse(ReasonClaims, "iat is missing")
	}
	if err := t.validity.check(t.now); err != nil {
		return err
	}
	if end := t.validity.issuedAt.Add(maxLogoutAge + clockSkew); end.Before(t.validity.until) {
		t.validity.until = end
	}
	if !t.now.Before(t.validity.until) {
		return Refuse(ReasonExpired, fmt.Sprintf("iat is more than %v ago", maxLogoutAge))
	}
	return nil
}

func (t *verification) checkLogoutEvent(context.Context) error {
	if !t.hasLogoutEvent() {
		return Refuse(ReasonType, "events has no logout that is an object, so it is no logout token")
	}
	return nil
}

// hasLogoutEvent reports whether the token says that it is a logout token
// (section 2.4).
func (t *verification) hasLogoutEvent() bool {
	events, _ := t.claims["events"].(map[string]any)
	_, ok := events[logoutEvent].(map[string]any)
	return ok
}

func (t *verification) checkLogoutClaims(context.Context) error {
	for _, name := range []string{"jti", "sub", "sid"} {
		v, there := t.claims[name]
		text, _ := v.(string)
		if there && (text == "" || strings.ContainsFunc(text, isControl)) {
			return Refuse(ReasonClaims, name+" is no text, empty, or has control characters")
		}
	}
	out := t.logout()
	switch {
	case out.TokenID == "":
		return Refuse(ReasonClaims, "jti is missing")
	case out.Subject == "" && out.SessionID == "":
		return Refuse(ReasonClaims, "sub and sid are both missing")
	}
	return nil
}

// logout returns what the token says. It must have been found good.
func (t *verification) logout() *Logout {
	text := func(name string) string { s, _ := t.claims[name].(string); return s }
	return &Logout{
		Issuer: text("iss"), TokenID: text("jti"), Subject: text("sub"), SessionID: text("sid"),
		IssuedAt: t.validity.issuedAt, until: t.validity.until,
	}
}
