package websocketauth

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
)

// keyProvider is an identity provider on the loopback that counts requests.
type keyProvider struct {
	*httptest.Server
	key      ed25519.PrivateKey
	requests atomic.Int32
}

func newKeyProvider(t *testing.T, start func(http.Handler) *httptest.Server) *keyProvider {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := &keyProvider{key: key}
	mux := http.NewServeMux()
	mux.HandleFunc("/jwks", func(w http.ResponseWriter, _ *http.Request) {
		p.requests.Add(1)
		pub := base64.RawURLEncoding.EncodeToString(key[32:])
		_, _ = fmt.Fprintf(w, `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k","x":%q}]}`, pub)
	})
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		p.requests.Add(1)
		_, _ = fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, p.URL, p.URL+"/jwks")
	})
	p.Server = start(mux)
	t.Cleanup(p.Close)
	return p
}

// token returns a token of alice's that ends in a minute.
func (p *keyProvider) token(audience string) string {
	enc := base64.RawURLEncoding.EncodeToString
	claims := fmt.Sprintf(`{"iss":%q,"aud":%q,"sub":"alice","exp":%d}`, p.URL, audience, time.Now().Unix()+60)
	signed := enc([]byte(`{"alg":"EdDSA","kid":"k"}`)) + "." + enc([]byte(claims))
	return signed + "." + enc(ed25519.Sign(p.key, []byte(signed)))
}

// testCaddy is a Caddy configuration with nothing in it.
var testCaddy = sync.OnceValues(func() (caddy.Context, error) {
	return caddy.ProvisionContext(&caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}})
})

// loadJWT provisions the verifier as a configuration does. unload is the end
// of that configuration; it happens at the end of the test at the latest.
func loadJWT(t *testing.T, config string) (v *JWTVerifier, unload func(), err error) {
	t.Helper()
	base, err := testCaddy()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := caddy.NewContext(base)
	t.Cleanup(cancel)
	loaded, err := ctx.LoadModuleByID("http.websocket_auth.verifiers.jwt", json.RawMessage(config))
	if err != nil {
		return nil, cancel, err
	}
	v, ok := loaded.(*JWTVerifier)
	if !ok {
		t.Fatalf("loaded a %T", loaded)
	}
	return v, cancel, nil
}

// TestJWTConfigurationErrors: what cannot work does not load. The error names
// the word and the fix, and no secret; nothing stays in the pool.
func TestJWTConfigurationErrors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	secret := strings.Repeat("hunter2.", 4)
	for config, words := range map[string][]string{
		`{}`:                                     {"jwks_url", "jwks_file", "secret", "issuer"},
		`{"jwks_url":"https://id.example.com/"}`: {"audience", "issuer", "insecure_any_audience"},
		`{"jwks_url":"http://id.example.com/","audiences":["a"]}`:                                        {"jwks_url", "https", "insecure_http_keys"},
		`{"issuers":["http://id.example.com"]}`:                                                          {"issuer", "insecure_http_keys"},
		`{"issuers":["id.example.com"]}`:                                                                 {"issuer", "https://"},
		`{"jwks_url":"https://u:hunter2@id.example.com/","audiences":["a"]}`:                             {"jwks_url", "remove it"},
		`{"jwks_url":"https://id.example.com/?token=hunter2","audiences":["a"]}`:                         {"jwks_url", "query"},
		`{"jwks_url":"https://id.example.com/","audiences":["a"],"algorithms":["none"]}`:                 {"algorithms", "none", "remove it"},
		`{"jwks_url":"https://id.example.com/","audiences":["a"],"algorithms":["RS257"]}`:                {"algorithms", `"RS257"`, "RS256"},
		`{"jwks_url":"https://id.example.com/","audiences":["a"],"algorithms":["HS256"]}`:                {"algorithms", "HS256", "secret"},
		`{"jwks_url":"https://id.example.com/","audiences":["a"],"secret":"` + secret + `"}`:             {"jwks_url", "secret", "verify of its own"},
		`{"jwks_url":"https://id.example.com/","audiences":["a"],"jwks_file":"x"}`:                       {"jwks_url", "jwks_file"},
		`{"jwks_url":"https://id.example.com/","audiences":["a"],"leeway":"5m1s"}`:                       {"leeway", "5m"},
		`{"jwks_url":"https://id.example.com/","audiences":["a"],"user_claim":"a..b"}`:                   {"user_claim", "a..b", "JSON pointer"},
		`{"jwks_url":"https://id.example.com/","audiences":["a"],"types":["logout+jwt"]}`:                {"type", "logout+jwt"},
		`{"secret":"hunter2","audiences":["a"]}`:                                                         {"secret", "7 bytes", "32"},
		`{"secret":"` + secret + `","audiences":["a"],"algorithms":["HS512"]}`:                           {"secret", "HS512", "64"},
		`{"secret":"` + secret + `","audiences":["a"],"algorithms":["RS256"]}`:                           {"algorithms", "RS256", "secret"},
		`{"secret":"{env.JWT_TEST_NO_SUCH_VARIABLE}","audiences":["a"]}`:                                 {"secret", "placeholder"},
		`{"secret":"hunter2{hunter2}","audiences":["a"]}`:                                                {"secret", "placeholder"},
		`{"secret":"` + secret + `","audiences":["a"],"ca":"x"}`:                                         {"ca", "remove"},
		`{"jwks_url":"{env.JWT_TEST_NO_SUCH_VARIABLE}","audiences":["a"]}`:                               {"jwks_url", "JWT_TEST_NO_SUCH_VARIABLE"},
		`{"jwks_url":"https://id.example.com/","audiences":["{nonsense}"]}`:                              {"audience", "nonsense"},
		`{"jwks_url":"https://id.example.com/","audiences":["a"],"ca":"` + dir + `/none"}`:               {"ca", "none"},
		`{"jwks_url":"https://id.example.com/","audiences":["a"],"ca":"` + file("empty.pem", "x") + `"}`: {"ca", "PEM"},
		`{"jwks_file":"` + dir + `/none","audiences":["a"]}`:                                             {"jwks_file", "none"},
		`{"jwks_file":"` + file("no.json", `{"keys":[]}`) + `","audiences":["a"]}`:                       {"jwks_file", "no usable key"},
		`{"jwks_file":"` + file("oct.json", `{"kty":"oct","k":"AAAA"}`) + `","audiences":["a"]}`:         {"jwks_file", "secret"},
		`{"jwks_url":"https://id.example.com/","audience":["a"]}`:                                        {"audience"},
	} {
		_, _, err := loadJWT(t, config)
		if err == nil {
			t.Errorf("%s: loads", config)
			continue
		}
		for _, word := range words {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%s: %v, which does not name %q", config, err, word)
			}
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, which gives the secret away", config, err)
		}
	}
	for _, url := range []string{"https://id.example.com/", "http://id.example.com/"} {
		if n, ok := keyPool.References(keySource{url: url}); ok {
			t.Errorf("%s has %d references of configurations that were refused", url, n)
		}
	}
}

// TestJWTKeySources: each way to give keys verifies a token.
func TestJWTKeySources(t *testing.T) {
	p := newKeyProvider(t, httptest.NewServer)
	dir := t.TempDir()
	file := filepath.Join(dir, "keys.json")
	pub := base64.RawURLEncoding.EncodeToString(p.key[32:])
	text := fmt.Sprintf(`{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k","x":%q},{"kty":"odd"}]}`, pub)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("JWT_TEST_URL", p.URL)
	t.Setenv("JWT_TEST_AUDIENCE", "chat")
	for _, config := range []string{
		`{"jwks_url":"{env.JWT_TEST_URL}/jwks","audiences":["{env.JWT_TEST_AUDIENCE}"]}`,
		`{"issuers":["{env.JWT_TEST_URL}"],"audiences":["chat"]}`,
		`{"issuers":["{env.JWT_TEST_URL}"]}`,
		`{"issuers":["{env.JWT_TEST_URL}"],"jwks_url":"{env.JWT_TEST_URL}/jwks"}`,
		`{"jwks_file":"` + file + `","audiences":["chat"]}`,
		`{"jwks_file":"` + file + `","insecure_any_audience":true}`,
	} {
		v, _, err := loadJWT(t, config)
		if err != nil {
			t.Errorf("%s: %v", config, err)
			continue
		}
		id, err := v.Verify(t.Context(), p.token("chat"), time.Now())
		if err != nil || id.User != "alice" {
			t.Errorf("%s: %v, %v (%v)", config, id, err, errors.Unwrap(err))
		}
		for _, check := range v.Explain(t.Context(), p.token("chat"), time.Now()) {
			if !check.OK {
				t.Errorf("%s: %+v", config, check)
			}
		}
		again, err := json.Marshal(v)
		if err != nil || string(again) != config && !sameJSON(string(again), config) {
			t.Errorf("%s: the configuration has become %s (%v)", config, again, err)
		}
	}
}

func sameJSON(a, b string) bool {
	var x, y any
	return json.Unmarshal([]byte(a), &x) == nil && json.Unmarshal([]byte(b), &y) == nil && fmt.Sprint(x) == fmt.Sprint(y)
}

// TestJWTSecretStaysOut: the secret that a placeholder stands for is used,
// and is not in the configuration that the admin API shows.
func TestJWTSecretStaysOut(t *testing.T) {
	secret := strings.Repeat("hunter2.", 4)
	t.Setenv("JWT_TEST_SECRET", secret)
	v, _, err := loadJWT(t, `{"secret":"{env.JWT_TEST_SECRET}","audiences":["chat"]}`)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(v)
	if err != nil || strings.Contains(string(text), "hunter2") || !strings.Contains(string(text), "{env.JWT_TEST_SECRET}") {
		t.Errorf("configuration %s, %v", text, err)
	}
}

// TestJWTReloadFetchesOnce: 50 reloads share one key set, the last one to go
// ends it, and a socket that was opened before can still renew.
func TestJWTReloadFetchesOnce(t *testing.T) {
	t.Parallel()
	p := newKeyProvider(t, httptest.NewServer)
	config := `{"jwks_url":"` + p.URL + `/jwks","audiences":["chat"]}`
	first, unload, err := loadJWT(t, config)
	if err != nil {
		t.Fatal(err)
	}
	if p.requests.Load() != 0 {
		t.Error("loading asks for keys")
	}
	if _, err := first.Verify(t.Context(), p.token("chat"), time.Now()); err != nil {
		t.Fatal(err, errors.Unwrap(err))
	}
	for range 50 {
		v, unloadNew, err := loadJWT(t, config)
		if err != nil {
			t.Fatal(err)
		}
		unload()
		unload = unloadNew
		if _, err := v.Verify(t.Context(), p.token("chat"), time.Now()); err != nil {
			t.Fatal(err, errors.Unwrap(err))
		}
	}
	if n := p.requests.Load(); n != 1 {
		t.Errorf("%d requests for keys, want 1", n)
	}
	source := keySource{url: p.URL + "/jwks"}
	if n, _ := keyPool.References(source); n != 1 {
		t.Errorf("%d references, want 1", n)
	}
	unload()
	if n, ok := keyPool.References(source); ok {
		t.Errorf("%d references after the last configuration", n)
	}
	if _, err := first.Verify(t.Context(), p.token("chat"), time.Now()); err != nil {
		t.Errorf("an old socket cannot renew: %v (%v)", err, errors.Unwrap(err))
	}
}

// TestJWTCleanup is called once more than needed, and without Provision.
func TestJWTCleanup(t *testing.T) {
	t.Parallel()
	if err := new(JWTVerifier).Cleanup(); err != nil {
		t.Error(err)
	}
	config := `{"issuers":["https://127.0.0.1:1","https://127.0.0.1:2"]}`
	v, _, err := loadJWT(t, config)
	if err != nil {
		t.Fatal(err)
	}
	other, _, err := loadJWT(t, config)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := v.Cleanup(); err != nil {
			t.Error(err)
		}
	}
	for _, issuer := range []string{"https://127.0.0.1:1", "https://127.0.0.1:2"} {
		if n, _ := keyPool.References(keySource{issuer: issuer}); n != 1 {
			t.Errorf("%s has %d references, want the other's", issuer, n)
		}
	}
	if err := other.Cleanup(); err != nil {
		t.Error(err)
	}
}

// TestJWTUnprovisionedDenies: a nil is no.
func TestJWTUnprovisionedDenies(t *testing.T) {
	t.Parallel()
	id, err := new(JWTVerifier).Verify(t.Context(), "a.b.c", time.Now())
	if id != nil || err == nil {
		t.Errorf("got %v, %v", id, err)
	}
	if checks := new(JWTVerifier).Explain(t.Context(), "a.b.c", time.Now()); len(checks) != 1 || checks[0].OK {
		t.Errorf("got %+v", checks)
	}
}

// TestJWTOwnCA trusts the file's certificate and no other.
func TestJWTOwnCA(t *testing.T) {
	t.Parallel()
	p := newKeyProvider(t, httptest.NewTLSServer)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o600); err != nil {
		t.Fatal(err)
	}
	v, _, err := loadJWT(t, `{"issuers":["`+p.URL+`"],"ca":"`+ca+`"}`)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(t.Context(), p.token("chat"), time.Now()); err != nil {
		t.Errorf("with its CA: %v (%v)", err, errors.Unwrap(err))
	}
	if n, _ := keyPool.References(keySource{issuer: p.URL, ca: sha256.Sum256(block)}); n != 1 {
		t.Errorf("%d references", n)
	}
	if v, _, err = loadJWT(t, `{"issuers":["`+p.URL+`"]}`); err != nil {
		t.Fatal(err)
	}
	_, err = v.Verify(t.Context(), p.token("chat"), time.Now())
	if _, ok := errors.AsType[*auth.OutageError](err); !ok {
		t.Errorf("without: %v, want an outage", err)
	}
}

// TestJWTLogsWhatIsNotChecked when it is loaded.
func TestJWTLogsWhatIsNotChecked(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		v    JWTVerifier
		want string
	}{
		{JWTVerifier{Issuers: []string{"i"}, Audiences: []string{"a"}}, ""},
		{JWTVerifier{Issuers: []string{"i"}}, "audience is not checked"},
		{JWTVerifier{Audiences: []string{"a"}}, "issuer is not checked"},
		{JWTVerifier{}, "neither audience nor issuer is checked"},
	} {
		core, logs := observer.New(zapcore.DebugLevel)
		row.v.logger = zap.New(core)
		row.v.logUnchecked()
		switch {
		case row.want == "" && logs.Len() > 0:
			t.Errorf("%v", logs.All())
		case row.want != "" && (logs.Len() != 1 || !strings.HasPrefix(logs.All()[0].Message, row.want)):
			t.Errorf("%v, want %q", logs.All(), row.want)
		}
	}
}
