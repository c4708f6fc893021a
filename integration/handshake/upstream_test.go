package handshake

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

const upstreamConfig = `
http://{$SITE} {
	websocket_auth {$JWKS} chat
	reverse_proxy {$BACKEND}
	handle_errors {
		respond "{http.websocket_auth.error}"
	}
}`

// An application, or what answers in its place, that says 101 and does not
// mean a WebSocket with this client: whoever tunnels then gives a stranger a
// raw connection (RFC 6455 section 4.1).
func TestAttackWrongUpstreamHandshake(t *testing.T) {
	t.Parallel()
	answers := map[string]func(r *http.Request) string{
		"wrong accept":        func(r *http.Request) string { return rig.Switching(r, "Sec-WebSocket-Accept: "+rig.AcceptKey("other")) },
		"no accept":           func(r *http.Request) string { return rig.Switching(r, "Sec-WebSocket-Accept: ") },
		"echoed key":          func(r *http.Request) string { return rig.Switching(r, "Sec-WebSocket-Accept: "+rig.RawKey) },
		"upgrade to h2c":      func(r *http.Request) string { return rig.Switching(r, "Upgrade: h2c") },
		"no upgrade":          func(r *http.Request) string { return rig.Switching(r, "Upgrade: ") },
		"no connection":       func(r *http.Request) string { return rig.Switching(r, "Connection: ") },
		"unoffered protocol":  func(r *http.Request) string { return rig.Switching(r, "Sec-WebSocket-Protocol: admin") },
		"the carrier":         func(r *http.Request) string { return rig.Switching(r, "Sec-WebSocket-Protocol: bearer") },
		"two protocols":       func(r *http.Request) string { return rig.Switching(r, "Sec-WebSocket-Protocol: chat, superchat") },
		"unoffered extension": func(r *http.Request) string { return rig.Switching(r, "Sec-WebSocket-Extensions: permessage-deflate") },
		"another extension":   func(r *http.Request) string { return rig.Switching(r, "Sec-WebSocket-Extensions: x-mux") },
	}
	i := rig.NewIssuer(t)
	b := rig.NewRawBackend(t, func(r *http.Request) string {
		name := strings.ReplaceAll(strings.TrimPrefix(r.URL.Path, "/"), "-", " ")
		return answers[name](r) + "\x81\x06leaked"
	})
	p := rig.StartCaddy(t, upstreamConfig, rig.WithEnv("JWKS", i.JWKSURL()), rig.WithEnv("BACKEND", b.Addr))
	for name := range answers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := rig.DialRaw(t, p.Addr)
			conn.Send(t, rig.Upgrade(p.Addr, "/"+strings.ReplaceAll(name, " ", "-"),
				"Sec-WebSocket-Protocol: chat, superchat, bearer, "+i.Token()))
			conn.Send(t, rig.MaskedFrame("tunnelled"+name))
			resp := conn.Response(t)
			body, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != http.StatusBadGateway || string(body) != "upstream_handshake" {
				t.Errorf("answered %s %q, want 502", resp.Status, body)
			}
			for header := range resp.Header {
				if header == "Upgrade" || strings.HasPrefix(header, "Sec-Websocket-") {
					t.Errorf("the answer has %s: %q", header, resp.Header[header])
				}
			}
			if rest := conn.Finish(t); strings.Contains(rest, "leaked") {
				t.Errorf("the client got %q", rest)
			}
			if b.Recording.Received(rig.MaskedFrame("tunnelled" + name)) {
				t.Error("the application got bytes of the client")
			}
		})
	}
}

// A right answer of the same raw application is tunnelled, so that the test
// above means something.
func TestRightUpstreamHandshake(t *testing.T) {
	t.Parallel()
	i := rig.NewIssuer(t)
	b := rig.NewRawBackend(t, func(r *http.Request) string {
		return rig.Switching(r, "Sec-WebSocket-Protocol: chat", "Upgrade: WebSocket", "Connection: keep-alive, upgrade") + "\x81\x05hello"
	})
	p := rig.StartCaddy(t, upstreamConfig, rig.WithEnv("JWKS", i.JWKSURL()), rig.WithEnv("BACKEND", b.Addr))
	h := rig.Bearer("/", i.Token())
	h.Subprotocols = []string{"superchat", "chat"}
	conn, resp := rig.MustDial(t, p.Addr, h)
	if got := resp.Header.Get("Sec-Websocket-Protocol"); got != "chat" {
		t.Errorf("subprotocol %q, want chat", got)
	}
	if _, message, err := conn.ReadMessage(); err != nil || string(message) != "hello" {
		t.Errorf("got %q, %v", message, err)
	}
}

// What is not 101 is an ordinary answer, whatever else it says: it passes, and
// the connection is no tunnel (Kubernetes CVE-2018-1002105, Envoy
// CVE-2024-23326).
func TestUpstreamAnswersOrdinarily(t *testing.T) {
	t.Parallel()
	i := rig.NewIssuer(t)
	b := rig.NewRawBackend(t, func(r *http.Request) string {
		status := strings.TrimPrefix(r.URL.Path, "/")
		return "HTTP/1.1 " + status + " Whatever\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-App: yes\r\n" +
			"Sec-WebSocket-Accept: " + rig.AcceptKey(r.Header.Get("Sec-Websocket-Key")) + "\r\nContent-Length: 4\r\n\r\nbody"
	})
	p := rig.StartCaddy(t, upstreamConfig, rig.WithEnv("JWKS", i.JWKSURL()), rig.WithEnv("BACKEND", b.Addr))
	for _, status := range []int{200, 301, 400, 401, 403, 404, 426, 500, 503} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			conn := rig.DialRaw(t, p.Addr)
			conn.Send(t, rig.Upgrade(p.Addr, fmt.Sprintf("/%d", status), "Authorization: Bearer "+i.Token()))
			resp := conn.Response(t)
			body, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != status || string(body) != "body" || resp.Header.Get("X-App") != "yes" {
				t.Fatalf("answered %s %q", resp.Status, body)
			}
			// The bytes of a smuggled tunnel: another request, which is refused
			// by itself, or nothing at all.
			conn.Send(t, fmt.Sprintf("GET /internal%d HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", status, p.Addr))
			if rest := conn.Finish(t); strings.Contains(rest, "body") {
				t.Errorf("the application has answered: %q", rest)
			}
			if b.Recording.Received(fmt.Sprintf("/internal%d", status)) {
				t.Error("the application got bytes of the client")
			}
		})
	}
}

// permessage-deflate is between client and application; the gate changes
// nothing of it.
func TestCompressionPasses(t *testing.T) {
	t.Parallel()
	i, b := rig.NewIssuer(t), rig.NewBackend(t, rig.Compressing())
	p := rig.StartCaddy(t, upstreamConfig, rig.WithEnv("JWKS", i.JWKSURL()), rig.WithEnv("BACKEND", b.Addr))
	h := rig.Bearer("/", i.Token())
	h.Compress = true
	conn, resp := rig.MustDial(t, p.Addr, h)
	if got := resp.Header.Get("Sec-Websocket-Extensions"); !strings.HasPrefix(got, "permessage-deflate") {
		t.Fatalf("extensions %q", got)
	}
	for _, size := range []int{0, 1, 125, 126, 4 << 10, 70 << 10, 1 << 20} {
		message := bytes.Repeat([]byte("compressible "), size/13+1)[:size]
		if err := conn.WriteMessage(websocket.BinaryMessage, message); err != nil {
			t.Fatal(err)
		}
		if _, got, err := conn.ReadMessage(); err != nil || !bytes.Equal(got, message) {
			t.Fatalf("message of %d bytes: got %d, %v", size, len(got), err)
		}
	}
	if b.Received(strings.Repeat("compressible ", 20)) {
		t.Error("the messages have reached the application uncompressed")
	}
	// A client that offers none gets none.
	_, resp = rig.MustDial(t, p.Addr, rig.Bearer("/", i.Token()))
	if got := resp.Header.Get("Sec-Websocket-Extensions"); got != "" {
		t.Errorf("extensions %q for a client that has offered none", got)
	}
}
