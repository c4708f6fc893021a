package rig

import (
	"encoding/base64"
	"net/url"
	"slices"
	"strings"
)

// FormCase is one way in which browser clients put a token in the
// subprotocols: docs/sources.md.
type FormCase struct {
	Name   string
	Offer  func(token string) []string
	Passed []string // what the application is offered
	Answer string   // what the client is answered if the application answers nothing
	Echo   bool     // in place of answer: the carrier, the last that is offered
}

// FormCases are all ways that browser clients have.
var FormCases = []FormCase{
	{"bearer", after("bearer"), nil, "bearer", false},
	{"bearer in odd case", after("BeArEr"), nil, "BeArEr", false},
	{"access_token", after("access_token"), nil, "access_token", false},
	{"token", after("token"), nil, "token", false},
	{"jwt", after("jwt"), nil, "jwt", false},
	{"bearer behind another", after("chat.v1", "bearer"), []string{"chat.v1"}, "bearer", false},
	{"kubernetes", func(token string) []string {
		return []string{"v4.channel.k8s.io", "base64url.bearer.authorization.k8s.io." + Base64URL([]byte(token))}
	}, []string{"v4.channel.k8s.io"}, "v4.channel.k8s.io", false},
	{"phoenix", func(token string) []string {
		return []string{"phoenix", "base64url.bearer.phx." + base64.RawStdEncoding.EncodeToString([]byte(token))}
	}, []string{"phoenix"}, "phoenix", false},
	{"phoenix in the alphabet of its name", func(token string) []string {
		return []string{"phoenix", "base64url.bearer.phx." + Base64URL([]byte(token))}
	}, []string{"phoenix"}, "phoenix", false},
	{"jupyter", func(token string) []string {
		return []string{"v1.token.websocket.jupyter.org", "v1.token.websocket.jupyter.org." + escapeAll(token)}
	}, nil, "v1.token.websocket.jupyter.org", false},
	{"jupyter with another", func(token string) []string {
		return []string{"v1.kernel.websocket.jupyter.org", "v1.token.websocket.jupyter.org." + token}
	}, []string{"v1.kernel.websocket.jupyter.org"}, "v1.kernel.websocket.jupyter.org", false},
	{"appsync", func(token string) []string {
		return []string{"graphql-ws", "header-" + Base64URL([]byte(`{"Authorization":"`+token+`","host":"example.com"}`))}
	}, []string{"graphql-ws"}, "graphql-ws", false},
	{"prefix with another", func(token string) []string {
		return []string{"realtime", "openai-insecure-api-key." + token}
	}, []string{"realtime"}, "realtime", false},
	{"prefix alone", func(token string) []string {
		return []string{"openai-insecure-api-key." + token}
	}, nil, "", true},
	{"bare alone", after(), nil, "", true},
	{"bare behind another", after("chat.v1"), []string{"chat.v1"}, "chat.v1", false},
}

// after offers the token behind others.
func after(others ...string) func(string) []string {
	return func(token string) []string { return append(slices.Clone(others), token) }
}

// escapeAll is a percent-encoding that leaves no dot of a token.
func escapeAll(token string) string { return strings.ReplaceAll(url.PathEscape(token), ".", "%2E") }
