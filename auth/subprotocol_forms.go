package auth

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// The fixed parts of the carriers.
const (
	kubernetesPrefix = "base64url.bearer.authorization.k8s.io."
	phoenixPrefix    = "base64url.bearer.phx."
	jupyterProtocol  = "v1.token.websocket.jupyter.org"
	jupyterPrefix    = jupyterProtocol + "."
	appsyncPrefix    = "header-"
)

// brokenCarrier is what is said of a carrier that cannot be decoded.
const brokenCarrier = "is not encoded as its form demands"

// appsyncProtocols are the subprotocols that AppSync clients offer beside
// their carrier: GraphQL and Events.
var appsyncProtocols = [...]string{"graphql-ws", "aws-appsync-event-ws"}

// form is one way in which clients put a credential into a subprotocol.
type form struct {
	name string
	// take marks what carries a credential in this form as taken, and
	// returns one carrier for each credential.
	take func(*offer) []carrier
}

// defaultForms returns all forms but prefixes, in the order in which they
// are tried.
func defaultForms() []form {
	return []form{
		{"bearer", takeBearer},
		{"kubernetes", takeKubernetes},
		{"phoenix", takePhoenix},
		{"jupyter", takeJupyter},
		{"appsync", takeAppSync},
		{"bare", takeBare},
	}
}

// SubprotocolForms returns the names of the forms that are known, in the
// order in which they are tried by default.
func SubprotocolForms() []string {
	var names []string
	for _, f := range defaultForms() {
		names = append(names, f.name)
	}
	return names
}

// parseForm returns the form that the configuration calls name.
func parseForm(name string) (form, error) {
	prefix, isPrefix := strings.CutSuffix(name, "*")
	switch {
	case isPrefix && prefix == "":
		return form{}, fmt.Errorf(`the subprotocol form "*" would take every subprotocol ` +
			`for a credential: write what comes before it, e.g. openai-insecure-api-key.*`)
	case isPrefix && !isToken(prefix):
		return form{}, fmt.Errorf("the prefix of the subprotocol form %q cannot begin a subprotocol: "+
			"use letters, digits and any of !#$%%&'*+-.^_`|~", name)
	case isPrefix:
		return form{name, takeEcho(prefix)}, nil
	}
	forms := defaultForms()
	i := slices.IndexFunc(forms, func(f form) bool { return f.name == name })
	if i < 0 {
		return form{}, fmt.Errorf("unknown subprotocol form %q: known are %s, and <prefix>*",
			name, strings.Join(SubprotocolForms(), ", "))
	}
	return forms[i], nil
}

// isScheme reports whether protocol announces that the next one is a
// credential.
func isScheme(protocol string) bool {
	switch len(protocol) {
	case len("bearer"), len("access_token"), len("token"), len("jwt"):
		for _, scheme := range [...]string{"bearer", "access_token", "token", "jwt"} {
			if strings.EqualFold(protocol, scheme) {
				return true
			}
		}
	}
	return false
}

// takeBearer takes a scheme and the credential after it: "bearer, <token>".
// A scheme that nothing follows may be a subprotocol of that name and stays.
// Several schemes in a row announce one credential: it is never left behind
// as an ordinary subprotocol.
func takeBearer(o *offer) []carrier {
	var carriers []carrier
	announced := 0 // schemes directly before
	for i, protocol := range o.protocols {
		switch {
		case o.taken[i]:
			announced = 0
		case isScheme(protocol):
			announced++
		case announced > 0:
			scheme := o.protocols[i-1] // as the client spells it
			carriers = append(carriers, carrier{credential: protocol, first: scheme})
			for j := i - announced; j <= i; j++ {
				o.taken[j] = true
			}
			announced = 0
		}
	}
	return carriers
}

// takeKubernetes takes what clients of the Kubernetes API offer.
func takeKubernetes(o *offer) []carrier {
	return o.takeDecoded(kubernetesPrefix, decodeBase64URL)
}

// takePhoenix takes what Phoenix 1.8 clients offer.
func takePhoenix(o *offer) []carrier {
	carriers := o.takeDecoded(phoenixPrefix, decodePhoenix)
	if o.has("phoenix") {
		for i := range carriers {
			carriers[i].first = "phoenix"
		}
	}
	return carriers
}

// takeJupyter takes the carrier of Jupyter's JEP 119 and the bare name that
// clients offer beside it, which is there only to be answered. Alone, the
// bare name carries nothing and stays.
func takeJupyter(o *offer) []carrier {
	carriers := o.takeDecoded(jupyterPrefix, decodeJupyter)
	if len(carriers) == 0 || !o.has(jupyterProtocol) {
		return carriers
	}
	for i, protocol := range o.protocols {
		if protocol == jupyterProtocol {
			o.taken[i] = true
		}
	}
	for i := range carriers {
		carriers[i].last = jupyterProtocol
	}
	return carriers
}

// takeAppSync takes the headers that AWS AppSync clients offer as base64url
// JSON. "header-" alone is no rare beginning, so a value is a carrier if it
// holds an object, or if it comes with a subprotocol of AppSync.
func takeAppSync(o *offer) []carrier {
	var protocol string
	if i := slices.IndexFunc(appsyncProtocols[:], o.has); i >= 0 {
		protocol = appsyncProtocols[i]
	}
	return o.takePrefix(appsyncPrefix, func(_, rest string) (carrier, bool) {
		c, ok := decodeAppSync(rest)
		if !ok {
			c.broken = brokenCarrier
		}
		c.first = protocol
		return c, ok || protocol != ""
	})
}

// takeBare takes values that are a JWT and nothing else.
func takeBare(o *offer) []carrier {
	return o.takePrefix("", func(protocol, _ string) (carrier, bool) {
		return carrier{credential: protocol, last: protocol}, looksLikeJWT(protocol)
	})
}

// takeEcho returns the take of the form "<prefix>*". If nothing else is
// offered, the value itself has to be answered, since a browser accepts
// nothing else.
func takeEcho(prefix string) func(*offer) []carrier {
	return func(o *offer) []carrier {
		return o.takePrefix(prefix, func(protocol, rest string) (carrier, bool) {
			return carrier{credential: rest, last: protocol}, true
		})
	}
}

// decodeBase64URL undoes base64url without padding.
func decodeBase64URL(s string) (string, bool) {
	text, err := base64.RawURLEncoding.DecodeString(s)
	return string(text), err == nil
}

// decodePhoenix undoes base64 in either alphabet: the client's name for it
// says base64url, its code makes standard base64 without padding.
func decodePhoenix(s string) (string, bool) {
	s = strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(s, "="))
	return decodeBase64URL(s)
}

func decodeJupyter(s string) (string, bool) {
	text, err := url.PathUnescape(s)
	return text, err == nil
}

// decodeAppSync reads base64url JSON and reports whether it is an object,
// which makes it a carrier. Without an Authorization member it holds no
// credential: AppSync also takes API keys there, which are not for us.
func decodeAppSync(s string) (carrier, bool) {
	text, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(s, "="))
	if err != nil {
		return carrier{}, false
	}
	// A map, because a struct's fields would match in any case of letters.
	var headers map[string]json.RawMessage
	if json.Unmarshal(text, &headers) != nil || headers == nil {
		return carrier{}, false
	}
	raw, ok := headers["Authorization"]
	if !ok {
		return carrier{}, true
	}
	var credential string
	if json.Unmarshal(raw, &credential) != nil {
		return carrier{broken: brokenCarrier}, true
	}
	return carrier{credential: withoutBearer(credential)}, true
}

// looksLikeJWT reports whether s is three base64url parts, the first a JSON
// object with a member alg. The last may be empty: an unsigned token is one
// to refuse, not one to overlook.
func looksLikeJWT(s string) bool {
	header, rest, ok := strings.Cut(s, ".")
	payload, signature, ok2 := strings.Cut(rest, ".")
	if !ok || !ok2 || payload == "" || !isBase64URL(payload) || !isBase64URL(signature) {
		return false
	}
	text, err := base64.RawURLEncoding.DecodeString(header)
	if err != nil || !bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
		return false
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(text, &members) != nil {
		return false
	}
	_, ok = members["alg"]
	return ok
}

// isBase64URL reports whether s has only letters of the base64url alphabet,
// RFC 4648 section 5.
func isBase64URL(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isAlphanumeric(c) && c != '-' && c != '_' {
			return false
		}
	}
	return true
}
