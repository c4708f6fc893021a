package handshake

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// A flood of tokens with key ids that nobody knows: each could cause a request
// to the identity provider. There is at most one in the cool-down of 30 s, and
// good tokens pass meanwhile.
func TestAttackKidFlood(t *testing.T) {
	t.Parallel()
	i, b := rig.NewIssuer(t), rig.NewBackend(t)
	p := rig.StartCaddy(t, `
http://{$SITE} {
	websocket_auth {$JWKS} chat
	reverse_proxy {$BACKEND}
}`, rig.WithEnv("JWKS", i.JWKSURL()), rig.WithEnv("BACKEND", b.Addr))
	waitKeys(t, p, i)
	rig.MustDial(t, p.Addr, rig.Bearer("/before", i.Token()))
	before := i.Hits.Load()

	const clients, each = 8, 40
	var flood sync.WaitGroup
	var wrong atomic.Int64
	for c := range clients {
		flood.Go(func() {
			for n := range each {
				token := rig.Sign(rig.JWT{
					Header: map[string]any{"kid": fmt.Sprintf("flood-%d-%d", c, n)},
					Claims: i.Claims(), Signature: make([]byte, 256),
				})
				_, resp, err := rig.Dial(t, p.Addr, rig.Bearer("/flood", token))
				if err == nil || resp == nil ||
					resp.StatusCode != http.StatusUnauthorized && resp.StatusCode != http.StatusServiceUnavailable {
					wrong.Add(1)
				}
			}
		})
	}
	for range 20 {
		conn, _ := rig.MustDial(t, p.Addr, rig.Bearer("/meanwhile", i.Token()))
		rig.MustEcho(t, conn, "hello")
		_ = conn.Close()
	}
	flood.Wait()
	if n := wrong.Load(); n > 0 {
		t.Errorf("%d of the flood were answered with neither 401 nor 503", n)
	}
	if n := i.Hits.Load() - before; n > 1 {
		t.Errorf("the flood caused %d requests to the provider, want at most one", n)
	}
	if len(b.Seen("/flood")) > 0 {
		t.Error("the flood has reached the application")
	}
}

// waitKeys waits until Caddy has the keys of i. It fetches them a second after
// it has started, without a token that asks for them.
func waitKeys(t testing.TB, p *rig.Caddy, i *rig.Issuer) {
	t.Helper()
	p.WaitLog(t, `"msg":"keys are up to date","key_source":"`+i.JWKSURL()+`"`)
}

// A new key is found by the first token that is signed with it: one refetch,
// and the same request passes. The fetch that every Caddy begins with, in the
// background or for the first token, is none of those that have to cool down.
func TestUnknownKidIsFetched(t *testing.T) {
	t.Parallel()
	demanded, awaited, b := rig.NewIssuer(t), rig.NewIssuer(t), rig.NewBackend(t)
	for _, i := range []*rig.Issuer{demanded, awaited} {
		i.SetKeys(rig.ECJWK(&rig.ECKey().PublicKey, rig.ECKid))
	}
	p := rig.StartCaddy(t, `
http://{$SITE} {
	websocket_auth {$DEMANDED} chat
	reverse_proxy {$BACKEND}
}
http://{$SITE2} {
	websocket_auth {$AWAITED} chat
	reverse_proxy {$BACKEND}
}`, rig.WithEnv("DEMANDED", demanded.JWKSURL()), rig.WithEnv("AWAITED", awaited.JWKSURL()), rig.WithEnv("BACKEND", b.Addr))
	rotate := func(i *rig.Issuer, site string) {
		rig.MustDial(t, site, rig.Bearer("/", rig.Sign(rig.JWT{Alg: "ES256", Claims: i.Claims()})))
		i.SetKeys(rig.ECJWK(&rig.ECKey().PublicKey, rig.ECKid), rig.RSAJWK(&rig.RSAKey().PublicKey, rig.RSAKid))
		conn, _ := rig.MustDial(t, site, rig.Bearer("/", i.Token()))
		rig.MustEcho(t, conn, "hello")
	}
	rotate(demanded, p.Addr)
	waitKeys(t, p, awaited)
	before := awaited.Hits.Load()
	rotate(awaited, p.Addr2)
	if n := awaited.Hits.Load() - before; n != 1 {
		t.Errorf("the new key took %d requests to the provider, want one", n)
	}
}

// badKeyAnswers are what a key server can answer when it is broken, or not
// the provider's any more.
func badKeyAnswers(t testing.TB) map[string]http.HandlerFunc {
	t.Helper()
	elsewhere := rig.NewIssuer(t) // its keys are good, but nobody has configured it
	t.Cleanup(func() {
		if n := elsewhere.Hits.Load(); n > 0 {
			t.Errorf("a redirect was followed to another address, %d times", n)
		}
	})
	return map[string]http.HandlerFunc{
		"slow":                         rig.AnswerSlow,
		"endless":                      rig.AnswerEndless,
		"HTML":                         rig.AnswerBody("text/html", "<!doctype html><title>Sign in</title>"),
		"empty":                        rig.AnswerBody("application/json", ""),
		"no keys":                      rig.AnswerBody("application/json", `{"keys":[]}`),
		"no key set":                   rig.AnswerBody("application/json", `{}`),
		"cut":                          rig.AnswerBody("application/json", `{"keys":[{"kty":"RSA","kid":"rsa-1",`),
		"500":                          rig.AnswerStatus(http.StatusInternalServerError),
		"204":                          rig.AnswerStatus(http.StatusNoContent),
		"a shared secret":              rig.AnswerBody("application/json", `{"keys":[{"kty":"oct","k":"AAAA","alg":"HS256"}]}`),
		"redirect to a file":           rig.AnswerRedirect("file:///etc/passwd"),
		"redirect elsewhere":           rig.AnswerRedirect(elsewhere.JWKSURL()),
		"redirect to a private scheme": rig.AnswerRedirect("gopher://127.0.0.1:1/keys"),
		"redirect to itself":           rig.AnswerRedirect("/jwks.json"),
	}
}

// A provider whose key server is broken from the start: nobody gets in, the
// answer is "cannot tell", and one provider does not hold up another.
func TestAttackKeyServerBrokenFromTheStart(t *testing.T) {
	t.Parallel()
	testKeyServers(t, true, func(t *testing.T, p *rig.Caddy, i *rig.Issuer, path string, _ http.HandlerFunc) {
		resp := rig.Refused(t, p.Addr, rig.Bearer(path, i.Token()), http.StatusServiceUnavailable)
		if after := resp.Header.Get("Retry-After"); after == "" || after == "0" {
			t.Errorf("Retry-After is %q", after)
		}
		if body, _ := io.ReadAll(resp.Body); string(body) != "verification_unavailable" {
			t.Errorf("refused with reason %q", body)
		}
		for _, token := range []string{
			rig.Sign(rig.JWT{Claims: i.Claims(), Header: map[string]any{"alg": "none"}, Signature: []byte{}}),
			rig.Sign(rig.JWT{Alg: "HS256", Key: []byte{0, 0, 0}, Claims: i.Claims(), Header: map[string]any{"kid": rig.Absent}}),
		} {
			rig.Refused(t, p.Addr, rig.Bearer(path, token), http.StatusUnauthorized)
		}
	})
}

// A provider whose key server breaks later: the last good keys serve on, and
// keys that they do not have are "cannot tell".
func TestAttackKeyServerBreaks(t *testing.T) {
	t.Parallel()
	testKeyServers(t, false, func(t *testing.T, p *rig.Caddy, i *rig.Issuer, path string, bad http.HandlerFunc) {
		waitKeys(t, p, i)
		rig.MustDial(t, p.Addr, rig.Bearer(path, i.Token()))
		before := i.Hits.Load()
		i.SetAnswer(bad)
		rotated := rig.Sign(rig.JWT{Key: rig.StrangerKey(), Header: map[string]any{"kid": "rsa-2"}, Claims: i.Claims()})
		rig.Refused(t, p.Addr, rig.Bearer(path+"/refused", rotated), http.StatusServiceUnavailable)
		if i.Hits.Load() == before {
			t.Error("the bad answer was never asked for")
		}
		conn, _ := rig.MustDial(t, p.Addr, rig.Bearer(path, i.Token(map[string]any{"jti": "another"})))
		if err := conn.WriteMessage(websocket.TextMessage, []byte("hello")); err != nil {
			t.Error(err)
		}
	})
}

// testKeyServers runs test for each bad answer, with an issuer of its own, which
// is broken before Caddy starts or not yet.
func testKeyServers(t *testing.T, broken bool,
	test func(t *testing.T, p *rig.Caddy, i *rig.Issuer, path string, bad http.HandlerFunc),
) {
	t.Helper()
	answers := badKeyAnswers(t)
	b := rig.NewBackend(t)
	issuers := make(map[string]*rig.Issuer)
	var config strings.Builder
	config.WriteString("http://{$SITE} {\n")
	paths := make(map[string]string)
	for name, bad := range answers {
		issuers[name] = rig.NewIssuer(t)
		paths[name] = fmt.Sprintf("/%d", len(paths))
		if broken {
			issuers[name].SetAnswer(bad)
		}
		fmt.Fprintf(&config, "handle %s* {\n websocket_auth %s chat\n reverse_proxy %s\n}\n",
			paths[name]+"/", issuers[name].JWKSURL(), b.Addr)
	}
	config.WriteString("handle_errors {\n respond {http.websocket_auth.error}\n}\n}\n")
	p := rig.StartCaddy(t, config.String())
	t.Cleanup(func() { // after all of the following
		if strings.Contains(p.Logs.String(), "Sign in") {
			t.Error("the log holds what a broken key server has answered")
		}
	})
	for name, bad := range answers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, p, issuers[name], paths[name]+"/", bad)
		})
	}
}
