package polling

import (
	"net/http"
	"net/http/httptrace"
	"strings"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// TestAttackPolledRenewal: a request that renews must have a credential, though
// it looks like what a client that polls may send before its login.
func TestAttackPolledRenewal(t *testing.T) {
	t.Parallel()
	s := rig.StartSite(t, rig.Polled("on_expiry renew {\ngrace 1s\npath "+rig.RenewalPath+"\n}"))
	lag, end := rig.MeasureLag(t), rig.Soon(2*time.Second)
	c := s.Open(t, rig.H1, "/sink", s.Bearer(end))
	id := rig.Receive(t, "handshake", s.App.Handshakes, rig.Patience).Get("X-Session")
	if id == "" {
		t.Fatal("the session is not known")
	}
	url := "http://" + s.Addr + rig.RenewalPath + rig.Polling("none") + "&session=" + id
	if status := rig.Poll(t, http.MethodPost, url, "3"); status != http.StatusUnauthorized {
		t.Errorf("answered %d", status)
	}
	c.Closes(t, rig.CloseTimeout)
	lag.InTime(t, "end", end.Add(time.Second), time.Now(), 2*time.Second)
}

// TestAttackPollingPaths: only what reaches the application's transport may
// come without a credential.
func TestAttackPollingPaths(t *testing.T) {
	t.Parallel()
	s := rig.StartSite(t, rig.Polled())
	for _, path := range []string{
		"/", "/admin", "/socket.io/admin", "/socket.io/../admin", "/socket.io//", "/socket.io/%2e%2e/admin",
		"/socket%2eio/", "//socket.io/", "/SOCKET.IO/", "/x/socket.io/",
	} {
		if status := rig.Poll(t, http.MethodGet, "http://"+s.Addr+path+rig.Polling(""), ""); status != http.StatusUnauthorized {
			t.Errorf("%s: answered %d", path, status)
		}
	}
	for _, method := range []string{http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete} {
		if status := rig.Poll(t, method, "http://"+s.Addr+"/socket.io/"+rig.Polling("x"), ""); status != http.StatusUnauthorized {
			t.Errorf("%s: answered %d", method, status)
		}
	}
	if n := len(s.App.Plain); n != 0 {
		t.Errorf("the application got %d requests, the first is %s", n, <-s.App.Plain)
	}
	if status := rig.Poll(t, http.MethodGet, "http://"+s.Addr+"/socket.io/"+rig.Polling(""), ""); status != http.StatusOK {
		t.Errorf("a client that begins: answered %d", status)
	}
}

// TestAttackPollingUnseen: before its login a connection hears nothing of the
// application's, and none after the end of its token.
func TestAttackPollingUnseen(t *testing.T) {
	t.Parallel()
	s := rig.StartSite(t, rig.Polled())
	url := "http://" + s.Addr + "/socket.io/" + rig.Polling("unseen")
	if status := rig.Poll(t, http.MethodGet, url, ""); status != http.StatusUnauthorized {
		t.Errorf("before the login: answered %d", status)
	}
	if n := len(s.App.Plain); n != 0 {
		t.Errorf("the application was asked: %s", <-s.App.Plain)
	}
	end := rig.Soon(2 * time.Second)
	if status := rig.Poll(t, http.MethodPost, url, rig.LoginPacket(s.Issuer.Expiring(end))); status != http.StatusOK {
		t.Fatalf("login: answered %d", status)
	}
	if status := rig.Poll(t, http.MethodGet, url, ""); status != http.StatusOK {
		t.Fatalf("after the login: answered %d", status)
	}
	for len(s.App.Plain) > 0 {
		<-s.App.Plain
	}
	<-time.After(time.Until(end))
	if status := rig.Poll(t, http.MethodGet, url, ""); status != http.StatusUnauthorized {
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
	s := rig.StartSite(t, rig.Polled())
	url := "http://" + s.Addr + "/socket.io/" + rig.Polling("beside")
	status := make(chan int, 1)
	asked := make(chan struct{})
	go func() {
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
			WroteRequest: func(httptrace.WroteRequestInfo) { close(asked) },
		})
		status <- rig.PollWith(ctx, t, http.MethodGet, url, "")
	}()
	rig.Receive(t, "request on its way", asked, rig.Patience)
	if status := rig.Poll(t, http.MethodPost, url, rig.LoginPacket(s.Issuer.Token())); status != http.StatusOK {
		t.Fatalf("login: answered %d", status)
	}
	if status := rig.Receive(t, "answer", status, rig.Patience); status != http.StatusOK {
		t.Errorf("answered %d", status)
	}
	for range 2 {
		if got := rig.Receive(t, "request", s.App.Plain, rig.Patience); !strings.Contains(got, "X-User: alice") {
			t.Errorf("the application got %s", got)
		}
	}
}

// TestAttackPollingPending: requests that wait for a login are bounded as
// sockets are that do.
func TestAttackPollingPending(t *testing.T) {
	t.Parallel()
	s := rig.StartSite(t, rig.Polled("pending 100 2"))
	statuses := make(chan int, 3)
	for _, sid := range []string{"a", "b", "c"} {
		go func() { statuses <- rig.Poll(t, http.MethodGet, "http://"+s.Addr+"/socket.io/"+rig.Polling(sid), "") }()
	}
	if got := rig.Receive(t, "answer", statuses, rig.Patience); got != http.StatusTooManyRequests {
		t.Errorf("the oldest was answered %d", got)
	}
	for range 2 {
		if got := rig.Receive(t, "answer", statuses, rig.Patience); got != http.StatusUnauthorized {
			t.Errorf("the others were answered %d", got)
		}
	}
}

// TestAttackPollingOtherProvider: a login with one provider's token says
// nothing to a part of the site that trusts another provider.
func TestAttackPollingOtherProvider(t *testing.T) {
	t.Parallel()
	other := rig.NewIssuer(t)
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
	app := rig.StartApp(t)
	i := rig.NewIssuer(t)
	p := rig.StartCaddy(t, "http://{$SITE} {"+part("/a", "{$JWKS_A}")+part("/b", "{$JWKS_B}")+"\n}",
		rig.WithEnv("JWKS_A", i.JWKSURL()), rig.WithEnv("JWKS_B", other.JWKSURL()), rig.WithEnv("APP", app.Addr()))
	a, b := "http://"+p.Addr+"/a/socket.io/"+rig.Polling("one"), "http://"+p.Addr+"/b/socket.io/"+rig.Polling("one")
	if status := rig.Poll(t, http.MethodPost, a, rig.LoginPacket(i.Token())); status != http.StatusOK {
		t.Fatalf("login: answered %d", status)
	}
	if status := rig.Poll(t, http.MethodGet, a, ""); status != http.StatusOK {
		t.Errorf("at the same part: answered %d", status)
	}
	for method, body := range map[string]string{http.MethodPost: `42["event"]`, http.MethodGet: ""} {
		if status := rig.Poll(t, method, b, body); status != http.StatusUnauthorized {
			t.Errorf("%s at the other part: answered %d", method, status)
		}
	}
	for range 2 {
		rig.Receive(t, "request", app.Plain, rig.Patience)
	}
	if n := len(app.Plain); n != 0 {
		t.Errorf("the other application was asked: %s", <-app.Plain)
	}
}
