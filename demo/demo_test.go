package demo

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/internal/pace"
)

const (
	// expiredCode is the close code for want of a good token.
	expiredCode = 3000
	// forbiddenCode is the close code for a page that may not connect.
	forbiddenCode = 3003
)

// testDemo is the page of a running demonstration, and a browser's habits
// towards it.
type testDemo struct {
	page   string // URL
	path   string // where the chat is
	t      *testing.T
	client *http.Client
	issued *tokens
}

// tokens are all that the tests have taken.
type tokens struct {
	mu   sync.Mutex
	list []string
}

// TestDemo starts the demonstration once, because a process has one Caddy,
// and does in it what a person would do.
func TestDemo(t *testing.T) {
	logFile := captureLog(t)
	d, err := Start(netip.MustParseAddrPort("127.0.0.1:0"), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	closed := false
	defer func() {
		if !closed {
			d.Close()
		}
	}()
	demo := testDemo{page: d.URL(), path: chatPath, t: t, client: &http.Client{Timeout: testTimeout}, issued: new(tokens)}

	t.Run("page", func(t *testing.T) { demo.with(t).testPage() })
	t.Run("announcement", func(t *testing.T) { testAnnouncement(t, d) })
	t.Run("foreign name", func(t *testing.T) { demo.with(t).testForeignName() })
	t.Run("carriers", func(t *testing.T) {
		for name, carry := range testCarriers {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				demo.with(t).testCarrier(carry)
			})
		}
	})
	t.Run("refusals", func(t *testing.T) { demo.with(t).testRefusals() })
	t.Run("two people", func(t *testing.T) { demo.with(t).testTwoPeople() })
	t.Run("messages", func(t *testing.T) { demo.with(t).testMessages() })
	t.Run("sessions", func(t *testing.T) { demo.with(t).testSessions() })

	socket := demo.dial(testCarriers["bearer"], demo.take("alice", 60))
	closed = true
	if err := d.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if err := socket.SetReadDeadline(time.Now().Add(testTimeout)); err != nil {
		t.Fatal(err)
	}
	for err = nil; err == nil; {
		_, _, err = socket.ReadMessage()
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("a socket lives on after Close")
	}
	assertNotLogged(t, logFile, demo.issued)
	if conn, err := net.Dial("tcp", d.site.Listen.String()); err == nil {
		conn.Close()
		t.Error("somebody still listens after Close")
	}
}

// with returns d for a subtest, with a cookie jar of its own.
func (d testDemo) with(t *testing.T) testDemo {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return testDemo{page: d.page, path: d.path, t: t, client: &http.Client{Timeout: testTimeout, Jar: jar}, issued: d.issued}
}

func (d testDemo) testPage() {
	d.t.Helper()
	res, err := d.client.Get(d.page)
	if err != nil {
		d.t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/html") {
		d.t.Errorf("GET %s: %s, %s", d.page, res.Status, res.Header.Get("Content-Type"))
	}
	if policy := res.Header.Get("Content-Security-Policy"); !strings.Contains(policy, d.socketURL().Host) {
		d.t.Errorf("policy %q does not name the WebSocket's address", policy)
	}
}

func testAnnouncement(t *testing.T, d *Demo) {
	t.Helper()
	var out bytes.Buffer
	if err := announce(&out, d); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{d.Caddyfile(), d.URL()} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the announcement lacks %q:\n%s", want, out.String())
		}
	}
}

// testForeignName is a page that has its own name point to this machine (DNS
// rebinding), to get at tokens.
func (d testDemo) testForeignName() {
	d.t.Helper()
	form := url.Values{"user": {"alice"}, "lifetime": {"60"}}
	req, err := http.NewRequestWithContext(d.t.Context(), "POST", d.page+tokenPath, strings.NewReader(form.Encode()))
	if err != nil {
		d.t.Fatal(err)
	}
	req.Host = "attacker.example"
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := d.client.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer res.Body.Close()
	var body bytes.Buffer
	if _, err := body.ReadFrom(res.Body); err != nil {
		d.t.Fatal(err)
	}
	if strings.Contains(body.String(), "access_token") {
		d.t.Errorf("a foreign name gets a token: %s", &body)
	}
}

// carrier puts a token into a handshake, as the page's carriers do.
type carrier func(d testDemo, target *url.URL, dialer *websocket.Dialer, token string)

var testCarriers = map[string]carrier{
	"bearer": func(_ testDemo, _ *url.URL, dialer *websocket.Dialer, token string) {
		dialer.Subprotocols = []string{"bearer", token}
	},
	"bare": func(_ testDemo, _ *url.URL, dialer *websocket.Dialer, token string) {
		dialer.Subprotocols = []string{token}
	},
	"query": func(_ testDemo, target *url.URL, _ *websocket.Dialer, token string) {
		target.RawQuery = url.Values{"access_token": {token}}.Encode()
	},
	"cookie": func(d testDemo, _ *url.URL, dialer *websocket.Dialer, token string) {
		d.setCookie(token)
		dialer.Jar = d.client.Jar
	},
}

// noCarrier is a handshake without a token.
func noCarrier(testDemo, *url.URL, *websocket.Dialer, string) {}

// shortly is a lifetime of tokens, in seconds: enough to chat for a while.
func shortly() int {
	return min(3+int(pace.Scale(time.Second)/time.Second), int(testTimeout/time.Second)/2)
}

// testCarrier takes a token that lives shortly, chats, and waits for the end.
func (d testDemo) testCarrier(carry carrier) {
	d.t.Helper()
	watch := pace.Start(d.t)
	token := d.take("alice", shortly())
	conn := d.dial(carry, token)
	welcome := nextEvent(d.t, conn, "welcome")
	if got := welcome.Header.Get(userHeader); got != "alice" {
		d.t.Errorf("the chat got %s %q, want alice", userHeader, got)
	}
	if seen := fmt.Sprint(welcome); strings.Contains(seen, token) || strings.Contains(seen, url.QueryEscape(token)) {
		d.t.Errorf("the chat got the token: %s", seen)
	}
	if err := conn.WriteMessage(websocket.TextMessage, []byte(d.t.Name())); err != nil {
		d.t.Fatal(err)
	}
	for nextEvent(d.t, conn, "message").Text != d.t.Name() {
	}

	code := closeCode(d.t, conn)
	watch.InTime(d.t, "the end", expiry(d.t, token), time.Now(), 2*time.Second)
	if code != expiredCode {
		d.t.Errorf("close code = %d, want %d", code, expiredCode)
	}
}

// testRefusals: nobody gets in without a good token, and a browser can read
// why.
func (d testDemo) testRefusals() {
	d.t.Helper()
	good := d.take("alice", 60)
	spoilt := spoil(good)
	tests := []struct {
		name          string
		carry         carrier
		token, origin string
		want          int
	}{
		{"no token", noCarrier, "", d.page, expiredCode},
		{"a spoilt token", testCarriers["bearer"], spoilt, d.page, expiredCode},
		{"a spoilt token, bare", testCarriers["bare"], spoilt, d.page, expiredCode},
		{"a spoilt token in the query", testCarriers["query"], spoilt, d.page, expiredCode},
		{"a spoilt token in the cookie", testCarriers["cookie"], spoilt, d.page, expiredCode},
		{"a page of somebody else", testCarriers["cookie"], good, "http://attacker.example", forbiddenCode},
	}
	for _, tt := range tests {
		d.t.Run(tt.name, func(t *testing.T) {
			d := d.with(t)
			if code := closeCode(t, d.dialFrom(tt.origin, tt.carry, tt.token)); code != tt.want {
				t.Errorf("close code = %d, want %d", code, tt.want)
			}
		})
	}
}

func (d testDemo) testTwoPeople() {
	d.t.Helper()
	alice := d.dial(testCarriers["bearer"], d.take("alice", 60))
	nextEvent(d.t, alice, "welcome")
	bob := d.dial(testCarriers["query"], d.take("bob", 60))
	nextEvent(d.t, bob, "welcome")
	if err := bob.WriteMessage(websocket.TextMessage, []byte("hello")); err != nil {
		d.t.Fatal(err)
	}
	if got := nextEvent(d.t, alice, "message"); got.From != "bob" || got.Text != "hello" {
		d.t.Errorf("alice got %+v, want bob's hello", got)
	}
}

// take gets a token as the page does.
func (d testDemo) take(user string, seconds int) string {
	d.t.Helper()
	res, err := d.client.PostForm(d.page+tokenPath, url.Values{"user": {user}, "lifetime": {fmt.Sprint(seconds)}})
	if err != nil {
		d.t.Fatal(err)
	}
	defer res.Body.Close()
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil || answer.AccessToken == "" {
		d.t.Fatalf("no token: %s, %v", res.Status, err)
	}
	d.issued.mu.Lock()
	defer d.issued.mu.Unlock()
	d.issued.list = append(d.issued.list, answer.AccessToken)
	return answer.AccessToken
}

func (d testDemo) setCookie(token string) {
	d.t.Helper()
	req, err := http.NewRequestWithContext(d.t.Context(), "POST", d.page+cookiePath, nil)
	if err != nil {
		d.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := d.client.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusNoContent {
		d.t.Fatalf("setting the cookie: %s", res.Status)
	}
}

// dial opens a socket as the page does. A browser would fail a connection
// whose subprotocol is none that it has offered, and so does this.
func (d testDemo) dial(carry carrier, token string) *websocket.Conn {
	d.t.Helper()
	return d.dialFrom(d.page, carry, token)
}

func (d testDemo) dialFrom(origin string, carry carrier, token string) *websocket.Conn {
	d.t.Helper()
	target := d.socketURL()
	dialer := &websocket.Dialer{HandshakeTimeout: testTimeout}
	carry(d, target, dialer, token)
	conn, res, err := dialer.DialContext(d.t.Context(), target.String(), http.Header{"Origin": {origin}})
	if err != nil {
		d.t.Fatalf("dialling: %v, %v", err, res)
	}
	d.t.Cleanup(func() { conn.Close() })
	if offered := dialer.Subprotocols; len(offered) > 0 && conn.Subprotocol() != offered[0] {
		d.t.Errorf("subprotocol of the answer is not the first of the %d offered", len(offered))
	}
	return conn
}

func (d testDemo) socketURL() *url.URL {
	d.t.Helper()
	target, err := url.Parse(d.page)
	if err != nil {
		d.t.Fatal(err)
	}
	return &url.URL{Scheme: "ws", Host: target.Host, Path: d.path}
}

// closeCode reads until the close frame and returns its code.
func closeCode(t *testing.T, conn *websocket.Conn) int {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(testTimeout)); err != nil {
		t.Fatal(err)
	}
	for {
		_, _, err := conn.ReadMessage()
		if closed, ok := errors.AsType[*websocket.CloseError](err); ok {
			return closed.Code
		}
		if err != nil {
			t.Fatalf("waiting for the close frame: %v", err)
		}
	}
}

// spoil changes one letter in the middle of the signature: the last one may
// hold bits that do not count.
func spoil(token string) string {
	i := strings.LastIndexByte(token, '.') + 10
	letter := "A"
	if token[i] == 'A' {
		letter = "B"
	}
	return token[:i] + letter + token[i+1:]
}

func expiry(t *testing.T, token string) time.Time {
	t.Helper()
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims struct {
		Exp int64 `json:"exp"`
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	return time.Unix(claims.Exp, 0)
}

// assertNotLogged looks for tokens in the log. It is for the end: Caddy logs
// a socket when it is over. The end of a signature is a secret, and is that of
// the spoilt tokens, too.
func assertNotLogged(t *testing.T, logFile string, issued *tokens) {
	t.Helper()
	log, err := os.ReadFile(logFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"access_token=REDACTED", "bearer, REDACTED"} {
		if !bytes.Contains(log, []byte(line)) {
			t.Errorf("the log does not show where a token was: it lacks %q", line)
		}
	}
	for _, token := range issued.list {
		if bytes.Contains(log, []byte(token[len(token)-20:])) {
			t.Error("a token is in the log")
		}
	}
}
