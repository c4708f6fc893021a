package handshake

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// Each handle is a way in which a site can ask the application for an upgrade
// that no client has asked for. The first two are in many published
// Caddyfiles.
const upgradePlainConfig = `
(gate) {
	websocket_auth {
		name {args[0]}-{args[1]}
		verify jwt {$JWKS} {
			audience chat
		}
		http {args[0]}
	}
}
(asked) {
	reverse_proxy {$BACKEND} {
		header_up Upgrade websocket
		header_up Connection Upgrade
	}
}
(ways) {
	handle /{args[0]}/header_up/* {
		import gate {args[0]} header_up
		import asked
	}
	handle /{args[0]}/request_header/* {
		route {
			import gate {args[0]} request_header
			request_header Upgrade websocket
			request_header Connection "keep-alive, Upgrade"
			reverse_proxy {$BACKEND}
		}
	}
	handle /{args[0]}/wrapped/* {
		route {
			import gate {args[0]} wrapped
			header X-More yes
			encode
			templates
			intercept {
				@none status 599
				handle_response @none {
					respond none
				}
			}
			import asked
		}
	}
	handle /{args[0]}/nested/* {
		route {
			import gate {args[0]} nested
			websocket_auth {
				max_session 1h
			}
			import asked
		}
	}
	handle /{args[0]}/stripped/* {
		route {
			import gate {args[0]} outer
			request_header -Upgrade
			import gate pass {args[0]}-stripped
			import asked
		}
	}
	handle /{args[0]}/invoked/* {
		import gate {args[0]} invoked
		invoke asked
	}
	handle /{args[0]}/connect/* {
		route {
			import gate {args[0]} connect
			request_header :protocol websocket
			method CONNECT
			reverse_proxy {$BACKEND}
		}
	}
	handle /{args[0]}/behind/* {
		route {
			forward_auth {$HELPER} {
				uri /allow
			}
			import gate {args[0]} behind
			import asked
		}
	}
}
(site) {
	import ways pass
	import ways authenticate
	handle_errors {
		respond "{http.websocket_auth.error}"
	}
}
&(asked) {
	import asked
}
http://{$SITE} {
	import site
}
https://{$TLS} {
	tls {$CERT} {$KEY}
	import site
}`

// upgradeWays are the handles of upgradePlainConfig that make a tunnel of a
// plain GET.
var upgradeWays = []string{"header_up", "request_header", "wrapped", "nested", "invoked", "behind"}

// startUpgradeSite starts upgradePlainConfig.
func startUpgradeSite(t *testing.T) (*rig.Caddy, *rig.Issuer, *rig.Backend) {
	t.Helper()
	i, b := rig.NewIssuer(t), rig.NewBackend(t)
	helper := newHTTPBackend(t, func(http.ResponseWriter, *http.Request) {})
	p := rig.StartCaddy(t, upgradePlainConfig,
		rig.WithEnv("JWKS", i.JWKSURL()), rig.WithEnv("BACKEND", b.Addr), rig.WithEnv("HELPER", helper))
	return p, i, b
}

// newHTTPBackend returns the address of an application that serves so.
func newHTTPBackend(t *testing.T, serve http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(serve)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// plainClient returns a client of a version for requests that are no
// handshakes.
func plainClient(t *testing.T, version string) *http.Client {
	t.Helper()
	if version == rig.H3 {
		transport := &http3.Transport{TLSClientConfig: rig.ClientTLS(http3.NextProtoH3)}
		t.Cleanup(func() { _ = transport.Close() })
		return &http.Client{Transport: transport, Timeout: rig.Patience}
	}
	transport := &http.Transport{TLSClientConfig: rig.ClientTLS("http/1.1"), DisableKeepAlives: true}
	if version == rig.H2 {
		transport.TLSClientConfig, transport.ForceAttemptHTTP2 = rig.ClientTLS("h2"), true
	} else {
		// Not nil, which means HTTP/2.
		transport.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: rig.Patience}
}

// keyed is the header of a request that is no handshake only because it does
// not ask for an upgrade.
func keyed(token string) http.Header {
	h := http.Header{"Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {rig.RawKey}}
	if token != "" {
		h.Set("Authorization", "Bearer "+token)
	}
	return h
}

// plainGet returns the text of such a request, with more header lines.
func plainGet(host, path string, lines ...string) string {
	return strings.Join(append([]string{
		"GET " + path + " HTTP/1.1", "Host: " + host,
		"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + rig.RawKey,
	}, lines...), "\r\n") + "\r\n\r\n"
}

// A site that sets Upgrade and Connection for its application makes of a plain
// GET with a Sec-WebSocket-Key a WebSocket that has no session and no end, with
// http pass for anybody: 502 in place of the tunnel, and nothing passes.
func TestAttackUpgradeOfPlainRequest(t *testing.T) {
	t.Parallel()
	p, i, b := startUpgradeSite(t)
	for _, policy := range []string{"pass", "authenticate"} {
		for _, way := range append([]string{"stripped"}, upgradeWays...) {
			t.Run(policy+"/"+way, func(t *testing.T) {
				t.Parallel()
				path := "/" + policy + "/" + way + rig.PathOf(t)
				var lines []string
				if policy == "authenticate" || way == "stripped" {
					lines = []string{"Authorization: Bearer " + i.Token()}
				}
				if way == "stripped" {
					lines = append(lines, "Connection: Upgrade", "Upgrade: websocket")
				}
				conn := rig.DialRaw(t, p.Addr)
				conn.Send(t, plainGet(p.Addr, path, lines...))
				resp := conn.Response(t)
				if resp.StatusCode != http.StatusBadGateway {
					t.Fatalf("answered %s, want 502", resp.Status)
				}
				if body, _ := io.ReadAll(resp.Body); string(body) != "upstream_handshake" {
					t.Errorf("refused with reason %q", body)
				}
				for _, name := range []string{"Upgrade", "Sec-Websocket-Accept", "X-More", "Content-Encoding"} {
					if got := resp.Header.Get(name); got != "" {
						t.Errorf("answered %s %q of what is forgotten", name, got)
					}
				}
				// As a tunnel it does not go on, and as HTTP it ends.
				frame := rig.MaskedFrame("tunnelled")
				_, _ = io.WriteString(conn, frame)
				if rest := conn.Rest(t); rest != "" {
					t.Errorf("after the answer came %q", rest)
				}
				b.Wait(t, path).WaitClosed(t)
				if b.Received(frame) {
					t.Error("a frame has reached the application")
				}
			})
		}
	}
	t.Cleanup(func() {
		if all := p.Logs.Entries("socket opened"); len(all) > 0 {
			t.Errorf("sockets were opened: %v", all)
		}
	})
}

// The log says where it was, and what to look for.
func TestUpgradeOfPlainRequestIsLogged(t *testing.T) {
	t.Parallel()
	p, i, _ := startUpgradeSite(t)
	for _, policy := range []string{"pass", "authenticate"} {
		conn := rig.DialRaw(t, p.Addr)
		conn.Send(t, plainGet(p.Addr, "/"+policy+"/header_up/logged", "Authorization: Bearer "+i.Token()))
		if resp := conn.Response(t); resp.StatusCode != http.StatusBadGateway {
			t.Fatalf("%s: answered %s", policy, resp.Status)
		}
	}
	p.WaitLog(t, "upstream_handshake")
	rig.Eventually(t, rig.Patience, func() string {
		if n := len(p.Logs.Entries("request refused")); n != 2 {
			return fmt.Sprintf("%d lines in the log, want 2", n)
		}
		return ""
	})
	for n, entry := range p.Logs.Entries("request refused") {
		policy := []string{"pass", "authenticate"}[n]
		text := fmt.Sprint(entry["error"])
		if entry["site"] != policy+"-header_up" || entry["route"] != "/"+policy+"/header_up/*" ||
			entry["reason"] != "upstream_handshake" || entry["level"] != "error" ||
			!strings.Contains(text, "header_up") || !strings.Contains(text, "request_header") {
			t.Errorf("logged %v", entry)
		}
	}
}

// Over HTTP/2 and HTTP/3 a 101 opens nothing, but what the site asks for is an
// error there, too.
func TestAttackUpgradeOfPlainStreams(t *testing.T) {
	t.Parallel()
	p, i, _ := startUpgradeSite(t)
	for _, version := range rig.StreamVersions {
		client := plainClient(t, version)
		for _, policy := range []string{"pass", "authenticate"} {
			for _, way := range upgradeWays {
				url := "https://" + p.TLSAddr + "/" + policy + "/" + way + "/" + version
				r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
				if err != nil {
					t.Fatal(err)
				}
				r.Header = keyed(i.Token())
				resp, err := client.Do(r)
				if err != nil {
					t.Errorf("%s %s over %s: %v", policy, way, version, err)
					continue
				}
				body, _ := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if resp.StatusCode != http.StatusBadGateway || string(body) != "upstream_handshake" {
					t.Errorf("%s %s over %s: answered %s %q, want 502", policy, way, version, resp.Status, body)
				}
			}
		}
	}
}

// A site can even make an extended CONNECT of a request over HTTP/2. That is a
// tunnel without 101 and without Hijack: reverse_proxy copies the bodies.
func TestAttackExtendedConnectOfPlainRequest(t *testing.T) {
	t.Parallel()
	p, i, b := startUpgradeSite(t)
	client := plainClient(t, rig.H2)
	for _, policy := range []string{"pass", "authenticate"} {
		path := "/" + policy + "/connect" + rig.PathOf(t)
		body, w := io.Pipe()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+p.TLSAddr+path, body)
		if err != nil {
			t.Fatal(err)
		}
		r.Header = keyed(i.Token())
		frame := rig.MaskedFrame("tunnelled by " + policy)
		go func() {
			_, _ = io.WriteString(w, frame)
			_ = w.Close()
		}()
		resp, err := client.Do(r)
		if err != nil {
			t.Fatalf("%s: %v", policy, err)
		}
		text, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusBadGateway || string(text) != "upstream_handshake" {
			t.Errorf("%s: answered %s %q, want 502", policy, resp.Status, text)
		}
		b.Wait(t, path).WaitClosed(t)
		if b.Received(frame) {
			t.Errorf("%s: a frame has reached the application", policy)
		}
	}
}

// What such a site does for real WebSockets it goes on doing, and its plain
// requests of a browser, which have no key, get the application's answer.
func TestUpgradeSiteServesWebSockets(t *testing.T) {
	t.Parallel()
	p, i, b := startUpgradeSite(t)
	for _, way := range upgradeWays {
		conn, _ := rig.MustDial(t, p.Addr, rig.Bearer("/pass/"+way+"/ws", i.Token()))
		rig.MustEcho(t, conn, "hello "+way)
	}
	for _, version := range rig.StreamVersions {
		for _, way := range upgradeWays {
			ctx := t.Context()
			r, err := rig.NewHandshake(ctx, version, "https://"+p.TLSAddr+"/pass/"+way+"/"+version, http.Header{"Authorization": {"Bearer " + i.Token()}})
			if err != nil {
				t.Fatal(err)
			}
			conn, err := rig.ConnectTo(ctx, version, "https", p.TLSAddr)
			if err != nil {
				t.Fatal(err)
			}
			c, answer, err := conn.Open(r)
			if err != nil || c == nil {
				t.Errorf("%s over %s: %v %v", way, version, answer, err)
				_ = conn.Close()
				continue
			}
			c.Echoes(t)
			_ = conn.Close()
		}
	}
	if len(b.Seen("/pass/header_up/ws")) != 1 {
		t.Error("the application has not seen the WebSocket")
	}
}

// A long answer of a plain request still comes as it is written, whole, and
// with what the handlers behind set.
func TestPlainAnswersStream(t *testing.T) {
	t.Parallel()
	i := rig.NewIssuer(t)
	next := make(chan struct{})
	application := newHTTPBackend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/sized" {
			w.Header().Set("Content-Length", "3")
			_, _ = io.WriteString(w, "one")
			return
		}
		w.Header().Set("Trailer", "X-Sum")
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		_, _ = io.WriteString(w, "one")
		_ = http.NewResponseController(w).Flush()
		<-next
		_, _ = io.WriteString(w, "two")
		w.Header().Set("X-Sum", "6")
	})
	p := rig.StartCaddy(t, `
(site) {
	websocket_auth {$JWKS} chat
	reverse_proxy {$BACKEND}
}
http://{$SITE} {
	import site
}
https://{$TLS} {
	tls {$CERT} {$KEY}
	import site
}`, rig.WithEnv("JWKS", i.JWKSURL()), rig.WithEnv("BACKEND", application))
	for _, version := range rig.AllVersions {
		client, base := plainClient(t, version), "https://"+p.TLSAddr
		resp, err := client.Get(base + "/stream")
		if err != nil {
			t.Fatalf("%s: %v", version, err)
		}
		first := make([]byte, 3)
		if _, err := io.ReadFull(resp.Body, first); err != nil || string(first) != "one" {
			t.Fatalf("%s: read %q, %v", version, first, err)
		}
		select {
		case next <- struct{}{}: // it came before the rest was written
		case <-time.After(rig.Patience):
			t.Fatalf("%s: the application does not go on", version)
		}
		rest, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || string(rest) != "two" || resp.Trailer.Get("X-Sum") != "6" {
			t.Errorf("%s: then %q, %v, trailer %v", version, rest, err, resp.Trailer)
		}
		resp, err = client.Get(base + "/sized")
		if err != nil {
			t.Fatalf("%s: %v", version, err)
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if string(body) != "one" || resp.ContentLength != 3 {
			t.Errorf("%s: %q of %d bytes", version, body, resp.ContentLength)
		}
	}
}

// An error page that asks for an upgrade gets the request of the client, on
// which no handler of ours stands: without a key it opens no WebSocket.
func TestAttackUpgradeByErrorPage(t *testing.T) {
	t.Parallel()
	i, b := rig.NewIssuer(t), rig.NewBackend(t)
	p := rig.StartCaddy(t, `
http://{$SITE} {
	handle /pass/* {
		websocket_auth {$JWKS} chat
		error 418
	}
	handle /authenticate/* {
		websocket_auth {
			verify jwt {$JWKS} {
				audience chat
			}
			http authenticate
		}
		error 418
	}
	handle /reject/* {
		websocket_auth {
			verify jwt {$JWKS} {
				audience chat
			}
			http reject
		}
	}
	handle /gone/* {
		websocket_auth {$JWKS} chat
		reverse_proxy 127.0.0.1:1
	}
	handle /tunnel/* {
		websocket_auth {$JWKS} chat
		reverse_proxy {$BACKEND} {
			header_up Upgrade websocket
			header_up Connection Upgrade
		}
	}
	handle_errors {
		reverse_proxy {$BACKEND} {
			header_up Upgrade websocket
			header_up Connection Upgrade
		}
	}
}`, rig.WithEnv("JWKS", i.JWKSURL()), rig.WithEnv("BACKEND", b.Addr))
	for _, way := range []string{"pass", "authenticate", "reject", "gone", "tunnel", "authenticate/nobody"} {
		conn := rig.DialRaw(t, p.Addr)
		authorization := "Authorization: Bearer " + i.Token()
		if way == "authenticate/nobody" {
			authorization = "Accept: */*"
		}
		frame := rig.MaskedFrame("tunnelled by " + way)
		conn.Send(t, plainGet(p.Addr, "/"+way+"/1", authorization)+frame)
		if resp := conn.Response(t); resp.StatusCode == http.StatusSwitchingProtocols {
			t.Errorf("%s: answered 101", way)
		}
		if b.Received(frame) {
			t.Errorf("%s: a frame has reached the application", way)
		}
		_ = conn.Close()
	}
}
