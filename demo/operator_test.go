package demo

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// adminCode is the close code of a socket that an operator has ended.
const adminCode = 3003

// testSessions is about what the page shows of the sockets, and how it ends
// them, one after the other: they share what is at the gate.
func (d testDemo) testSessions() {
	d.t.Helper()
	tests := []struct {
		name string
		run  func(testDemo)
	}{
		{"shown", testDemo.testSessionsShown},
		{"one ended", testDemo.testSessionEnded},
		{"logged out everywhere", testDemo.testLogOut},
		{"from another page", testDemo.testForeignOperator},
		{"another path of the admin API", testDemo.testAdminPaths},
	}
	for _, tt := range tests {
		d.t.Run(tt.name, func(t *testing.T) { tt.run(d.with(t)) })
	}
}

// testSessionsShown: the page gets what it shows, and nothing else that the
// admin API knows.
func (d testDemo) testSessionsShown() {
	d.t.Helper()
	token := d.take("alice", 60)
	conn, one := d.enter("bearer", token)
	if until := expiry(d.t, token); one.Subject != "alice" || one.Site != "chat" || one.State != "open" ||
		one.ValidUntil == nil || !one.ValidUntil.Equal(until) {
		d.t.Errorf("alice's session is shown as %+v, valid until %v; the token ends at %v", one, one.ValidUntil, until)
	}
	if one.BytesOut == 0 {
		d.t.Error("the chat's welcome has no bytes")
	}
	if err := conn.WriteMessage(websocket.TextMessage, []byte("hello")); err != nil {
		d.t.Fatal(err)
	}
	for nextEvent(d.t, conn, "message").Text != "hello" {
	}
	i := slices.IndexFunc(d.sessions(), func(s session) bool { return s.ID == one.ID && s.BytesIn > one.BytesIn })
	if i < 0 {
		d.t.Error("what alice says does not count")
	}

	_, body := d.operate(http.MethodGet, sessionsPath, nil, nil)
	for _, secret := range []string{token, "jti", "issuer", "client_ip"} {
		if strings.Contains(body, secret) {
			d.t.Errorf("the page gets %q of the sessions", secret)
		}
	}
}

func (d testDemo) testSessionEnded() {
	d.t.Helper()
	token := d.take("alice", 60)
	conn, one := d.enter("bearer", token)
	other, _ := d.enter("query", token)
	path := sessionsPath + "/" + one.ID
	if status, body := d.operate(http.MethodDelete, path, nil, nil); status != http.StatusOK {
		d.t.Fatalf("ending the session: %d %s", status, body)
	}
	if code := closeCode(d.t, conn); code != adminCode {
		d.t.Errorf("close code = %d, want %d", code, adminCode)
	}
	d.assertAlive(other)
	if status, _ := d.operate(http.MethodDelete, path, nil, nil); status != http.StatusNotFound {
		d.t.Errorf("ending it once more: status %d, want 404", status)
	}
	d.enter("bearer", token) // it is as good as before
}

func (d testDemo) testLogOut() {
	d.t.Helper()
	old := d.take("alice", 60)
	alice, _ := d.enter("bearer", old)
	elsewhere, _ := d.enter("query", d.take("alice", 60))
	bob, _ := d.enter("bearer", d.take("bob", 60))
	if status, _ := d.operate(http.MethodPost, logoutPath, url.Values{"user": {"mallory"}}, nil); status != http.StatusBadRequest {
		d.t.Errorf("logging out somebody unknown: status %d, want 400", status)
	}

	status, body := d.operate(http.MethodPost, logoutPath, url.Values{"user": {"alice"}}, nil)
	at := time.Now()
	var done struct {
		Sockets int `json:"sockets"`
	}
	if err := json.Unmarshal([]byte(body), &done); err != nil || status != http.StatusOK || done.Sockets < 2 {
		d.t.Errorf("logging alice out: %d %s", status, body)
	}
	for _, conn := range []*websocket.Conn{alice, elsewhere} {
		if code := closeCode(d.t, conn); code != expiredCode {
			d.t.Errorf("close code = %d, want %d", code, expiredCode)
		}
	}
	d.assertAlive(bob)
	if code := closeCode(d.t, d.dial(testCarriers["bearer"], old)); code != expiredCode {
		d.t.Errorf("close code of the old token = %d, want %d", code, expiredCode)
	}

	// Tokens say in whole seconds when they were issued, and in doubt they
	// were issued before.
	<-time.After(time.Until(at.Truncate(time.Second).Add(time.Second)))
	d.enter("bearer", d.take("alice", 60))
}

// testForeignOperator is a page of another origin, open in the same browser.
func (d testDemo) testForeignOperator() {
	d.t.Helper()
	conn, one := d.enter("bearer", d.take("bob", 60))
	for _, header := range []http.Header{
		{"Sec-Fetch-Site": {"cross-site"}, "Origin": {"http://attacker.example"}},
		{"Origin": {"http://attacker.example"}},
	} {
		if status, _ := d.operate(http.MethodDelete, sessionsPath+"/"+one.ID, nil, header); status != http.StatusForbidden {
			d.t.Errorf("ending a session from another page: status %d, want 403", status)
		}
		user := url.Values{"user": {"bob"}}
		if status, _ := d.operate(http.MethodPost, logoutPath, user, header); status != http.StatusForbidden {
			d.t.Errorf("logging out from another page: status %d, want 403", status)
		}
	}
	d.assertAlive(conn)
}

// testAdminPaths: what looks like the id of a session must not become another
// path or parameter of the admin API, nor be that API reachable by itself.
func (d testDemo) testAdminPaths() {
	d.t.Helper()
	conn, one := d.enter("bearer", d.take("bob", 60))
	for _, path := range []string{
		sessionsPath + "/%3Fall=true", sessionsPath + "/..%2Fsessions%3Fall=true", sessionsPath + "/%2E%2E",
		sessionsPath + "/" + one.ID + "%2F", sessionsPath + "/" + one.ID + "%3Fcode=4000",
		sessionsPath + "?all=true", sessionsPath + "/?all=true",
		adminPath + "sessions?all=true", adminPath + "sessions/" + one.ID,
	} {
		if status, _ := d.operate(http.MethodDelete, path, nil, nil); status < http.StatusBadRequest {
			d.t.Errorf("DELETE %s: status %d", path, status)
		}
	}
	if status, _ := d.operate(http.MethodGet, adminPath+"sessions", nil, nil); status != http.StatusNotFound {
		d.t.Errorf("GET %ssessions: status %d, want 404", adminPath, status)
	}
	d.assertAlive(conn)
}

// enter opens a socket and returns it with what the page is shown of it.
func (d testDemo) enter(carrier, token string) (*websocket.Conn, session) {
	d.t.Helper()
	before := d.sessions()
	conn := d.dial(testCarriers[carrier], token)
	nextEvent(d.t, conn, "welcome")
	for _, s := range d.sessions() {
		if !slices.ContainsFunc(before, func(old session) bool { return old.ID == s.ID }) {
			return conn, s
		}
	}
	d.t.Fatal("the new session is not shown")
	return nil, session{}
}

// sessions returns what the page is shown.
func (d testDemo) sessions() []session {
	d.t.Helper()
	status, body := d.operate(http.MethodGet, sessionsPath, nil, nil)
	var found sessionList
	if err := json.Unmarshal([]byte(body), &found); err != nil || status != http.StatusOK {
		d.t.Fatalf("listing the sessions: %d, %v", status, err)
	}
	if found.Total != len(found.Sessions) {
		d.t.Errorf("%d sessions are shown of %d", len(found.Sessions), found.Total)
	}
	return found.Sessions
}

// operate does a request of the page, with form unless it is nil.
func (d testDemo) operate(method, path string, form url.Values, header http.Header) (status int, body string) {
	d.t.Helper()
	var sent io.Reader
	if form != nil {
		sent = strings.NewReader(form.Encode())
	}
	req, err := http.NewRequestWithContext(d.t.Context(), method, d.page+path, sent)
	if err != nil {
		d.t.Fatal(err)
	}
	maps.Copy(req.Header, header)
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	res, err := d.client.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer res.Body.Close()
	all, err := io.ReadAll(res.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return res.StatusCode, string(all)
}

// assertAlive has the chat answer on a socket.
func (d testDemo) assertAlive(conn *websocket.Conn) {
	d.t.Helper()
	if err := conn.WriteMessage(websocket.TextMessage, []byte(`{"id":"alive"}`)); err != nil {
		d.t.Fatal(err)
	}
	for nextEvent(d.t, conn, "pong").ID != "alive" {
	}
}
