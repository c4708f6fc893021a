package handshake

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

const offerConfig = `
(offer) {
	websocket_auth {
		verify jwt {$JWKS} {
			audience chat
		}
		http {args[0]}
	}
	reverse_proxy {$BACKEND}
	handle_errors {
		respond "{http.websocket_auth.error}"
	}
}
http://{$SITE} {
	import offer pass
}
http://{$SITE2} {
	import offer authenticate
}
http://{$SITE3} {
	import offer reject
}`

// An offer to upgrade to another protocol is one that a server may ignore, RFC
// 9110 section 7.8, and Java's HttpClient makes it with each request. It is
// taken out: through reverse_proxy it would be a tunnel, with h2c as the classic
// (request smuggling by h2c, Bishop Fox 2020), which this application opens for
// whoever asks.
func TestAttackOffersAreIgnored(t *testing.T) {
	t.Parallel()
	i := rig.NewIssuer(t)
	b := rig.NewRawBackend(t, func(r *http.Request) string {
		if upgrade := r.Header.Get("Upgrade"); upgrade != "" {
			return "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + upgrade + "\r\n\r\n"
		}
		text := fmt.Sprint(r.Method, " ", r.Header["Connection"], r.Header["Http2-Settings"], r.Header["Accept"])
		return fmt.Sprintf("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(text), text)
	})
	p := rig.StartCaddy(t, offerConfig, rig.WithEnv("JWKS", i.JWKSURL()), rig.WithEnv("BACKEND", b.Addr))
	authorization := "Authorization: Bearer " + i.Token()
	const settings = "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"
	for _, offer := range []struct {
		name   string
		method string
		lines  []string
		closes bool
	}{
		{"of Java", "GET", []string{"Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", settings}, false},
		{"of Java with POST", "POST", []string{"Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", settings, "Content-Length: 0"}, false},
		{"beside close", "GET", []string{"Connection: close, Upgrade", "Upgrade: h2c"}, true},
		{"without Connection", "GET", []string{"Upgrade: h2c"}, false},
		{"of TLS", "GET", []string{"Connection: Upgrade", "Upgrade: TLS/1.0, HTTP/2.0"}, false},
		{"on two lines", "GET", []string{"Connection: Upgrade", "Upgrade: foo", "Upgrade: bar/1"}, false},
		{"of nothing", "GET", []string{"Connection: Upgrade", "Upgrade: "}, false},
		{"of a longer word", "GET", []string{"Connection: Upgrade", "Upgrade: websocket2"}, false},
	} {
		t.Run(offer.name, func(t *testing.T) {
			t.Parallel()
			for _, tc := range []struct {
				addr, authorization string
				status              int
				body                string
			}{
				{p.Addr, "X-A: b", 200, offer.method + " [] [] [text/x]"},
				{p.Addr2, authorization, 200, offer.method + " [] [] [text/x]"},
				{p.Addr2, "X-A: b", 401, "missing_credential"},
				{p.Addr3, authorization, 426, "upgrade_required"},
			} {
				conn := rig.DialRaw(t, tc.addr)
				conn.Send(t, strings.Join(append([]string{
					offer.method + " /offer HTTP/1.1", "Host: " + tc.addr, "Accept: text/x", tc.authorization,
				}, offer.lines...), "\r\n")+"\r\n\r\n")
				resp := conn.Response(t)
				body, _ := io.ReadAll(resp.Body)
				if resp.StatusCode != tc.status || string(body) != tc.body {
					t.Errorf("answered %s %q, want %d %q", resp.Status, body, tc.status, tc.body)
				}
				if resp.Close != offer.closes {
					t.Errorf("%d: close is %v", tc.status, resp.Close)
				}
				// What follows is another request, and no tunnel's.
				if !offer.closes {
					conn.Send(t, "GET /next HTTP/1.1\r\nHost: "+tc.addr+"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
					if resp := conn.Response(t); resp.StatusCode != http.StatusBadRequest {
						t.Errorf("then answered %s, want 400", resp.Status)
					}
				}
				_ = conn.Close()
			}
		})
	}
	t.Cleanup(func() {
		if b.Recording.Received("/next") {
			t.Error("the second request has reached the application")
		}
	})
}
