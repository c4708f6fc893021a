//go:build !windows

package redis

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/session"
)

func TestScriptsAreThere(t *testing.T) {
	t.Parallel()
	files, err := lua.ReadDir("lua")
	if err != nil || len(files) != 8 {
		t.Errorf("%d scripts, %v; want 8", len(files), err)
	}
	for _, name := range []string{"common", "hello", "changes", "scan", "apply", "lockouts", "prune", "trim"} {
		if text, err := lua.ReadFile("lua/" + name + ".lua"); err != nil || len(text) == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Errors of the config must not show the URL: its password would be in a log.
func TestConfigErrors(t *testing.T) {
	t.Parallel()
	const secret = "s3cr3t"
	for _, text := range []string{
		"", "localhost", "http://u:s3cr3t@h", "redis://u:s3cr3t@h:port", "redis://u:s3c/r3t@h:1", "redis://u:s3cr3t%@h",
		"redis://u:s3cr3t@h/x", "redis://u:s3cr3t@h/0/1", "redis://u:s3cr3t@h?skip_verify=true",
		"rediss://u:s3cr3t@h?db=1&skip_verify=true", "redis://u:s3cr3t@h?pool_size=7", "redis://u:s3cr3t@h?db=x", "unix://",
	} {
		if _, err := New(Config{URL: text}); err == nil {
			t.Errorf("New(%q) passes", text)
		} else if strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "s3c") {
			t.Errorf("New(%q) shows the password: %v", text, err)
		}
	}
	for _, prefix := range []string{"a\nb", strings.Repeat("x", 129)} {
		if _, err := New(Config{URL: "redis://h", Prefix: prefix}); err == nil {
			t.Errorf("the prefix %.20q passes", prefix)
		}
	}
	for _, text := range []string{"redis://h", "redis://h:1/3", "redis://h?db=3", "rediss://u:p@[::1]:1", "unix:///run/redis.sock?db=2", "redis://:p%2F@h"} {
		if _, err := New(Config{URL: text}); err != nil {
			t.Errorf("New(%q): %v", text, err)
		}
	}
}

func TestErrorsDoNotShowThePassword(t *testing.T) {
	t.Parallel()
	s := must(New(Config{URL: "redis://user:pa%20ss%22word@127.0.0.1"}))
	for in, want := range map[string]string{
		"ERR unknown command 'AUTH', with args beginning with: 'user' 'pa ss\\\"word'": "ERR unknown command 'AUTH', with other arguments",
		`something pa ss"word else`: "something … else",
		"line\nbreak\x1b[1m":        "line break [1m",
	} {
		if got := s.clean(errors.New(in)).Error(); got != want {
			t.Errorf("clean(%q) = %q, want %q", in, got, want)
		}
	}
	if got := s.clean(errors.New(strings.Repeat("ä", 5000))).Error(); len(got) > 1000 {
		t.Errorf("an error has %d bytes", len(got))
	}
}

// A user that may do no more than the package says can do everything; with a
// wrong password nothing works, and nobody sees which one was tried.
func TestUserWithFewRights(t *testing.T) {
	t.Parallel()
	documentation, err := os.ReadFile("redis.go")
	if err != nil {
		t.Fatal(err)
	}
	var rights []string
	for line := range strings.Lines(string(documentation)) {
		if words := strings.Fields(strings.TrimPrefix(line, "//")); len(words) > 1 && strings.HasPrefix(words[0], "+") {
			rights = append(rights, words...)
		}
	}
	const password = `p@ss:/?#[]" word`
	redis := startServer(t)
	rule := []any{"ACL", "SETUSER", "gate", "on", ">" + password, "~fleet:*"}
	for _, right := range rights {
		rule = append(rule, right)
	}
	redis.do(rule...)
	address := func(password string) Config {
		u := url.URL{Scheme: "redis", User: url.UserPassword("gate", password), Host: redis.address()}
		return Config{URL: u.String(), Prefix: "fleet"}
	}
	a, b := startNodeWith(t, address(password), jti("snapshot")), startNodeWith(t, address(password))
	a.awaitComplete()
	b.awaitComplete()
	all := jtis("x", 10)
	a.revoke(all...)
	b.await("revoked", time.Second, func() bool { return b.knows(all...) && b.knows(jti("snapshot")) })
	a.unrevoke(all[0])
	a.store.Fail("192.0.2.1", 1, session.LockoutRule{Failures: 1, Window: time.Minute, Duration: time.Minute})
	b.await("locked out", time.Second, func() bool { return b.lockedOut("192.0.2.1") && !b.knows(all[0]) })
	a.store.Release("192.0.2.1")
	b.await("released", time.Second, func() bool { return !b.lockedOut("192.0.2.1") })
	w := &writer{store: a.store, client: clientOf(t, a.store)}
	if err := w.prune(t.Context()); err != nil {
		t.Errorf("prune: %v", err)
	}
	if got := len(a.told()) + len(b.told()); got != 0 {
		t.Errorf("outages: %v, %v", a.told(), b.told())
	}

	const wrong = "canary-7d1f"
	c := startNodeWith(t, address(wrong))
	c.await("an outage", catchUp, func() bool { return len(c.told()) == 1 })
	if text := c.told()[0].Error(); !strings.Contains(text, "WRONGPASS") || strings.Contains(text, wrong) {
		t.Errorf("outage: %s", text)
	}
	if c.count("Complete") != 0 {
		t.Error("complete with a wrong password")
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	certificate, key, authority := makeCertificate(t)
	redis := startServer(t)
	redis.kill()
	redis.options = append(redis.options, "--port", "0", "--tls-port", redis.port, "--tls-cert-file", certificate,
		"--tls-key-file", key, "--tls-auth-clients", "no")
	redis.start()
	n := startNodeWith(t, Config{URL: "rediss://" + redis.address(), TLS: &tls.Config{RootCAs: authority}})
	n.awaitComplete()
	n.revoke(jti("one"))

	unknown := startNodeWith(t, Config{URL: "rediss://" + redis.address()})
	unknown.await("the reason", catchUp, func() bool { // a late machine has timed out before
		return slices.ContainsFunc(unknown.told(), func(err error) bool { return strings.Contains(err.Error(), "certificate") })
	})
	if unknown.count("Complete") != 0 {
		t.Error("an unknown authority is trusted")
	}
}

// makeCertificate returns the files of a certificate for 127.0.0.1 and its key,
// and what trusts it.
func makeCertificate(t testing.TB) (certificate, key string, authority *x509.CertPool) {
	t.Helper()
	private := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der := must(x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private))
	authority = x509.NewCertPool()
	authority.AddCert(must(x509.ParseCertificate(der)))
	write := func(name, kind string, bytes []byte) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "EC PRIVATE KEY", must(x509.MarshalECPrivateKey(private))), authority
}

// What has ended is removed, what has not and what nobody understands is not.
func TestPrune(t *testing.T) {
	t.Parallel()
	redis := startServer(t)
	n := startNode(t, redis.address())
	n.awaitComplete()
	n.revoke(jti("live"))
	now := time.Now()
	old, recent := now.Add(-time.Hour).UnixMilli(), now.Add(-time.Second).UnixMilli()
	value := func(ms int64) string { return fmt.Sprintf(`{"version":1,"until":%d,"of":{}}`, ms) }
	redis.do("HSET", "websocket_auth:revocations", "jti:i:old", value(old), "jti:i:recent", value(recent),
		"jti:i:odd", "x", "jti:i:removed", fmt.Sprintf(`{"version":1,"removed":true,"until":%d}`, old))
	redis.do("HSET", "websocket_auth:lockouts", "192.0.2.1", old, "192.0.2.2", now.Add(time.Hour).UnixMilli())
	w := &writer{store: n.store, client: clientOf(t, n.store)}
	if err := w.prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	for field, want := range map[string]int64{
		"jti:i:old": 0, "jti:i:removed": 0, "jti:i:recent": 1, "jti:i:odd": 1, "epoch": 1, must(fieldOf(jti("live").Key())): 1,
	} {
		if got := redis.do("HEXISTS", "websocket_auth:revocations", field); got != want {
			t.Errorf("%s is there: %v, want %v", field, got, want)
		}
	}
	if got := redis.do("HKEYS", "websocket_auth:lockouts"); fmt.Sprint(got) != "[192.0.2.2]" {
		t.Errorf("lockouts of %v are left", got)
	}
	if got := redis.do("XLEN", "websocket_auth:changes"); got.(int64) < 1 {
		t.Error("the stream is empty")
	}
}

func TestFollowEnds(t *testing.T) {
	t.Parallel()
	redis := startServer(t)
	n := startNode(t, redis.address())
	n.awaitComplete()
	n.stop() // says whether that is quick enough
	if err := n.store.Revoke(t.Context(), jti("late")); err == nil {
		t.Error("Revoke is certain although the store is closed")
	}
}

func TestQueueIsBounded(t *testing.T) {
	t.Parallel()
	s := must(New(Config{URL: "redis://127.0.0.1"}))
	var err error
	for i := 0; err == nil && i <= maxQueue; i++ {
		_, err = s.queue.put(&operation{kind: "revoke", field: fmt.Sprint(i)})
	}
	if !errors.Is(err, errFull) || len(s.queue.waiting) != maxQueue {
		t.Errorf("%d wait, %v", len(s.queue.waiting), err)
	}
	s = must(New(Config{URL: "redis://127.0.0.1"}))
	for i := range 100 {
		_, _ = s.queue.put(must(encode("revoke", jti(i))))
		_, _ = s.queue.put(must(encode("revoke", session.Revocation{TokenID: "same", Until: later})))
	}
	if len(s.queue.waiting) != 101 {
		t.Errorf("%d wait, want 101: what waits already is not queued again", len(s.queue.waiting))
	}
}

func TestRevokeOfNothing(t *testing.T) {
	t.Parallel()
	s := must(New(Config{URL: "redis://127.0.0.1"}))
	if err := s.Revoke(t.Context(), session.Revocation{Until: later}); err == nil {
		t.Error("a revocation of nothing passes")
	}
	if err := s.Unrevoke(t.Context(), "everything"); err == nil {
		t.Error("a key of nothing passes")
	}
	if err := s.Revoke(t.Context(), session.Revocation{TokenID: "a", Until: earlier}); err != nil || len(s.queue.waiting) != 0 {
		t.Errorf("a revocation that has ended is sent: %v", err)
	}
}
