package admin

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// TestAttackAdminCrossOrigin: no page in a browser can ask the admin API,
// whatever it makes of its requests.
func TestAttackAdminCrossOrigin(t *testing.T) {
	t.Parallel()
	s := rig.StartPeerSite(t, rig.SiteOptions{Proxy: withSession}, nil)
	c := s.Open(t, rig.H1, "/", s.Of("alice"))
	p := s.Socket(t)
	requests := []struct{ method, path, body string }{
		{http.MethodGet, "sessions", ""},
		{http.MethodDelete, "sessions?all=true", ""},
		{http.MethodDelete, "sessions/" + p.Header.Get("X-Session"), ""},
		{http.MethodPost, "message?all=true", "hello"},
		{http.MethodPost, "renew?all=true", ""},
		{http.MethodPost, "revocations", `{"issuer":"` + s.Issuer.URL + `","subject":"alice"}`},
		{http.MethodDelete, "lockouts?all=true", ""},
		{http.MethodGet, "keys", ""},
		{http.MethodOptions, "sessions", ""},
	}
	for name, header := range map[string]http.Header{
		"other origin":     {"Origin": {"https://evil.example.com"}, "Content-Type": {"application/json"}},
		"null origin":      {"Origin": {"null"}, "Content-Type": {"application/json"}},
		"origin of a site": {"Origin": {"http://" + s.Addr}, "Content-Type": {"application/json"}},
		"no-cors":          {"Sec-Fetch-Mode": {"no-cors"}, "Content-Type": {"text/plain"}},
		"navigation":       {"Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Site": {"cross-site"}},
		"rebound name":     {"Host": {"evil.example.com"}},
	} {
		for _, r := range requests {
			status, body := s.Ask(t, r.method, r.path, r.body, header)
			if status < 400 || strings.Contains(body, "alice") {
				t.Errorf("%s: %s %s: status %d: %s", name, r.method, r.path, status, body)
			}
		}
	}
	c.Says(t, "still here")
	p.Hears(t, "still here")
	p.Says(t, "nothing before this")
	c.Hears(t, "nothing before this")
	if got := s.Revocations(t, ""); len(got) != 0 {
		t.Errorf("revoked: %+v", got)
	}
}

// TestAttackAdminBodies: 10 MiB are refused, whether their length is said or
// not, and Caddy serves on.
func TestAttackAdminBodies(t *testing.T) {
	t.Parallel()
	s := rig.StartPeerSite(t, rig.SiteOptions{}, nil)
	huge := strings.Repeat("a", 10<<20)
	for _, path := range []string{"message?all=true", "revocations", "renew?all=true", "sessions?all=true"} {
		for name, body := range map[string]io.Reader{
			"said": strings.NewReader(huge), "chunked": io.MultiReader(strings.NewReader(huge)),
		} {
			method := http.MethodPost
			if strings.HasPrefix(path, "sessions") {
				method = http.MethodDelete
			}
			ctx, cancel := context.WithTimeout(t.Context(), rig.Patience)
			r, err := http.NewRequestWithContext(ctx, method, "http://"+s.AdminAddr+"/websocket_auth/"+path, body)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", "application/json")
			// The answer may come before all is sent, and the connection end.
			if answer, err := rig.AdminClient.Do(r); err == nil {
				if answer.StatusCode != http.StatusRequestEntityTooLarge && answer.StatusCode != http.StatusBadRequest {
					t.Errorf("%s %s, %s: %s", method, path, name, answer.Status)
				}
				answer.Body.Close()
			}
			cancel()
		}
	}
	s.Asks(t, http.MethodGet, "sessions", "", `{"sessions":[],"total":0,"next":""}`)
}

// TestAttackAdminCanary: no answer holds a credential, wherever it travelled.
func TestAttackAdminCanary(t *testing.T) {
	t.Parallel()
	s := rig.StartPeerSite(t, rig.SiteOptions{
		Directives: "from header\nfrom query\nfrom cookie session\nfrom subprotocol\nfrom first_message",
	}, nil)
	var secrets []string
	secret := func() string {
		token := s.Issuer.Token(map[string]any{"nonsense": len(secrets)})
		parts := strings.Split(token, ".")
		secrets = append(secrets, parts[1], parts[2])
		return token
	}
	header := map[string]http.Header{
		"/":                           {"Authorization": {"Bearer " + secret()}},
		"/cookie":                     {"Cookie": {"session=" + secret()}, "Origin": {"http://" + s.Addr}},
		"/subprotocol":                {"Sec-Websocket-Protocol": {"bearer, " + secret()}},
		"/?access_token=" + secret():  nil,
		"/bad?access_token=bad" + "x": nil,
	}
	for path, h := range header {
		s.Handshake(t, rig.H1, path, h)
	}
	c := s.Open(t, rig.H1, "/", rig.NoHeader)
	token := secret()
	c.Says(t, rig.Login(token))
	c.HearsWord(t, "auth_ok")
	all := ""
	for _, path := range []string{"sessions", "revocations", "lockouts", "keys", "sessions?" + token + "=1", "sessions?limit=" + token} {
		_, body := s.Ask(t, http.MethodGet, path, "", nil)
		all += body
	}
	for _, one := range s.Sessions(t, "") {
		_, body := s.Ask(t, http.MethodGet, "sessions/"+one.ID, "", nil)
		all += body
	}
	if n := strings.Count(all, `"subject":"alice"`); n < 10 {
		t.Errorf("only %d sessions were seen", n)
	}
	for _, s := range secrets {
		if strings.Contains(all, s) {
			t.Errorf("an answer holds %q", s)
		}
	}
}
