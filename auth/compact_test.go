package auth

import (
	"strings"
	"testing"
)

// FuzzParseCompact gives any bytes as a token: there is no panic, what is
// accepted has one spelling, and no more is decoded than was sent.
func FuzzParseCompact(f *testing.F) {
	enc := func(s string) string { return b64url.EncodeToString([]byte(s)) }
	good := enc(`{"alg":"RS256","kid":"r1","typ":"at+jwt"}`) + "." + enc(goodClaims(f, nil)) + ".AAAA"
	for _, token := range []string{
		good, "", "..", "a.b.c", good + ".", good + "\n", strings.Repeat(".", 9000),
		enc(`{"alg":"none"}`) + "." + enc("{}") + ".", enc(`{"alg":"RS256","crit":[]}`) + "." + enc("{}") + ".AA",
		enc(`{"alg":"RS256","alg":"HS256"}`) + ".e30.AA", enc(`{"alg":"\ud800"}`) + ".e30.AA",
		enc(`{"alg":"RS256","jwk":`+strings.Repeat("[", 40)+strings.Repeat("]", 40)+`}`) + ".e30.AA",
		`{"payload":"e30","signatures":[{"protected":"e30"}]}`, enc("null") + ".e30.AA",
	} {
		f.Add(token)
	}
	f.Fuzz(func(t *testing.T, token string) {
		c, err := splitCompact(token)
		if err != nil {
			if reasonOf(err) != ReasonMalformed {
				t.Errorf("reason %q", reasonOf(err))
			}
			return
		}
		if len(token) > MaxTokenSize {
			t.Errorf("token of %d bytes accepted", len(token))
		}
		again := b64url.EncodeToString(c.head) + "." + b64url.EncodeToString(c.payload) + "." + b64url.EncodeToString(c.signature)
		if again != token {
			t.Errorf("token %q has a second spelling, %q", token, again)
		}
		if err := c.readHeader(); err != nil {
			if r := reasonOf(err); r != ReasonMalformed && r != ReasonType {
				t.Errorf("reason %q", r)
			}
			return
		}
		if c.alg == "" || len(c.kid) > maxKeyID {
			t.Errorf("header accepted with alg %q and kid of %d bytes", c.alg, len(c.kid))
		}
	})
}
