package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// docsSite is what the examples of docs/admin.md are run against.
const docsSite = `
{
	servers {
		trusted_proxies static 127.0.0.1/8
	}
	websocket_auth {
		lockout 3 10m 1m
	}
}
(app) {
	verify jwt {$JWKS} {
		audience chat
	}
}
http://{$SITE} {
	websocket_auth {
		name chat
		import app
		on_expiry renew
	}
	reverse_proxy {$APP} {
		header_up X-Session {http.websocket_auth.session}
	}
}
http://{$SITE2} {
	websocket_auth {
		name desk
		import app
	}
	reverse_proxy {$APP}
}
`

// docsRig runs the examples.
type docsRig struct {
	*rig.Site
	app *rig.PeerApp
	// replace has what the page calls otherwise.
	replace *strings.Replacer
}

// startDocsRig starts the site and the application behind it.
func startDocsRig(t testing.TB) *docsRig {
	t.Helper()
	d := &docsRig{Site: &rig.Site{Issuer: rig.NewIssuer(t)}, app: rig.StartPeerApp(t, nil)}
	d.Caddy = rig.StartCaddy(t, docsSite, rig.WithEnv("JWKS", d.Issuer.JWKSURL()), rig.WithEnv("APP", d.app.Addr()))
	return d
}

// client opens a socket of a subject's, seen from an address of the page's.
func (d *docsRig) client(t testing.TB, addr, subject string) *rig.Peer {
	t.Helper()
	token := d.Issuer.Token(map[string]any{
		"iss": "https://id.example.com", "sub": subject, "jti": "token-1", "sid": "session-1",
	})
	h := rig.Bearer("/", token)
	h.Header.Set("X-Forwarded-For", "192.0.2.7")
	h.Header.Set("X-Forwarded-Proto", "https")
	conn, _ := rig.MustDial(t, addr, h)
	p := rig.Receive(t, "handshake at the application", d.app.Sockets, rig.Patience)
	if subject == "alice" {
		if err := conn.WriteMessage(websocket.TextMessage, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		p.Hears(t, "hello")
		p.Says(t, "hello")
		if _, text, err := conn.ReadMessage(); err != nil || string(text) != "hello" {
			t.Fatalf("echo %q, %v", text, err)
		}
	}
	return p
}

// TestAdminDocs runs the examples of docs/admin.md, in their order, and
// compares what comes with what the page says. Times may differ, nothing else.
func TestAdminDocs(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/admin.md")
	if err != nil {
		t.Fatal(err)
	}
	d := startDocsRig(t)
	alice := d.client(t, d.Addr, "alice")
	bob := d.client(t, d.Addr, "bob")
	d.client(t, d.Addr2, "carol")
	d.replace = strings.NewReplacer(
		alice.Header.Get("X-Session"), "3WTXKKAX7PFSZWBOHM5DOAPVZT",
		bob.Header.Get("X-Session"), "4BBLJQZC6OBGQQKYTB5AHXRVE2",
		d.Issuer.JWKSURL(), "https://id.example.com/jwks.json",
	)
	back := strings.NewReplacer(
		"3WTXKKAX7PFSZWBOHM5DOAPVZT", alice.Header.Get("X-Session"),
		"4BBLJQZC6OBGQQKYTB5AHXRVE2", bob.Header.Get("X-Session"),
	)
	blocks := regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```$").FindAllStringSubmatch(string(page), -1)
	examples := 0
	for i, block := range blocks {
		if block[1] != "sh" {
			continue
		}
		examples++
		command := strings.TrimSpace(block[2])
		kind, want := "", ""
		if i+1 < len(blocks) && blocks[i+1][1] != "sh" {
			kind, want = blocks[i+1][1], blocks[i+1][2]
		}
		d.prepare(t, command)
		got := d.replace.Replace(d.run(t, shellWords(t, back.Replace(command))))
		var problem string
		switch {
		case kind == "json":
			problem = compareJSON(t, got, want)
		case want != "":
			problem = compareText(got, want)
		}
		if problem != "" {
			t.Errorf("%s\nanswers\n%s\nbut the page says\n%s\n%s", command, got, want, problem)
		}
	}
	if examples < 15 {
		t.Errorf("%d examples found, too few", examples)
	}
}

// prepare brings about what an example is about.
func (d *docsRig) prepare(t testing.TB, command string) {
	t.Helper()
	switch {
	case strings.Contains(command, "lost her phone"):
		d.client(t, d.Addr, "alice")
	case strings.HasSuffix(command, "/lockouts"):
		d.lockOut(t)
	}
}

// lockOut has an address of the page's locked out.
func (d *docsRig) lockOut(t testing.TB) {
	t.Helper()
	bad := rig.Bearer("/", rig.Sign(rig.JWT{Claims: d.Issuer.Claims(), Key: rig.StrangerKey()}))
	bad.Header.Set("X-Forwarded-For", "192.0.2.66")
	bad.Header.Set("X-Forwarded-Proto", "https")
	for range 3 {
		rig.Refused(t, d.Addr, bad, http.StatusUnauthorized)
	}
}

// run runs one command line of the page.
func (d *docsRig) run(t testing.TB, words []string) string {
	t.Helper()
	if words[0] == "caddy" {
		args := words[1:]
		if !slices.Contains(args, "--config") {
			args = append(args, "--address", d.AdminAddr)
		}
		out, ok := rig.RunCaddy(t, "", args...)
		if !ok {
			t.Errorf("%q fails: %s", words, out)
		}
		return out
	}
	method, body, target, header := "", "", "", http.Header{}
	for i := 1; i < len(words); i++ {
		switch word := words[i]; word {
		case "-X", "-d", "-H":
			i++
			switch word {
			case "-X":
				method = words[i]
			case "-d":
				body = words[i]
			default:
				name, value, _ := strings.Cut(words[i], ": ")
				header.Set(name, value)
			}
		default:
			target = word
		}
	}
	if method == "" {
		method = http.MethodGet
		if body != "" {
			method = http.MethodPost
		}
	}
	path, found := strings.CutPrefix(target, "http://localhost:2019/websocket_auth/")
	if words[0] != "curl" || !found {
		t.Fatalf("%q is no example that can be run", words)
	}
	status, answer := d.Ask(t, method, path, body, header)
	if status != http.StatusOK {
		t.Errorf("%q: status %d", words, status)
	}
	return answer
}

// shellWords splits a line as a shell does, as far as the page needs it.
func shellWords(t testing.TB, line string) []string {
	t.Helper()
	var words []string
	word, quote, begun := "", rune(0), false
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word += string(r)
		case r == '\'' || r == '"':
			quote, begun = r, true
		case r == ' ':
			if begun {
				words = append(words, word)
			}
			word, begun = "", false
		default:
			word += string(r)
			begun = true
		}
	}
	if quote != 0 {
		t.Fatalf("%s: a quote is open", line)
	}
	return append(words, word)
}

// compareJSON says how two answers differ in more than times.
func compareJSON(t testing.TB, got, want string) string {
	t.Helper()
	var values [2]any
	for i, text := range []string{got, want} {
		if err := json.Unmarshal([]byte(text), &values[i]); err != nil {
			return err.Error()
		}
		values[i] = withoutTimes(values[i])
	}
	if !reflect.DeepEqual(values[0], values[1]) {
		return fmt.Sprintf("%v\n%v", values[0], values[1])
	}
	return ""
}

// withoutTimes puts a word in the place of each time in JSON.
func withoutTimes(value any) any {
	switch value := value.(type) {
	case map[string]any:
		for name := range value {
			if _, isNumber := value[name].(float64); isNumber && name == "age_seconds" {
				value[name] = "an age"
			}
			value[name] = withoutTimes(value[name])
		}
	case []any:
		for i := range value {
			value[i] = withoutTimes(value[i])
		}
	case string:
		if _, err := time.Parse(time.RFC3339, value); err == nil {
			return "a time"
		}
	}
	return value
}

var (
	inText     = regexp.MustCompile(`\d{4}-\d\d-\d\dT[0-9:.]+Z`)
	durations  = regexp.MustCompile(`\b(\d+h)?(\d+m)?\d+s\b`)
	whitespace = regexp.MustCompile(` +`)
)

// compareText says how two tables differ in more than times and the width of
// columns.
func compareText(got, want string) string {
	texts := [2]string{got, want}
	for i, text := range texts {
		text = inText.ReplaceAllString(text, "a time")
		text = durations.ReplaceAllString(text, "a while")
		texts[i] = strings.TrimSpace(whitespace.ReplaceAllString(text, " "))
	}
	if texts[0] != texts[1] {
		return fmt.Sprintf("%s\n%s", texts[0], texts[1])
	}
	return ""
}
