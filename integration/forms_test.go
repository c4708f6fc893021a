package integration

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
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
	i := NewIssuer(t)
	silent, answering := NewBackend(t), NewBackend(t, Answering("first"))
	p := StartCaddy(t, formsConfig, WithEnv("JWKS", i.JWKSURL()),
		WithEnv("SILENT", silent.Addr), WithEnv("ANSWERING", answering.Addr))
	for n, tc := range FormCases {
		token := i.Token(map[string]any{"jti": tc.Name})
		want := tc.Answer
		if tc.Echo {
			want = tc.Offer(token)[0]
		}
		path := "/form/" + string(rune('a'+n))
		t.Run(tc.Name+", silent application", func(t *testing.T) {
			t.Parallel()
			tc.run(t, p.Addr, silent, path, token, want)
		})
		t.Run(tc.Name+", answering application", func(t *testing.T) {
			t.Parallel()
			answered := want
			if len(tc.Passed) > 0 {
				answered = tc.Passed[0]
			}
			tc.run(t, p.Addr2, answering, path, token, answered)
		})
	}
}

// run opens a socket and looks at both sides of it.
func (tc FormCase) run(t testing.TB, addr string, b *Backend, path, token, answer string) {
	offered := tc.Offer(token)
	conn, resp := MustDial(t, addr, Handshake{Path: path, Subprotocols: offered})
	MustEcho(t, conn, "hello")
	_ = conn.Close()
	if got := resp.Header.Values("Sec-Websocket-Protocol"); len(got) != 1 || got[0] != answer {
		t.Errorf("answered %q, want %q", got, answer)
	}
	if !BrowserAccepts(offered, resp) {
		t.Error("a browser would not accept the answer")
	}
	seen := b.Wait(t, path)
	if got := protocolsOf(seen.Header); !slices.Equal(got, tc.Passed) {
		t.Errorf("the application was offered %q, want %q", got, tc.Passed)
	}
	if got := seen.Header.Get("X-User") + " " + seen.Header.Get("X-Source"); got != "alice subprotocol" {
		t.Errorf("the application was told %q, want alice subprotocol", got)
	}
	secrets := []string{token, token[strings.LastIndexByte(token, '.')+1:]}
	for _, secret := range append(secrets, offered[len(offered)-1]) {
		if b.Received(secret) {
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
	f := Shared(t)
	token := f.Issuer.Token()
	conn := DialRaw(t, f.Addr)
	conn.Send(t, Upgrade(f.Addr, "/lines", "Sec-WebSocket-Protocol: chat.v1, bearer", "sec-websocket-protocol: "+token))
	if resp := conn.Response(t); resp.StatusCode != http.StatusSwitchingProtocols ||
		resp.Header.Get("Sec-Websocket-Protocol") != "bearer" {
		t.Fatalf("answered %s %q, want 101 bearer", resp.Status, resp.Header.Get("Sec-Websocket-Protocol"))
	}
	if got := protocolsOf(f.Backend.Wait(t, "/lines").Header); !slices.Equal(got, []string{"chat.v1"}) {
		t.Errorf("the application was offered %q, want chat.v1", got)
	}
	if f.Backend.Received(token) {
		t.Error("the application got the token")
	}
}

// What carries no credential of a configured source is not touched: neither a
// bearer subprotocol without a token nor a query parameter of another name.
func TestForeignCarriersStay(t *testing.T) {
	t.Parallel()
	f := Shared(t)
	h := Bearer("/foreign?token=mine&jwt=mine", f.Issuer.Token())
	h.Subprotocols = []string{"v1.token.websocket.jupyter.org", "bearer"}
	h.Header.Set("Cookie", "access_token=mine")
	h.Header.Set("X-Token", "mine")
	_, resp := MustDial(t, f.Addr, h)
	if got := resp.Header.Values("Sec-Websocket-Protocol"); len(got) > 0 {
		t.Errorf("answered %q, but nothing was taken out and the application has answered nothing", got)
	}
	seen := f.Backend.Wait(t, "/foreign")
	if seen.URI != "/foreign?token=mine&jwt=mine" || seen.Header.Get("Cookie") != "access_token=mine" ||
		seen.Header.Get("X-Token") != "mine" || !slices.Equal(protocolsOf(seen.Header), h.Subprotocols) {
		t.Errorf("the application got %s %v", seen.URI, seen.Header)
	}
}
