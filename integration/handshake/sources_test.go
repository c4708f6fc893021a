package handshake

import (
	"net/http"
	"testing"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// TestSources shows the sources beside the subprotocol, through to the
// application: all that is not the credential arrives as it was.
func TestSources(t *testing.T) {
	t.Parallel()
	f := rig.Shared(t)
	for _, tc := range []struct {
		name, site string
		h          func(path, token string) rig.Handshake
		source     string
		query      string      // what the application gets of it
		header     http.Header // what it gets of these; nil for none
	}{
		{
			"query", f.Addr,
			func(path, token string) rig.Handshake {
				return rig.Handshake{Path: path + "?a=1&access_token=" + token + "&b=%20"}
			},
			"query", "?a=1&b=%20", nil,
		},
		{
			"query alone", f.Addr,
			func(path, token string) rig.Handshake { return rig.Handshake{Path: path + "?access_token=" + token} },
			"query", "", nil,
		},
		{
			"query with an escaped name", f.Addr,
			func(path, token string) rig.Handshake { return rig.Handshake{Path: path + "?access%5ftoken=" + token} },
			"query", "", nil,
		},
		{
			"query of another name", f.Addr3,
			func(path, token string) rig.Handshake {
				return rig.Handshake{Path: path + "?token=" + token + "&access_token=mine"}
			},
			"query", "?access_token=mine", nil,
		},
		{
			"Authorization", f.Addr,
			rig.Bearer, "header", "",
			http.Header{"Authorization": nil},
		},
		{
			"Authorization in odd case", f.Addr,
			func(path, token string) rig.Handshake {
				return rig.Handshake{Path: path, Header: http.Header{"Authorization": {"bEaReR  " + token}}}
			},
			"header", "",
			http.Header{"Authorization": nil},
		},
		{
			"another header", f.Addr3,
			func(path, token string) rig.Handshake {
				return rig.Handshake{Path: path, Header: http.Header{
					"X-Token": {token}, "Authorization": {"Basic b3RoZXI6b25l"},
				}}
			},
			"header", "",
			http.Header{"X-Token": nil, "Authorization": {"Basic b3RoZXI6b25l"}},
		},
		{
			"cookie", f.Addr3,
			func(path, token string) rig.Handshake {
				return rig.Handshake{Path: path, Header: http.Header{
					"Cookie": {"theme=dark; session=" + token + "; lang=en"}, "Origin": {"http://" + f.Addr3},
				}}
			},
			"cookie", "",
			http.Header{"Cookie": {"theme=dark; lang=en"}, "Origin": {"http://" + f.Addr3}},
		},
		{
			"cookie alone", f.Addr3,
			func(path, token string) rig.Handshake {
				return rig.Handshake{Path: path, Header: http.Header{
					"Cookie": {"session=" + token}, "Origin": {"http://" + f.Addr3},
				}}
			},
			"cookie", "",
			http.Header{"Cookie": nil},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			path := rig.PathOf(t)
			token := f.Issuer.Token(map[string]any{"jti": tc.name})
			conn, resp := rig.MustDial(t, tc.site, tc.h(path, token))
			rig.MustEcho(t, conn, "hello")
			if got := resp.Header.Values("Sec-Websocket-Protocol"); len(got) > 0 {
				t.Errorf("answered subprotocol %q to a client that has offered none", got)
			}
			seen := f.Backend.Wait(t, path)
			if want := path + tc.query; seen.URI != want {
				t.Errorf("the application got %s, want %s", seen.URI, want)
			}
			if got := seen.Header.Get("X-Source") + " " + seen.Header.Get("X-User"); got != tc.source+" alice" {
				t.Errorf("the application was told %q, want %q", got, tc.source+" alice")
			}
			for name, want := range tc.header {
				if got := seen.Header.Values(name); len(got) != len(want) || len(want) > 0 && got[0] != want[0] {
					t.Errorf("the application got %s: %q, want %q", name, got, want)
				}
			}
			if f.Backend.Received(token) {
				t.Error("the application got the token")
			}
		})
	}
}

// The first configured source that holds a credential decides, never the first
// that verifies: else a page could bring a token of its own along.
func TestFirstSourceDecides(t *testing.T) {
	t.Parallel()
	f := rig.Shared(t)
	good, bad := f.Issuer.Token(), f.Issuer.Token(map[string]any{"aud": "another"})
	t.Run("good first", func(t *testing.T) {
		t.Parallel()
		path := rig.PathOf(t)
		h := rig.Bearer(path+"?access_token="+bad, bad)
		h.Subprotocols = []string{"bearer", good}
		conn, _ := rig.MustDial(t, f.Addr, h)
		rig.MustEcho(t, conn, "hello")
		if f.Backend.Received(good) || f.Backend.Received(bad) {
			t.Error("the application got a token")
		}
	})
	t.Run("bad first", func(t *testing.T) {
		t.Parallel()
		h := rig.Bearer(rig.PathOf(t)+"?access_token="+good, good)
		h.Subprotocols = []string{"bearer", bad}
		f.Refuses(t, f.Addr, h, good, http.StatusUnauthorized, "wrong_audience")
	})
	t.Run("garbage first", func(t *testing.T) {
		t.Parallel()
		h := rig.Bearer(rig.PathOf(t)+"?access_token=garbage", good)
		f.Refuses(t, f.Addr, h, good, http.StatusUnauthorized, "malformed_token")
	})
	t.Run("two first", func(t *testing.T) {
		t.Parallel()
		h := rig.Bearer(rig.PathOf(t)+"?access_token=a&access_token=b", good)
		f.Refuses(t, f.Addr, h, good, http.StatusBadRequest, "ambiguous_credential")
	})
	t.Run("unreadable first", func(t *testing.T) {
		t.Parallel()
		h := rig.Bearer(rig.PathOf(t), good)
		h.Subprotocols = []string{"phoenix", "base64url.bearer.phx.!!!"}
		f.Refuses(t, f.Addr, h, good, http.StatusUnauthorized, "malformed_token")
	})
}

// Two credentials in one source are no credential: nobody can say which of
// them the client, a proxy in between and we mean.
func TestTwoCredentialsInOneSource(t *testing.T) {
	t.Parallel()
	f := rig.Shared(t)
	token, other := f.Issuer.Token(), f.Issuer.Token(map[string]any{"sub": "mallory"})
	for _, tc := range []struct {
		name, site string
		h          rig.Handshake
	}{
		{"query", f.Addr, rig.Handshake{Path: "?access_token=" + token + "&access_token=" + other}},
		{"query, same token", f.Addr, rig.Handshake{Path: "?access_token=" + token + "&access_token=" + token}},
		{"query, one empty", f.Addr, rig.Handshake{Path: "?access_token=&access_token=" + token}},
		{"query, other name", f.Addr3, rig.Handshake{Path: "?token=" + token + "&ticket=" + other}},
		{"header", f.Addr, rig.Handshake{Header: http.Header{"Authorization": {"Bearer " + token, "Bearer " + other}}}},
		{"header and Basic", f.Addr, rig.Handshake{Header: http.Header{"Authorization": {"Basic YTpi", "Bearer " + token}}}},
		{"other header", f.Addr3, rig.Handshake{Header: http.Header{"X-Token": {token, other}}}},
		{"cookie", f.Addr3, rig.Handshake{Header: http.Header{
			"Cookie": {"session=" + token + "; session=" + other}, "Origin": {"http://" + f.Addr3},
		}}},
		{"subprotocol", f.Addr, rig.Handshake{Subprotocols: []string{"bearer", token, "bearer", other}}},
		{"subprotocol, two forms", f.Addr, rig.Handshake{Subprotocols: []string{"bearer", token, other}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tc.h.Path = rig.PathOf(t) + tc.h.Path
			f.Refuses(t, tc.site, tc.h, token, http.StatusBadRequest, "ambiguous_credential")
		})
	}
}

// A page of another site opens a WebSocket, and the browser sends our user's
// cookie along: cross-site WebSocket hijacking, RFC 6455 section 10.2.
func TestCrossOriginPageWithCookie(t *testing.T) {
	t.Parallel()
	f := rig.Shared(t)
	token := f.Issuer.Token()
	own := "http://" + f.Addr3
	for _, tc := range []struct {
		name    string
		origins []string
	}{
		{"another site", []string{"https://evil.example"}},
		{"another port", []string{"http://127.0.0.1:1"}},
		{"another scheme", []string{"https://" + f.Addr3}},
		{"our name as a prefix", []string{own + ".evil.example"}},
		{"our name as a user", []string{"http://" + f.Addr3 + "@evil.example"}},
		{"hidden", []string{"null"}},
		{"empty", []string{""}},
		{"none", nil},
		{"two", []string{own, "https://evil.example"}},
		{"with a path", []string{own + "/"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			h := rig.Handshake{Path: rig.PathOf(t), Header: http.Header{"Cookie": {"session=" + token}}}
			if tc.origins != nil {
				h.Header["Origin"] = tc.origins
			}
			f.Refuses(t, f.Addr3, h, token, http.StatusForbidden, "origin_not_allowed")
		})
	}
	t.Run("the site's own page", func(t *testing.T) {
		t.Parallel()
		conn, _ := rig.MustDial(t, f.Addr3, rig.Handshake{Path: rig.PathOf(t), Header: http.Header{
			"Cookie": {"session=" + token}, "Origin": {own},
		}})
		rig.MustEcho(t, conn, "hello")
	})
}
