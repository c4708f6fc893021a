package auth

import "strings"

// shortestHeader is the length in base64url of the smallest JOSE header,
// {"alg":"x"}, rounded down.
const shortestHeader = 14

// redactTokens returns s without what has the shape of a JWT (RFC 7519
// section 3): at least three base64url parts with dots between, the first the
// beginning of a JSON object. It takes time linear in the length of s, and
// allocates nothing if there is none.
func redactTokens(s string) string {
	var out strings.Builder
	kept := 0
	for start := 0; start < len(s); {
		if !isTokenText(s[start]) {
			start++
			continue
		}
		end := start + 1
		for end < len(s) && isTokenText(s[end]) {
			end++
		}
		if i := findToken(s[start:end]); i >= 0 {
			out.WriteString(s[kept : start+i])
			out.WriteString(Redacted)
			kept = end
		}
		start = end
	}
	if kept == 0 {
		return s
	}
	out.WriteString(s[kept:])
	return out.String()
}

// isTokenText reports whether c can be in a JWT.
func isTokenText(c byte) bool { return isAlphanumeric(c) || c == '-' || c == '_' || c == '.' }

// findToken returns where in text, all of which can be in a JWT, one begins,
// or -1. Every part is looked at once.
func findToken(text string) int {
	for start := 0; ; {
		header, rest, ok := strings.Cut(text[start:], ".")
		next := strings.IndexByte(rest, '.')
		if !ok || next < 0 {
			return -1
		}
		if next > 0 {
			if i := findHeader(header); i >= 0 {
				return start + i
			}
		}
		start += len(header) + 1
	}
}

// findHeader returns where in part a base64url JSON object may begin that is
// long enough for a JOSE header, or -1.
func findHeader(part string) int {
	for i := 0; i+shortestHeader <= len(part); i++ {
		if part[i] != 'e' {
			continue
		}
		switch part[i : i+3] {
		case "eyJ", "eyI", // {"
			"eyA", "ewo", "ewk", "ew0": // { and a space, line feed, tab, return
			return i
		}
	}
	return -1
}
