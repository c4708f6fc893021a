package proxy

import (
	"net/http"
	"net/textproto"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// offersOthers tells whether all that the lines of an Upgrade offer are other
// protocols than WebSocket's. A line that is no list of protocols, RFC 9110
// section 7.8, could be anything to those who read it.
func offersOthers(lines []string) bool {
	for _, line := range lines {
		for element := range strings.SplitSeq(line, ",") {
			element = strings.Trim(element, " \t")
			name, version, versioned := strings.Cut(element, "/")
			switch {
			case element == "": // counts for nothing, section 5.6.1.2
			case !isToken(name) || versioned && !isToken(version) || isWebSocket(name):
				return false
			}
		}
	}
	return true
}

// isToken tells whether s is a token of RFC 9110 section 5.6.2.
func isToken(s string) bool { return s != "" && !strings.ContainsFunc(s, notOfToken) }

func notOfToken(r rune) bool { return !httpguts.IsTokenRune(r) }

// IgnoreOffer takes the offer of another protocol out of a request that
// [Classify] calls KindPlain, which a server may do, RFC 9110 section 7.8: the
// Upgrade, what of Connection belongs to it, and HTTP2-Settings, which comes
// with h2c, RFC 7540 section 3.2.1.
func IgnoreOffer(r *http.Request) {
	if len(headerValues(r.Header, "Upgrade")) == 0 {
		return
	}
	for key, values := range r.Header {
		switch textproto.CanonicalMIMEHeaderKey(key) {
		case "Upgrade", "Http2-Settings":
			delete(r.Header, key)
		case "Connection":
			if kept := withoutOffer(values); len(kept) > 0 {
				r.Header[key] = kept
			} else {
				delete(r.Header, key)
			}
		}
	}
}

// withoutOffer returns the options of Connection but those of an offer.
func withoutOffer(lines []string) (kept []string) {
	for _, line := range lines {
		for option := range strings.SplitSeq(line, ",") {
			option = strings.Trim(option, " \t")
			if option != "" && !strings.EqualFold(option, "Upgrade") && !strings.EqualFold(option, "HTTP2-Settings") {
				kept = append(kept, option)
			}
		}
	}
	if len(kept) == 0 {
		return nil
	}
	return []string{strings.Join(kept, ", ")}
}
