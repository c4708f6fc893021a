package streams

import (
	"bytes"
	"compress/flate"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// onOneSite runs f for each version, one after another, on the same site.
func onOneSite(t *testing.T, versions []string, o rig.SiteOptions, f func(t *testing.T, s *rig.Site, version string)) {
	t.Helper()
	s := rig.StartSite(t, o)
	for _, version := range versions {
		t.Run(version, func(t *testing.T) { f(t, s, version) })
	}
}

// TestStreamsCarryCredentials: a good token by each source opens a socket, the
// application is told who it is, and gets neither token nor carrier.
func TestStreamsCarryCredentials(t *testing.T) {
	t.Parallel()
	o := rig.SiteOptions{Directives: "from subprotocol\nfrom query access_token\nfrom header\nfrom cookie session"}
	onOneSite(t, rig.AllVersions, o, func(t *testing.T, s *rig.Site, version string) {
		token := s.Issuer.Expiring(time.Now().Add(time.Hour))
		tests := []struct {
			name, path string
			header     http.Header
			protocol   string // answered
		}{
			{"header", "/echo", http.Header{"Authorization": {"Bearer " + token}}, ""},
			{"query", "/echo?a=b&access_token=" + token, nil, ""},
			{"cookie", "/echo", http.Header{"Cookie": {"session=" + token}, "Origin": {"https://" + s.TLSAddr}}, ""},
			{"subprotocol", "/echo", http.Header{"Sec-Websocket-Protocol": {"bearer, " + token}}, "bearer"},
		}
		for _, tt := range tests {
			if tt.name == "cookie" && version == rig.H1 {
				tt.header.Set("Origin", "http://"+s.Addr)
			}
			c, answer := s.Handshake(t, version, tt.path, tt.header)
			if c == nil {
				t.Fatalf("%s: %s", tt.name, answer.Status)
			}
			if got := answer.Header.Get("Sec-WebSocket-Protocol"); got != tt.protocol {
				t.Errorf("%s: answered subprotocol %q, want %q", tt.name, got, tt.protocol)
			}
			if version != rig.H1 {
				for _, name := range []string{"Upgrade", "Connection", "Sec-WebSocket-Accept"} {
					if got, ok := answer.Header[http.CanonicalHeaderKey(name)]; ok {
						t.Errorf("%s: answer has %s: %q, which RFC 8441 does not know", tt.name, name, got)
					}
				}
			}
			got := s.App.Handshake(t)
			if user := got.Values("X-User"); len(user) != 1 || user[0] != "alice" {
				t.Errorf("%s: application got X-User %q, want alice", tt.name, user)
			}
			if source := got.Get("X-Source"); source != tt.name {
				t.Errorf("%s: application got source %q", tt.name, source)
			}
			if text := rig.Flatten(got); strings.Contains(text, token[:20]) || strings.Contains(text, "bearer") {
				t.Errorf("%s: application got the credential: %s", tt.name, text)
			}
			c.Echoes(t)
			c.Vanish()
		}
	})
}

// TestStreamsNegotiateCompression: the offer of permessage-deflate reaches the
// application, and compressed messages pass as they are. RFC 7692.
func TestStreamsNegotiateCompression(t *testing.T) {
	t.Parallel()
	onOneSite(t, rig.AllVersions, rig.SiteOptions{}, func(t *testing.T, s *rig.Site, version string) {
		header := s.Bearer(time.Now().Add(time.Minute))
		const offer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
		header.Set("Sec-WebSocket-Extensions", offer)
		c, answer := s.Handshake(t, version, "/echo", header)
		if c == nil {
			t.Fatal(answer.Status)
		}
		if got := answer.Header.Get("Sec-WebSocket-Extensions"); !strings.HasPrefix(got, "permessage-deflate") {
			t.Fatalf("answered extensions %q", got)
		}
		want := strings.Repeat("compress me ", 1000)
		if err := c.WriteRaw(rig.ClientFrame(0x80|rig.RSV1|rig.OpText, rig.Deflate(t, want))); err != nil {
			t.Fatal(err)
		}
		f := c.MustRead(t)
		if f.RSV != rig.RSV1 || len(f.Payload) >= len(want) {
			t.Fatalf("answer has reserved bits %#x and %d bytes, want a compressed one", f.RSV, len(f.Payload))
		}
		if got := inflate(t, f.Payload); got != want {
			t.Errorf("inflated message has %d bytes, want %d", len(got), len(want))
		}
	})
}

// TestStreamsEndAtABorder: the token ends while both sides send as fast as
// they can. The client has every frame whole until the close frame.
func TestStreamsEndAtABorder(t *testing.T) {
	t.Parallel()
	rig.TryEachVersion(t, rig.AllVersions, rig.SiteOptions{}, func(t testing.TB, s *rig.Site, version string) {
		exp := rig.Soon(2 * time.Second)
		lag := rig.MeasureLag(t)
		c := s.Open(t, version, "/flood", s.Bearer(exp))
		go func() {
			for n := uint64(0); c.Write(rig.OpBinary, rig.Numbered(n)) == nil; n++ {
			}
		}()
		end, err := rig.ReadFlood(c)
		if err != nil {
			t.Fatal(err)
		}
		lag.InTime(t, "close frame", exp, time.Now(), time.Second)
		if end.Code != rig.CloseUnauthorized || end.Reason != "token expired" {
			t.Errorf("%v, want 3000 token expired", end)
		}
		if err := c.Within(rig.Patience, func() error { return c.AnswerClose(end.Code) }); err != nil {
			t.Errorf("after the close frame: %v", err)
		}
		if end := s.App.End(t, rig.Patience); end.Code != rig.CloseGoingAway {
			t.Errorf("the application's socket ended with %d (%v), want 1001", end.Code, end.Err)
		}
	})
}

// TestIdleStreamLives: a socket that says nothing for longer than Caddy waits
// for a body to go on is not ended by that. Caddy's own default is a minute.
func TestIdleStreamLives(t *testing.T) {
	t.Parallel()
	o := rig.SiteOptions{Timeouts: "read_body_idle 1s\nwrite_idle 1s"}
	rig.TryEachVersion(t, rig.AllVersions, o, func(t testing.TB, s *rig.Site, version string) {
		exp := rig.Soon(4 * time.Second)
		lag := rig.MeasureLag(t)
		c := s.Open(t, version, "/echo", s.Bearer(exp))
		c.Echoes(t)
		// Only the token's end makes a sound.
		end := c.MustClose(t, rig.Patience)
		lag.InTime(t, "close frame", exp, time.Now(), time.Second)
		if end.Code != rig.CloseUnauthorized {
			t.Errorf("%v, want 3000", end)
		}
	})
}

// TestVanishedClientFreesAll: a client that crashes leaves nothing behind.
func TestVanishedClientFreesAll(t *testing.T) {
	t.Parallel()
	ways := []struct {
		name   string
		vanish func(c rig.ClientConn, ws *rig.Conn)
	}{
		{"stream reset", func(_ rig.ClientConn, ws *rig.Conn) { ws.Vanish() }},
		{"connection closed", func(c rig.ClientConn, _ *rig.Conn) { c.Close() }},
	}
	onOneSite(t, rig.AllVersions, rig.SiteOptions{}, func(t *testing.T, s *rig.Site, version string) {
		before := s.Footprint(t, version)
		for _, way := range ways {
			for _, path := range []string{"/echo", "/flood", "/sink"} {
				conn := s.Connect(t, version)
				r, err := s.Request(t.Context(), version, path, s.Bearer(time.Now().Add(time.Hour)))
				if err != nil {
					t.Fatal(err)
				}
				ws, answer, err := conn.Open(r)
				if ws == nil {
					t.Fatal(answer, err)
				}
				way.vanish(conn, ws)
				if end := s.App.End(t, rig.Patience); end.Code == 1000 {
					t.Errorf("%s%s: the application's socket ended with %d", way.name, path, end.Code)
				}
				s.NoSocketLeft(t)
				conn.Close()
			}
		}
		s.NothingLeft(t, before)
	})
}

// TestClientClosesStream: a client's own close passes through and back, and
// its stream ends cleanly.
func TestClientClosesStream(t *testing.T) {
	t.Parallel()
	onOneSite(t, rig.AllVersions, rig.SiteOptions{}, func(t *testing.T, s *rig.Site, version string) {
		before := s.Footprint(t, version)
		c := s.Open(t, version, "/echo", s.Bearer(time.Now().Add(time.Hour)))
		if err := c.Write(rig.OpClose, append([]byte{0x0f, 0xa1}, "bye"...)); err != nil { // 4001
			t.Fatal(err)
		}
		var end *rig.ClosedError
		err := c.Within(rig.Patience, func() error {
			_, err := c.Read()
			if errors.As(err, &end) {
				_, err = io.Copy(io.Discard, c.Reader)
			}
			return err
		})
		if err != nil || end.Code != 4001 {
			t.Errorf("answer %v, then %v; want 4001, then the end", end, err)
		}
		if end := s.App.End(t, rig.Patience); end.Code != 4001 {
			t.Errorf("the application got %d (%v), want 4001", end.Code, end.Err)
		}
		s.CloseAll()
		s.NothingLeft(t, before)
	})
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
