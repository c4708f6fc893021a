package admin

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// withSession tells the application of a site the id of each session.
const withSession = "stream_close_delay 1h\nheader_up X-Session {http.websocket_auth.session}"

// TestAdminSessions: every live socket is listed with all that is known of it,
// on all HTTP versions, and gone when it has ended.
func TestAdminSessions(t *testing.T) {
	t.Parallel()
	o := rig.SiteOptions{Directives: "name chat", Proxy: withSession}
	rig.ForEachPeerVersion(t, o, nil, func(t *testing.T, s *rig.PeerSite, version string) {
		before := time.Now()
		c := s.Open(t, version, "/", s.Of("alice"))
		p := s.Socket(t)
		id := p.Header.Get("X-Session")
		c.Says(t, "hello", "again")
		p.Hears(t, "hello", "again")
		p.Says(t, "hi")
		c.Hears(t, "hi")
		got := counted(t, s.Site.Caddy, id, 1)
		if got.ValidUntil == nil || time.Until(*got.ValidUntil) < 50*time.Minute || got.OpenedAt.Before(before) ||
			got.OpenedAt.After(time.Now()) {
			t.Errorf("opened at %v, valid until %v", got.OpenedAt, got.ValidUntil)
		}
		got.ValidUntil, got.OpenedAt = nil, time.Time{}
		want := rig.AdminSession{
			ID: id, Site: "chat", Subject: "alice", Issuer: s.Issuer.URL, Jti: "jti of alice", Sid: "sid of alice",
			Source: "header", Verifier: "jwt", State: "open", ClientIP: "127.0.0.1",
			BytesIn: 11 + 11, BytesOut: 4, MessagesIn: 2, MessagesOut: 1,
		}
		if got.ClientIP == "::1" { // localhost, as the system resolves it
			want.ClientIP = "::1"
		}
		if got != want {
			t.Errorf("the session is\n%+v, want\n%+v", got, want)
		}
		d := s.Open(t, version, "/", s.Of("bob"))
		s.Socket(t)
		issuer := url.QueryEscape(s.Issuer.URL)
		for query, want := range map[string]int{
			"": 2, "subject=alice": 1, "issuer=" + issuer + "&sid=sid+of+bob": 1, "jti=jti+of+bob": 1, "site=chat": 2, "site=x": 0,
			"subject=alice&issuer=": 0,
		} {
			if got := s.Sessions(t, query); len(got) != want {
				t.Errorf("%d sessions of %q, want %d", len(got), query, want)
			}
		}
		d.Vanish()
		rig.Eventually(t, rig.Patience, func() string {
			if n := len(s.Sessions(t, "")); n != 1 {
				return fmt.Sprintf("%d sessions, want 1", n)
			}
			return ""
		})
	})
}

// counted returns a session as soon as so many messages to the client are
// counted, which is after it has got them.
func counted(t testing.TB, p *rig.Caddy, id string, out int64) (got rig.AdminSession) {
	t.Helper()
	rig.Eventually(t, rig.Patience, func() string {
		if got = p.Session(t, id); got.MessagesOut != out {
			return fmt.Sprintf("messages_out is %d, want %d", got.MessagesOut, out)
		}
		return ""
	})
	return got
}

// TestAdminStates: a socket is listed from before its login on.
func TestAdminStates(t *testing.T) {
	t.Parallel()
	o := rig.Renewing("warn 0s")
	o.Directives += "\nname chat"
	s := rig.StartPeerSite(t, o, nil)
	c := s.Open(t, rig.H1, "/", rig.NoHeader)
	all := s.Sessions(t, "site=chat")
	if len(all) != 1 || all[0].State != "pending" || all[0].Subject != "" || all[0].ValidUntil != nil || all[0].Dialect != "json" {
		t.Fatalf("before login: %+v", all)
	}
	exp := rig.Soon(2 * time.Second)
	c.Says(t, rig.Login(s.Issuer.Expiring(exp)))
	c.Accepted(t, exp)
	s.Socket(t)
	rig.Eventually(t, rig.Patience, func() string { // what has been sent is counted afterwards
		got := s.Session(t, all[0].ID)
		known := got.State == "open" && got.Subject == "alice" && got.Source == "first_message"
		// The login is a message of the client's, and the answer is the gate's.
		if !known || got.MessagesIn != 1 || got.BytesIn == 0 || got.MessagesOut != 0 || got.BytesOut == 0 {
			return fmt.Sprintf("after login: %+v", got)
		}
		return ""
	})
	c.HearsWord(t, "auth_expired")
	if got := s.Session(t, all[0].ID); got.State != "suspended" {
		t.Errorf("after the end: %+v", got)
	}
	s.LogsIn(t, c)
	if got := s.Session(t, all[0].ID); got.State != "open" || time.Until(*got.ValidUntil) < 50*time.Minute {
		t.Errorf("renewed: %+v", got)
	}
}

// TestAdminPolledSession: of a socket that takes over from plain requests it is
// known who has logged in, and that it was not by the handshake.
func TestAdminPolledSession(t *testing.T) {
	t.Parallel()
	s := rig.StartSite(t, rig.Polled("name chat"))
	url := "http://" + s.Addr + "/socket.io/" + rig.Polling("taken")
	if status := rig.Poll(t, http.MethodPost, url, rig.LoginPacket(s.Issuer.Token())); status != http.StatusOK {
		t.Fatalf("login: answered %d", status)
	}
	s.Open(t, rig.H1, "/socket.io/?EIO=4&transport=websocket&sid=taken", rig.NoHeader)
	all := s.Sessions(t, "site=chat")
	if len(all) != 1 || all[0].Source != "polling" || all[0].Subject != "alice" || all[0].Verifier != "jwt" ||
		all[0].Dialect != "socketio" || all[0].ValidUntil == nil {
		t.Errorf("%+v", all)
	}
}

// TestAdminClose: the client gets the close frame that was asked for, the
// application a proper one, and nobody else anything.
func TestAdminClose(t *testing.T) {
	t.Parallel()
	o := rig.SiteOptions{Directives: "name chat", Proxy: withSession}
	rig.ForEachPeerVersion(t, o, nil, func(t *testing.T, s *rig.PeerSite, version string) {
		open := func(subject string) (*rig.Conn, *rig.Peer) {
			c := s.Open(t, version, "/", s.Of(subject))
			return c, s.Socket(t)
		}
		c, p := open("alice")
		other, otherPeer := open("bob")
		id := p.Header.Get("X-Session")
		s.Asks(t, http.MethodDelete, "sessions/"+id+"?code=4001&reason=ask+at+the+desk", "", `{"sockets":1}`)
		_, end := c.Last(t, rig.Patience)
		if end.Code != 4001 || end.Reason != "ask at the desk" {
			t.Errorf("closed with %+v", end)
		}
		p.Ends(t, rig.CloseGoingAway)
		if status, _ := s.Ask(t, http.MethodDelete, "sessions/"+id, "", nil); status != http.StatusNotFound {
			rig.Eventually(t, rig.Patience, func() string {
				status, _ := s.Ask(t, http.MethodDelete, "sessions/"+id, "", nil)
				if status != http.StatusNotFound {
					return fmt.Sprintf("ended again: %d", status)
				}
				return ""
			})
		}
		other.Says(t, "still here")
		otherPeer.Hears(t, "still here")

		third, thirdPeer := open("alice")
		s.Asks(t, http.MethodDelete, "sessions?subject=alice", "", `{"sockets":1}`)
		_, end = third.Last(t, rig.Patience)
		if end.Code != rig.CloseForbidden || end.Reason != "closed_by_admin" {
			t.Errorf("closed with %+v", end)
		}
		thirdPeer.Ends(t, rig.CloseGoingAway)

		s.Asks(t, http.MethodDelete, "sessions?all=true&code=1012", "", `{"sockets":1}`)
		other.Closes(t, 1012)
		otherPeer.Ends(t, rig.CloseGoingAway)
		s.Asks(t, http.MethodDelete, "sessions?all=true", "", `{"sockets":0}`)
	})
}

// TestAdminCloseInFrame: a close frame waits for the end of the frame that is
// on its way to the client.
func TestAdminCloseInFrame(t *testing.T) {
	t.Parallel()
	app, conns := startStubbornApp(t)
	s := rig.StartSite(t, rig.SiteOptions{Env: []rig.StartOption{rig.WithEnv("APP", app)}})
	c := s.Open(t, rig.H1, "/", s.Of("alice"))
	conn := rig.Receive(t, "handshake at the application", conns, rig.Patience)
	begun, rest := strings.Repeat("a", 40), strings.Repeat("b", 60)
	if _, err := conn.Write(append([]byte{0x80 | rig.OpText, 100}, begun...)); err != nil {
		t.Fatal(err)
	}
	rig.Eventually(t, rig.Patience, func() string {
		if n := s.Sessions(t, "")[0].BytesOut; n != 42 {
			return fmt.Sprintf("%d bytes are on their way, want 42", n)
		}
		return ""
	})
	s.Asks(t, http.MethodDelete, "sessions?all=true&code=4000", "", `{"sockets":1}`)
	if _, err := conn.Write([]byte(rest)); err != nil {
		t.Fatal(err)
	}
	c.Closes(t, 4000, begun+rest)
}

// startStubbornApp runs an application that does not answer close frames, and
// hands over its sockets.
func startStubbornApp(t testing.TB) (addr string, conns <-chan net.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan net.Conn, 10)
	done := make(chan struct{})
	t.Cleanup(func() { _ = listener.Close(); <-done })
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = conn.Close() })
			r, err := http.ReadRequest(bufio.NewReader(conn))
			if err != nil {
				continue
			}
			_, _ = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
				"Sec-WebSocket-Accept: %s\r\n\r\n", rig.AcceptKey(r.Header.Get("Sec-WebSocket-Key")))
			accepted <- conn
		}
	}()
	return listener.Addr().String(), accepted
}

// TestAdminClosePending: who has not logged in can be ended, too, but is not
// meant by an issuer that is empty.
func TestAdminClosePending(t *testing.T) {
	t.Parallel()
	s := rig.StartPeerSite(t, rig.FirstMessage("name chat"), nil)
	c := s.Open(t, rig.H1, "/", rig.NoHeader)
	s.Asks(t, http.MethodDelete, "sessions?issuer=", "", `{"sockets":0}`)
	s.Asks(t, http.MethodDelete, "sessions?site=chat&code=4000", "", `{"sockets":1}`)
	c.Closes(t, 4000)
	s.Unasked(t)
}
