package integration

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// formCase is one way in which browser clients put a token in the
// subprotocols: docs/sources.md.
type formCase struct {
	name   string
	offer  func(token string) []string
	passed []string // what the application is offered
	answer string   // what the client is answered if the application answers nothing
	echo   bool     // in place of answer: the carrier, the last that is offered
}

var formCases = []formCase{
	{"bearer", after("bearer"), nil, "bearer", false},
	{"bearer in odd case", after("BeArEr"), nil, "BeArEr", false},
	{"access_token", after("access_token"), nil, "access_token", false},
	{"token", after("token"), nil, "token", false},
	{"jwt", after("jwt"), nil, "jwt", false},
	{"bearer behind another", after("chat.v1", "bearer"), []string{"chat.v1"}, "bearer", false},
	{"kubernetes", func(token string) []string {
		return []string{"v4.channel.k8s.io", "base64url.bearer.authorization.k8s.io." + b64([]byte(token))}
	}, []string{"v4.channel.k8s.io"}, "v4.channel.k8s.io", false},
	{"phoenix", func(token string) []string {
		return []string{"phoenix", "base64url.bearer.phx." + base64.RawStdEncoding.EncodeToString([]byte(token))}
	}, []string{"phoenix"}, "phoenix", false},
	{"phoenix in the alphabet of its name", func(token string) []string {
		return []string{"phoenix", "base64url.bearer.phx." + b64([]byte(token))}
	}, []string{"phoenix"}, "phoenix", false},
	{"jupyter", func(token string) []string {
		return []string{"v1.token.websocket.jupyter.org", "v1.token.websocket.jupyter.org." + escapeAll(token)}
	}, nil, "v1.token.websocket.jupyter.org", false},
	{"jupyter with another", func(token string) []string {
		return []string{"v1.kernel.websocket.jupyter.org", "v1.token.websocket.jupyter.org." + token}
	}, []string{"v1.kernel.websocket.jupyter.org"}, "v1.kernel.websocket.jupyter.org", false},
	{"appsync", func(token string) []string {
		return []string{"graphql-ws", "header-" + b64([]byte(`{"Authorization":"`+token+`","host":"example.com"}`))}
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

const formsConfig = `
(forms) {
	websocket_auth {
		verify jwt {$JWKS} {
			audience chat
		}
		from subprotocol bearer kubernetes phoenix jupyter appsync openai-insecure-api-key.* bare
	}
}
http://{$SITE} {
	import forms
	reverse_proxy {$SILENT} {
		header_up X-User {http.auth.user.id}
		header_up X-Source {http.websocket_auth.source}
	}
}
http://{$SITE2} {
	import forms
	reverse_proxy {$ANSWERING} {
		header_up X-User {http.auth.user.id}
		header_up X-Source {http.websocket_auth.source}
	}
}
`

// TestSubprotocolForms shows every form through to the application, which gets
// neither the token nor its carrier, to applications that answer a subprotocol
// and to those that do not: a browser accepts the answer of both.
func TestSubprotocolForms(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	silent, answering := newBackend(t), newBackend(t, answering("first"))
	p := startCaddy(t, formsConfig, withEnv("JWKS", i.jwksURL()),
		withEnv("SILENT", silent.addr), withEnv("ANSWERING", answering.addr))
	for n, tc := range formCases {
		token := i.token(map[string]any{"jti": tc.name})
		want := tc.answer
		if tc.echo {
			want = tc.offer(token)[0]
		}
		path := "/form/" + string(rune('a'+n))
		t.Run(tc.name+", silent application", func(t *testing.T) {
			t.Parallel()
			tc.run(t, p.site, silent, path, token, want)
		})
		t.Run(tc.name+", answering application", func(t *testing.T) {
			t.Parallel()
			answered := want
			if len(tc.passed) > 0 {
				answered = tc.passed[0]
			}
			tc.run(t, p.site2, answering, path, token, answered)
		})
	}
}

// run opens a socket and looks at both sides of it.
func (tc formCase) run(t testing.TB, addr string, b *backend, path, token, answer string) {
	offered := tc.offer(token)
	conn, resp := mustDial(t, addr, handshake{path: path, subprotocols: offered})
	mustEcho(t, conn, "hello")
	_ = conn.Close()
	if got := resp.Header.Values("Sec-Websocket-Protocol"); len(got) != 1 || got[0] != answer {
		t.Errorf("answered %q, want %q", got, answer)
	}
	if !browserAccepts(offered, resp) {
		t.Error("a browser would not accept the answer")
	}
	seen := b.wait(t, path)
	if got := protocolsOf(seen.header); !slices.Equal(got, tc.passed) {
		t.Errorf("the application was offered %q, want %q", got, tc.passed)
	}
	if got := seen.header.Get("X-User") + " " + seen.header.Get("X-Source"); got != "alice subprotocol" {
		t.Errorf("the application was told %q, want alice subprotocol", got)
	}
	secrets := []string{token, token[strings.LastIndexByte(token, '.')+1:]}
	for _, secret := range append(secrets, offered[len(offered)-1]) {
		if b.received(secret) {
			t.Errorf("the application got %.40q...", secret)
		}
	}
}

// protocolsOf returns the subprotocols in a header.
func protocolsOf(h http.Header) []string {
	var protocols []string
	for _, line := range h.Values("Sec-Websocket-Protocol") {
		for protocol := range strings.SplitSeq(line, ",") {
			protocols = append(protocols, strings.TrimSpace(protocol))
		}
	}
	return protocols
}

// Clients may write the offer in several lines, which mean the same as one.
func TestSubprotocolInSeveralLines(t *testing.T) {
	t.Parallel()
	f := shared(t)
	token := f.issuer.token()
	conn := dialRaw(t, f.site)
	conn.send(t, upgrade(f.site, "/lines", "Sec-WebSocket-Protocol: chat.v1, bearer", "sec-websocket-protocol: "+token))
	if resp := conn.response(t); resp.StatusCode != http.StatusSwitchingProtocols ||
		resp.Header.Get("Sec-Websocket-Protocol") != "bearer" {
		t.Fatalf("answered %s %q, want 101 bearer", resp.Status, resp.Header.Get("Sec-Websocket-Protocol"))
	}
	if got := protocolsOf(f.backend.wait(t, "/lines").header); !slices.Equal(got, []string{"chat.v1"}) {
		t.Errorf("the application was offered %q, want chat.v1", got)
	}
	if f.backend.received(token) {
		t.Error("the application got the token")
	}
}

// What carries no credential of a configured source is not touched: neither a
// bearer subprotocol without a token nor a query parameter of another name.
func TestForeignCarriersStay(t *testing.T) {
	t.Parallel()
	f := shared(t)
	h := bearer("/foreign?token=mine&jwt=mine", f.issuer.token())
	h.subprotocols = []string{"v1.token.websocket.jupyter.org", "bearer"}
	h.header.Set("Cookie", "access_token=mine")
	h.header.Set("X-Token", "mine")
	_, resp := mustDial(t, f.site, h)
	if got := resp.Header.Values("Sec-Websocket-Protocol"); len(got) > 0 {
		t.Errorf("answered %q, but nothing was taken out and the application has answered nothing", got)
	}
	seen := f.backend.wait(t, "/foreign")
	if seen.uri != "/foreign?token=mine&jwt=mine" || seen.header.Get("Cookie") != "access_token=mine" ||
		seen.header.Get("X-Token") != "mine" || !slices.Equal(protocolsOf(seen.header), h.subprotocols) {
		t.Errorf("the application got %s %v", seen.uri, seen.header)
	}
}
