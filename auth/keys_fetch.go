package auth

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	fetchTimeout     = 5 * time.Second // all of it: discovery, redirects, body
	handshakeTimeout = 3 * time.Second // each of TCP and TLS
	maxAnswer        = 1 << 20         // bytes
	maxRedirects     = 3

	// What the cache headers of an answer say is kept between these.
	minFresh     = time.Minute
	maxFresh     = time.Hour
	defaultFresh = 15 * time.Minute
)

// keyFetcher asks for the keys of one source. It is used by one goroutine.
type keyFetcher struct {
	client    *http.Client
	url       string // of the key set; empty for discovery
	issuer    string
	allowHTTP bool

	// What discovery has found, and when.
	discovered   string
	discoveredAt time.Time
}

// fetchedKeys is a good answer: at least one key.
type fetchedKeys struct {
	keys  []*Key
	odd   []error
	fresh time.Duration // when to ask again
}

func newKeyFetcher(cfg RemoteConfig) (*keyFetcher, error) {
	f := &keyFetcher{url: cfg.URL, issuer: cfg.Issuer, allowHTTP: cfg.AllowHTTP}
	var err error
	switch {
	case (cfg.URL == "") == (cfg.Issuer == ""):
		err = errors.New("either a key set's URL or an issuer is needed")
	case cfg.URL != "":
		err = checkKeyURL("jwks_url", cfg.URL, cfg.AllowHTTP)
	default:
		err = checkIssuerURL(cfg.Issuer, cfg.AllowHTTP)
	}
	if err != nil {
		return nil, err
	}
	transport := cfg.Transport
	if transport == nil {
		transport = &http.Transport{
			// The environment's proxy is the operator's; nothing that a
			// client sends can name one.
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: handshakeTimeout}).DialContext,
			TLSHandshakeTimeout:    handshakeTimeout,
			TLSClientConfig:        &tls.Config{RootCAs: cfg.RootCAs, MinVersion: tls.VersionTLS12},
			ForceAttemptHTTP2:      true,
			DisableKeepAlives:      true, // minutes lie between two fetches
			MaxResponseHeaderBytes: 64 << 10,
		}
	}
	f.client = &http.Client{Transport: transport, CheckRedirect: checkRedirect}
	return f, nil
}

// fetch asks for the keys, within fetchTimeout. Errors hold no query of a URL
// and nothing of an answer, and have at most 256 bytes.
func (f *keyFetcher) fetch(ctx context.Context) (fetched fetchedKeys, err error) {
	defer func() {
		// The answer is a stranger's, and a panic here would end the process.
		if recover() != nil {
			err = errors.New("fetching keys: panic while reading the answer")
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	from := f.url
	if f.issuer != "" {
		if from, err = f.discover(ctx); err != nil {
			return fetched, err
		}
	}
	text, header, err := f.get(ctx, from)
	if err == nil {
		fetched.keys, fetched.odd, err = parseKeys(text)
	}
	if err != nil {
		f.discovered = "" // the provider may have moved its keys
		return fetched, fmt.Errorf("fetching keys from %s: %w", plainURL(from), err)
	}
	fetched.fresh = freshFor(header, time.Now())
	return fetched, nil
}

// get returns the body and the headers of a 200 answer.
func (f *keyFetcher) get(ctx context.Context, from string) ([]byte, http.Header, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, nil, errors.New("the URL is not valid")
	}
	req.Header.Set("Accept", "application/json")
	resp, err := f.client.Do(req)
	if err != nil {
		return nil, nil, fetchError(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, nil, fmt.Errorf("status %d", resp.StatusCode)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, nil, fetchError(err)
	}
	if len(text) > maxAnswer {
		return nil, nil, fmt.Errorf("answer has more than %d bytes", maxAnswer)
	}
	return text, resp.Header, nil
}

// redirectError is why a redirect is not followed.
type redirectError string

func (e redirectError) Error() string { return string(e) }

// checkRedirect lets a provider move a document, but not send the request to
// another host or scheme: to plain http, a file, or something on this
// machine's network.
func checkRedirect(req *http.Request, via []*http.Request) error {
	first := via[0].URL
	switch {
	case len(via) > maxRedirects:
		return redirectError(fmt.Sprintf("more than %d redirects", maxRedirects))
	case req.URL.Scheme != first.Scheme:
		return redirectError("redirect to another scheme")
	case !strings.EqualFold(req.URL.Host, first.Host):
		return redirectError("redirect to another host")
	case req.URL.User != nil:
		return redirectError("redirect with a user in the URL")
	}
	return nil
}

// fetchError returns an error of net/http without the parts that the other
// side or a URL's query could have written.
func fetchError(err error) error {
	if e, ok := errors.AsType[redirectError](err); ok {
		return e
	}
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		return errors.New("timed out")
	}
	if errors.Is(err, context.Canceled) {
		return context.Canceled
	}
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return errors.New(clip(e.Error(), 120))
	}
	if e, ok := errors.AsType[*net.OpError](err); ok {
		return errors.New(clip(e.Error(), 120))
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return errors.New("connection closed in the middle of the answer")
	}
	return errors.New("no proper HTTP answer")
}

// clip returns s as valid UTF-8, shortened to n bytes.
func clip(s string, n int) string {
	if len(s) > n {
		s = s[:n] + "..."
	}
	return strings.ToValidUTF8(HeaderSafe(s), "")
}

// freshFor reads Cache-Control, Age and Expires (RFC 9111 section 4.2) and
// returns how long to wait with the next fetch.
func freshFor(header http.Header, now time.Time) time.Duration {
	fresh := defaultFresh
	if at, err := http.ParseTime(header.Get("Expires")); err == nil {
		fresh = at.Sub(now)
	}
	for directive := range strings.SplitSeq(strings.Join(header.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.ToLower(strings.TrimSpace(directive)), "=")
		switch name {
		case "no-store", "no-cache":
			return minFresh
		case "max-age":
			if seconds, err := strconv.ParseInt(strings.Trim(value, `"`), 10, 32); err == nil {
				age, _ := strconv.ParseInt(header.Get("Age"), 10, 32)
				fresh = time.Duration(seconds-max(age, 0)) * time.Second
			}
		}
	}
	return min(max(fresh, minFresh), maxFresh)
}

// checkKeyURL checks the URL of a key set. name is the word of the
// configuration, for the error, which holds neither query nor user.
func checkKeyURL(name, raw string, allowHTTP bool) error {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Opaque != "" || u.Fragment != "" {
		example := "https://id.example.com/jwks.json"
		if name == "issuer" {
			example = "https://id.example.com"
		}
		return fmt.Errorf("%s is not a URL such as %s", name, example)
	}
	shown := plainURL(raw)
	switch {
	case u.User != nil:
		return fmt.Errorf("%s %s has a user or password in it, which would show up in errors: remove it", name, shown)
	case u.Scheme != "https" && u.Scheme != "http":
		return fmt.Errorf("%s %s is neither https nor http", name, shown)
	case u.Scheme == "http" && !allowHTTP && !isLoopback(u.Hostname()):
		return fmt.Errorf("%s %s is plain http to another machine, where keys can be exchanged on the way: "+
			"use https, or set insecure_http_keys, which only verify jwt has", name, shown)
	}
	for param := range u.Query() {
		if looksSecret(param) {
			return fmt.Errorf("%s %s has a secret in its query, which would show up in errors: "+
				"remove it, public keys need none", name, shown)
		}
	}
	return nil
}

// looksSecret reports whether a query parameter of that name is a secret.
// Others are fine: some providers choose a key set with one.
func looksSecret(param string) bool {
	param = strings.ToLower(param)
	switch param {
	case "key", "sig", "auth", "code", "jwt":
		return true
	}
	for _, part := range []string{"secret", "token", "passw", "apikey", "api_key", "api-key", "signature", "credential"} {
		if strings.Contains(param, part) {
			return true
		}
	}
	return false
}

// isLoopback reports whether host is this machine.
func isLoopback(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// plainURL returns a URL without user and query, short enough for an error.
func plainURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "a URL that is not valid"
	}
	return clip((&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String(), 100)
}
