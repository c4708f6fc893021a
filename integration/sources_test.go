package integration

import (
	"net/http"
	"testing"
)

// TestSources shows the sources beside the subprotocol, through to the
// application: all that is not the credential arrives as it was.
func TestSources(t *testing.T) {
	t.Parallel()
	f := shared(t)
	for _, tc := range []struct {
		name, site string
		h          func(path, token string) handshake
		source     string
		query      string      // what the application gets of it
		header     http.Header // what it gets of these; nil for none
	}{
		{
			"query", f.site,
			func(path, token string) handshake {
				return handshake{path: path + "?a=1&access_token=" + token + "&b=%20"}
			},
			"query", "?a=1&b=%20", nil,
		},
		{
			"query alone", f.site,
			func(path, token string) handshake { return handshake{path: path + "?access_token=" + token} },
			"query", "", nil,
		},
		{
			"query with an escaped name", f.site,
			func(path, token string) handshake { return handshake{path: path + "?access%5ftoken=" + token} },
			"query", "", nil,
		},
		{
			"query of another name", f.site3,
			func(path, token string) handshake {
				return handshake{path: path + "?token=" + token + "&access_token=mine"}
			},
			"query", "?access_token=mine", nil,
		},
		{
			"Authorization", f.site,
			bearer, "header", "",
			http.Header{"Authorization": nil},
		},
		{
			"Authorization in odd case", f.site,
			func(path, token string) handshake {
				return handshake{path: path, header: http.Header{"Authorization": {"bEaReR  " + token}}}
			},
			"header", "",
			http.Header{"Authorization": nil},
		},
		{
			"another header", f.site3,
			func(path, token string) handshake {
				return handshake{path: path, header: http.Header{
					"X-Token": {token}, "Authorization": {"Basic b3RoZXI6b25l"},
				}}
			},
			"header", "",
			http.Header{"X-Token": nil, "Authorization": {"Basic b3RoZXI6b25l"}},
		},
		{
			"cookie", f.site3,
			func(path, token string) handshake {
				return handshake{path: path, header: http.Header{
					"Cookie": {"theme=dark; session=" + token + "; lang=en"}, "Origin": {"http://" + f.site3},
				}}
			},
			"cookie", "",
			http.Header{"Cookie": {"theme=dark; lang=en"}, "Origin": {"http://" + f.site3}},
		},
		{
			"cookie alone", f.site3,
			func(path, token string) handshake {
				return handshake{path: path, header: http.Header{
					"Cookie": {"session=" + token}, "Origin": {"http://" + f.site3},
				}}
			},
			"cookie", "",
			http.Header{"Cookie": nil},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			path := pathOf(t)
			token := f.issuer.token(map[string]any{"jti": tc.name})
			conn, resp := mustDial(t, tc.site, tc.h(path, token))
			mustEcho(t, conn, "hello")
			if got := resp.Header.Values("Sec-Websocket-Protocol"); len(got) > 0 {
				t.Errorf("answered subprotocol %q to a client that has offered none", got)
			}
			seen := f.backend.wait(t, path)
			if want := path + tc.query; seen.uri != want {
				t.Errorf("the application got %s, want %s", seen.uri, want)
			}
			if got := seen.header.Get("X-Source") + " " + seen.header.Get("X-User"); got != tc.source+" alice" {
				t.Errorf("the application was told %q, want %q", got, tc.source+" alice")
			}
			for name, want := range tc.header {
				if got := seen.header.Values(name); len(got) != len(want) || len(want) > 0 && got[0] != want[0] {
					t.Errorf("the application got %s: %q, want %q", name, got, want)
				}
			}
			if f.backend.received(token) {
				t.Error("the application got the token")
			}
		})
	}
}

// The first configured source that holds a credential decides, never the first
// that verifies: else a page could bring a token of its own along.
func TestFirstSourceDecides(t *testing.T) {
	t.Parallel()
	f := shared(t)
	good, bad := f.issuer.token(), f.issuer.token(map[string]any{"aud": "another"})
	t.Run("good first", func(t *testing.T) {
		t.Parallel()
		path := pathOf(t)
		h := bearer(path+"?access_token="+bad, bad)
		h.subprotocols = []string{"bearer", good}
		conn, _ := mustDial(t, f.site, h)
		mustEcho(t, conn, "hello")
		if f.backend.received(good) || f.backend.received(bad) {
			t.Error("the application got a token")
		}
	})
	t.Run("bad first", func(t *testing.T) {
		t.Parallel()
		h := bearer(pathOf(t)+"?access_token="+good, good)
		h.subprotocols = []string{"bearer", bad}
		f.refuses(t, f.site, h, good, http.StatusUnauthorized, "wrong_audience")
	})
	t.Run("garbage first", func(t *testing.T) {
		t.Parallel()
		h := bearer(pathOf(t)+"?access_token=garbage", good)
		f.refuses(t, f.site, h, good, http.StatusUnauthorized, "malformed_token")
	})
	t.Run("two first", func(t *testing.T) {
		t.Parallel()
		h := bearer(pathOf(t)+"?access_token=a&access_token=b", good)
		f.refuses(t, f.site, h, good, http.StatusBadRequest, "ambiguous_credential")
	})
	t.Run("unreadable first", func(t *testing.T) {
		t.Parallel()
		h := bearer(pathOf(t), good)
		h.subprotocols = []string{"phoenix", "base64url.bearer.phx.!!!"}
		f.refuses(t, f.site, h, good, http.StatusUnauthorized, "malformed_token")
	})
}

// Two credentials in one source are no credential: nobody can say which of
// them the client, a proxy in between and we mean.
func TestTwoCredentialsInOneSource(t *testing.T) {
	t.Parallel()
	f := shared(t)
	token, other := f.issuer.token(), f.issuer.token(map[string]any{"sub": "mallory"})
	for _, tc := range []struct {
		name, site string
		h          handshake
	}{
		{"query", f.site, handshake{path: "?access_token=" + token + "&access_token=" + other}},
		{"query, same token", f.site, handshake{path: "?access_token=" + token + "&access_token=" + token}},
		{"query, one empty", f.site, handshake{path: "?access_token=&access_token=" + token}},
		{"query, other name", f.site3, handshake{path: "?token=" + token + "&ticket=" + other}},
		{"header", f.site, handshake{header: http.Header{"Authorization": {"Bearer " + token, "Bearer " + other}}}},
		{"header and Basic", f.site, handshake{header: http.Header{"Authorization": {"Basic YTpi", "Bearer " + token}}}},
		{"other header", f.site3, handshake{header: http.Header{"X-Token": {token, other}}}},
		{"cookie", f.site3, handshake{header: http.Header{
			"Cookie": {"session=" + token + "; session=" + other}, "Origin": {"http://" + f.site3},
		}}},
		{"subprotocol", f.site, handshake{subprotocols: []string{"bearer", token, "bearer", other}}},
		{"subprotocol, two forms", f.site, handshake{subprotocols: []string{"bearer", token, other}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tc.h.path = pathOf(t) + tc.h.path
			f.refuses(t, tc.site, tc.h, token, http.StatusBadRequest, "ambiguous_credential")
		})
	}
}

// A page of another site opens a WebSocket, and the browser sends our user's
// cookie along: cross-site WebSocket hijacking, RFC 6455 section 10.2.
func TestCrossOriginPageWithCookie(t *testing.T) {
	t.Parallel()
	f := shared(t)
	token := f.issuer.token()
	own := "http://" + f.site3
	for _, tc := range []struct {
		name    string
		origins []string
	}{
		{"another site", []string{"https://evil.example"}},
		{"another port", []string{"http://127.0.0.1:1"}},
		{"another scheme", []string{"https://" + f.site3}},
		{"our name as a prefix", []string{own + ".evil.example"}},
		{"our name as a user", []string{"http://" + f.site3 + "@evil.example"}},
		{"hidden", []string{"null"}},
		{"empty", []string{""}},
		{"none", nil},
		{"two", []string{own, "https://evil.example"}},
		{"with a path", []string{own + "/"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			h := handshake{path: pathOf(t), header: http.Header{"Cookie": {"session=" + token}}}
			if tc.origins != nil {
				h.header["Origin"] = tc.origins
			}
			f.refuses(t, f.site3, h, token, http.StatusForbidden, "origin_not_allowed")
		})
	}
	t.Run("the site's own page", func(t *testing.T) {
		t.Parallel()
		conn, _ := mustDial(t, f.site3, handshake{path: pathOf(t), header: http.Header{
			"Cookie": {"session=" + token}, "Origin": {own},
		}})
		mustEcho(t, conn, "hello")
	})
}
