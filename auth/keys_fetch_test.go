package auth

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/internal/pace"
)

// newServer is a provider on the loopback. Paths are those of its mux.
func newServer(t *testing.T, routes map[string]http.HandlerFunc) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	for path, handler := range routes {
		mux.HandleFunc(path, handler)
	}
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server
}

func serve(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) }
}

// fetchFrom makes one fetch, without the background's goroutine. One that has
// timed out is made again: no server here is slow, so the machine was.
func fetchFrom(t *testing.T, cfg RemoteConfig) (fetchedKeys, error) {
	t.Helper()
	f, err := newKeyFetcher(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		keys, err := f.fetch(t.Context())
		if err == nil || !strings.Contains(err.Error(), "timed out") {
			return keys, err
		}
	}
	return f.fetch(t.Context())
}

// TestAttackJWKSAnswers: what a broken or hostile provider can answer.
func TestAttackJWKSAnswers(t *testing.T) {
	t.Parallel()
	const marker = "remote-body-marker"
	good := string(keySetOf("a"))
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop) })
	var reached atomic.Int32
	other := newServer(t, map[string]http.HandlerFunc{"/": func(w http.ResponseWriter, _ *http.Request) {
		reached.Add(1)
		_, _ = w.Write([]byte(good))
	}})
	redirect := func(to string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", to)
			w.WriteHeader(http.StatusFound)
		}
	}
	server := newServer(t, map[string]http.HandlerFunc{
		"/good":  serve(good),
		"/html":  serve("<html>" + marker + "</html>"),
		"/empty": serve(""), "/nokeys": serve(`{"keys":[]}`),
		"/500": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, marker, http.StatusInternalServerError) },
		"/204": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) },
		"/endless": func(w http.ResponseWriter, r *http.Request) {
			piece := []byte(strings.Repeat(" ", 64<<10))
			for r.Context().Err() == nil {
				if _, err := w.Write(piece); err != nil {
					return
				}
			}
		},
		"/reset": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "5000")
			_, _ = w.Write([]byte(good[:20]))
			panic(http.ErrAbortHandler)
		},
		"/nonsense": func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_, _ = conn.Write([]byte(marker + "\r\n\r\n"))
				_ = conn.Close()
			}
		},
		"/headers": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Long", strings.Repeat(marker, 100_000))
			_, _ = w.Write([]byte(good))
		},
		"/moved1": redirect("/moved2"), "/moved2": redirect("/moved3"), "/moved3": redirect("/good"),
		"/moved4": redirect("/moved1"), "/loop": redirect("/loop"),
		"/to-file": redirect("file:///etc/passwd"), "/to-gopher": redirect("gopher://127.0.0.1/"),
		"/to-https": redirect("https://127.0.0.1:1/"), "/to-other": redirect(other.URL + "/"),
		"/to-metadata": redirect("http://169.254.169.254/latest/meta-data?" + marker),
		"/to-user":     func(w http.ResponseWriter, r *http.Request) { redirect("http://"+marker+"@"+r.Host+"/good")(w, r) },
	})
	for path, want := range map[string]string{
		"/good": "", "/moved1": "", "/html": "neither", "/empty": "neither", "/nokeys": "empty",
		"/500": "500", "/204": "204", "/404": "404", "/endless": "more than 1048576", "/reset": "closed",
		"/nonsense": "HTTP", "/headers": "HTTP", "/moved4": "redirects", "/loop": "redirects",
		"/to-file": "scheme", "/to-gopher": "scheme", "/to-https": "scheme",
		"/to-other": "host", "/to-metadata": "host", "/to-user": "user",
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			fetched, err := fetchFrom(t, RemoteConfig{URL: server.URL + path + "?p=policy"})
			if want == "" {
				if err != nil || len(fetched.keys) != 1 {
					t.Errorf("%d keys, %v", len(fetched.keys), err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), want) || len(fetched.keys) != 0 {
				t.Fatalf("%d keys, %v, want an error with %q", len(fetched.keys), err, want)
			}
			if len(err.Error()) > 256 || strings.Contains(err.Error(), marker) || strings.Contains(err.Error(), "policy") {
				t.Errorf("error says too much: %q", err)
			}
		})
	}
	t.Cleanup(func() {
		if n := reached.Load(); n != 0 {
			t.Errorf("%d requests went to another host", n)
		}
	})
}

// TestAttackJWKSSlow: an answer that never ends, or never begins, is given
// up after 5 s in all, and a token waits no longer than that.
func TestAttackJWKSSlow(t *testing.T) {
	t.Parallel()
	drip := func(w http.ResponseWriter, r *http.Request) {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-r.Context().Done():
				return
			case <-tick.C:
				_, _ = w.Write([]byte(" "))
				_ = http.NewResponseController(w).Flush()
			}
		}
	}
	server := newServer(t, map[string]http.HandlerFunc{
		"/drip": drip, "/silent": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	})
	listener := must(new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")) // accepts, and says nothing
	t.Cleanup(func() { _ = listener.Close() })
	for _, from := range []string{server.URL + "/drip", server.URL + "/silent", "https://" + listener.Addr().String() + "/"} {
		t.Run(from, func(t *testing.T) {
			t.Parallel()
			r, err := NewRemoteKeys(RemoteConfig{URL: from})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			watch, start := pace.Start(t), time.Now()
			_, err = r.Find(t.Context(), "EdDSA", "a")
			watch.InTime(t, "the answer", start.Add(2*time.Second), time.Now(), 4*time.Second)
			if reasonOf(err) != "outage" {
				t.Errorf("%v (%s)", err, detailOf(err))
			}
			if !strings.Contains(detailOf(err), "timed out") {
				t.Errorf("detail %q", detailOf(err))
			}
		})
	}
}

// TestFetchTrustsItsCA: with a CA of its own and no other.
func TestFetchTrustsItsCA(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(serve(string(keySetOf("a"))))
	server.Config.ErrorLog = discardLog()
	server.StartTLS()
	t.Cleanup(server.Close)
	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	if _, err := fetchFrom(t, RemoteConfig{URL: server.URL, RootCAs: pool}); err != nil {
		t.Error(err)
	}
	for name, pool := range map[string]*x509.CertPool{"system": nil, "none": x509.NewCertPool()} {
		_, err := fetchFrom(t, RemoteConfig{URL: server.URL, RootCAs: pool})
		if err == nil || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDiscovery uses a document only if it is the issuer's own.
func TestDiscovery(t *testing.T) {
	t.Parallel()
	var document atomic.Value
	var asked sync.Map
	server := newServer(t, map[string]http.HandlerFunc{
		"/realm/.well-known/openid-configuration": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(document.Load().(string)))
		},
		"/jwks": func(w http.ResponseWriter, _ *http.Request) {
			asked.Store("jwks", true)
			_, _ = w.Write(keySetOf("a"))
		},
	})
	issuer := server.URL + "/realm"
	doc := func(issuer, uri string) string { return fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q}`, issuer, uri) }
	for _, row := range []struct{ name, issuer, document, want string }{
		{"good", issuer, doc(issuer, server.URL+"/jwks"), ""},
		{"issuer with a slash", issuer + "/", doc(issuer+"/", server.URL+"/jwks"), ""},
		{"a slash more", issuer, doc(issuer+"/", server.URL+"/jwks"), "another issuer"},
		{"another issuer", issuer, doc("https://evil.example.com", server.URL+"/jwks"), "another issuer"},
		{"no issuer", issuer, `{"jwks_uri":"` + server.URL + `/jwks"}`, "another issuer"},
		{"no keys", issuer, doc(issuer, ""), "jwks_uri"},
		{"keys in a file", issuer, doc(issuer, "file:///etc/passwd"), "jwks_uri"},
		{"keys over http from another machine", issuer, doc(issuer, "http://192.0.2.1/jwks"), "jwks_uri"},
		{"keys with a password", issuer, doc(issuer, "http://a:b@"+strings.TrimPrefix(server.URL, "http://")+"/jwks"), "jwks_uri"},
		{"HTML", issuer, "<html>", "document"},
		{"array", issuer, "[]", "document"},
	} {
		asked.Clear()
		document.Store(row.document)
		_, err := fetchFrom(t, RemoteConfig{Issuer: row.issuer})
		_, fetched := asked.Load("jwks")
		if row.want == "" {
			if err != nil || !fetched {
				t.Errorf("%s: %v", row.name, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), row.want) || fetched || len(err.Error()) > 256 {
			t.Errorf("%s: %v, want an error with %q (asked for keys: %v)", row.name, err, row.want, fetched)
		}
	}
}

// TestDiscoveryKeepsHTTPS: an https issuer's keys never come over http, not
// even from this machine.
func TestDiscoveryKeepsHTTPS(t *testing.T) {
	t.Parallel()
	plain := newServer(t, map[string]http.HandlerFunc{"/jwks": serve(string(keySetOf("a")))})
	var issuer string
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, issuer, plain.URL+"/jwks")
	}))
	t.Cleanup(server.Close)
	issuer = server.URL
	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	_, err := fetchFrom(t, RemoteConfig{Issuer: issuer, RootCAs: pool, AllowHTTP: true})
	if err == nil || !strings.Contains(err.Error(), "https") {
		t.Errorf("got %v", err)
	}
}

// TestDiscoveryIsRemembered for an hour, unless the keys it names are away.
func TestDiscoveryIsRemembered(t *testing.T) {
	t.Parallel()
	p := &provider{keys: []byte(`{"issuer":"https://id.example.com","jwks_uri":"https://keys.example.com/"}`)}
	f, err := newKeyFetcher(RemoteConfig{Issuer: "https://id.example.com", Transport: p})
	if err != nil {
		t.Fatal(err)
	}
	if from, err := f.discover(t.Context()); err != nil || from != "https://keys.example.com/" {
		t.Fatal(from, err)
	}
	p.set(func() { p.keys = keySetOf("a") })
	if _, err := f.fetch(t.Context()); err != nil || p.count() != 2 {
		t.Errorf("%v, %d requests, want 2", err, p.count())
	}
	p.set(func() { p.keys = nil })
	if _, err := f.fetch(t.Context()); err == nil || f.discovered != "" {
		t.Errorf("%v, still believed: %q", err, f.discovered)
	}
}

// TestKeyURLs has the URLs that are refused at load, and that no error prints
// a secret.
func TestKeyURLs(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		url       string
		allowHTTP bool
		want      string
	}{
		{"https://id.example.com/jwks", false, ""},
		{"https://id.example.com/keys?p=B2C_1_policy", false, ""},
		{"http://localhost:9000/jwks", false, ""},
		{"http://idp.localhost/jwks", false, ""},
		{"http://127.0.0.1/jwks", false, ""},
		{"http://[::1]:80/jwks", false, ""},
		{"http://id.example.com/jwks", true, ""},
		{"http://id.example.com/jwks", false, "insecure_http_keys"},
		{"http://localhost.example.com/jwks", false, "insecure_http_keys"},
		{"http://127.0.0.1.example.com/jwks", false, "insecure_http_keys"},
		{"http://0.0.0.0/jwks", false, "insecure_http_keys"},
		{"ftp://id.example.com/jwks", true, "https"},
		{"file:///etc/keys", true, "URL"},
		{"id.example.com/jwks", false, "URL"},
		{"https:id.example.com", false, "URL"},
		{"https://", false, "URL"},
		{"https://id.example.com/#x", false, "URL"},
		{"https://user:hunter2@id.example.com/", false, "password"},
		{"https://id.example.com/?api_key=hunter2", false, "secret"},
		{"https://id.example.com/?ACCESS_TOKEN=hunter2", false, "secret"},
		{"ht tp://hunter2", false, "URL"},
		{"", false, "URL"},
	} {
		err := checkKeyURL("jwks_url", row.url, row.allowHTTP)
		if (err == nil) != (row.want == "") || err != nil && !strings.Contains(err.Error(), row.want) {
			t.Errorf("checkKeyURL(%q, %v): %v, want %q", row.url, row.allowHTTP, err, row.want)
		}
		if strings.Contains(fmt.Sprint(err), "is not a URL") && !strings.Contains(err.Error(), "/jwks.json") {
			t.Errorf("checkKeyURL(%q): %v, want the URL of a key set as the example", row.url, err)
		}
		if row.want == "insecure_http_keys" && (err == nil || !strings.Contains(err.Error(), "only verify jwt")) {
			t.Errorf("checkKeyURL(%q): %v: websocket_logout has no such word", row.url, err)
		}
		if err != nil && (strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "jwks_url")) {
			t.Errorf("error %q", err)
		}
	}
	for _, cfg := range []RemoteConfig{
		{},
		{URL: "https://a.example.com", Issuer: "https://b.example.com"},
		{Issuer: "https://id.example.com/?p=x"},
		{Issuer: "accounts.example.com"},
	} {
		if r, err := NewRemoteKeys(cfg); err == nil {
			r.Close()
			t.Errorf("%+v: no error", cfg)
		}
	}
}

// TestIssuerThatIsNoURL: the example is an issuer, not a key set, which would
// be tried next.
func TestIssuerThatIsNoURL(t *testing.T) {
	t.Parallel()
	err := checkIssuerURL("id.example.com", false)
	if err == nil || !strings.HasSuffix(err.Error(), "such as https://id.example.com") {
		t.Errorf("%v, want an issuer as the example", err)
	}
}

func TestFreshFor(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	for _, row := range []struct {
		header http.Header
		want   time.Duration
	}{
		{http.Header{}, 15 * time.Minute},
		{http.Header{"Cache-Control": {"max-age=1200"}, "Age": {"600"}}, 10 * time.Minute},
		{http.Header{"Cache-Control": {"max-age=1200"}, "Age": {"-600"}}, 20 * time.Minute},
		{http.Header{"Cache-Control": {"public", `Max-Age="1200"`}}, 20 * time.Minute},
		{http.Header{"Cache-Control": {"max-age=1200, no-cache"}}, time.Minute},
		{http.Header{"Cache-Control": {"max-age=99999999999"}}, 15 * time.Minute},
		{http.Header{"Cache-Control": {"max-age=-1"}}, time.Minute},
		{http.Header{"Expires": {now.Add(30 * time.Minute).UTC().Format(http.TimeFormat)}}, 30 * time.Minute},
		{http.Header{"Expires": {now.Add(-time.Hour).UTC().Format(http.TimeFormat)}}, time.Minute},
		{http.Header{"Expires": {"0"}}, 15 * time.Minute},
		{http.Header{"Expires": {now.Add(30 * time.Minute).UTC().Format(http.TimeFormat)}, "Cache-Control": {"max-age=120"}}, 2 * time.Minute},
	} {
		if got := freshFor(row.header, now); got != row.want {
			t.Errorf("%v: %v, want %v", row.header, got, row.want)
		}
	}
}

// TestFetchCanBeCancelled: closing does not wait for a slow provider.
func TestFetchCanBeCancelled(t *testing.T) {
	t.Parallel()
	begun := make(chan struct{})
	server := newServer(t, map[string]http.HandlerFunc{"/": func(_ http.ResponseWriter, r *http.Request) {
		close(begun)
		<-r.Context().Done()
	}})
	r, err := NewRemoteKeys(RemoteConfig{URL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		_, err := r.Find(context.Background(), "EdDSA", "a")
		done <- err
	}()
	<-begun
	r.Close()
	if err := <-done; reasonOf(err) != "outage" {
		t.Errorf("got %v", err)
	}
}

// discardLog keeps the handshakes that are meant to fail out of the output.
func discardLog() *log.Logger { return log.New(io.Discard, "", 0) }
