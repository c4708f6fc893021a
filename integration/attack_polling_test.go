package integration

import (
	"context"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"testing"
	"time"
)

// polled are the lines of a site whose clients may log in by polling, with
// more lines.
func polled(lines ...string) siteOptions {
	return siteOptions{
		directives: "from header\nfrom first_message {\nwithin 10s\nearly\n}\ndialect socketio\nhttp authenticate\n" +
			strings.Join(lines, "\n"),
		proxy: "stream_close_delay 1h\nheader_up X-Session {http.websocket_auth.session}",
	}
}

// polling is the query of a request of the polling transport, for the
// connection with the id sid unless that is empty.
func polling(sid string) string {
	if sid == "" {
		return "?EIO=4&transport=polling"
	}
	return "?EIO=4&transport=polling&sid=" + sid
}

// poll sends a request without a credential in its head, and returns the
// status.
func poll(t testing.TB, method, url, body string) int {
	t.Helper()
	return pollWith(t.Context(), t, method, url, body)
}

// pollWith is poll with a context. It returns 0 if there is no answer.
func pollWith(ctx context.Context, t testing.TB, method, url, body string) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return 0
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Error(err)
		return 0
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Error(err)
	}
	return resp.StatusCode
}

// loginPacket is the CONNECT packet of Socket.IO with a token.
func loginPacket(token string) string { return `40{"token":"` + token + `"}` }

// TestAttackPolledRenewal: a request that renews must have a credential, though
// it looks like what a client that polls may send before its login.
func TestAttackPolledRenewal(t *testing.T) {
	t.Parallel()
	s := startSite(t, polled("on_expiry renew {\ngrace 1s\npath "+renewalPath+"\n}"))
	lag, end := measureLag(t), soon(2*time.Second)
	c := s.open(t, h1, "/sink", s.bearer(end))
	id := receive(t, "handshake", s.app.handshakes, patience).Get("X-Session")
	if id == "" {
		t.Fatal("the session is not known")
	}
	url := "http://" + s.site + renewalPath + polling("none") + "&session=" + id
	if status := poll(t, http.MethodPost, url, "3"); status != http.StatusUnauthorized {
		t.Errorf("answered %d", status)
	}
	c.closes(t, closeTimeout)
	lag.inTime(t, "end", end.Add(time.Second), time.Now(), 2*time.Second)
}

// TestAttackPollingPaths: only what reaches the application's transport may
// come without a credential.
func TestAttackPollingPaths(t *testing.T) {
	t.Parallel()
	s := startSite(t, polled())
	for _, path := range []string{
		"/", "/admin", "/socket.io/admin", "/socket.io/../admin", "/socket.io//", "/socket.io/%2e%2e/admin",
		"/socket%2eio/", "//socket.io/", "/SOCKET.IO/", "/x/socket.io/",
	} {
		if status := poll(t, http.MethodGet, "http://"+s.site+path+polling(""), ""); status != http.StatusUnauthorized {
			t.Errorf("%s: answered %d", path, status)
		}
	}
	for _, method := range []string{http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete} {
		if status := poll(t, method, "http://"+s.site+"/socket.io/"+polling("x"), ""); status != http.StatusUnauthorized {
			t.Errorf("%s: answered %d", method, status)
		}
	}
	if n := len(s.app.plain); n != 0 {
		t.Errorf("the application got %d requests, the first is %s", n, <-s.app.plain)
	}
	if status := poll(t, http.MethodGet, "http://"+s.site+"/socket.io/"+polling(""), ""); status != http.StatusOK {
		t.Errorf("a client that begins: answered %d", status)
	}
}

// TestAttackPollingUnseen: before its login a connection hears nothing of the
// application's, and none after the end of its token.
func TestAttackPollingUnseen(t *testing.T) {
	t.Parallel()
	s := startSite(t, polled())
	url := "http://" + s.site + "/socket.io/" + polling("unseen")
	if status := poll(t, http.MethodGet, url, ""); status != http.StatusUnauthorized {
		t.Errorf("before the login: answered %d", status)
	}
	if n := len(s.app.plain); n != 0 {
		t.Errorf("the application was asked: %s", <-s.app.plain)
	}
	end := soon(2 * time.Second)
	if status := poll(t, http.MethodPost, url, loginPacket(s.issuer.expiring(end))); status != http.StatusOK {
		t.Fatalf("login: answered %d", status)
	}
	if status := poll(t, http.MethodGet, url, ""); status != http.StatusOK {
		t.Fatalf("after the login: answered %d", status)
	}
	for len(s.app.plain) > 0 {
		<-s.app.plain
	}
	<-time.After(time.Until(end))
	if status := poll(t, http.MethodGet, url, ""); status != http.StatusUnauthorized {
		t.Errorf("after the end: answered %d", status)
	}
	if n := len(s.app.plain); n != 0 {
		t.Errorf("the application was asked: %s", <-s.app.plain)
	}
}

// TestPollingAwaitsLogin: a client asks for messages beside its login, on
// another connection. It gets them as soon as that is good.
func TestPollingAwaitsLogin(t *testing.T) {
	t.Parallel()
	s := startSite(t, polled())
	url := "http://" + s.site + "/socket.io/" + polling("beside")
	status := make(chan int, 1)
	asked := make(chan struct{})
	go func() {
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
			WroteRequest: func(httptrace.WroteRequestInfo) { close(asked) },
		})
		status <- pollWith(ctx, t, http.MethodGet, url, "")
	}()
	receive(t, "request on its way", asked, patience)
	if status := poll(t, http.MethodPost, url, loginPacket(s.issuer.token())); status != http.StatusOK {
		t.Fatalf("login: answered %d", status)
	}
	if status := receive(t, "answer", status, patience); status != http.StatusOK {
		t.Errorf("answered %d", status)
	}
	for range 2 {
		if got := receive(t, "request", s.app.plain, patience); !strings.Contains(got, "X-User: alice") {
			t.Errorf("the application got %s", got)
		}
	}
}

// TestAttackPollingPending: requests that wait for a login are bounded as
// sockets are that do.
func TestAttackPollingPending(t *testing.T) {
	t.Parallel()
	s := startSite(t, polled("pending 100 2"))
	statuses := make(chan int, 3)
	for _, sid := range []string{"a", "b", "c"} {
		go func() { statuses <- poll(t, http.MethodGet, "http://"+s.site+"/socket.io/"+polling(sid), "") }()
	}
	if got := receive(t, "answer", statuses, patience); got != http.StatusTooManyRequests {
		t.Errorf("the oldest was answered %d", got)
	}
	for range 2 {
		if got := receive(t, "answer", statuses, patience); got != http.StatusUnauthorized {
			t.Errorf("the others were answered %d", got)
		}
	}
}

// TestAttackPollingOtherProvider: a login with one provider's token says
// nothing to a part of the site that trusts another provider.
func TestAttackPollingOtherProvider(t *testing.T) {
	t.Parallel()
	other := newIssuer(t)
	part := func(path, jwks string) string {
		return `
	handle_path ` + path + `/* {
		websocket_auth {
			name shared
			verify jwt ` + jwks + ` {
				audience chat
			}
			from first_message {
				within 10s
				early
			}
			dialect socketio
			http authenticate
		}
		reverse_proxy {$APP}
	}`
	}
	app := startApp(t)
	i := newIssuer(t)
	p := startCaddy(t, "http://{$SITE} {"+part("/a", "{$JWKS_A}")+part("/b", "{$JWKS_B}")+"\n}",
		withEnv("JWKS_A", i.jwksURL()), withEnv("JWKS_B", other.jwksURL()), withEnv("APP", app.addr()))
	a, b := "http://"+p.site+"/a/socket.io/"+polling("one"), "http://"+p.site+"/b/socket.io/"+polling("one")
	if status := poll(t, http.MethodPost, a, loginPacket(i.token())); status != http.StatusOK {
		t.Fatalf("login: answered %d", status)
	}
	if status := poll(t, http.MethodGet, a, ""); status != http.StatusOK {
		t.Errorf("at the same part: answered %d", status)
	}
	for method, body := range map[string]string{http.MethodPost: `42["event"]`, http.MethodGet: ""} {
		if status := poll(t, method, b, body); status != http.StatusUnauthorized {
			t.Errorf("%s at the other part: answered %d", method, status)
		}
	}
	for range 2 {
		receive(t, "request", app.plain, patience)
	}
	if n := len(app.plain); n != 0 {
		t.Errorf("the other application was asked: %s", <-app.plain)
	}
}
