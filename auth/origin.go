package auth

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
)

// Origins says which pages may connect (RFC 6455 section 10.2). The zero
// value has no list: then only pages of the same origin may bring an ambient
// credential, and all pages any other. It is immutable and safe for concurrent
// use.
type Origins struct{ allowed map[string]bool }

// NewOrigins returns the check for a configured list of origins, which may be
// empty. Each is a scheme, a host and, where it is not the scheme's own, a
// port: https://app.example.com. There are no patterns, because a pattern
// that is a little too wide lets a stranger's page in. The error is for the
// operator; it says which origin is bad and how to write it.
func NewOrigins(list []string) (Origins, error) {
	allowed := make(map[string]bool, len(list))
	for _, entry := range list {
		origin, err := readOrigin(entry)
		if err != nil {
			return Origins{}, fmt.Errorf("origin %q %w", entry, err)
		}
		if allowed[origin] {
			return Origins{}, fmt.Errorf("origin %q is given twice", entry)
		}
		allowed[origin] = true
	}
	return Origins{allowed: allowed}, nil
}

// readOrigin returns a configured origin as [parseOrigin] does. The error
// goes on where the entry was quoted.
func readOrigin(entry string) (string, error) {
	scheme, rest, ok := strings.Cut(entry, "://")
	host := strings.TrimRight(rest, "/")
	switch {
	case entry == "null":
		return "", errors.New("stands for every page that hides its origin: list real ones")
	case strings.Contains(entry, "*"):
		return "", errors.New("is a pattern, but origins are compared exactly: list each one")
	case !ok:
		return "", fmt.Errorf("has no scheme: write https://%s", entry)
	case scheme == "ws" || scheme == "wss":
		return "", fmt.Errorf("is no origin: it names the page, so write %s://%s",
			strings.Replace(scheme, "ws", "http", 1), host)
	case scheme != strings.ToLower(scheme):
		return "", fmt.Errorf("has capitals in its scheme: write %s://%s", strings.ToLower(scheme), host)
	case strings.ContainsAny(host, "/?#@"):
		return "", errors.New("has more than a scheme, a host and a port: write only those")
	case host != rest:
		return "", fmt.Errorf("ends with a slash: write %s://%s", scheme, host)
	}
	origin, ok := parseOrigin(entry)
	if !ok {
		return "", errors.New("has no valid host or port: " +
			"write it as browsers send it, e.g. https://app.example.com:8443 or https://xn--bcher-kva.example")
	}
	return origin, nil
}

// Check refuses a request whose page may not connect. scheme is "http" or
// "https", as the client used it: the caller knows about TLS and trusted
// proxies. ambient says that the credential is one that browsers send on
// their own; then the request must prove where it comes from. Otherwise a
// request without Origin passes, since it comes from no browser.
//
// The error is nil or a *RefusedError with ReasonOrigin.
func (o Origins) Check(r *http.Request, scheme string, ambient bool) error {
	if len(o.allowed) == 0 && !ambient {
		return nil
	}
	lines := headerLines(r.Header, "Origin")
	switch len(lines) {
	case 0:
		if ambient {
			return Refuse(ReasonOrigin, "a credential that browsers send on their own needs an Origin header")
		}
		return nil
	case 1:
	default:
		return Refuse(ReasonOrigin, "several Origin headers")
	}
	origin, ok := parseOrigin(lines[0])
	if !ok {
		return Refuse(ReasonOrigin, "the Origin header holds no origin")
	}
	if len(o.allowed) > 0 {
		if !o.allowed[origin] {
			return Refuse(ReasonOrigin, "origin "+shorten(origin)+" is not listed")
		}
		return nil
	}
	if own, ok := parseOrigin(scheme + "://" + r.Host); !ok || own != origin {
		return Refuse(ReasonOrigin, "origin "+shorten(origin)+" is not the site's own")
	}
	return nil
}

// shorten cuts an origin, which has only harmless characters, to a length
// that fits a log line.
func shorten(origin string) string { return origin[:min(len(origin), 120)] }

// parseOrigin returns an origin as RFC 6454 section 6.2 serialises it, with
// the host in lower case and without the scheme's own port. It reports
// whether s is one; "null" is none.
func parseOrigin(s string) (string, bool) {
	scheme, authority, ok := strings.Cut(s, "://")
	if !ok || !isScheme3986(scheme) || len(authority) > 300 {
		return "", false
	}
	host, port, ok := splitAuthority(authority)
	if !ok {
		return "", false
	}
	if port == "" || scheme == "http" && port == "80" || scheme == "https" && port == "443" {
		return scheme + "://" + host, true
	}
	return scheme + "://" + host + ":" + port, true
}

// isScheme3986 reports whether s is the scheme of a URL (RFC 3986 section 3.1)
// in lower case, as browsers send it.
func isScheme3986(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c && c <= 'z'
		if !letter && (i == 0 || (c < '0' || c > '9') && c != '+' && c != '-' && c != '.') {
			return false
		}
	}
	return s != "" && len(s) <= 32
}

// splitAuthority splits host and optional port. The host is a name, in lower
// case, or an address, which is in brackets if it is one of IPv6.
func splitAuthority(s string) (host, port string, ok bool) {
	var rest string
	if strings.HasPrefix(s, "[") {
		inside, after, ok := strings.Cut(s[1:], "]")
		address, err := netip.ParseAddr(inside)
		if !ok || err != nil || !address.Is6() || address.Zone() != "" {
			return "", "", false
		}
		host, rest = "["+address.String()+"]", after
	} else {
		end := strings.IndexByte(s, ':')
		if end < 0 {
			end = len(s)
		}
		host, rest = strings.ToLower(s[:end]), s[end:]
		if !isHostName(host) {
			return "", "", false
		}
	}
	if rest == "" {
		return host, "", true
	}
	n, err := strconv.ParseUint(rest[1:], 10, 16)
	port = strconv.FormatUint(n, 10)
	// Compared with its own text, since ParseUint takes leading zeros.
	if rest[0] != ':' || err != nil || n == 0 || port != rest[1:] {
		return "", "", false
	}
	return host, port, true
}

// isHostName reports whether s, in lower case, has only what names, IPv4
// addresses and the identifiers of browser extensions have.
func isHostName(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isAlphanumeric(c) && c != '-' && c != '.' && c != '_' {
			return false
		}
	}
	return s != ""
}
