package lifecycle

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// takenAddress is one that a site cannot listen on.
func takenAddress(t testing.TB) string {
	t.Helper()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = taken.Close() })
	return taken.Addr().String()
}

// mustReject gives Caddy a configuration that it does not take.
func mustReject(t testing.TB, p *rig.Caddy, caddyfile string) {
	t.Helper()
	if err := p.Reload(t, caddyfile); err == nil {
		t.Fatal("the configuration was not rejected, so the test shows nothing")
	}
}

// TestRejectedConfigKeepsStorage: what is revoked after a configuration was
// rejected, however far it had come, is saved where the running one says.
func TestRejectedConfigKeepsStorage(t *testing.T) {
	t.Parallel()
	s := rig.StartSite(t, rig.SiteOptions{})
	taken := takenAddress(t)
	for n := range 8 { // apps start in no fixed order
		other := filepath.Join(s.Home, fmt.Sprint("other", n))
		bad := rig.SiteOptions{Globals: "storage file_system " + other}.Caddyfile() +
			"\nhttp://" + taken + " {\nbind 127.0.0.1\nrespond ok\n}\n"
		mustReject(t, s.Caddy, bad)
		subject := fmt.Sprint("mallory", n)
		s.Revoke(t, map[string]any{"issuer": s.Issuer.URL, "subject": subject})
		rig.Eventually(t, rig.Patience, func() string {
			files, err := filepath.Glob(filepath.Join(s.Home, "data", "caddy", "websocket_auth", "revocations", "*.json"))
			if err != nil {
				t.Fatal(err)
			}
			for _, file := range files {
				if text, err := os.ReadFile(file); err == nil && strings.Contains(string(text), subject) {
					return ""
				}
			}
			return fmt.Sprintf("after %d rejected configurations the revocation is in none of %q", n+1, files)
		})
	}
}

// TestRejectedConfigsLeaveNothing: a configuration that is sent again and
// again, and is rejected each time, changes nothing of the running one, and
// nothing of it is left.
func TestRejectedConfigsLeaveNothing(t *testing.T) {
	t.Parallel()
	taken := takenAddress(t)
	for name, bad := range map[string]string{ // by what is wrong, and found late
		"second verifier": rig.SiteOptions{Directives: "verify jwt {\njwks_file /nonexistent\naudience x\n}"}.Caddyfile(),
		"handler behind":  rig.SiteOptions{Proxy: "header_up X-Any \"(\" y"}.Caddyfile(),
		"another app": rig.SiteOptions{}.Caddyfile() +
			"\nhttps://{$SITE3} {\ntls /nonexistent.pem /nonexistent.key\nrespond ok\n}\n",
		"found when it starts": rig.SiteOptions{Directives: "sessions_per_user 1\non_reload recheck\nping 1s"}.Caddyfile() +
			"\nhttp://" + taken + " {\nbind 127.0.0.1\nwebsocket_auth {\nverify jwt https://never.example.com/keys {\naudience x\n}\n}\nrespond ok\n}\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := rig.StartSite(t, rig.SiteOptions{})
			c := s.Open(t, rig.H1, "/echo", s.Of("alice"))
			mustReject(t, s.Caddy, bad)
			before, metrics, hits := s.Uses(t), s.Scrape(t), s.Issuer.Hits.Load()
			for range 50 {
				mustReject(t, s.Caddy, bad)
			}
			c.Echoes(t)
			rig.Eventually(t, rig.Patience, func() string {
				if now := s.Uses(t); now.Goroutines > before.Goroutines+rig.Slack || now.Files > before.Files+rig.Slack {
					return fmt.Sprintf("%+v after 50 rejected configurations, %+v after one", now, before)
				}
				return ""
			})
			if all := s.Sessions(t, ""); len(all) != 1 {
				t.Errorf("%d sockets are known, want 1", len(all))
			}
			// Caddy's admin server shows the metrics of the rejected one, and of
			// this one there may be none of ours.
			after := s.Scrape(t)
			for _, gauge := range []string{
				`sessions{state="open"}`, `key_sets{state="fresh"}`, `key_sets{state="awaited"}`, "store_up",
			} {
				was, known := metrics[gauge]
				if now := after[gauge]; name != "another app" && (!known || now != was) {
					t.Errorf("%s was %v (%v) and is %v", gauge, was, known, now)
				}
			}
			if now := s.Issuer.Hits.Load(); now != hits {
				t.Errorf("the key set was fetched %d times", now-hits)
			}
			s.Open(t, rig.H1, "/echo", s.Bearer(time.Now().Add(time.Hour))).Echoes(t)
		})
	}
}
