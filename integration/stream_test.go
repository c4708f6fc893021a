package integration

import (
	"bytes"
	"compress/flate"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/internal/pace"
)

// streamVersions are the versions in which a WebSocket is a stream of a
// connection; h1 is in the tables that compare all three.
var (
	allVersions    = []string{h1, h2, h3}
	streamVersions = []string{h2, h3}
)

// forEachVersion runs f for each version on a site of its own.
func forEachVersion(t *testing.T, versions []string, o siteOptions, f func(t *testing.T, s *site, version string)) {
	t.Helper()
	for _, version := range versions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			f(t, startSite(t, o), version)
		})
	}
}

// tryEachVersion is forEachVersion for what is about time: f may be tried again,
// on another site.
func tryEachVersion(t *testing.T, versions []string, o siteOptions, f func(t testing.TB, s *site, version string)) {
	t.Helper()
	for _, version := range versions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			pace.Try(t, func(t testing.TB) { f(t, startSite(t, o), version) })
		})
	}
}

// onOneSite runs f for each version, one after another, on the same site.
func onOneSite(t *testing.T, versions []string, o siteOptions, f func(t *testing.T, s *site, version string)) {
	t.Helper()
	s := startSite(t, o)
	for _, version := range versions {
		t.Run(version, func(t *testing.T) { f(t, s, version) })
	}
}

// TestStreamsCarryCredentials: a good token by each source opens a socket, the
// application is told who it is, and gets neither token nor carrier.
func TestStreamsCarryCredentials(t *testing.T) {
	t.Parallel()
	o := siteOptions{directives: "from subprotocol\nfrom query access_token\nfrom header\nfrom cookie session"}
	onOneSite(t, allVersions, o, func(t *testing.T, s *site, version string) {
		token := s.issuer.expiring(time.Now().Add(time.Hour))
		tests := []struct {
			name, path string
			header     http.Header
			protocol   string // answered
		}{
			{"header", "/echo", http.Header{"Authorization": {"Bearer " + token}}, ""},
			{"query", "/echo?a=b&access_token=" + token, nil, ""},
			{"cookie", "/echo", http.Header{"Cookie": {"session=" + token}, "Origin": {"https://" + s.tls}}, ""},
			{"subprotocol", "/echo", http.Header{"Sec-Websocket-Protocol": {"bearer, " + token}}, "bearer"},
		}
		for _, tt := range tests {
			if tt.name == "cookie" && version == h1 {
				tt.header.Set("Origin", "http://"+s.site)
			}
			c, answer := s.handshake(t, version, tt.path, tt.header)
			if c == nil {
				t.Fatalf("%s: %s", tt.name, answer.Status)
			}
			if got := answer.Header.Get("Sec-WebSocket-Protocol"); got != tt.protocol {
				t.Errorf("%s: answered subprotocol %q, want %q", tt.name, got, tt.protocol)
			}
			if version != h1 {
				for _, name := range []string{"Upgrade", "Connection", "Sec-WebSocket-Accept"} {
					if got, ok := answer.Header[http.CanonicalHeaderKey(name)]; ok {
						t.Errorf("%s: answer has %s: %q, which RFC 8441 does not know", tt.name, name, got)
					}
				}
			}
			got := s.app.handshake(t)
			if user := got.Values("X-User"); len(user) != 1 || user[0] != "alice" {
				t.Errorf("%s: application got X-User %q, want alice", tt.name, user)
			}
			if source := got.Get("X-Source"); source != tt.name {
				t.Errorf("%s: application got source %q", tt.name, source)
			}
			if text := flatten(got); strings.Contains(text, token[:20]) || strings.Contains(text, "bearer") {
				t.Errorf("%s: application got the credential: %s", tt.name, text)
			}
			c.echoes(t)
			c.vanish()
		}
	})
}

// flatten returns all of h as one text.
func flatten(h http.Header) string {
	var b strings.Builder
	_ = h.Write(&b)
	return b.String()
}

// echoes sends messages of several sizes, in fragments too, and expects each
// of them back, and a pong.
func (c *wsConn) echoes(t testing.TB) {
	t.Helper()
	for _, size := range []int{0, 1, 125, 126, 65_535, 65_536, 200_000} {
		want := bytes.Repeat([]byte("x"), size)
		if err := c.write(opText, want); err != nil {
			t.Fatal(err)
		}
		if f := c.mustRead(t); f.opcode != opText || !bytes.Equal(f.payload, want) {
			t.Fatalf("message of %d bytes came back as %d bytes with opcode %#x", size, len(f.payload), f.opcode)
		}
	}
	parts := [][]byte{
		clientFrame(opText, []byte("in ")), clientFrame(0x80|opPing, []byte("ping")),
		clientFrame(opContinuation, []byte("three ")), clientFrame(0x80|opContinuation, []byte("parts")),
	}
	if err := c.writeRaw(bytes.Join(parts, nil)); err != nil {
		t.Fatal(err)
	}
	if f := c.mustRead(t); f.opcode != opPong || string(f.payload) != "ping" {
		t.Errorf("pong is opcode %#x with %q", f.opcode, f.payload)
	}
	if f := c.mustRead(t); string(f.payload) != "in three parts" {
		t.Errorf("fragmented message came back as %q", f.payload)
	}
}

// mustRead returns the next frame, which must come soon.
func (c *wsConn) mustRead(t testing.TB) frame {
	t.Helper()
	var f frame
	if err := c.within(patience, func() (err error) { f, err = c.read(); return err }); err != nil {
		t.Fatalf("reading a frame: %v", err)
	}
	return f
}

// mustClose expects the close frame next, after any data, answers it, and
// expects a clean end.
func (c *wsConn) mustClose(t testing.TB, within time.Duration) *closed {
	t.Helper()
	var end *closed
	err := c.within(within, func() error {
		for {
			if _, err := c.read(); errors.As(err, &end) {
				return c.answerClose(end.code)
			} else if err != nil {
				return err
			}
		}
	})
	if err != nil {
		t.Fatalf("close frame %v, then %v", end, err)
	}
	return end
}

// TestStreamsNegotiateCompression: the offer of permessage-deflate reaches the
// application, and compressed messages pass as they are. RFC 7692.
func TestStreamsNegotiateCompression(t *testing.T) {
	t.Parallel()
	onOneSite(t, allVersions, siteOptions{}, func(t *testing.T, s *site, version string) {
		header := s.bearer(time.Now().Add(time.Minute))
		const offer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
		header.Set("Sec-WebSocket-Extensions", offer)
		c, answer := s.handshake(t, version, "/echo", header)
		if c == nil {
			t.Fatal(answer.Status)
		}
		if got := answer.Header.Get("Sec-WebSocket-Extensions"); !strings.HasPrefix(got, "permessage-deflate") {
			t.Fatalf("answered extensions %q", got)
		}
		want := strings.Repeat("compress me ", 1000)
		if err := c.writeRaw(clientFrame(0x80|rsv1|opText, deflate(t, want))); err != nil {
			t.Fatal(err)
		}
		f := c.mustRead(t)
		if f.rsv != rsv1 || len(f.payload) >= len(want) {
			t.Fatalf("answer has reserved bits %#x and %d bytes, want a compressed one", f.rsv, len(f.payload))
		}
		if got := inflate(t, f.payload); got != want {
			t.Errorf("inflated message has %d bytes, want %d", len(got), len(want))
		}
	})
}

// TestStreamsEndAtABorder: the token ends while both sides send as fast as
// they can. The client has every frame whole until the close frame.
func TestStreamsEndAtABorder(t *testing.T) {
	t.Parallel()
	tryEachVersion(t, allVersions, siteOptions{}, func(t testing.TB, s *site, version string) {
		exp := soon(2 * time.Second)
		lag := measureLag(t)
		c := s.open(t, version, "/flood", s.bearer(exp))
		go func() {
			for n := uint64(0); c.write(opBinary, numbered(n)) == nil; n++ {
			}
		}()
		end, err := readFlood(c)
		if err != nil {
			t.Fatal(err)
		}
		lag.inTime(t, "close frame", exp, time.Now(), time.Second)
		if end.code != closeUnauthorized || end.reason != "token expired" {
			t.Errorf("%v, want 3000 token expired", end)
		}
		if err := c.within(patience, func() error { return c.answerClose(end.code) }); err != nil {
			t.Errorf("after the close frame: %v", err)
		}
		if end := s.app.end(t, patience); end.code != closeGoingAway {
			t.Errorf("the application's socket ended with %d (%v), want 1001", end.code, end.err)
		}
	})
}

// TestIdleStreamLives: a socket that says nothing for longer than Caddy waits
// for a body to go on is not ended by that. Caddy's own default is a minute.
func TestIdleStreamLives(t *testing.T) {
	t.Parallel()
	o := siteOptions{timeouts: "read_body_idle 1s\nwrite_idle 1s"}
	tryEachVersion(t, allVersions, o, func(t testing.TB, s *site, version string) {
		exp := soon(4 * time.Second)
		lag := measureLag(t)
		c := s.open(t, version, "/echo", s.bearer(exp))
		c.echoes(t)
		// Only the token's end makes a sound.
		end := c.mustClose(t, patience)
		lag.inTime(t, "close frame", exp, time.Now(), time.Second)
		if end.code != closeUnauthorized {
			t.Errorf("%v, want 3000", end)
		}
	})
}

// TestVanishedClientFreesAll: a client that crashes leaves nothing behind.
func TestVanishedClientFreesAll(t *testing.T) {
	t.Parallel()
	ways := []struct {
		name   string
		vanish func(c clientConn, ws *wsConn)
	}{
		{"stream reset", func(_ clientConn, ws *wsConn) { ws.vanish() }},
		{"connection closed", func(c clientConn, _ *wsConn) { c.Close() }},
	}
	onOneSite(t, allVersions, siteOptions{}, func(t *testing.T, s *site, version string) {
		before := s.footprint(t, version)
		for _, way := range ways {
			for _, path := range []string{"/echo", "/flood", "/sink"} {
				conn := s.connect(t, version)
				r, err := s.request(t.Context(), version, path, s.bearer(time.Now().Add(time.Hour)))
				if err != nil {
					t.Fatal(err)
				}
				ws, answer, err := conn.open(r)
				if ws == nil {
					t.Fatal(answer, err)
				}
				way.vanish(conn, ws)
				if end := s.app.end(t, patience); end.code == 1000 {
					t.Errorf("%s%s: the application's socket ended with %d", way.name, path, end.code)
				}
				s.noSocketLeft(t)
				conn.Close()
			}
		}
		s.nothingLeft(t, before)
	})
}

// TestClientClosesStream: a client's own close passes through and back, and
// its stream ends cleanly.
func TestClientClosesStream(t *testing.T) {
	t.Parallel()
	onOneSite(t, allVersions, siteOptions{}, func(t *testing.T, s *site, version string) {
		before := s.footprint(t, version)
		c := s.open(t, version, "/echo", s.bearer(time.Now().Add(time.Hour)))
		if err := c.write(opClose, append([]byte{0x0f, 0xa1}, "bye"...)); err != nil { // 4001
			t.Fatal(err)
		}
		var end *closed
		err := c.within(patience, func() error {
			_, err := c.read()
			if errors.As(err, &end) {
				_, err = io.Copy(io.Discard, c.r)
			}
			return err
		})
		if err != nil || end.code != 4001 {
			t.Errorf("answer %v, then %v; want 4001, then the end", end, err)
		}
		if end := s.app.end(t, patience); end.code != 4001 {
			t.Errorf("the application got %d (%v), want 4001", end.code, end.err)
		}
		s.closeAll()
		s.nothingLeft(t, before)
	})
}

// rsv1 marks a compressed message, RFC 7692 section 6.
const rsv1 = 0x40

// deflate compresses a message as RFC 7692 section 7.2.1 says.
func deflate(t testing.TB, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.DefaultCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte{0, 0, 0xff, 0xff})
}

// inflate undoes deflate.
func inflate(t testing.TB, p []byte) string {
	t.Helper()
	// The last four bytes end the stream for Go's reader.
	tail := []byte{0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff}
	text, err := io.ReadAll(flate.NewReader(io.MultiReader(bytes.NewReader(p), bytes.NewReader(tail))))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
