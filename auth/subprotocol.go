package auth

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// subprotocolHeader is the header of RFC 6455 section 11.3.4 as Go spells it.
const subprotocolHeader = "Sec-Websocket-Protocol"

// subprotocolSource finds a credential among the subprotocols that a client
// offers, the one header that a browser lets a page fill.
type subprotocolSource struct{ forms []form }

// NewSubprotocolSource returns the source of credentials that travel as a
// subprotocol, in any of forms, tried in that order. Without forms it knows
// all of [SubprotocolForms], in their order. A form that ends in "*" is a
// prefix: what follows it in a value is the credential. The error is for the
// operator; it names a form that is not known and lists those that are.
func NewSubprotocolSource(forms []string) (Source, error) {
	if len(forms) == 0 {
		return &subprotocolSource{forms: defaultForms()}, nil
	}
	s := new(subprotocolSource)
	for i, name := range forms {
		if slices.Contains(forms[:i], name) {
			return nil, fmt.Errorf("the subprotocol form %q is given twice", name)
		}
		f, err := parseForm(name)
		if err != nil {
			return nil, err
		}
		s.forms = append(s.forms, f)
	}
	return s, nil
}

// Protocols returns the subprotocols that a message with header h offers or
// answers, in order: all lines joined, in any spelling of the header, without
// empty elements (RFC 6455 section 11.3.4, RFC 9110 section 5.6.1). Whether
// they are tokens is not checked.
func Protocols(h http.Header) []string {
	var protocols []string
	for _, line := range headerLines(h, subprotocolHeader) {
		for element := range strings.SplitSeq(line, ",") {
			if element = trimSpace(element); element != "" {
				protocols = append(protocols, element)
			}
		}
	}
	return protocols
}

func (*subprotocolSource) Name() string { return "subprotocol" }

func (s *subprotocolSource) Find(r *http.Request) (Found, error) {
	protocols := Protocols(r.Header)
	carriers, rest := s.split(protocols)
	var answer string
	if len(carriers) > 0 {
		answer = carriers[0].answer(rest)
	}
	var values []string
	for _, c := range carriers {
		values = append(values, c.credential)
	}
	found, err := one("subprotocol", values)
	if len(carriers) == 1 && carriers[0].broken != "" {
		err = malformed("subprotocol", carriers[0].broken)
	}
	if err == nil && hasOtherPair(protocols, rest, len(carriers) > 0) {
		err = Refuse(ReasonAmbiguous, "two credentials in source subprotocol, of which not both are in a configured form")
	}
	if err != nil {
		found = Found{}
	}
	found.Answer = answer
	return found, err
}

// hasOtherPair reports whether protocols have, in the form "bearer, <token>", a
// credential beside another one, whatever forms are configured. rest is what no
// configured form has taken; the app would get a pair in there, and could
// believe it. taken says whether one of them has taken a credential. A single
// pair that none of them looks for is none of ours.
func hasOtherPair(protocols, rest []string, taken bool) bool {
	if len(protocols) < 2 {
		return false
	}
	pairs := takeBearer(&offer{protocols: protocols, taken: make([]bool, len(protocols))})
	return len(pairs) > 1 || taken && slices.ContainsFunc(pairs, func(c carrier) bool {
		return slices.Contains(rest, c.credential)
	})
}

func (s *subprotocolSource) Strip(r *http.Request) {
	protocols := Protocols(r.Header)
	_, rest := s.split(protocols)
	switch len(rest) {
	case len(protocols): // nothing of ours, so not a byte is changed
	case 0:
		setLines(r.Header, subprotocolHeader, nil)
	default:
		setLines(r.Header, subprotocolHeader, []string{strings.Join(rest, ", ")})
	}
}

// split takes the carriers of a credential out of protocols and returns them
// and what is left, in order.
func (s *subprotocolSource) split(protocols []string) (carriers []carrier, rest []string) {
	if len(protocols) == 0 { // most handshakes, three times each
		return nil, nil
	}
	o := &offer{protocols: protocols, taken: make([]bool, len(protocols))}
	for _, f := range s.forms {
		carriers = append(carriers, f.take(o)...)
	}
	if len(carriers) == 0 {
		return nil, protocols
	}
	credentials := make(map[string]bool, len(carriers))
	for _, c := range carriers {
		credentials[c.credential] = true
	}
	for i, protocol := range protocols {
		// A client may repeat the credential where no form looks for it.
		if !o.taken[i] && !credentials[protocol] {
			rest = append(rest, protocol)
		}
	}
	return carriers, rest
}

// offer is the list of subprotocols that a client offers, while the forms
// take their carriers out of it.
type offer struct {
	protocols []string
	taken     []bool
}

// has reports whether protocol is offered, taken or not.
func (o *offer) has(protocol string) bool { return slices.Contains(o.protocols, protocol) }

// takePrefix takes each value that begins with prefix and that read, given
// the value and what follows the prefix, finds to be a carrier.
func (o *offer) takePrefix(prefix string, read func(protocol, rest string) (carrier, bool)) []carrier {
	var carriers []carrier
	for i, protocol := range o.protocols {
		rest, ok := strings.CutPrefix(protocol, prefix)
		if !ok || o.taken[i] {
			continue
		}
		if c, ok := read(protocol, rest); ok {
			o.taken[i] = true
			carriers = append(carriers, c)
		}
	}
	return carriers
}

// takeDecoded takes each value that begins with prefix; decode turns what
// follows it into the credential.
func (o *offer) takeDecoded(prefix string, decode func(string) (string, bool)) []carrier {
	return o.takePrefix(prefix, func(_, rest string) (carrier, bool) {
		credential, ok := decode(rest)
		if !ok {
			return carrier{broken: brokenCarrier}, true
		}
		return carrier{credential: credential}, true
	})
}

// carrier is what was taken out of an offer because it carries a credential.
type carrier struct {
	credential string
	broken     string // why there is no credential; empty if there is one
	// first is answered before any other subprotocol that is left, last if
	// none is left; empty for none. The client has offered both: it would
	// have to fail the connection otherwise (RFC 6455 section 4.1).
	first, last string
}

// answer returns the subprotocol to answer for an upstream that answers none,
// of which it was offered rest.
func (c carrier) answer(rest []string) string {
	if c.first != "" {
		return c.first
	}
	if i := slices.IndexFunc(rest, isToken); i >= 0 {
		return rest[i]
	}
	if isToken(c.last) {
		return c.last
	}
	return ""
}
