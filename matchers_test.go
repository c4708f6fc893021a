package websocketauth_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// matched is a site with lines in front of a websocket_auth for @ws.
func matched(lines string) string {
	return "http://127.0.0.1:8080 {\n\troute {\n" + lines +
		"\n\t\twebsocket_auth @ws https://id.example.com/keys chat\n\t\treverse_proxy 127.0.0.1:1\n\t}\n}\n"
}

// validateCaddyfile loads a Caddyfile as caddy validate does.
func validateCaddyfile(t *testing.T, caddyfile string) error {
	t.Helper()
	adapted, err := adapt(caddyfile)
	if err != nil {
		t.Fatal(err)
	}
	return validateJSON(t, adapted)
}

func validateJSON(t *testing.T, text []byte) error {
	t.Helper()
	var config caddy.Config
	if err := json.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	config.Admin = &caddy.AdminConfig{Disabled: true}
	config.StorageRaw = json.RawMessage(fmt.Sprintf(`{"module":"file_system","root":%q}`, t.TempDir()))
	return caddy.Validate(&config)
}

// A matcher that tells the handshakes of the HTTP versions apart is a way around
// for some of them, also where what it looks at was made from one: it does not
// load, and the text has the matcher, what it looks at, and what to do.
func TestAttackMatchersOnHandshakes(t *testing.T) {
	for name, tc := range map[string]struct {
		lines string
		words []string
	}{
		"header":                 {"@ws header Upgrade websocket", []string{"'header'", "header Upgrade"}},
		"header of h2c":          {"@ws not header HTTP2-Settings *", []string{"'not'", "header Http2-Settings"}},
		"header of browsers":     {"@ws header Sec-Fetch-Mode websocket", []string{"'header'", "header Sec-Fetch-Mode"}},
		"browsers' destination":  {"@ws `{header.Sec-Fetch-Dest} == 'empty'`", []string{"'expression'", "Sec-Fetch-Dest"}},
		"pseudo header":          {"@ws header :protocol websocket", []string{"header :protocol"}},
		"grpc":                   {"@ws not protocol grpc", []string{"the protocol grpc"}},
		"version":                {"@ws protocol http/2+", []string{"'protocol'", "the protocol http/2+"}},
		"method":                 {"@ws method GET", []string{"the method"}},
		"header's value":         {"@ws header X-A {header.Upgrade}", []string{"'header'", "{http.request.header.Upgrade}"}},
		"host":                   {"@ws host {header.Connection}.example.com", []string{"'host'", "{http.request.header.Connection}"}},
		"path":                   {"@ws path /{method}/*", []string{"'path'", "{http.request.method}"}},
		"query":                  {"@ws query a={header.Sec-WebSocket-Key}", []string{"'query'", "Sec-WebSocket-Key"}},
		"file":                   {"@ws file {header.Upgrade}", []string{"'file'", "{http.request.header.Upgrade}"}},
		"file's root":            {"@ws file {\nroot /srv/{http.request.proto_name}\ntry_files {path}\n}", []string{"'file'", "{http.request.proto_name}"}},
		"ALPN":                   {"@ws vars {http.request.tls.proto} http/1.1", []string{"'vars'", "{http.request.tls.proto}"}},
		"ALPN in an expression":  {"@ws `{http.request.tls.proto} == 'http/1.1'`", []string{"'expression'", "tls.proto"}},
		"original method":        {"@ws vars {orig_method} GET", []string{"{http.request.orig_method}"}},
		"version in expression":  {"@ws `protocol('http/1.1')`", []string{"'expression'", "protocol("}},
		"both in expression":     {"@ws `protocol('https') && method('GET')`", []string{"'expression'", "method("}},
		"variable":               {"vars x {header.Upgrade}\n@ws vars x websocket", []string{"'vars'", "the variable x", "{http.request.header.Upgrade}"}},
		"variable by pattern":    {"vars x a-{method}\n@ws vars_regexp x GET", []string{"'vars_regexp'", "the variable x"}},
		"variable's placeholder": {"vars x {header.Upgrade}\n@ws vars {vars.x} websocket", []string{"{http.vars.x}"}},
		"variable in expression": {"vars x {header.Upgrade}\n@ws `{vars.x} == 'websocket'`", []string{"'expression'", "{http.vars.x}"}},
		"variable by function":   {"vars x {header.Upgrade}\n@ws `vars({'x': 'websocket'})`", []string{"'expression'", "the variable x"}},
		"variable of a variable": {"vars y {vars.x}\nvars x {header.Upgrade}\n@ws vars y websocket", []string{"the variable y"}},
		"negated":                {"vars x {header.Upgrade}\n@ws not vars x \"\"", []string{"'not'", "the variable x"}},
		"map":                    {"map {header.upgrade} {x} {\nwebsocket yes\ndefault no\n}\n@ws vars {x} yes", []string{"'vars'", "{x}", "{http.request.header.upgrade}"}},
		"map in expression":      {"map {path} {my.x} {\n/a {header.Upgrade}\n}\n@ws `{my.x} == 'websocket'`", []string{"'expression'", "{my.x}"}},
		"map in a path":          {"map {method} {x} {\nGET a\n}\n@ws path /{x}/*", []string{"'path'", "{x}"}},
		"map into a variable":    {"map {method} {x} {\nGET a\n}\nvars y {x}\n@ws vars y a", []string{"the variable y"}},
		"copied header":          {"request_header X-Kind {header.Upgrade}\n@ws header X-Kind websocket", []string{"'header'", "the header X-Kind", "{http.request.header.Upgrade}"}},
		"copied, in expression":  {"request_header X-Kind {header.Upgrade}\n@ws `header({'X-Kind': 'websocket'})`", []string{"the header X-Kind"}},
		"copied, placeholder":    {"request_header X-Kind {header.Upgrade}\n@ws vars {header.X-Kind} websocket", []string{"{http.request.header.X-Kind}"}},
		"set where it matches":   {"@up header Upgrade websocket\nvars @up kind ws\n@ws vars kind ws", []string{"the variable kind", "the header Upgrade"}},
		"set within a handle":    {"@up not protocol http/1.1\nhandle @up {\nroute /a/* {\nvars kind ws\n}\n}\n@ws vars kind ws", []string{"the variable kind", "the protocol http/1.1"}},
		"header where it matches": {
			"@up header Connection *pgrade*\nrequest_header @up X-Kind ws\n@ws header X-Kind ws",
			[]string{"the header X-Kind", "the header Connection"},
		},
		"rewritten where it matches": {"@up header Upgrade websocket\nrewrite @up /ws{uri}\n@ws path /ws/*", []string{"'path'", "the URI", "the header Upgrade"}},
		"rewritten by a header":      {"rewrite * /{header.Upgrade}{uri}\n@ws path /websocket/*", []string{"'path'", "the URI", "{http.request.header.Upgrade}"}},
		"rewritten by a variable":    {"vars x {method}\nroute /a/* {\nrewrite * /{vars.x}{uri}\n}\n@ws `{path}.startsWith('/GET')`", []string{"'expression'", "the URI"}},
		"prefix where it matches":    {"@up method GET\nuri @up strip_prefix /x\n@ws not path /ws/*", []string{"'not'", "the URI", "the method"}},
		"groups of a pattern": {
			"@up {\npath /never\nheader_regexp up Upgrade (.*)\n}\nvars @up a b\n@ws vars {re.up.1} websocket",
			[]string{"{http.regexp.up.1}", "the header Upgrade"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			err := validateCaddyfile(t, matched(tc.lines))
			if err == nil {
				t.Fatal("it loads")
			}
			for _, word := range append(tc.words, "way around", "match on a path") {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("the text does not say %q: %v", word, err)
				}
			}
		})
	}
}

// What looks at no handshake loads.
func TestMatchersThatLoad(t *testing.T) {
	for name, lines := range map[string]string{
		"https":                 "@ws protocol https",
		"not http":              "@ws not protocol http",
		"https in expression":   "@ws `protocol('https') && path('/ws/*')`",
		"scheme":                "@ws `{scheme} == 'https'`",
		"path":                  "@ws path /ws/*",
		"another header":        "@ws header X-App chat",
		"address":               "@ws remote_ip 10.0.0.0/8",
		"variable of a host":    "vars x {host}\n@ws vars x a.example.com",
		"another variable":      "vars y {header.Upgrade}\nvars x {host}\n@ws vars x a.example.com",
		"map of a path":         "map {path} {my.x} {\n/a yes\n}\n@ws `{my.x} == 'yes'`",
		"header of a path":      "request_header X-Kind {path}\n@ws header X-Kind /a",
		"named pattern":         "@up path_regexp up ^/(.*)$\nvars @up x y\n@ws vars {re.up.1} a",
		"another route":         "@up header Upgrade h2c\nrespond @up no\n@ws path /ws/*",
		"a text with our name":  "@up header Upgrade h2c\nrespond @up `\"websocket_auth\"`\n@ws path /ws/*",
		"a value with our name": "@up header Upgrade h2c\nheader @up X-By websocket_auth\n@ws path /ws/*",
		"rewritten":             "rewrite /a/* /ws{uri}\n@ws path /ws/*",
		"method rewritten":      "@up header X-Method POST\nmethod @up POST\n@ws path /ws/*",
		"file":                  "@ws file {path} /index.html",
	} {
		t.Run(name, func(t *testing.T) {
			if err := validateCaddyfile(t, matched(lines)); err != nil {
				t.Error(err)
			}
		})
	}
}

// What another handle rewrites does not come to ours, nor what another site does.
func TestURIRewrittenElsewhere(t *testing.T) {
	const rewrites = "@up method GET\nrewrite @up /b{uri}\nreverse_proxy 127.0.0.1:1\n"
	err := validateCaddyfile(t, "http://127.0.0.1:8080 {\nhandle /a/* {\n"+rewrites+"}\nhandle /ws/* {\n"+
		"websocket_auth https://id.example.com/keys chat\nreverse_proxy 127.0.0.1:1\n}\n}\n"+
		"http://localhost:8080 {\n"+rewrites+"}\n")
	if err != nil {
		t.Error(err)
	}
}

// A text that is our name is no handler of ours.
func TestMatcherOfRouteWithOurName(t *testing.T) {
	const config = `{"apps":{"http":{"servers":{"s":{"listen":["127.0.0.1:0"],"routes":[
		{"match":[{"path":["/ws"]}],"handle":[
			{"handler":"websocket_auth","verifiers":[{"verifier":"jwt","jwks_url":"https://id.example.com/k","audiences":["chat"]}]}]},
		{"match":[{"header":{"Upgrade":["h2c"]}}],"handle":[{"handler":"static_response","headers":{"Server":["websocket_auth"]}}]}
	]}}}}}`
	if err := validateJSON(t, []byte(config)); err != nil {
		t.Error(err)
	}
}

// The handler is found where it stands, not only in subroutes.
func TestAttackMatcherAroundResponseHandler(t *testing.T) {
	const config = `{"apps":{"http":{"servers":{"s":{"listen":["127.0.0.1:0"],"routes":[
		{"match":[{"header":{"Upgrade":["websocket"]}}],"handle":[{"handler":"reverse_proxy","upstreams":[{"dial":"127.0.0.1:1"}],
		"handle_response":[{"routes":[{"handle":[
			{"handler":"websocket_auth","verifiers":[{"verifier":"jwt","jwks_url":"https://id.example.com/k","audiences":["chat"]}]}
		]}]}]}]}]}}}}}`
	if err := validateJSON(t, []byte(config)); err == nil || !strings.Contains(err.Error(), "header Upgrade") {
		t.Errorf("error %v", err)
	}
}
