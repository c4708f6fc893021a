package admin

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// TestAdminMessage: a message reaches those that are meant, in between the
// application's, and nobody who has not logged in, or whose token has ended.
func TestAdminMessage(t *testing.T) {
	t.Parallel()
	o := rig.Renewing("warn 0s")
	rig.ForEachPeerVersion(t, o, nil, func(t *testing.T, s *rig.PeerSite, version string) {
		open := s.Open(t, version, "/", s.Of("alice"))
		p := s.Socket(t)
		pending := s.Open(t, version, "/", rig.NoHeader)
		suspended, held := s.Suspended(t, version)
		s.Asks(t, http.MethodPost, "message?all=true", "it is late", `{"sockets":1}`)
		open.Hears(t, "it is late")
		long := strings.Repeat("ä", 32<<10)
		s.Asks(t, http.MethodPost, "message?id="+p.Header.Get("X-Session"), long, `{"sockets":1}`)
		open.Hears(t, long)
		s.Asks(t, http.MethodPost, "message?subject=bob", "not for alice", `{"sockets":0}`)
		if status, _ := s.Ask(t, http.MethodPost, "message?id=X", "x", nil); status != http.StatusNotFound {
			t.Errorf("to nobody: status %d", status)
		}
		p.Says(t, "first")
		open.Hears(t, "first")
		pending.Pings(t, "nothing has come before")
		suspended.Pings(t, "nothing has come before")
		s.LogsIn(t, suspended)
		held.Says(t, "nothing was held")
		suspended.Hears(t, "nothing was held")
	})
}

// TestAdminMessageBetweenFragments: a message does not tear one of the
// application's that comes in several frames.
func TestAdminMessageBetweenFragments(t *testing.T) {
	t.Parallel()
	s := rig.StartPeerSite(t, rig.SiteOptions{Proxy: withSession}, nil)
	c := s.Open(t, rig.H1, "/", s.Of("alice"))
	p := s.Socket(t)
	write := func(first byte, text string) {
		if _, err := p.NetConn().Write(append([]byte{first, byte(len(text))}, text...)); err != nil {
			t.Fatal(err)
		}
	}
	write(rig.OpText, "begun ")
	if f := c.MustRead(t); string(f.Payload) != "begun " {
		t.Fatalf("got %q", f.Payload)
	}
	s.Asks(t, http.MethodPost, "message?subject=alice", "ours", `{"sockets":1}`)
	write(rig.OpContinuation, "going on ")
	write(0x80|rig.OpContinuation, "and ended")
	for _, want := range []string{"going on ", "and ended", "ours"} {
		if f := c.MustRead(t); string(f.Payload) != want {
			t.Fatalf("got %q, want %q", f.Payload, want)
		}
	}
}

// TestAdminMessageCompressed: where client and application compress, a message
// is not torn nor taken for compressed, and what they keep of one message for
// the next is as it was.
func TestAdminMessageCompressed(t *testing.T) {
	t.Parallel()
	s := rig.StartPeerSite(t, rig.SiteOptions{Proxy: withSession}, nil)
	h := rig.Bearer("/", s.Issuer.Token(nil))
	h.Compress = true
	c, answer := rig.MustDial(t, s.Addr, h)
	if got := answer.Header.Get("Sec-Websocket-Extensions"); !strings.HasPrefix(got, "permessage-deflate") {
		t.Fatalf("nothing is compressed: %q", got)
	}
	p := s.Socket(t)
	p.EnableWriteCompression(true)
	long := strings.Repeat("said again and again, ", 100)
	for range 3 {
		p.Says(t, long)
		if _, text, err := c.ReadMessage(); err != nil || string(text) != long {
			t.Fatalf("%.100q, %v", text, err)
		}
		s.Asks(t, http.MethodPost, "message?all=true", "it is late", `{"sockets":1}`)
		if _, text, err := c.ReadMessage(); err != nil || string(text) != "it is late" {
			t.Fatalf("%.100q, %v", text, err)
		}
		if err := c.WriteMessage(websocket.TextMessage, []byte(long)); err != nil {
			t.Fatal(err)
		}
		p.Hears(t, long)
	}
	if got := counted(t, s.Site.Caddy, p.Header.Get("X-Session"), 3); got.MessagesIn != 3 || got.MessagesOut != 3 || got.BytesOut > 2000 {
		t.Errorf("the session is %+v", got)
	}
}

// TestAdminCloseSuspended: a socket that waits for a new credential is ended
// like any other, and what is held goes nowhere.
func TestAdminCloseSuspended(t *testing.T) {
	t.Parallel()
	rig.ForEachPeerVersion(t, rig.Renewing("warn 0s"), nil, func(t *testing.T, s *rig.PeerSite, version string) {
		c, p := s.Suspended(t, version)
		p.Says(t, "held out")
		c.Says(t, "held in")
		s.Asks(t, http.MethodDelete, "sessions?all=true&code=4001&reason=go", "", `{"sockets":1}`)
		texts, end := c.Last(t, rig.Patience)
		if end.Code != 4001 || end.Reason != "go" || strings.Contains(fmt.Sprint(texts), "held") {
			t.Errorf("closed with %+v after %q", end, texts)
		}
		p.Ends(t, rig.CloseGoingAway)
	})
}

// TestAdminRenew: the expiry policy acts at once. Where a credential may be
// renewed, the same one does not do.
func TestAdminRenew(t *testing.T) {
	t.Parallel()
	rig.ForEachPeerVersion(t, rig.Renewing("warn 30s"), nil, func(t *testing.T, s *rig.PeerSite, version string) {
		exp := time.Now().Add(time.Hour).Truncate(time.Second)
		c := s.Open(t, version, "/", s.Bearer(exp))
		p := s.Socket(t)
		id := p.Header.Get("X-Session")
		s.Asks(t, http.MethodPost, "renew?subject=alice", "", `{"sockets":1}`)
		f := c.MustRead(t)
		if strings.Contains(string(f.Payload), "auth_required") { // unless the end came first
			f = c.MustRead(t)
		}
		if !strings.Contains(string(f.Payload), "auth_expired") {
			t.Errorf("told %q", f.Payload)
		}
		if got := s.Session(t, id); got.State != "suspended" || got.ValidUntil.After(time.Now()) {
			t.Errorf("the session is %+v", got)
		}
		s.Asks(t, http.MethodPost, "renew?subject=alice", "", `{"sockets":0}`)
		c.Says(t, "held in")
		p.Says(t, "held out")
		c.Says(t, rig.Login(s.Issuer.Expiring(exp)))
		c.HearsWord(t, "auth_error")
		c.Pings(t, "still suspended")
		p.Nothing(t)
		newExp := exp.Add(time.Second)
		c.Says(t, rig.Login(s.Issuer.Expiring(newExp)))
		c.Accepted(t, newExp)
		c.Hears(t, "held out")
		p.Hears(t, "held in")
		if got := s.Session(t, id); got.State != "open" || !got.ValidUntil.Equal(newExp) {
			t.Errorf("the session is %+v", got)
		}
		// It acts again, and its grace begins again.
		s.Asks(t, http.MethodPost, "renew?id="+id, "", `{"sockets":1}`)
		c.HearsWord(t, "auth_required")
		c.HearsWord(t, "auth_expired")
	})
}

// TestAdminRenewPolicies: with close the sockets end, with ignore they live.
func TestAdminRenewPolicies(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		policy string
		ends   bool
	}{{"close", true}, {"ignore", false}} {
		t.Run(tt.policy, func(t *testing.T) {
			t.Parallel()
			s := rig.StartPeerSite(t, rig.SiteOptions{Directives: "on_expiry " + tt.policy, Proxy: withSession}, nil)
			c := s.Open(t, rig.H1, "/", s.Of("alice"))
			p := s.Socket(t)
			if !tt.ends {
				s.Asks(t, http.MethodPost, "renew?all=true", "", `{"sockets":0}`)
				c.Says(t, "still here")
				p.Hears(t, "still here")
				return
			}
			s.Asks(t, http.MethodPost, "renew?all=true", "", `{"sockets":1}`)
			if _, end := c.Last(t, rig.Patience); end.Code != 3000 || end.Reason != "token expired" {
				t.Errorf("closed with %+v", end)
			}
			p.Ends(t, rig.CloseGoingAway)
		})
	}
}

// TestAdminSilentClients: clients that do not read hold up neither a message to
// all nor its answer.
func TestAdminSilentClients(t *testing.T) {
	t.Parallel()
	s := rig.StartPeerSite(t, rig.SiteOptions{Proxy: withSession}, nil)
	var silent []*rig.Conn
	for range 20 {
		silent = append(silent, s.Open(t, rig.H1, "/", s.Of("silent")))
		s.Socket(t)
	}
	c := s.Open(t, rig.H1, "/", s.Of("alice"))
	s.Socket(t)
	text := strings.Repeat("x", 64<<10)
	lag, start := rig.MeasureLag(t), time.Now()
	for range 100 {
		if status, body := s.Ask(t, http.MethodPost, "message?subject=silent", text, nil); status != http.StatusOK {
			t.Fatalf("status %d: %s", status, body)
		}
	}
	s.Asks(t, http.MethodPost, "message?subject=alice", "hello", `{"sockets":1}`)
	c.Hears(t, "hello")
	lag.InTime(t, "the message", start, time.Now(), 20*time.Second)
	s.Asks(t, http.MethodDelete, "sessions?subject=alice&code=4000", "", `{"sockets":1}`)
	c.Closes(t, 4000)
	for _, c := range silent {
		c.Vanish()
	}
}
