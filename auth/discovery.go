package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// rediscoverAfter is how long what discovery has found is used.
const rediscoverAfter = time.Hour

// discover returns the URL of the issuer's key set, from its discovery
// document (OpenID Connect Discovery 1.0 section 4). The document must be the
// issuer's own: its issuer is compared byte by byte (section 4.3), else
// whoever can place a document could name other keys.
func (f *keyFetcher) discover(ctx context.Context) (string, error) {
	if f.discovered != "" && time.Since(f.discoveredAt) < rediscoverAfter {
		return f.discovered, nil
	}
	from := strings.TrimSuffix(f.issuer, "/") + "/.well-known/openid-configuration"
	found, err := f.readDiscovery(ctx, from)
	if err != nil {
		return "", fmt.Errorf("discovery at %s: %w", plainURL(from), err)
	}
	f.discovered, f.discoveredAt = found, time.Now()
	return found, nil
}

func (f *keyFetcher) readDiscovery(ctx context.Context, from string) (string, error) {
	text, _, err := f.get(ctx, from)
	if err != nil {
		return "", err
	}
	var document struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	if json.Unmarshal(text, &document) != nil {
		return "", errors.New("answer is no discovery document")
	}
	if document.Issuer != f.issuer {
		return "", errors.New("document is of another issuer (compared exactly, a slash at the end counts)")
	}
	if err := checkKeyURL("jwks_uri", document.JWKSURI, f.allowHTTP); err != nil {
		return "", errors.New("document's jwks_uri is missing or not acceptable")
	}
	// An https issuer's keys are never fetched over http, not even from this
	// machine.
	if hasHTTPS(f.issuer) && !hasHTTPS(document.JWKSURI) {
		return "", errors.New("document's jwks_uri is not https")
	}
	return document.JWKSURI, nil
}

// checkIssuerURL checks an issuer whose keys are to be found by discovery.
func checkIssuerURL(issuer string, allowHTTP bool) error {
	if err := checkKeyURL("issuer", issuer, allowHTTP); err != nil {
		return err
	}
	if u, err := url.Parse(issuer); err != nil || u.RawQuery != "" || u.ForceQuery {
		return errors.New("issuer has a query, so its keys cannot be found by discovery: give jwks_url")
	}
	return nil
}

func hasHTTPS(raw string) bool {
	u, err := url.Parse(raw)
	return err == nil && u.Scheme == "https"
}
