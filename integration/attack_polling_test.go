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

// Polled are the lines of a site whose clients may log in by polling, with
// more lines.
func Polled(lines ...string) SiteOptions {
	return SiteOptions{
		Directives: "from header\nfrom first_message {\nwithin 10s\nearly\n}\ndialect socketio\nhttp authenticate\n" +
			strings.Join(lines, "\n"),
		Proxy: "stream_close_delay 1h\nheader_up X-Session {http.websocket_auth.session}",
	}
}

// Polling is the query of a request of the polling transport, for the
// connection with the id sid unless that is empty.
func Polling(sid string) string {
	if sid == "" {
		return "?EIO=4&transport=polling"
	}
	return "?EIO=4&transport=polling&sid=" + sid
}

// Poll sends a request without a credential in its head, and returns the
// status.
func Poll(t testing.TB, method, url, body string) int {
	t.Helper()
	return PollWith(t.Context(), t, method, url, body)
}

// PollWith is Poll with a context. It returns 0 if there is no answer.
func PollWith(ctx context.Context, t testing.TB, method, url, body string) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, Patience)
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

// LoginPacket is the CONNECT packet of Socket.IO with a token.
func LoginPacket(token string) string { return `40{"token":"` + token + `"}` }

// TestAttackPolledRenewal: a request that renews must have a credential, though
// it looks like what a client that polls may send before its login.
func TestAttackPolledRenewal(t *testing.T) {
	t.Parallel()
	s := StartSite(t, Polled("on_expiry renew {\ngrace 1s\npath "+RenewalPath+"\n}"))
	lag, end := MeasureLag(t), Soon(2*time.Second)
	c := s.Open(t, H1, "/sink", s.Bearer(end))
	id := Receive(t, "handshake", s.App.Handshakes, Patience).Get("X-Session")
	if id == "" {
		t.Fatal("the session is not known")
	}
	url := "http://" + s.Addr + RenewalPath + Polling("none") + "&session=" + id
	if status := Poll(t, http.MethodPost, url, "3"); status != http.StatusUnauthorized {
		t.Errorf("answered %d", status)
	}
	c.Closes(t, CloseTimeout)
	lag.InTime(t, "end", end.Add(time.Second), time.Now(), 2*time.Second)
}

// TestAttackPollingPaths: only what reaches the application's transport may
// come without a credential.
func TestAttackPollingPaths(t *testing.T) {
	t.Parallel()
	s := StartSite(t, Polled())
	for _, path := range []string{
		"/", "/admin", "/socket.io/admin", "/socket.io/../admin", "/socket.io//", "/socket.io/%2e%2e/admin",
		"/socket%2eio/", "//socket.io/", "/SOCKET.IO/", "/x/socket.io/",
	} {
		if status := Poll(t, http.MethodGet, "http://"+s.Addr+path+Polling(""), ""); status != http.StatusUnauthorized {
			t.Errorf("%s: answered %d", path, status)
		}
	}
	for _, method := range []string{http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete} {
		if status := Poll(t, method, "http://"+s.Addr+"/socket.io/"+Polling("x"), ""); status != http.StatusUnauthorized {
			t.Errorf("%s: answered %d", method, status)
		}
	}
	if n := len(s.App.Plain); n != 0 {
		t.Errorf("the application got %d requests, the first is %s", n, <-s.App.Plain)
	}
	if status := Poll(t, http.MethodGet, "http://"+s.Addr+"/socket.io/"+Polling(""), ""); status != http.StatusOK {
		t.Errorf("a client that begins: answered %d", status)
	}
}

// TestAttackPollingUnseen: before its login a connection hears nothing of the
// application's, and none after the end of its token.
func TestAttackPollingUnseen(t *testing.T) {
	t.Parallel()
	s := StartSite(t, Polled())
	url := "http://" + s.Addr + "/socket.io/" + Polling("unseen")
	if status := Poll(t, http.MethodGet, url, ""); status != http.StatusUnauthorized {
		t.Errorf("before the login: answered %d", status)
	}
	if n := len(s.App.Plain); n != 0 {
		t.Errorf("the application was asked: %s", <-s.App.Plain)
	}
	end := Soon(2 * time.Second)
	if status := Poll(t, http.MethodPost, url, LoginPacket(s.Issuer.Expiring(end))); status != http.StatusOK {
		t.Fatalf("login: answered %d", status)
	}
	if status := Poll(t, http.MethodGet, url, ""); status != http.StatusOK {
		t.Fatalf("after the login: answered %d", status)
	}
	for len(s.App.Plain) > 0 {
		<-s.App.Plain
	}
	<-time.After(time.Until(end))
	if status := Poll(t, http.MethodGet, url, ""); status != http.StatusUnauthorized {
		t.Errorf("after the end: answered %d", status)
	}
	if n := len(s.App.Plain); n != 0 {
		t.Errorf("the application was asked: %s", <-s.App.Plain)
	}
}

// TestPollingAwaitsLogin: a client asks for messages beside its login, on
// another connection. It gets them as soon as that is good.
func TestPollingAwaitsLogin(t *testing.T) {
	t.Parallel()
	s := StartSite(t, Polled())
	url := "http://" + s.Addr + "/socket.io/" + Polling("beside")
	status := make(chan int, 1)
	asked := make(chan struct{})
	go func() {
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
			WroteRequest: func(httptrace.WroteRequestInfo) { close(asked) },
		})
		status <- PollWith(ctx, t, http.MethodGet, url, "")
	}()
	Receive(t, "request on its way", asked, Patience)
	if status := Poll(t, http.MethodPost, url, LoginPacket(s.Issuer.Token())); status != http.StatusOK {
		t.Fatalf("login: answered %d", status)
	}
	if status := Receive(t, "answer", status, Patience); status != http.StatusOK {
		t.Errorf("answered %d", status)
	}
	for range 2 {
		if got := Receive(t, "request", s.App.Plain, Patience); !strings.Contains(got, "X-User: alice") {
			t.Errorf("the application got %s", got)
		}
	}
}

// TestAttackPollingPending: requests that wait for a login are bounded as
// sockets are that do.
func TestAttackPollingPending(t *testing.T) {
	t.Parallel()
	s := StartSite(t, Polled("pending 100 2"))
	statuses := make(chan int, 3)
	for _, sid := range []string{"a", "b", "c"} {
		go func() { statuses <- Poll(t, http.MethodGet, "http://"+s.Addr+"/socket.io/"+Polling(sid), "") }()
	}
	if got := Receive(t, "answer", statuses, Patience); got != http.StatusTooManyRequests {
		t.Errorf("the oldest was answered %d", got)
	}
	for range 2 {
		if got := Receive(t, "answer", statuses, Patience); got != http.StatusUnauthorized {
			t.Errorf("the others were answered %d", got)
		}
	}
}

// TestAttackPollingOtherProvider: a login with one provider's token says
// nothing to a part of the site that trusts another provider.
func TestAttackPollingOtherProvider(t *testing.T) {
	t.Parallel()
	other := NewIssuer(t)
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
	app := StartApp(t)
	i := NewIssuer(t)
	p := StartCaddy(t, "http://{$SITE} {"+part("/a", "{$JWKS_A}")+part("/b", "{$JWKS_B}")+"\n}",
		WithEnv("JWKS_A", i.JWKSURL()), WithEnv("JWKS_B", other.JWKSURL()), WithEnv("APP", app.Addr()))
	a, b := "http://"+p.Addr+"/a/socket.io/"+Polling("one"), "http://"+p.Addr+"/b/socket.io/"+Polling("one")
	if status := Poll(t, http.MethodPost, a, LoginPacket(i.Token())); status != http.StatusOK {
		t.Fatalf("login: answered %d", status)
	}
	if status := Poll(t, http.MethodGet, a, ""); status != http.StatusOK {
		t.Errorf("at the same part: answered %d", status)
	}
	for method, body := range map[string]string{http.MethodPost: `42["event"]`, http.MethodGet: ""} {
		if status := Poll(t, method, b, body); status != http.StatusUnauthorized {
			t.Errorf("%s at the other part: answered %d", method, status)
		}
	}
	for range 2 {
		Receive(t, "request", app.Plain, Patience)
	}
	if n := len(app.Plain); n != 0 {
		t.Errorf("the other application was asked: %s", <-app.Plain)
	}
}
