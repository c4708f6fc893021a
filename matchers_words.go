package websocketauth

import (
	"net/textproto"
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// derived is what tells handshakes from other requests because the
// configuration has made it from something that does: by name, with what it was
// made from.
type derived struct {
	vars, headers, placeholders, regexps map[string]string
	uri                                  string // as it comes to us
}

// derivedIn returns what the routes of servers derive.
func derivedIn(servers []*caddyhttp.Server) *derived {
	d := &derived{
		vars:    map[string]string{extendedVar: "an extended CONNECT"},
		headers: make(map[string]string), placeholders: make(map[string]string), regexps: make(map[string]string),
	}
	var routes []routeView
	for _, server := range servers {
		routes = append(routes, viewsOf(server.Routes)...)
		for _, named := range server.NamedRoutes {
			routes = append(routes, viewOf(*named))
		}
	}
	for n := -1; n != d.size(); { // one may be made from another
		n = d.size()
		d.learn(routes, "")
	}
	return d
}

func (d *derived) size() int {
	return len(d.vars) + len(d.headers) + len(d.placeholders) + len(d.regexps)
}

// learn goes through routes, to which only requests come that a matcher has
// told apart by what; empty if none has.
func (d *derived) learn(routes []routeView, what string) {
	for _, route := range routes {
		by := what
		for _, set := range route.matchers {
			for _, m := range set {
				if seen := d.seenBy(m); seen != "" {
					by = seen
					d.learnRegexps(m, seen)
				}
			}
		}
		for _, h := range route.handlers {
			d.learnFrom(h, by)
			d.learn(h.routes, by)
		}
	}
}

// learnRegexps notes the placeholders that a matcher fills.
func (d *derived) learnRegexps(m matcherView, what string) {
	for _, set := range m.not {
		for _, inner := range set {
			d.learnRegexps(inner, what)
		}
	}
	for _, field := range members(m.config) {
		if name, _ := members(field)["name"].(string); name != "" {
			d.regexps[name] = what
		}
	}
}

// learnFrom notes what a handler sets, where only requests come to it that were
// told apart by what.
func (d *derived) learnFrom(h handlerView, what string) {
	config := members(h.config)
	switch h.name {
	case "vars":
		d.note(d.vars, config, what)
	case "map":
		from := d.in(what, config)
		destinations, _ := config["destinations"].([]any)
		for _, destination := range destinations {
			if name, ok := destination.(string); ok && from != "" {
				d.placeholders[strings.Trim(name, "{}")] = from
			}
		}
	case "headers":
		ops := members(config["request"])
		for _, op := range []string{"set", "add", "replace"} {
			for name, values := range members(ops[op]) {
				canonical := textproto.CanonicalMIMEHeaderKey(name)
				d.note(d.headers, map[string]any{canonical: values}, what)
			}
		}
	}
}

// note notes those of named that are set by what, or whose value has something
// of a handshake in it.
func (d *derived) note(in map[string]string, named map[string]any, what string) {
	for name, value := range named {
		if from := d.in(what, value); from != "" && name != "handler" {
			in[name] = from
		}
	}
}

// in returns what, or else what of a handshake a placeholder in config shows.
func (d *derived) in(what string, config any) string {
	eachText(config, func(text string) bool {
		if what == "" {
			what = d.placeholderIn(text)
		}
		return what != ""
	})
	return what
}

// seenBy returns what a matcher looks at and must not, or "".
func (d *derived) seenBy(m matcherView) string {
	for _, set := range m.not {
		for _, inner := range set {
			if what := d.seenBy(inner); what != "" {
				return what
			}
		}
	}
	what := ""
	switch m.name {
	case "protocol":
		what = handshakeProtocol(m.config)
	case "method":
		what = "the method"
	case "header", "header_regexp":
		for field := range members(m.config) {
			what = or(what, d.header(field))
		}
	case "vars", "vars_regexp":
		for name := range members(m.config) {
			what = or(what, d.variable(name))
		}
	case "expression":
		eachText(m.config, func(text string) bool {
			what = or(what, d.inExpression(text))
			return what != ""
		})
	}
	switch {
	case what != "" || m.not != nil:
		return what
	case looksAtURI(m):
		return or(d.in("", m.config), made("the URI", d.uri))
	}
	return d.in("", m.config)
}

// or returns the first that is not empty.
func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// handshakeProtocol looks at the word of a protocol matcher. http and https ask
// for TLS, which every version has or has not.
func handshakeProtocol(config any) string {
	if word, _ := config.(string); word != "http" && word != "https" {
		return "the protocol " + word
	}
	return ""
}

func (d *derived) header(field string) string {
	name := textproto.CanonicalMIMEHeaderKey(field)
	if isHandshakeHeader(name) {
		return "the header " + name
	}
	return made("the header "+name, d.headers[name])
}

func (d *derived) variable(name string) string { return made("the variable "+name, d.vars[name]) }

// made tells of what is made from something of a handshake.
func made(what, from string) string {
	if from == "" {
		return ""
	}
	return what + ", which depends on " + from
}

// isHandshakeHeader tells whether a header is part of a handshake or, as Sec-Fetch-Mode
// and Sec-Fetch-Dest, in those of browsers only.
func isHandshakeHeader(canonical string) bool {
	switch canonical {
	case "Upgrade", "Connection", "Http2-Settings", ":protocol", "Sec-Fetch-Mode", "Sec-Fetch-Dest":
		return true
	}
	return strings.HasPrefix(canonical, "Sec-Websocket-")
}

var placeholderPattern = regexp.MustCompile(`\{([^{}]+)\}`)

// placeholderIn returns the first placeholder in text that shows something of a
// handshake.
func (d *derived) placeholderIn(text string) string {
	for _, match := range placeholderPattern.FindAllStringSubmatch(text, -1) {
		if what := d.placeholder(match[1]); what != "" {
			return what
		}
	}
	return ""
}

// placeholder tells whether a placeholder shows something of a handshake. The
// Caddyfile's short forms count as well.
func (d *derived) placeholder(name string) string {
	shown := "{" + name + "}"
	if what := made(shown, d.placeholders[name]); what != "" {
		return what
	}
	short := strings.TrimPrefix(strings.TrimPrefix(name, "http."), "request.")
	switch short {
	case "proto", "proto_name", "method", "orig_method", "tls.proto", "tls.proto_mutual":
		return shown
	}
	kind, rest, _ := strings.Cut(short, ".")
	switch kind {
	case "header":
		if d.header(rest) != "" {
			return shown
		}
	case "vars":
		return made(shown, d.vars[rest])
	case "regexp", "re":
		group, _, _ := strings.Cut(rest, ".")
		return made(shown, d.regexps[group])
	}
	return ""
}

// handshakeWords are what a CEL expression can tell handshakes from other
// requests by: the matchers protocol and method, and headers and placeholders
// of such names. harmlessWords are what looks like it.
var (
	handshakeWords = regexp.MustCompile(`(?i)\b(?:protocol|method)\s*\(|` +
		`\{(?:proto|method|orig_method)\}|http\.request\.(?:proto|method|orig_method|tls\.proto)|` +
		`header[^)}]*?(?:upgrade|connection|sec-websocket|sec-fetch-mode|sec-fetch-dest|http2-settings|:protocol)`)
	harmlessWords = regexp.MustCompile(`(?i)\bprotocol\s*\(\s*["'\x60]https?["'\x60]\s*\)`)
	quotedWord    = regexp.MustCompile(`["'\x60]([^"'\x60]+)["'\x60]`)
)

// inExpression returns what of a handshake a CEL expression looks at.
func (d *derived) inExpression(expression string) string {
	expression = harmlessWords.ReplaceAllString(expression, "")
	if word := handshakeWords.FindString(expression); word != "" {
		return "'" + word + "'"
	}
	if what := d.placeholderIn(expression); what != "" {
		return what
	}
	for _, match := range quotedWord.FindAllStringSubmatch(expression, -1) {
		word := match[1] // of vars, of header, or a placeholder's name
		if what := or(d.variable(word), d.placeholder(word)); what != "" {
			return what
		}
		if name := textproto.CanonicalMIMEHeaderKey(word); d.headers[name] != "" {
			return d.header(name)
		}
	}
	return ""
}
