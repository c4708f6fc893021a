package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// TestAdminCommandErrors: what cannot be done is an error with status 1, whose
// text helps, and nothing is done.
func TestAdminCommandErrors(t *testing.T) {
	t.Parallel()
	s := rig.StartPeerSite(t, rig.SiteOptions{}, nil)
	c := s.Open(t, rig.H1, "/", s.Of("alice"))
	p := s.Socket(t)
	for _, tt := range []struct {
		want string
		args []string
	}{
		{"no filter", []string{"close"}},
		{"none of the others can be", []string{"close", "--id", "X", "--subject", "alice"}},
		{"--id and --all", []string{"close", "--id", "X", "--all"}},
		{"--id is empty", []string{"close", "--id", ""}},
		{"contradict", []string{"close", "--all", "--subject", "alice"}},
		{"is empty", []string{"close", "--subject", ""}},
		{"--all", []string{"close", "--all=false"}},
		{"--id is empty", []string{"sessions", "--id", ""}},
		{"no live session", []string{"close", "--id", "X"}},
		{"no live session", []string{"sessions", "--id", "../keys"}},
		{"close code", []string{"close", "--all", "--code", "1006"}},
		{"unknown command", []string{"close", "alice"}},
		{"--limit", []string{"sessions", "--limit", "-1"}},
		{"--issuer is missing", []string{"revoke", "--subject", "alice"}},
		{"exactly one of", []string{"revoke", "--issuer", "x"}},
		{"no time", []string{"revoke", "--issuer", "x", "--subject", "alice", "--until", "tomorrow"}},
		{"none of the others can be", []string{"revoke", "--issuer", "x", "--subject", "alice", "--until", "x", "--for", "1h"}},
		{"--for", []string{"revoke", "--issuer", "x", "--subject", "alice", "--for", "-1h"}},
		{"no such revocation", []string{"revoke", "--issuer", "x", "--subject", "alice", "--undo"}},
		{"no address", []string{"lockouts", "--release", "example.com"}},
	} {
		out, ok := s.Command(t, tt.args...)
		if ok || !strings.Contains(out, tt.want) {
			t.Errorf("%q: succeeded: %v; want an error with %q:\n%s", tt.args, ok, tt.want, out)
		}
	}
	c.Says(t, "still here")
	p.Hears(t, "still here")
	out, ok := rig.RunCaddy(t, "", "websocket-auth", "sessions", "--address", "127.0.0.1:"+rig.NextFreePort(t))
	if ok || !strings.Contains(out, "--address") || !strings.Contains(out, "refused") {
		t.Errorf("without a Caddy: succeeded: %v\n%s", ok, out)
	}
}

// TestAdminCommandConfig: the address is read from the configuration.
func TestAdminCommandConfig(t *testing.T) {
	t.Parallel()
	s := rig.StartPeerSite(t, rig.SiteOptions{}, nil)
	s.Open(t, rig.H1, "/", s.Of("alice"))
	file := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(file, []byte("{\n\tadmin "+s.AdminAddr+"\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, ok := rig.RunCaddy(t, "", "websocket-auth", "sessions", "--config", file); !ok || !strings.Contains(out, "alice") {
		t.Errorf("succeeded: %v\n%s", ok, out)
	}
}

// TestAdminCommandUnixSocket: the admin API may be on a Unix socket, whose
// address the commands take as Caddy's own do.
func TestAdminCommandUnixSocket(t *testing.T) {
	t.Parallel()
	folder, err := os.MkdirTemp("", "admin") //nolint:usetesting // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	address := "unix/" + filepath.Join(folder, "socket")
	s := rig.StartPeerSite(t, rig.SiteOptions{Env: []rig.StartOption{rig.WithEnv("ADMIN", address)}}, nil)
	c := s.Open(t, rig.H1, "/", s.Of("alice"))
	for _, with := range []string{address, address + "|0600"} {
		if out, ok := rig.RunCaddy(t, "", "websocket-auth", "sessions", "--address", with); !ok || !strings.Contains(out, "alice") {
			t.Errorf("%s: succeeded: %v\n%s", with, ok, out)
		}
	}
	file := filepath.Join(folder, "Caddyfile")
	if err := os.WriteFile(file, []byte("{\n\tadmin "+address+"\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, ok := rig.RunCaddy(t, "", "websocket-auth", "close", "--config", file, "--subject", "alice", "--code", "4001")
	if !ok || !strings.Contains(out, "1 session ended") {
		t.Errorf("succeeded: %v\n%s", ok, out)
	}
	c.Closes(t, 4001)
	out, ok = rig.RunCaddy(t, "", "websocket-auth", "sessions", "--address", "unix/"+filepath.Join(folder, "none"))
	if ok || !strings.Contains(out, "--address") {
		t.Errorf("without a Caddy: succeeded: %v\n%s", ok, out)
	}
}

// TestAdminCommandJSON: with --json there is one JSON value, and all pages in
// it.
func TestAdminCommandJSON(t *testing.T) {
	t.Parallel()
	s := rig.StartPeerSite(t, rig.SiteOptions{}, nil)
	const n = 1005 // more than a page has
	for i := range n {
		s.Revoke(t, map[string]any{"issuer": "x", "jti": fmt.Sprint(i)})
	}
	s.Open(t, rig.H1, "/", s.Of("alice"))
	s.Open(t, rig.H1, "/", s.Of("bob"))
	for _, tt := range []struct {
		want   int
		member string
		args   []string
	}{
		{n, "revocations", []string{"revoke", "--list"}},
		{1, "revocations", []string{"revoke", "--list", "--jti", "7"}},
		{2, "sessions", []string{"sessions"}},
		{1, "sessions", []string{"sessions", "--limit", "1"}},
		{1, "sessions", []string{"sessions", "--subject", "bob"}},
		{0, "sessions", []string{"sessions", "--subject", "nobody"}},
		{0, "lockouts", []string{"lockouts"}},
		{1, "key_sets", []string{"keys"}},
	} {
		out, ok := s.Command(t, append(tt.args, "--json")...)
		var answer map[string]json.RawMessage
		var list []json.RawMessage
		if err := json.Unmarshal([]byte(out), &answer); err != nil || !ok {
			t.Errorf("%q: %v: %.300s", tt.args, err, out)
			continue
		}
		if err := json.Unmarshal(answer[tt.member], &list); err != nil || list == nil || len(list) != tt.want {
			t.Errorf("%q: %d entries, %v, want %d", tt.args, len(list), err, tt.want)
		}
	}
	for _, tt := range []struct {
		want string
		args []string
	}{
		{`{"sockets":1}`, []string{"close", "--subject", "bob"}},
		{`{"sockets":0}`, []string{"close", "--subject", "nobody"}},
		{`{"released":0}`, []string{"lockouts", "--release", "192.0.2.1"}},
		{`{"removed":1}`, []string{"revoke", "--undo", "--issuer", "x", "--jti", "7"}},
	} {
		out, ok := s.Command(t, append(tt.args, "--json")...)
		if got := strings.Join(strings.Fields(out), ""); !ok || got != tt.want {
			t.Errorf("%q: %s, want %s", tt.args, got, tt.want)
		}
	}
}

// TestAttackAdminCommandTerminal: a name that somebody has chosen at the
// provider cannot move the cursor of whoever lists the sessions, nor add lines.
func TestAttackAdminCommandTerminal(t *testing.T) {
	t.Parallel()
	s := rig.StartPeerSite(t, rig.SiteOptions{}, nil)
	evil := "eve\u202emoc\u2028ALL IS WELL" // control characters do not get in
	s.Open(t, rig.H1, "/", http.Header{"Authorization": {"Bearer " + s.Issuer.Token(map[string]any{"sub": evil})}})
	out, ok := s.Command(t, "sessions")
	if !ok || !strings.Contains(out, "eve") {
		t.Fatalf("succeeded: %v\n%s", ok, out)
	}
	if strings.ContainsAny(out, "\x1b\u202e\u2028\t") || strings.Count(out, "\n") != 2 {
		t.Errorf("printed %q", out)
	}
}
