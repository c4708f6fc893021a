package handshake

import (
	"net/http"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// cookieSites have a cookie among their sources, at all the places.
const cookieSites = `
(site) {
	websocket_auth {
		verify jwt {$JWKS} {
			audience chat
			max_lifetime 2h
		}
		{block}
		http authenticate
	}
	respond ok
}
http://{$SITE} {
	handle /alone* {
		import site {
			from cookie session
		}
	}
	handle /before* {
		import site {
			from cookie session
			from query
		}
	}
	handle /after* {
		import site {
			from query
			from cookie session
		}
	}
	handle /listed* {
		import site {
			from cookie session
			origins https://app.example.com
		}
	}
	handle /message* {
		import site {
			from cookie session
			from first_message
		}
	}
	handle /form* {
		import site {
			from query
			from subprotocol kubernetes
		}
	}
}
`

// TestAttackPageLooksForSession: a page of another site cannot tell from the
// answer whether its visitor has a cookie, nor whether that is good.
func TestAttackPageLooksForSession(t *testing.T) {
	t.Parallel()
	i := rig.NewIssuer(t)
	p := rig.StartCaddy(t, cookieSites, rig.WithEnv("JWKS", i.JWKSURL()))
	cookies := map[string][]string{
		"none": nil, "good": {"session=" + i.Token()}, "bad": {"session=garbage"}, "empty": {"session="},
		"expired": {"session=" + i.Token(map[string]any{"exp": 1})}, "two": {"session=a; session=b"},
		"another": {"other=x"}, "bad bytes": {"session=a b"},
	}
	pages := map[string]http.Header{
		"another site":        {"Origin": {"https://evil.example"}, "Sec-Fetch-Site": {"cross-site"}},
		"another site, older": {"Origin": {"https://evil.example"}},
		"hidden":              {"Origin": {"null"}},
		"a link or an image":  {"Sec-Fetch-Site": {"cross-site"}},
		"a neighbour":         {"Sec-Fetch-Site": {"same-site"}},
	}
	for _, path := range []string{"/alone", "/before", "/before?access_token=garbage", "/before?access_token=%zz", "/listed", "/message"} {
		for page, header := range pages {
			for cookie, lines := range cookies {
				header := header.Clone()
				if lines != nil {
					header["Cookie"] = lines
				}
				if answer, _ := rig.Request(t, http.MethodGet, "http://"+p.Addr+path, header); answer.StatusCode != http.StatusForbidden {
					t.Errorf("%s: %s with cookie %s: %s", path, page, cookie, answer.Status)
				}
				if header.Get("Origin") == "" {
					continue // no handshake of a browser's
				}
				rig.Refused(t, p.Addr, rig.Handshake{Path: path, Header: header}, http.StatusForbidden)
			}
		}
	}
}

// TestMissingCredentialOfOthers: clients that are no pages, and pages of the
// site's own, learn that their credential is missing or bad.
func TestMissingCredentialOfOthers(t *testing.T) {
	t.Parallel()
	i := rig.NewIssuer(t)
	p := rig.StartCaddy(t, cookieSites, rig.WithEnv("JWKS", i.JWKSURL()))
	own := http.Header{"Origin": {"http://" + p.Addr}}
	for _, tt := range []struct {
		path   string
		header http.Header
		status int
	}{
		{"/alone", nil, http.StatusUnauthorized},
		{"/alone", http.Header{"Sec-Fetch-Site": {"none"}}, http.StatusUnauthorized}, // somebody has typed it
		{"/alone", http.Header{"Sec-Fetch-Site": {"same-origin"}}, http.StatusUnauthorized},
		{"/alone", own, http.StatusUnauthorized},
		{"/before", nil, http.StatusUnauthorized},
		{"/before?access_token=" + i.Token(), nil, http.StatusOK},
		{"/before?access_token=" + i.Token(), own, http.StatusOK},
		{"/after?access_token=" + i.Token(), http.Header{"Origin": {"https://other.example"}}, http.StatusOK},
		{"/after?access_token=garbage", http.Header{"Origin": {"https://other.example"}}, http.StatusUnauthorized},
		{"/after", http.Header{"Origin": {"https://other.example"}}, http.StatusForbidden},
		{"/listed", own, http.StatusForbidden},
		{"/listed", http.Header{"Origin": {"https://app.example.com"}}, http.StatusUnauthorized},
	} {
		if answer, _ := rig.Request(t, http.MethodGet, "http://"+p.Addr+tt.path, tt.header); answer.StatusCode != tt.status {
			t.Errorf("%.30s with %v: %s, want %d", tt.path, tt.header, answer.Status, tt.status)
		}
	}
}

// TestAttackSecondBearerPair: of two credentials among the subprotocols none is
// judged alone, whatever forms are looked for and whichever source decides.
func TestAttackSecondBearerPair(t *testing.T) {
	t.Parallel()
	i := rig.NewIssuer(t)
	p := rig.StartCaddy(t, cookieSites, rig.WithEnv("JWKS", i.JWKSURL()))
	good, forged := i.Token(), rig.Sign(rig.JWT{Key: rig.StrangerKey(), Claims: i.Claims()})
	kubernetes := "base64url.bearer.authorization.k8s.io." + rig.Base64URL([]byte(good))
	for name, h := range map[string]rig.Handshake{
		"two pairs":                       {Path: "/form", Subprotocols: []string{"bearer", good, "bearer", forged}},
		"two pairs, the query decides":    {Path: "/form?access_token=" + good, Subprotocols: []string{"bearer", good, "jwt", forged}},
		"a pair beside another form":      {Path: "/form", Subprotocols: []string{kubernetes, "bearer", forged}},
		"a pair in front of another form": {Path: "/form", Subprotocols: []string{"token", forged, kubernetes}},
	} {
		if _, answer, err := rig.Dial(t, p.Addr, h); err == nil || answer == nil || answer.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestAttackTokenWithoutBeginning: where max_lifetime limits how long a
// revocation has to last, a token that does not say when it was issued does not
// outlast it, however little is left of it.
func TestAttackTokenWithoutBeginning(t *testing.T) {
	t.Parallel()
	i := rig.NewIssuer(t)
	p := rig.StartCaddy(t, cookieSites, rig.WithEnv("JWKS", i.JWKSURL()))
	soon := time.Now().Add(time.Minute).Unix()
	for _, claims := range []map[string]any{
		{"iat": rig.Absent, "exp": soon}, {"iat": rig.Absent, "nbf": time.Now().Unix() - 1, "exp": soon},
	} {
		if answer, _ := rig.Request(t, http.MethodGet, "http://"+p.Addr+"/form?access_token="+i.Token(claims), nil); answer.StatusCode != http.StatusUnauthorized {
			t.Errorf("%v: %s", claims, answer.Status)
		}
	}
	if answer, _ := rig.Request(t, http.MethodGet, "http://"+p.Addr+"/form?access_token="+i.Token(), nil); answer.StatusCode != http.StatusOK {
		t.Errorf("with iat: %s", answer.Status)
	}
}
