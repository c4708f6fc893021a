package auth

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// MaxCredential is the longest credential taken from a request, in bytes.
const MaxCredential = 8 << 10

// Found is what a source has found in a request. The zero value is nothing.
type Found struct {
	// Credential is the credential as the verifier wants it: decoded, and
	// without a scheme. Empty if there is none.
	Credential string
	// Source is the name of the source that held it, such as "query".
	Source string
	// Answer is the subprotocol to answer if the upstream answers none, since
	// a carrier that it never sees was taken out of the offer. Empty if none
	// was taken out, or if nothing is left that a client would accept.
	Answer string
	// Ambient is true if browsers send the credential on their own, whichever
	// page asks. See [Origins.Check].
	Ambient bool
	// MaybeAmbient is true if a source of such credentials was asked, and would
	// have decided if it held one. Whether it does is no page's business. It is
	// set with an error, too.
	MaybeAmbient bool
}

// Source is a place in a request where a credential may travel. Sources are
// immutable and safe for concurrent use.
type Source interface {
	// Name is the word of the configuration: "subprotocol", "query",
	// "header" or "cookie".
	Name() string
	// Find returns what the source holds, and changes nothing. A carrier with
	// an empty value holds no credential. The error is a *RefusedError:
	// ReasonAmbiguous for two credentials, ReasonMalformed for a carrier that
	// cannot be read. Found.Answer is set with an error, too.
	Find(r *http.Request) (Found, error)
	// Strip takes every carrier of the source out of r, whether or not it
	// holds a good credential, and leaves all else as it is, byte by byte.
	Strip(r *http.Request)
}

// Sources are the configured sources, in the order in which they are asked.
type Sources []Source

// DefaultSources returns the sources for a configuration that names none:
// every form of subprotocol, the query parameter access_token, and
// "Authorization: Bearer".
func DefaultSources() Sources {
	return Sources{
		&subprotocolSource{forms: defaultForms()},
		&querySource{names: []string{defaultParameter}},
		bearerSource{},
	}
}

// Take finds the credential and strips all sources from r, also when it
// returns an error: what is refused may still travel on, to an error page
// behind another proxy.
//
// The first source that holds a credential decides, and one that holds a bad
// one refuses: nobody can choose, by adding another, which one is verified.
// But two credentials in the offer of subprotocols refuse whichever source
// decides: the offer has to be answered, and nobody can say for which of them.
//
// The error is a *RefusedError; Found.Answer is set with it, because a gate
// that explains a refusal in a close frame has to accept the upgrade first.
func (s Sources) Take(r *http.Request) (Found, error) {
	// Deferred, so that a panic in one source leaves no token behind.
	defer s.Strip(r)
	var taken Found
	var refusal error
	for _, source := range s {
		found, err := source.Find(r)
		// The subprotocol is stripped whichever source decides, so its answer
		// is needed whichever source decides.
		if taken.Answer == "" {
			taken.Answer = found.Answer
		}
		if taken.Credential != "" || refusal != nil {
			if _, answered := source.(*subprotocolSource); answered && isAmbiguous(err) {
				refusal = err
			}
			continue
		}
		taken.MaybeAmbient = taken.MaybeAmbient || found.MaybeAmbient
		if err != nil {
			refusal = err
			continue
		}
		taken.Credential, taken.Source, taken.Ambient = found.Credential, found.Source, found.Ambient
	}
	switch {
	case refusal != nil:
		return Found{Answer: taken.Answer, MaybeAmbient: taken.MaybeAmbient}, refusal
	case taken.Credential == "":
		return Found{Answer: taken.Answer, MaybeAmbient: taken.MaybeAmbient}, Refuse(ReasonMissing, "no configured source holds a credential")
	}
	return taken, nil
}

// AmbientBefore reports whether a credential that browsers send on their own
// would have decided before one of the source with this name, which need not be
// among s: [Found] has MaybeAmbient then.
func (s Sources) AmbientBefore(name string) bool {
	for _, source := range s {
		if _, ambient := source.(*cookieSource); ambient {
			return true
		}
		if source.Name() == name {
			return false
		}
	}
	return false
}

// isAmbiguous reports whether err refuses two credentials in one source.
func isAmbiguous(err error) bool {
	refused, ok := errors.AsType[*RefusedError](err)
	return ok && refused.Reason == ReasonAmbiguous
}

// Strip takes the carriers of all sources out of r. It works on any request,
// also on the copy of the original one that a server keeps.
func (s Sources) Strip(r *http.Request) {
	for _, source := range s {
		source.Strip(r)
	}
}

// one turns the credentials that a source holds into its answer. Values that
// are empty count, because two carriers are two whatever is in them: else a
// client and this gate might disagree which one is meant.
func one(source string, values []string) (Found, error) {
	switch len(values) {
	case 0:
		return Found{}, nil
	case 1:
	default:
		return Found{}, Refuse(ReasonAmbiguous, "two credentials in source "+source)
	}
	if values[0] == "" {
		return Found{}, nil
	}
	if err := checkCredential(source, values[0]); err != nil {
		return Found{}, err
	}
	return Found{Credential: values[0], Source: source}, nil
}

// checkCredential refuses what no verifier has to look at: credentials that
// are too long, or have other bytes than visible ASCII, which none of the
// token formats uses.
func checkCredential(source, credential string) error {
	if len(credential) > MaxCredential {
		return malformed(source, "is too long")
	}
	for i := range len(credential) {
		if c := credential[i]; c <= ' ' || c >= 0x7f {
			return malformed(source, "holds spaces or other bytes than visible ASCII")
		}
	}
	return nil
}

// malformed returns the refusal of a carrier that cannot be read. what is
// fixed text.
func malformed(source, what string) *RefusedError {
	return Refuse(ReasonMalformed, "the credential in source "+source+" "+what)
}

// checkNames checks configured names: at least one, each of them an RFC 9110
// section 5.6.2 token, none given twice. kind says what they are for.
func checkNames(kind string, names []string) error {
	if len(names) == 0 {
		return fmt.Errorf("from %s needs the name of a %s", kind, kind)
	}
	for i, name := range names {
		if !isToken(name) {
			return fmt.Errorf("%q cannot be the name of a %s: "+
				"use letters, digits and any of !#$%%&'*+-.^_`|~", name, kind)
		}
		if slices.Contains(names[:i], name) {
			return fmt.Errorf("the %s %q is given twice", kind, name)
		}
	}
	return nil
}

// headerKeys returns the keys under which h has the header name, which must
// be in Go's canonical form: that one first, then every other spelling. A
// handler before this one may have set RFC 6455's own spelling, which the
// methods of http.Header do not see but the upstream gets.
func headerKeys(h http.Header, name string) []string {
	var keys, odd []string
	if _, ok := h[name]; ok {
		keys = append(keys, name)
	}
	for key := range h {
		if len(key) == len(name) && key != name && strings.EqualFold(key, name) {
			odd = append(odd, key)
		}
	}
	slices.Sort(odd) // maps have no order, and a verdict must not vary
	return append(keys, odd...)
}

// headerLines returns all lines of the header name, in any spelling.
func headerLines(h http.Header, name string) []string {
	keys := headerKeys(h, name)
	if len(keys) == 1 {
		return h[keys[0]]
	}
	var lines []string
	for _, key := range keys {
		lines = append(lines, h[key]...)
	}
	return lines
}

// setLines puts lines in the place of all lines of the header name. The old
// slices stay as they are: copies of the request may share them.
func setLines(h http.Header, name string, lines []string) {
	for _, key := range headerKeys(h, name) {
		delete(h, key)
	}
	if len(lines) > 0 {
		h[name] = lines
	}
}

// isToken reports whether s is a token, RFC 9110 section 5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		if !isTokenByte(s[i]) {
			return false
		}
	}
	return s != ""
}

func isTokenByte(c byte) bool {
	return isAlphanumeric(c) || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// trimSpace takes the optional white space of RFC 9110 section 5.6.3 off both
// ends of s.
func trimSpace(s string) string { return strings.Trim(s, " \t") }
