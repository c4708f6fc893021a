package integration

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// withSession tells the application of a site the id of each session.
const withSession = "stream_close_delay 1h\nheader_up X-Session {http.websocket_auth.session}"

// adminSession is a session as the admin API shows it.
type adminSession struct {
	ID, Site, Subject, Issuer, Jti, Sid, Source, Verifier, Dialect, State string

	ClientIP    string     `json:"client_ip"`
	OpenedAt    time.Time  `json:"opened_at"`
	ValidUntil  *time.Time `json:"valid_until"`
	BytesIn     int64      `json:"bytes_in"`
	BytesOut    int64      `json:"bytes_out"`
	MessagesIn  int64      `json:"messages_in"`
	MessagesOut int64      `json:"messages_out"`
}

// ask sends the admin API a request and returns the status and the body.
func (p *caddyProc) ask(t testing.TB, method, path, body string, header http.Header) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var content io.Reader
	if body != "" {
		content = strings.NewReader(body)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://"+p.adminAddr+"/websocket_auth/"+path, content)
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range header {
		r.Header[name] = values
		if name == "Host" {
			r.Host = values[0]
		}
	}
	answer, err := adminClient.Do(r)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return answer.StatusCode, strings.TrimSpace(string(text))
}

// asks expects this answer with status 200.
func (p *caddyProc) asks(t testing.TB, method, path, body, want string) {
	t.Helper()
	if status, got := p.ask(t, method, path, body, nil); status != http.StatusOK || got != want {
		t.Fatalf("%s %s: %d %s, want %s", method, path, status, got, want)
	}
}

// answer asks for something that is JSON.
func answer[T any](t testing.TB, p *caddyProc, path string) (value T) {
	t.Helper()
	status, text := p.ask(t, http.MethodGet, path, "", nil)
	if err := json.Unmarshal([]byte(text), &value); err != nil || status != http.StatusOK {
		t.Fatalf("GET %s: status %d, %v: %s", path, status, err, text)
	}
	return value
}

// sessions returns the sessions that a query names.
func (p *caddyProc) sessions(t testing.TB, query string) []adminSession {
	t.Helper()
	return answer[struct{ Sessions []adminSession }](t, p, "sessions?"+query).Sessions
}

// noSessionLeft waits until there is none.
func (p *caddyProc) noSessionLeft(t testing.TB) {
	t.Helper()
	eventually(t, patience, func() string {
		if all := p.sessions(t, ""); len(all) > 0 {
			return fmt.Sprintf("sessions are left: %+v", all)
		}
		return ""
	})
}

// session returns one session.
func (p *caddyProc) session(t testing.TB, id string) adminSession {
	t.Helper()
	return answer[adminSession](t, p, "sessions/"+id)
}

// of returns the header of a client with a token of this subject's.
func (s *site) of(subject string) http.Header {
	return http.Header{"Authorization": {"Bearer " + s.issuer.token(map[string]any{
		"sub": subject, "jti": "jti of " + subject, "sid": "sid of " + subject,
	})}}
}

// TestAdminSessions: every live socket is listed with all that is known of it,
// on all HTTP versions, and gone when it has ended.
func TestAdminSessions(t *testing.T) {
	t.Parallel()
	o := siteOptions{directives: "name chat", proxy: withSession}
	forEachPeerVersion(t, o, nil, func(t *testing.T, s *peerSite, version string) {
		before := time.Now()
		c := s.open(t, version, "/", s.of("alice"))
		p := s.socket(t)
		id := p.header.Get("X-Session")
		c.says(t, "hello", "again")
		p.hears(t, "hello", "again")
		p.says(t, "hi")
		c.hears(t, "hi")
		got := s.counted(t, id, 1)
		if got.ValidUntil == nil || time.Until(*got.ValidUntil) < 50*time.Minute || got.OpenedAt.Before(before) ||
			got.OpenedAt.After(time.Now()) {
			t.Errorf("opened at %v, valid until %v", got.OpenedAt, got.ValidUntil)
		}
		got.ValidUntil, got.OpenedAt = nil, time.Time{}
		want := adminSession{
			ID: id, Site: "chat", Subject: "alice", Issuer: s.issuer.URL, Jti: "jti of alice", Sid: "sid of alice",
			Source: "header", Verifier: "jwt", State: "open", ClientIP: "127.0.0.1",
			BytesIn: 11 + 11, BytesOut: 4, MessagesIn: 2, MessagesOut: 1,
		}
		if got.ClientIP == "::1" { // localhost, as the system resolves it
			want.ClientIP = "::1"
		}
		if got != want {
			t.Errorf("the session is\n%+v, want\n%+v", got, want)
		}
		d := s.open(t, version, "/", s.of("bob"))
		s.socket(t)
		issuer := url.QueryEscape(s.issuer.URL)
		for query, want := range map[string]int{
			"": 2, "subject=alice": 1, "issuer=" + issuer + "&sid=sid+of+bob": 1, "jti=jti+of+bob": 1, "site=chat": 2, "site=x": 0,
			"subject=alice&issuer=": 0,
		} {
			if got := s.sessions(t, query); len(got) != want {
				t.Errorf("%d sessions of %q, want %d", len(got), query, want)
			}
		}
		d.vanish()
		eventually(t, patience, func() string {
			if n := len(s.sessions(t, "")); n != 1 {
				return fmt.Sprintf("%d sessions, want 1", n)
			}
			return ""
		})
	})
}

// counted returns a session as soon as so many messages to the client are
// counted, which is after it has got them.
func (p *caddyProc) counted(t testing.TB, id string, out int64) (got adminSession) {
	t.Helper()
	eventually(t, patience, func() string {
		if got = p.session(t, id); got.MessagesOut != out {
			return fmt.Sprintf("messages_out is %d, want %d", got.MessagesOut, out)
		}
		return ""
	})
	return got
}

// TestAdminStates: a socket is listed from before its login on.
func TestAdminStates(t *testing.T) {
	t.Parallel()
	o := renewing("warn 0s")
	o.directives += "\nname chat"
	s := startPeerSite(t, o, nil)
	c := s.open(t, h1, "/", noHeader)
	all := s.sessions(t, "site=chat")
	if len(all) != 1 || all[0].State != "pending" || all[0].Subject != "" || all[0].ValidUntil != nil || all[0].Dialect != "json" {
		t.Fatalf("before login: %+v", all)
	}
	exp := soon(2 * time.Second)
	c.says(t, login(s.issuer.expiring(exp)))
	c.accepted(t, exp)
	s.socket(t)
	eventually(t, patience, func() string { // what has been sent is counted afterwards
		got := s.session(t, all[0].ID)
		known := got.State == "open" && got.Subject == "alice" && got.Source == "first_message"
		// The login is a message of the client's, and the answer is the gate's.
		if !known || got.MessagesIn != 1 || got.BytesIn == 0 || got.MessagesOut != 0 || got.BytesOut == 0 {
			return fmt.Sprintf("after login: %+v", got)
		}
		return ""
	})
	c.hearsWord(t, "auth_expired")
	if got := s.session(t, all[0].ID); got.State != "suspended" {
		t.Errorf("after the end: %+v", got)
	}
	s.logsIn(t, c)
	if got := s.session(t, all[0].ID); got.State != "open" || time.Until(*got.ValidUntil) < 50*time.Minute {
		t.Errorf("renewed: %+v", got)
	}
}

// TestAdminPolledSession: of a socket that takes over from plain requests it is
// known who has logged in, and that it was not by the handshake.
func TestAdminPolledSession(t *testing.T) {
	t.Parallel()
	s := startSite(t, polled("name chat"))
	url := "http://" + s.site + "/socket.io/" + polling("taken")
	if status := poll(t, http.MethodPost, url, loginPacket(s.issuer.token())); status != http.StatusOK {
		t.Fatalf("login: answered %d", status)
	}
	s.open(t, h1, "/socket.io/?EIO=4&transport=websocket&sid=taken", noHeader)
	all := s.sessions(t, "site=chat")
	if len(all) != 1 || all[0].Source != "polling" || all[0].Subject != "alice" || all[0].Verifier != "jwt" ||
		all[0].Dialect != "socketio" || all[0].ValidUntil == nil {
		t.Errorf("%+v", all)
	}
}

// TestAdminClose: the client gets the close frame that was asked for, the
// application a proper one, and nobody else anything.
func TestAdminClose(t *testing.T) {
	t.Parallel()
	o := siteOptions{directives: "name chat", proxy: withSession}
	forEachPeerVersion(t, o, nil, func(t *testing.T, s *peerSite, version string) {
		open := func(subject string) (*wsConn, *peer) {
			c := s.open(t, version, "/", s.of(subject))
			return c, s.socket(t)
		}
		c, p := open("alice")
		other, otherPeer := open("bob")
		id := p.header.Get("X-Session")
		s.asks(t, http.MethodDelete, "sessions/"+id+"?code=4001&reason=ask+at+the+desk", "", `{"sockets":1}`)
		_, end := c.last(t, patience)
		if end.code != 4001 || end.reason != "ask at the desk" {
			t.Errorf("closed with %+v", end)
		}
		p.ends(t, closeGoingAway)
		if status, _ := s.ask(t, http.MethodDelete, "sessions/"+id, "", nil); status != http.StatusNotFound {
			eventually(t, patience, func() string {
				status, _ := s.ask(t, http.MethodDelete, "sessions/"+id, "", nil)
				if status != http.StatusNotFound {
					return fmt.Sprintf("ended again: %d", status)
				}
				return ""
			})
		}
		other.says(t, "still here")
		otherPeer.hears(t, "still here")

		third, thirdPeer := open("alice")
		s.asks(t, http.MethodDelete, "sessions?subject=alice", "", `{"sockets":1}`)
		_, end = third.last(t, patience)
		if end.code != closeForbidden || end.reason != "closed_by_admin" {
			t.Errorf("closed with %+v", end)
		}
		thirdPeer.ends(t, closeGoingAway)

		s.asks(t, http.MethodDelete, "sessions?all=true&code=1012", "", `{"sockets":1}`)
		other.closes(t, 1012)
		otherPeer.ends(t, closeGoingAway)
		s.asks(t, http.MethodDelete, "sessions?all=true", "", `{"sockets":0}`)
	})
}

// TestAdminCloseInFrame: a close frame waits for the end of the frame that is
// on its way to the client.
func TestAdminCloseInFrame(t *testing.T) {
	t.Parallel()
	app, conns := startStubbornApp(t)
	s := startSite(t, siteOptions{env: []startOption{withEnv("APP", app)}})
	c := s.open(t, h1, "/", s.of("alice"))
	conn := receive(t, "handshake at the application", conns, patience)
	begun, rest := strings.Repeat("a", 40), strings.Repeat("b", 60)
	if _, err := conn.Write(append([]byte{0x80 | opText, 100}, begun...)); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, func() string {
		if n := s.sessions(t, "")[0].BytesOut; n != 42 {
			return fmt.Sprintf("%d bytes are on their way, want 42", n)
		}
		return ""
	})
	s.asks(t, http.MethodDelete, "sessions?all=true&code=4000", "", `{"sockets":1}`)
	if _, err := conn.Write([]byte(rest)); err != nil {
		t.Fatal(err)
	}
	c.closes(t, 4000, begun+rest)
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
				"Sec-WebSocket-Accept: %s\r\n\r\n", acceptKey(r.Header.Get("Sec-WebSocket-Key")))
			accepted <- conn
		}
	}()
	return listener.Addr().String(), accepted
}

// TestAdminClosePending: who has not logged in can be ended, too, but is not
// meant by an issuer that is empty.
func TestAdminClosePending(t *testing.T) {
	t.Parallel()
	s := startPeerSite(t, firstMessage("name chat"), nil)
	c := s.open(t, h1, "/", noHeader)
	s.asks(t, http.MethodDelete, "sessions?issuer=", "", `{"sockets":0}`)
	s.asks(t, http.MethodDelete, "sessions?site=chat&code=4000", "", `{"sockets":1}`)
	c.closes(t, 4000)
	s.unasked(t)
}
