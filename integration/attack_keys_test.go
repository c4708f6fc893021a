package integration

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gorilla/websocket"
)

// A flood of tokens with key ids that nobody knows: each could cause a request
// to the identity provider. There is at most one in the cool-down of 30 s, and
// good tokens pass meanwhile.
func TestAttackKidFlood(t *testing.T) {
	t.Parallel()
	i, b := newIssuer(t), newBackend(t)
	p := startCaddy(t, `
http://{$SITE} {
	websocket_auth {$JWKS} chat
	reverse_proxy {$BACKEND}
}`, withEnv("JWKS", i.jwksURL()), withEnv("BACKEND", b.addr))
	p.waitKeys(t, i)
	mustDial(t, p.site, bearer("/before", i.token()))
	before := i.hits.Load()

	const clients, each = 8, 40
	var flood sync.WaitGroup
	var wrong atomic.Int64
	for c := range clients {
		flood.Go(func() {
			for n := range each {
				token := sign(jwt{
					header: map[string]any{"kid": fmt.Sprintf("flood-%d-%d", c, n)},
					claims: i.claims(), signature: make([]byte, 256),
				})
				_, resp, err := dial(t, p.site, bearer("/flood", token))
				if err == nil || resp == nil ||
					resp.StatusCode != http.StatusUnauthorized && resp.StatusCode != http.StatusServiceUnavailable {
					wrong.Add(1)
				}
			}
		})
	}
	for range 20 {
		conn, _ := mustDial(t, p.site, bearer("/meanwhile", i.token()))
		mustEcho(t, conn, "hello")
		_ = conn.Close()
	}
	flood.Wait()
	if n := wrong.Load(); n > 0 {
		t.Errorf("%d of the flood were answered with neither 401 nor 503", n)
	}
	if n := i.hits.Load() - before; n > 1 {
		t.Errorf("the flood caused %d requests to the provider, want at most one", n)
	}
	if len(b.seen("/flood")) > 0 {
		t.Error("the flood has reached the application")
	}
}

// waitKeys waits until Caddy has the keys of i. It fetches them a second after
// it has started, without a token that asks for them.
func (p *caddyProc) waitKeys(t testing.TB, i *issuer) {
	t.Helper()
	p.waitLog(t, `"msg":"keys are up to date","key_source":"`+i.jwksURL()+`"`)
}

// A new key is found by the first token that is signed with it: one refetch,
// and the same request passes. The fetch that every Caddy begins with, in the
// background or for the first token, is none of those that have to cool down.
func TestUnknownKidIsFetched(t *testing.T) {
	t.Parallel()
	demanded, awaited, b := newIssuer(t), newIssuer(t), newBackend(t)
	for _, i := range []*issuer{demanded, awaited} {
		i.setKeys(ecJWK(&ecKey().PublicKey, ecKid))
	}
	p := startCaddy(t, `
http://{$SITE} {
	websocket_auth {$DEMANDED} chat
	reverse_proxy {$BACKEND}
}
http://{$SITE2} {
	websocket_auth {$AWAITED} chat
	reverse_proxy {$BACKEND}
}`, withEnv("DEMANDED", demanded.jwksURL()), withEnv("AWAITED", awaited.jwksURL()), withEnv("BACKEND", b.addr))
	rotate := func(i *issuer, site string) {
		mustDial(t, site, bearer("/", sign(jwt{alg: "ES256", claims: i.claims()})))
		i.setKeys(ecJWK(&ecKey().PublicKey, ecKid), rsaJWK(&rsaKey().PublicKey, rsaKid))
		conn, _ := mustDial(t, site, bearer("/", i.token()))
		mustEcho(t, conn, "hello")
	}
	rotate(demanded, p.site)
	p.waitKeys(t, awaited)
	before := awaited.hits.Load()
	rotate(awaited, p.site2)
	if n := awaited.hits.Load() - before; n != 1 {
		t.Errorf("the new key took %d requests to the provider, want one", n)
	}
}

// badKeyAnswers are what a key server can answer when it is broken, or not
// the provider's any more.
func badKeyAnswers(t testing.TB) map[string]http.HandlerFunc {
	t.Helper()
	elsewhere := newIssuer(t) // its keys are good, but nobody has configured it
	t.Cleanup(func() {
		if n := elsewhere.hits.Load(); n > 0 {
			t.Errorf("a redirect was followed to another address, %d times", n)
		}
	})
	return map[string]http.HandlerFunc{
		"slow":                         answerSlow,
		"endless":                      answerEndless,
		"HTML":                         answerBody("text/html", "<!doctype html><title>Sign in</title>"),
		"empty":                        answerBody("application/json", ""),
		"no keys":                      answerBody("application/json", `{"keys":[]}`),
		"no key set":                   answerBody("application/json", `{}`),
		"cut":                          answerBody("application/json", `{"keys":[{"kty":"RSA","kid":"rsa-1",`),
		"500":                          answerStatus(http.StatusInternalServerError),
		"204":                          answerStatus(http.StatusNoContent),
		"a shared secret":              answerBody("application/json", `{"keys":[{"kty":"oct","k":"AAAA","alg":"HS256"}]}`),
		"redirect to a file":           answerRedirect("file:///etc/passwd"),
		"redirect elsewhere":           answerRedirect(elsewhere.jwksURL()),
		"redirect to a private scheme": answerRedirect("gopher://127.0.0.1:1/keys"),
		"redirect to itself":           answerRedirect("/jwks.json"),
	}
}

// A provider whose key server is broken from the start: nobody gets in, the
// answer is "cannot tell", and one provider does not hold up another.
func TestAttackKeyServerBrokenFromTheStart(t *testing.T) {
	t.Parallel()
	testKeyServers(t, true, func(t *testing.T, p *caddyProc, i *issuer, path string, _ http.HandlerFunc) {
		resp := refused(t, p.site, bearer(path, i.token()), http.StatusServiceUnavailable)
		if after := resp.Header.Get("Retry-After"); after == "" || after == "0" {
			t.Errorf("Retry-After is %q", after)
		}
		if body, _ := io.ReadAll(resp.Body); string(body) != "verification_unavailable" {
			t.Errorf("refused with reason %q", body)
		}
		for _, token := range []string{
			sign(jwt{claims: i.claims(), header: map[string]any{"alg": "none"}, signature: []byte{}}),
			sign(jwt{alg: "HS256", key: []byte{0, 0, 0}, claims: i.claims(), header: map[string]any{"kid": absent}}),
		} {
			refused(t, p.site, bearer(path, token), http.StatusUnauthorized)
		}
	})
}

// A provider whose key server breaks later: the last good keys serve on, and
// keys that they do not have are "cannot tell".
func TestAttackKeyServerBreaks(t *testing.T) {
	t.Parallel()
	testKeyServers(t, false, func(t *testing.T, p *caddyProc, i *issuer, path string, bad http.HandlerFunc) {
		p.waitKeys(t, i)
		mustDial(t, p.site, bearer(path, i.token()))
		before := i.hits.Load()
		i.setAnswer(bad)
		rotated := sign(jwt{key: strangerKey(), header: map[string]any{"kid": "rsa-2"}, claims: i.claims()})
		refused(t, p.site, bearer(path+"/refused", rotated), http.StatusServiceUnavailable)
		if i.hits.Load() == before {
			t.Error("the bad answer was never asked for")
		}
		conn, _ := mustDial(t, p.site, bearer(path, i.token(map[string]any{"jti": "another"})))
		if err := conn.WriteMessage(websocket.TextMessage, []byte("hello")); err != nil {
			t.Error(err)
		}
	})
}

// testKeyServers runs test for each bad answer, with an issuer of its own, which
// is broken before Caddy starts or not yet.
func testKeyServers(t *testing.T, broken bool,
	test func(t *testing.T, p *caddyProc, i *issuer, path string, bad http.HandlerFunc),
) {
	t.Helper()
	answers := badKeyAnswers(t)
	b := newBackend(t)
	issuers := make(map[string]*issuer)
	var config strings.Builder
	config.WriteString("http://{$SITE} {\n")
	paths := make(map[string]string)
	for name, bad := range answers {
		issuers[name] = newIssuer(t)
		paths[name] = fmt.Sprintf("/%d", len(paths))
		if broken {
			issuers[name].setAnswer(bad)
		}
		fmt.Fprintf(&config, "handle %s* {\n websocket_auth %s chat\n reverse_proxy %s\n}\n",
			paths[name]+"/", issuers[name].jwksURL(), b.addr)
	}
	config.WriteString("handle_errors {\n respond {http.websocket_auth.error}\n}\n}\n")
	p := startCaddy(t, config.String())
	t.Cleanup(func() { // after all of the following
		if strings.Contains(p.logs.String(), "Sign in") {
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
