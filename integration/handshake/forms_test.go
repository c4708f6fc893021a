package handshake

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

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
	i := rig.NewIssuer(t)
	silent, answering := rig.NewBackend(t), rig.NewBackend(t, rig.Answering("first"))
	p := rig.StartCaddy(t, formsConfig, rig.WithEnv("JWKS", i.JWKSURL()),
		rig.WithEnv("SILENT", silent.Addr), rig.WithEnv("ANSWERING", answering.Addr))
	for n, tc := range rig.FormCases {
		token := i.Token(map[string]any{"jti": tc.Name})
		want := tc.Answer
		if tc.Echo {
			want = tc.Offer(token)[0]
		}
		path := "/form/" + string(rune('a'+n))
		t.Run(tc.Name+", silent application", func(t *testing.T) {
			t.Parallel()
			run(t, tc, p.Addr, silent, path, token, want)
		})
		t.Run(tc.Name+", answering application", func(t *testing.T) {
			t.Parallel()
			answered := want
			if len(tc.Passed) > 0 {
				answered = tc.Passed[0]
			}
			run(t, tc, p.Addr2, answering, path, token, answered)
		})
	}
}

// run opens a socket and looks at both sides of it.
func run(t testing.TB, tc rig.FormCase, addr string, b *rig.Backend, path, token, answer string) {
	offered := tc.Offer(token)
	conn, resp := rig.MustDial(t, addr, rig.Handshake{Path: path, Subprotocols: offered})
	rig.MustEcho(t, conn, "hello")
	_ = conn.Close()
	if got := resp.Header.Values("Sec-Websocket-Protocol"); len(got) != 1 || got[0] != answer {
		t.Errorf("answered %q, want %q", got, answer)
	}
	if !rig.BrowserAccepts(offered, resp) {
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
	f := rig.Shared(t)
	token := f.Issuer.Token()
	conn := rig.DialRaw(t, f.Addr)
	conn.Send(t, rig.Upgrade(f.Addr, "/lines", "Sec-WebSocket-Protocol: chat.v1, bearer", "sec-websocket-protocol: "+token))
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
	f := rig.Shared(t)
	h := rig.Bearer("/foreign?token=mine&jwt=mine", f.Issuer.Token())
	h.Subprotocols = []string{"v1.token.websocket.jupyter.org", "bearer"}
	h.Header.Set("Cookie", "access_token=mine")
	h.Header.Set("X-Token", "mine")
	_, resp := rig.MustDial(t, f.Addr, h)
	if got := resp.Header.Values("Sec-Websocket-Protocol"); len(got) > 0 {
		t.Errorf("answered %q, but nothing was taken out and the application has answered nothing", got)
	}
	seen := f.Backend.Wait(t, "/foreign")
	if seen.URI != "/foreign?token=mine&jwt=mine" || seen.Header.Get("Cookie") != "access_token=mine" ||
		seen.Header.Get("X-Token") != "mine" || !slices.Equal(protocolsOf(seen.Header), h.Subprotocols) {
		t.Errorf("the application got %s %v", seen.URI, seen.Header)
	}
}
