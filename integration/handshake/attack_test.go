package handshake

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// Bytes sent together with the handshake lie in the server's buffer, which
// reverse_proxy sends to the application before anything that a wrapped
// connection sees (RFC 9931, CVE-2025-64763): they must pass the gate like all
// others.
func TestAttackEarlyBytes(t *testing.T) {
	t.Parallel()
	f := rig.Shared(t)
	authorization := "Authorization: Bearer " + f.Issuer.Token()
	for name, early := range map[string]string{
		"frame without a mask":  "\x81\x08unmasked",
		"request to smuggle":    "GET /internal HTTP/1.1\r\nHost: internal\r\n\r\n",
		"reserved opcode":       "\x83\x80\x01\x02\x03\x04",
		"continuation of none":  "\x80\x80\x01\x02\x03\x04",
		"length with a top bit": "\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x02\x03\x04",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := rig.PathOf(t)
			conn := rig.DialRaw(t, f.Addr)
			conn.Send(t, rig.Upgrade(f.Addr, path, authorization)+early)
			if resp := conn.Response(t); resp.StatusCode != http.StatusSwitchingProtocols {
				t.Fatalf("answered %s", resp.Status)
			}
			if code, rest := closeCode(t, conn); code != websocket.CloseProtocolError || rest != "" {
				t.Errorf("closed with %d, then %q, want 1002 and nothing", code, rest)
			}
			seen := f.Backend.Wait(t, path)
			if code := seen.WaitClosed(t); code != websocket.CloseGoingAway && code != websocket.CloseProtocolError {
				t.Errorf("the application was told %d", code)
			}
			if messages, _ := seen.Got(); len(messages) > 0 || f.Backend.Received(early) || f.Backend.Received("/internal") {
				t.Errorf("the application got %q", messages)
			}
		})
	}
}

// Good frames sent together with the handshake arrive, each once and in order,
// also where one of them is cut at any byte.
func TestEarlyFramesArriveOnce(t *testing.T) {
	t.Parallel()
	f := rig.Shared(t)
	authorization := "Authorization: Bearer " + f.Issuer.Token()
	frames := rig.MaskedFrame("one") + rig.MaskedFrame("two") + rig.MaskedFrame("three")
	for cut := range len(frames) + 1 {
		t.Run(fmt.Sprint(cut), func(t *testing.T) {
			t.Parallel()
			path := rig.PathOf(t)
			conn := rig.DialRaw(t, f.Addr)
			conn.Send(t, rig.Upgrade(f.Addr, path, authorization)+frames[:cut])
			if resp := conn.Response(t); resp.StatusCode != http.StatusSwitchingProtocols {
				t.Fatalf("answered %s", resp.Status)
			}
			conn.Send(t, frames[cut:])
			echo := make([]byte, 2+3+2+3+2+5)
			if _, err := io.ReadFull(conn.Reader, echo); err != nil || string(echo) != "\x81\x03one\x81\x03two\x81\x05three" {
				t.Fatalf("echoed %q, %v", echo, err)
			}
			if got, _ := f.Backend.Wait(t, path).Got(); !slices.Equal(got, []string{"one", "two", "three"}) {
				t.Errorf("the application got %q", got)
			}
		})
	}
}

// The bytes after a refused handshake are no second request: a proxy in front
// of us that believes in the upgrade sends a stranger's frames there.
func TestAttackBytesAfterRefusal(t *testing.T) {
	t.Parallel()
	f := rig.Shared(t)
	conn := rig.DialRaw(t, f.Addr)
	conn.Send(t, rig.Upgrade(f.Addr, rig.PathOf(t), "Content-Length: 5", "Authorization: Bearer "+f.Issuer.Token())+
		"hello"+"GET /smuggled HTTP/1.1\r\nHost: "+f.Addr+"\r\n\r\n")
	if resp := conn.Response(t); resp.StatusCode != http.StatusBadRequest || !resp.Close {
		t.Errorf("answered %s, close %v, want 400 and close", resp.Status, resp.Close)
	}
	if rest := conn.Rest(t); strings.Contains(rest, "HTTP/1.1") {
		t.Errorf("answered again: %q", rest)
	}
	if len(f.Backend.Seen("/smuggled")) > 0 {
		t.Error("the second request has reached the application")
	}
}

// closeCode reads a close frame and what comes after it until the end.
func closeCode(t testing.TB, c *rig.RawConn) (code int, rest string) {
	t.Helper()
	head := make([]byte, 4)
	if _, err := io.ReadFull(c.Reader, head); err != nil {
		t.Fatalf("the connection ended without a close frame: %v", err)
	}
	if head[0] != 0x88 || head[1] < 2 {
		t.Fatalf("got % x..., want a close frame with a code", head)
	}
	code = int(head[2])<<8 | int(head[3])
	if _, err := io.CopyN(io.Discard, c.Reader, int64(head[1])-2); err != nil {
		t.Fatalf("reading the reason: %v", err)
	}
	c.Send(t, "\x88\x80\x01\x02\x03\x04") // the answer, RFC 6455 section 5.5.1
	return code, c.Rest(t)
}

// An Upgrade that lists websocket and is no handshake, or that nobody can read,
// is a tunnel through reverse_proxy all the same: refused, also with a good
// token. Other protocols are offers, see TestAttackOffersAreIgnored.
func TestAttackOtherUpgrades(t *testing.T) {
	t.Parallel()
	f := rig.Shared(t)
	token := f.Issuer.Token()
	const settings = "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"
	for name, lines := range map[string][]string{
		"websocket, h2c":           {"Connection: Upgrade", "Upgrade: websocket, h2c", settings},
		"h2c, websocket":           {"Connection: Upgrade", "Upgrade: h2c, websocket", settings},
		"two lines":                {"Connection: Upgrade", "Upgrade: websocket", "Upgrade: h2c"},
		"websocket twice":          {"Connection: Upgrade", "Upgrade: websocket", "Upgrade: websocket"},
		"websocket/13":             {"Connection: Upgrade", "Upgrade: websocket/13"},
		"the second of two lines":  {"Connection: Upgrade", "Upgrade: h2c", "Upgrade: foo, WEBSOCKET"},
		"without Connection":       {"Upgrade: websocket"},
		"connection that is close": {"Connection: close", "Upgrade: websocket"},
		"in quotes":                {"Connection: Upgrade", `Upgrade: "websocket"`},
		"not ASCII":                {"Connection: Upgrade", "Upgrade: webſocket"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := rig.PathOf(t)
			conn := rig.DialRaw(t, f.Addr)
			conn.Send(t, strings.Join(append([]string{
				"GET " + path + "?access_token=" + token + " HTTP/1.1", "Host: " + f.Addr,
				"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + rig.RawKey,
			}, lines...), "\r\n")+"\r\n\r\nGET /internal HTTP/1.1\r\n\r\n")
			resp := conn.Response(t)
			body, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != http.StatusBadRequest || string(body) != "bad_handshake" {
				t.Errorf("answered %s %q, want 400 bad_handshake", resp.Status, body)
			}
			if len(f.Backend.Seen(path)) > 0 || f.Backend.Received(token) {
				t.Error("it has reached the application")
			}
		})
	}
}

// websocket in any case is a WebSocket, for reverse_proxy and so for us: it
// is authenticated like any other.
func TestAttackOddCaseUpgrade(t *testing.T) {
	t.Parallel()
	f := rig.Shared(t)
	token := f.Issuer.Token()
	for _, tc := range []struct{ name, upgrade, connection string }{
		{"WebSocket", "Upgrade: WebSocket", "Connection: Upgrade"},
		{"WEBSOCKET", "UPGRADE: WEBSOCKET", "CONNECTION: UPGRADE"},
		{"wEbSoCkEt", "upgrade: wEbSoCkEt", "connection: uPgRaDe"},
		{"with spaces", "Upgrade: \t websocket \t ", "Connection: keep-alive, Upgrade"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			for _, authorized := range []bool{false, true} {
				path, want := rig.PathOf(t)+"/refused", http.StatusUnauthorized
				lines := []string{tc.upgrade, tc.connection}
				if authorized {
					path, want = rig.PathOf(t)+"/accepted", http.StatusSwitchingProtocols
					lines = append(lines, "Authorization: Bearer "+token)
				}
				conn := rig.DialRaw(t, f.Addr)
				conn.Send(t, strings.Join(append([]string{
					"GET " + path + " HTTP/1.1", "Host: " + f.Addr,
					"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: " + rig.RawKey,
				}, lines...), "\r\n")+"\r\n\r\n")
				if resp := conn.Response(t); resp.StatusCode != want {
					t.Errorf("authorized %v: answered %s, want %d", authorized, resp.Status, want)
				}
				if seen := f.Backend.Seen(path); (len(seen) > 0) != authorized {
					t.Errorf("authorized %v: %d requests have reached the application", authorized, len(seen))
				}
			}
		})
	}
}

// Handshakes that RFC 6455 section 4.2.1 does not allow, and which through
// reverse_proxy would be tunnels nonetheless.
func TestAttackImproperHandshakes(t *testing.T) {
	t.Parallel()
	f := rig.Shared(t)
	token := f.Issuer.Token()
	good := func(path string) string { return rig.Upgrade(f.Addr, path, "Authorization: Bearer "+token) }
	replace := func(old, to string) func(string) string {
		return func(path string) string {
			text := good(path)
			if !strings.Contains(text, old) {
				panic(old)
			}
			return strings.Replace(text, old, to, 1)
		}
	}
	for name, tc := range map[string]struct {
		request func(path string) string
		status  int
	}{
		"POST":               {replace("GET ", "POST "), http.StatusBadRequest},
		"HEAD":               {replace("GET ", "HEAD "), http.StatusBadRequest},
		"PUT":                {replace("GET ", "PUT "), http.StatusBadRequest},
		"body":               {replace("Connection: Upgrade", "Connection: Upgrade\r\nContent-Length: 1"), http.StatusBadRequest},
		"chunked body":       {replace("Connection: Upgrade", "Connection: Upgrade\r\nTransfer-Encoding: chunked"), http.StatusBadRequest},
		"HTTP/1.0":           {replace("HTTP/1.1", "HTTP/1.0"), http.StatusBadRequest},
		"no key":             {replace("Sec-WebSocket-Key: "+rig.RawKey+"\r\n", ""), http.StatusBadRequest},
		"two keys":           {replace("Sec-WebSocket-Key", "Sec-WebSocket-Key: "+rig.RawKey+"\r\nSec-WebSocket-Key"), http.StatusBadRequest},
		"short key":          {replace(rig.RawKey, "c2hvcnQ="), http.StatusBadRequest},
		"key not in base64":  {replace(rig.RawKey, "!!!!!!!!!!!!!!!!!!!!!!=="), http.StatusBadRequest},
		"no version":         {replace("Sec-WebSocket-Version: 13\r\n", ""), http.StatusBadRequest},
		"old version":        {replace("Version: 13", "Version: 8"), http.StatusUpgradeRequired},
		"several versions":   {replace("Version: 13", "Version: 13, 8"), http.StatusUpgradeRequired},
		"no Connection line": {replace("Connection: Upgrade\r\n", ""), http.StatusBadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := rig.PathOf(t)
			conn := rig.DialRaw(t, f.Addr)
			conn.Send(t, tc.request(path))
			resp := conn.Response(t)
			if resp.StatusCode != tc.status {
				t.Errorf("answered %s, want %d", resp.Status, tc.status)
			}
			if got := resp.Header.Get("Sec-Websocket-Version"); (got == "13") != (tc.status == http.StatusUpgradeRequired) {
				t.Errorf("answered Sec-WebSocket-Version %q", got)
			}
			if len(f.Backend.Seen(path)) > 0 || f.Backend.Received(token) {
				t.Error("it has reached the application")
			}
		})
	}
}
