package handshake

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

const plainHTTPConfig = `
(http) {
	websocket_auth {$JWKS} chat {
		http {args[0]}
	}
	reverse_proxy {$BACKEND} {
		header_up X-User {http.auth.user.id}
	}
	handle_errors {
		respond "{http.websocket_auth.error}"
	}
}
http://{$SITE} {
	import http pass
}
http://{$SITE2} {
	import http authenticate
}
http://{$SITE3} {
	import http reject
}`

// TestPlainHTTP shows what each word of http does with requests that are no
// WebSocket handshake. Handshakes are authenticated whatever it says.
func TestPlainHTTP(t *testing.T) {
	t.Parallel()
	i, b := rig.NewIssuer(t), rig.NewBackend(t)
	p := rig.StartCaddy(t, plainHTTPConfig, rig.WithEnv("JWKS", i.JWKSURL()), rig.WithEnv("BACKEND", b.Addr))
	pass, authenticate, reject := p.Addr, p.Addr2, p.Addr3
	token, bad := i.Token(), i.Token(map[string]any{"aud": "another"})
	authorization := http.Header{"Authorization": {"Bearer " + token}}
	preflight := http.Header{"Origin": {"https://app.example.com"}, "Access-Control-Request-Method": {"POST"}}
	for _, tc := range []struct {
		name, addr, method, query string
		header                    http.Header
		status                    int
		reason                    string
		user                      string // for the application; "-" if it must have the token, too
	}{
		{"pass without token", pass, "GET", "", nil, 200, "", ""},
		{"pass with token", pass, "GET", "", authorization, 200, "", "-"},
		{"pass POST", pass, "POST", "", nil, 200, "", ""},
		{"authenticate without token", authenticate, "GET", "", nil, 401, "missing_credential", ""},
		{"authenticate with token", authenticate, "GET", "", authorization, 200, "", "alice"},
		{"authenticate with token in the query", authenticate, "GET", "?access_token=" + token, nil, 200, "", "alice"},
		{"authenticate POST", authenticate, "POST", "", authorization, 200, "", "alice"},
		{"authenticate with bad token", authenticate, "GET", "?access_token=" + bad, nil, 401, "wrong_audience", ""},
		{"authenticate preflight", authenticate, "OPTIONS", "", preflight, 200, "", ""},
		{"authenticate OPTIONS that is no preflight", authenticate, "OPTIONS", "", nil, 401, "missing_credential", ""},
		{"authenticate GET like a preflight", authenticate, "GET", "", preflight, 401, "missing_credential", ""},
		{"reject without token", reject, "GET", "", nil, 426, "upgrade_required", ""},
		{"reject with token", reject, "GET", "", authorization, 426, "upgrade_required", ""},
		{"reject preflight", reject, "OPTIONS", "", preflight, 426, "upgrade_required", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			path := rig.PathOf(t)
			resp, body := rig.Request(t, tc.method, "http://"+tc.addr+path+tc.query, tc.header)
			if resp.StatusCode != tc.status {
				t.Fatalf("answered %s %q, want %d", resp.Status, body, tc.status)
			}
			if tc.status != http.StatusOK {
				if body != tc.reason || len(b.Seen(path)) > 0 {
					t.Errorf("refused with reason %q, want %q; seen by the application: %v", body, tc.reason, b.Seen(path))
				}
				if got := resp.Header.Get("Upgrade"); (got == "websocket") != (tc.status == http.StatusUpgradeRequired) {
					t.Errorf("Upgrade is %q", got)
				}
				return
			}
			seen := b.Wait(t, path)
			passedOn := strings.Contains(fmt.Sprint(seen.URI, seen.Header), token)
			if passedOn != (tc.user == "-") {
				t.Errorf("the application got %s %v", seen.URI, seen.Header)
			}
			if got := seen.Header.Get("X-User"); got != strings.TrimPrefix(tc.user, "-") {
				t.Errorf("X-User is %q, want %q", got, tc.user)
			}
		})
	}
	for name, addr := range map[string]string{"pass": pass, "authenticate": authenticate, "reject": reject} {
		t.Run(name+" and a handshake", func(t *testing.T) {
			t.Parallel()
			rig.Refused(t, addr, rig.Handshake{Path: rig.PathOf(t)}, http.StatusUnauthorized)
			conn, _ := rig.MustDial(t, addr, rig.Bearer(rig.PathOf(t), token))
			rig.MustEcho(t, conn, "hello")
		})
	}
}

const pollingConfig = `
http://{$SITE} {
	websocket_auth {
		verify jwt {$JWKS} {
			audience chat
		}
		from cookie session
		http authenticate
	}
	reverse_proxy {$BACKEND}
}`

// TestPollingWithCookie: browsers send no Origin with a GET to their page's own
// site, but say where the page is from. A handshake needs an Origin whatever
// that says.
func TestPollingWithCookie(t *testing.T) {
	t.Parallel()
	i, b := rig.NewIssuer(t), rig.NewBackend(t)
	p := rig.StartCaddy(t, pollingConfig, rig.WithEnv("JWKS", i.JWKSURL()), rig.WithEnv("BACKEND", b.Addr))
	cookie := "session=" + i.Token()
	for site, status := range map[string]int{"same-origin": 200, "same-site": 403, "cross-site": 403, "none": 403} {
		resp, _ := rig.Request(t, http.MethodGet, "http://"+p.Addr+"/", http.Header{"Cookie": {cookie}, "Sec-Fetch-Site": {site}})
		if resp.StatusCode != status {
			t.Errorf("%s: answered %s, want %d", site, resp.Status, status)
		}
	}
	rig.Refused(t, p.Addr, rig.Handshake{Path: "/", Header: http.Header{"Cookie": {cookie}, "Sec-Fetch-Site": {"same-origin"}}}, 403)
}

// Tokens over plain http are refused unless nobody between the client and this
// machine could read them. Who is on the other side is told as a load
// balancer tells it: by the PROXY protocol, or by X-Forwarded headers.
func TestInsecurePlaintext(t *testing.T) {
	t.Parallel()
	i, b := rig.NewIssuer(t), rig.NewBackend(t)
	p := rig.StartCaddy(t, `
{
	debug
	servers :{$PLAIN} {
		listener_wrappers {
			proxy_protocol {
				allow 127.0.0.1/8
			}
		}
	}
	servers {
		trusted_proxies static 127.0.0.1/8
	}
}
(errors) {
	handle_errors {
		respond "{http.websocket_auth.error}"
	}
}
http://{$SITE} {
	websocket_auth {$JWKS} chat
	reverse_proxy {$BACKEND}
	import errors
}
http://127.0.0.1:{$PLAIN} {
	handle /insecure/* {
		websocket_auth {$JWKS} chat {
			insecure_plaintext
		}
		reverse_proxy {$BACKEND}
	}
	handle {
		websocket_auth {$JWKS} chat
		reverse_proxy {$BACKEND}
	}
	import errors
}`, rig.WithEnv("JWKS", i.JWKSURL()), rig.WithEnv("BACKEND", b.Addr), rig.WithEnv("PLAIN", rig.NextFreePort(t)))
	authorization := "Authorization: Bearer " + i.Token()
	plain := "127.0.0.1:" + p.Env["PLAIN"]
	proxied := func(from string) string { return "PROXY TCP4 " + from + " 127.0.0.1 40000 80\r\n" }
	for _, tc := range []struct {
		name, addr, before, path string
		lines                    []string
		status                   int
	}{
		{"this machine", plain, proxied("127.0.0.1"), "/a", nil, 101},
		{"this machine, another loopback address", plain, proxied("127.8.8.8"), "/a", nil, 101},
		{"another machine", plain, proxied("203.0.113.7"), "/a", nil, 403},
		{"a private network", plain, proxied("192.168.1.7"), "/a", nil, 403},
		{"another machine that says https", plain, proxied("203.0.113.7"), "/a", []string{"X-Forwarded-Proto: https"}, 403},
		{"another machine that says it is this", plain, proxied("203.0.113.7"), "/a", []string{"X-Forwarded-For: 127.0.0.1"}, 403},
		{"another machine, allowed", plain, proxied("203.0.113.7"), "/insecure/a", nil, 101},
		{"a trusted proxy that says http", p.Addr, "", "/a", []string{"X-Forwarded-For: 203.0.113.7", "X-Forwarded-Proto: http"}, 403},
		{"a trusted proxy that says nothing", p.Addr, "", "/a", []string{"X-Forwarded-For: 203.0.113.7"}, 403},
		{"a trusted proxy that says https", p.Addr, "", "/a", []string{"X-Forwarded-For: 203.0.113.7", "X-Forwarded-Proto: https"}, 101},
		{"a trusted proxy that says both", p.Addr, "", "/a", []string{"X-Forwarded-For: 203.0.113.7", "X-Forwarded-Proto: https", "X-Forwarded-Proto: http"}, 403},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			conn := rig.DialRaw(t, tc.addr)
			conn.Send(t, tc.before+rig.Upgrade(tc.addr, tc.path, append(tc.lines, authorization)...))
			resp := conn.Response(t)
			if resp.StatusCode != tc.status {
				t.Fatalf("answered %s, want %d", resp.Status, tc.status)
			}
			if tc.status != http.StatusForbidden {
				return
			}
			if body, _ := io.ReadAll(resp.Body); string(body) != "plaintext" {
				t.Errorf("refused with reason %q", body)
			}
		})
	}
}

// Over TLS nobody can read along.
func TestTokensOverTLS(t *testing.T) {
	t.Parallel()
	i, b := rig.NewIssuer(t), rig.NewBackend(t)
	p := rig.StartCaddy(t, `
{
	debug
	servers {
		trusted_proxies static 127.0.0.1/8
	}
}
https://{$TLS} {
	tls {$CERT} {$KEY}
	websocket_auth {$JWKS} chat
	reverse_proxy {$BACKEND}
}`, rig.WithEnv("JWKS", i.JWKSURL()), rig.WithEnv("BACKEND", b.Addr))
	h := rig.Bearer("/", i.Token())
	h.Header.Set("X-Forwarded-For", "203.0.113.7")
	h.TLS = p.TLSConfig
	conn, _ := rig.MustDial(t, p.TLSAddr, h)
	rig.MustEcho(t, conn, "hello")
}
