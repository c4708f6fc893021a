package proxy

import (
	"crypto/sha1" //nolint:gosec // RFC 6455 section 4.2.2 demands SHA-1
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
)

// Kind is what a request wants, as far as a gate is concerned.
type Kind int

// The kinds of requests.
const (
	// KindPlain asks for no other protocol, or offers one that is none of
	// WebSocket's, see [IgnoreOffer].
	KindPlain Kind = iota
	// KindWebSocket asks for a WebSocket and nothing else, in any of its
	// shapes: HTTP/1.1 Upgrade, or extended CONNECT over HTTP/2 or HTTP/3.
	KindWebSocket
	// KindTunnel asks for any other tunnel, or for a WebSocket in a way that is
	// no handshake. Behind a reverse proxy that would be a tunnel around the
	// gate.
	KindTunnel
)

// extendedProtocol is where Go's HTTP/2 server puts the :protocol of an
// extended CONNECT, RFC 8441 section 4.
const extendedProtocol = ":protocol"

// Classify tells what r wants. The word websocket counts in any case.
func Classify(r *http.Request) Kind {
	if r.Method == http.MethodConnect {
		protocol, extended := connectProtocol(r)
		if extended && isWebSocket(protocol) {
			return KindWebSocket
		}
		return KindTunnel
	}
	_, extended := r.Header[extendedProtocol]
	if _, connected := connectProtocol(r); extended || connected {
		return KindTunnel
	}
	values := headerValues(r.Header, "Upgrade")
	switch {
	case offersOthers(values):
		return KindPlain
	case r.ProtoMajor == 1 && len(values) == 1 && isWebSocket(values[0]):
		return KindWebSocket
	default:
		return KindTunnel
	}
}

// isWebSocket tells whether protocol is the word websocket, in any case of
// ASCII letters: others that Unicode folds to them are another protocol to
// everybody else.
func isWebSocket(protocol string) bool {
	const word = "websocket"
	protocol = strings.Trim(protocol, " \t")
	return len(protocol) == len(word) && strings.EqualFold(protocol, word)
}

// connectProtocol returns the protocol that an extended CONNECT asks for.
// Go's HTTP/3 server has it in r.Proto, which otherwise begins with HTTP/.
func connectProtocol(r *http.Request) (protocol string, extended bool) {
	if values, ok := r.Header[extendedProtocol]; ok && len(values) == 1 && r.ProtoMajor == 2 {
		return values[0], true
	}
	if r.ProtoMajor == 3 && !strings.HasPrefix(r.Proto, "HTTP/") {
		return r.Proto, true
	}
	return "", false
}

// HandshakeError says what is wrong with a client's handshake.
type HandshakeError struct {
	// Status is what to answer: 400, or 426 with Sec-WebSocket-Version: 13.
	Status int
	// Detail is for operators and holds nothing that the client has sent.
	Detail string
}

// Error returns the detail.
func (e *HandshakeError) Error() string { return "bad handshake: " + e.Detail }

// CheckRequest judges the client's side of a handshake that [Classify] has
// called KindWebSocket: RFC 6455 section 4.2.1, and RFC 8441 section 5.
func CheckRequest(r *http.Request) *HandshakeError {
	if r.ProtoMajor == 1 {
		if err := checkUpgrade(r); err != nil {
			return err
		}
	}
	switch version := headerValues(r.Header, "Sec-WebSocket-Version"); {
	case len(version) != 1:
		return badRequest("not exactly one Sec-WebSocket-Version")
	case strings.TrimSpace(version[0]) != "13":
		return &HandshakeError{http.StatusUpgradeRequired, "Sec-WebSocket-Version is not 13"}
	}
	return nil
}

// checkUpgrade judges what only HTTP/1.1 has.
func checkUpgrade(r *http.Request) *HandshakeError {
	switch {
	case r.Method != http.MethodGet:
		return badRequest("method is not GET")
	case !r.ProtoAtLeast(1, 1):
		return badRequest("HTTP/1.0 has no upgrade")
	case r.Host == "":
		return badRequest("no Host")
	case !containsToken(r.Header, "Connection", "upgrade"):
		return badRequest("Connection does not name Upgrade")
	case r.ContentLength != 0 || len(r.TransferEncoding) > 0:
		return badRequest("the request has a body")
	}
	keys := headerValues(r.Header, "Sec-WebSocket-Key")
	if len(keys) != 1 {
		return badRequest("not exactly one Sec-WebSocket-Key")
	}
	if raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(keys[0])); err != nil || len(raw) != 16 {
		return badRequest("Sec-WebSocket-Key is not 16 bytes in base64")
	}
	return nil
}

func badRequest(detail string) *HandshakeError {
	return &HandshakeError{http.StatusBadRequest, detail}
}

// Disarm takes from r what makes it a request for a tunnel, so that no handler
// that sees it later (an error page, for instance) opens one.
func Disarm(r *http.Request) {
	for key := range r.Header {
		switch canonical := textproto.CanonicalMIMEHeaderKey(key); {
		case canonical == "Upgrade", canonical == "Connection", key == extendedProtocol,
			strings.HasPrefix(canonical, "Sec-Websocket-"):
			delete(r.Header, key)
		}
	}
	if r.Method == http.MethodConnect {
		r.Method = http.MethodGet
		r.Body = http.NoBody
		r.ContentLength = 0
	}
	if r.ProtoMajor == 3 {
		r.Proto = "HTTP/3.0"
	}
}

// offer is what the application is offered in the handshake, to judge its
// answer by.
type offer struct {
	key        string
	protocols  []string
	extensions []string // names only
}

func newOffer(h http.Header) offer {
	return offer{
		key:        strings.TrimSpace(strings.Join(headerValues(h, "Sec-WebSocket-Key"), "")),
		protocols:  tokenList(h, "Sec-WebSocket-Protocol"),
		extensions: extensionNames(h),
	}
}

// answer is what the application has agreed to.
type answer struct {
	protocol string
	deflate  bool
}

// check judges the application's answer, RFC 6455 section 4.1: reverse_proxy
// does not.
func (o offer) check(h http.Header) (answer, error) {
	upgrade := headerValues(h, "Upgrade")
	if len(upgrade) != 1 || !isWebSocket(upgrade[0]) {
		return answer{}, errors.New("the application's Upgrade is not websocket")
	}
	if !containsToken(h, "Connection", "upgrade") {
		return answer{}, errors.New("the application's Connection does not name Upgrade")
	}
	accept := headerValues(h, "Sec-WebSocket-Accept")
	if len(accept) != 1 || strings.TrimSpace(accept[0]) != acceptKey(o.key) {
		return answer{}, errors.New("the application's Sec-WebSocket-Accept is wrong")
	}
	var a answer
	switch protocols := tokenList(h, "Sec-WebSocket-Protocol"); {
	case len(protocols) > 1:
		return answer{}, protocolError("the application answered more than one subprotocol")
	case len(protocols) == 1 && !slices.Contains(o.protocols, protocols[0]):
		return answer{}, protocolError("the application answered a subprotocol that was not offered to it")
	case len(protocols) == 1:
		a.protocol = protocols[0]
	}
	for _, name := range extensionNames(h) {
		if !slices.Contains(o.extensions, name) {
			return answer{}, errors.New("the application answered an extension that was not offered to it")
		}
		a.deflate = a.deflate || name == "permessage-deflate"
	}
	return a, nil
}

// acceptKey answers a Sec-WebSocket-Key, RFC 6455 section 4.2.2.
func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // see the import
	return base64.StdEncoding.EncodeToString(sum[:])
}

// goSpelling has Go's spelling of RFC 6455's headers, which would be made anew
// each time.
var goSpelling = map[string]string{
	"Sec-WebSocket-Accept":     "Sec-Websocket-Accept",
	"Sec-WebSocket-Extensions": "Sec-Websocket-Extensions",
	"Sec-WebSocket-Key":        "Sec-Websocket-Key",
	"Sec-WebSocket-Protocol":   "Sec-Websocket-Protocol",
	"Sec-WebSocket-Version":    "Sec-Websocket-Version",
}

// headerValues returns the lines of a header in any spelling: reverse_proxy
// uses RFC 6455's, which is not Go's.
func headerValues(h http.Header, name string) []string {
	canonical, known := goSpelling[name]
	if !known {
		canonical = textproto.CanonicalMIMEHeaderKey(name)
	}
	values := h[canonical]
	if name != canonical {
		if other := h[name]; len(other) > 0 {
			values = append(slices.Clip(values), other...)
		}
	}
	return values
}

// deleteHeader deletes a header in any spelling.
func deleteHeader(h http.Header, name string) {
	delete(h, textproto.CanonicalMIMEHeaderKey(name))
	delete(h, name)
}

// tokenList returns the elements of a comma-separated header. Empty ones do
// not count, RFC 9110 section 5.6.1.2.
func tokenList(h http.Header, name string) []string {
	var list []string
	for _, line := range headerValues(h, name) {
		for element := range strings.SplitSeq(line, ",") {
			if element = strings.TrimSpace(element); element != "" {
				list = append(list, element)
			}
		}
	}
	return list
}

func containsToken(h http.Header, name, token string) bool {
	return slices.ContainsFunc(tokenList(h, name), func(s string) bool { return strings.EqualFold(s, token) })
}

// extensionNames returns the names in Sec-WebSocket-Extensions, without their
// parameters. A comma in a quoted parameter makes a name that nobody offers:
// no registered extension has one.
func extensionNames(h http.Header) []string {
	list := tokenList(h, "Sec-WebSocket-Extensions")
	for i, extension := range list {
		name, _, _ := strings.Cut(extension, ";")
		list[i] = strings.ToLower(strings.TrimSpace(name))
	}
	return list
}

// canonicalHeaders brings the handshake's headers to Go's spelling, so that
// none is overlooked here, and log filters find them.
func canonicalHeaders(h http.Header) {
	for key, values := range h {
		canonical := textproto.CanonicalMIMEHeaderKey(key)
		if key == canonical || !strings.HasPrefix(canonical, "Sec-Websocket-") {
			continue
		}
		delete(h, key)
		h[canonical] = append(h[canonical], values...)
	}
}

// UpstreamError says that the application's side of the handshake is wrong.
type UpstreamError struct {
	Err error
	// Final: a second try would not mend it.
	Final bool
}

// protocolError says that the application has chosen a wrong subprotocol, which
// it would choose again.
type protocolError string

func (e protocolError) Error() string { return string(e) }

// upstreamError returns err as the application's.
func upstreamError(err error) *UpstreamError {
	if known, ok := errors.AsType[*UpstreamError](err); ok {
		return known
	}
	_, final := errors.AsType[protocolError](err)
	return &UpstreamError{Err: err, Final: final}
}

// Error returns the detail, which holds nothing that the application has sent.
func (e *UpstreamError) Error() string { return fmt.Sprintf("bad handshake: %v", e.Err) }

// Unwrap returns the cause.
func (e *UpstreamError) Unwrap() error { return e.Err }

// Protocols returns the subprotocols that a client offers.
func Protocols(h http.Header) []string { return tokenList(h, "Sec-WebSocket-Protocol") }

// FirstProtocol returns the first subprotocol that a client offers, or "".
func FirstProtocol(h http.Header) string {
	if protocols := tokenList(h, "Sec-WebSocket-Protocol"); len(protocols) > 0 {
		return protocols[0]
	}
	return ""
}
