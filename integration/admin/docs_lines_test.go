package admin

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// commandInDocs is a line of a page that speaks to a running Caddy, or inspects
// a token.
var commandInDocs = regexp.MustCompile(`(?m)^ *(caddy websocket-auth (?:[^d]|d[^e]).*|curl .*/websocket_auth/.*)$`)

// doneNothing is what a command says that had nothing to do.
var doneNothing = regexp.MustCompile(`\b0 (sessions|of the addresses)|"sockets":0`)

// TestCommandsInDocs runs the commands of the other pages, in their order.
// Each does something.
func TestCommandsInDocs(t *testing.T) {
	t.Parallel()
	for page, least := range map[string]int{"README.md": 6, "docs/operations.md": 11} {
		t.Run(page, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(filepath.Join("..", "..", page))
			if err != nil {
				t.Fatal(err)
			}
			d := startDocsRig(t)
			commands := commandInDocs.FindAllStringSubmatch(string(text), -1)
			if len(commands) < least {
				t.Errorf("%d commands found, too few", len(commands))
			}
			files := d.inspected(t)
			for _, command := range commands {
				d.client(t, d.Addr, "alice") // it may end her sockets
				if strings.Contains(command[1], "--release") {
					d.lockOut(t)
				}
				out := d.run(t, shellWords(t, files.Replace(command[1])))
				if doneNothing.MatchString(out) {
					t.Errorf("%s does nothing: %s", command[1], out)
				}
				d.undo(t)
			}
		})
	}
}

// undo takes back what a page has revoked, so that alice comes in again.
func (d *docsRig) undo(t testing.TB) {
	t.Helper()
	for _, r := range d.Revocations(t, "") {
		name := url.Values{"issuer": {r.Issuer}}
		if r.Subject != "" {
			name.Set("subject", r.Subject)
		} else {
			name.Set("jti", r.Jti)
		}
		d.Asks(t, http.MethodDelete, "revocations?"+name.Encode(), "", `{"removed":1}`)
	}
}

// inspected writes the files that the pages inspect, and returns what puts
// their names, and a jti that is there, in the place of the pages'.
func (d *docsRig) inspected(t testing.TB) *strings.Replacer {
	t.Helper()
	folder := t.TempDir()
	config, token := filepath.Join(folder, "Caddyfile"), filepath.Join(folder, "token.txt")
	for name, text := range map[string]string{
		config: "http://localhost {\n\twebsocket_auth " + d.Issuer.JWKSURL() + " chat\n}\n",
		token:  d.Issuer.Token() + "\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return strings.NewReplacer(
		"--config /etc/caddy/Caddyfile", "--config "+config, "--config Caddyfile", "--config "+config, "token.txt", token, "5f2b9c", "token-1",
	)
}
