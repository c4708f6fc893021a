package auth

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

const (
	// MaxTokenSize is the longest token taken, in bytes.
	MaxTokenSize = 8 << 10
	// maxKeyID is the longest key id (kid) taken, in bytes.
	maxKeyID = 256
	// maxHeaderText is the longest other text read from a header, in bytes.
	maxHeaderText = 256
)

// compact is a token of the JWS compact serialisation (RFC 7515 section 7.1),
// taken apart. Its shape and header are checked before any library sees it,
// because libraries take more than a JWT may be: JSON serialisations,
// duplicate members, critical extensions they do not know. What it holds is
// not to be believed: no signature has been checked.
type compact struct {
	head, payload, signature []byte // decoded

	// Set by readHeader.
	alg string
	kid string // empty if there is none
	typ string // normalised, see normalType; empty if there is none
}

// splitCompact decodes the three parts of a token. Padding, line breaks and
// stray bits behind the last character are refused: one token, one spelling.
// It looks at no more than MaxTokenSize bytes, and returns *RefusedError with
// ReasonMalformed.
func splitCompact(token string) (c compact, err error) {
	if token == "" {
		return c, Refuse(ReasonMalformed, "token is empty")
	}
	if len(token) > MaxTokenSize {
		return c, Refuse(ReasonMalformed, fmt.Sprintf("token is longer than %d bytes", MaxTokenSize))
	}
	// Dots are counted before anything is split, so that a token of dots
	// costs nothing (CVE-2025-30204).
	if n := strings.Count(token, "."); n != 2 {
		return c, Refuse(ReasonMalformed, fmt.Sprintf("token has %d parts, a signed JWT has 3", n+1))
	}
	first, last := strings.IndexByte(token, '.'), strings.LastIndexByte(token, '.')
	for _, part := range []struct {
		to   *[]byte
		name string
		text string
	}{
		{&c.head, "header", token[:first]},
		{&c.payload, "payload", token[first+1 : last]},
		{&c.signature, "signature", token[last+1:]},
	} {
		if *part.to, err = decodePart(part.text); err != nil {
			return compact{}, Refuse(ReasonMalformed, "token "+part.name+" "+err.Error())
		}
	}
	return c, nil
}

func decodePart(text string) ([]byte, error) {
	// The decoder skips line breaks, even a strict one.
	if text == "" || strings.ContainsAny(text, "\r\n") {
		return nil, errors.New("is empty or has line breaks")
	}
	part, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, errors.New("is not base64url without padding")
	}
	return part, nil
}

// readHeader takes what is needed from the JOSE header. A key or a place to
// get one (jwk, jku, x5c, x5u, x5t) is not looked at: keys come from the
// configuration alone (RFC 8725 section 3.10). It returns *RefusedError with
// ReasonMalformed, or ReasonType for a nested token.
func (c *compact) readHeader() error {
	members, err := decodeObject(c.head)
	if err != nil {
		return Refuse(ReasonMalformed, "token header "+err.Error())
	}
	for _, name := range []string{"crit", "b64", "zip", "enc"} {
		// No extension is understood, so none may be critical, not even one
		// that is absent from the header (RFC 7515 section 4.1.11).
		if _, there := members[name]; there {
			return Refuse(ReasonMalformed, "token header has "+name+", which is not supported")
		}
	}
	var typ, cty string
	for _, m := range []struct {
		to   *string
		name string
		max  int
	}{
		{&c.alg, "alg", maxHeaderText},
		{&c.kid, "kid", maxKeyID},
		{&typ, "typ", maxHeaderText},
		{&cty, "cty", maxHeaderText},
	} {
		v, there := members[m.name]
		if !there {
			continue
		}
		text, ok := v.(string)
		if !ok || len(text) > m.max {
			return Refuse(ReasonMalformed, fmt.Sprintf("token header's %s is no text of at most %d bytes", m.name, m.max))
		}
		*m.to = text
	}
	if c.alg == "" {
		return Refuse(ReasonMalformed, "token header has no alg")
	}
	if normalType(cty) == "jwt" {
		return Refuse(ReasonType, "token holds another token (cty JWT)")
	}
	c.typ = normalType(typ)
	return nil
}

// normalType brings a typ or cty to one form: lower case, and without
// "application/", which may be left out when no other "/" follows (RFC 7515
// section 4.1.9).
func normalType(typ string) string {
	typ = strings.ToLower(typ)
	if rest, ok := strings.CutPrefix(typ, "application/"); ok && !strings.Contains(rest, "/") {
		return rest
	}
	return typ
}
