package integration

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// TestAdminMessage: a message reaches those that are meant, in between the
// application's, and nobody who has not logged in, or whose token has ended.
func TestAdminMessage(t *testing.T) {
	t.Parallel()
	o := renewing("warn 0s")
	forEachPeerVersion(t, o, nil, func(t *testing.T, s *peerSite, version string) {
		open := s.open(t, version, "/", s.of("alice"))
		p := s.socket(t)
		pending := s.open(t, version, "/", noHeader)
		suspended, held := s.suspended(t, version)
		s.asks(t, http.MethodPost, "message?all=true", "it is late", `{"sockets":1}`)
		open.hears(t, "it is late")
		long := strings.Repeat("ä", 32<<10)
		s.asks(t, http.MethodPost, "message?id="+p.header.Get("X-Session"), long, `{"sockets":1}`)
		open.hears(t, long)
		s.asks(t, http.MethodPost, "message?subject=bob", "not for alice", `{"sockets":0}`)
		if status, _ := s.ask(t, http.MethodPost, "message?id=X", "x", nil); status != http.StatusNotFound {
			t.Errorf("to nobody: status %d", status)
		}
		p.says(t, "first")
		open.hears(t, "first")
		pending.pings(t, "nothing has come before")
		suspended.pings(t, "nothing has come before")
		s.logsIn(t, suspended)
		held.says(t, "nothing was held")
		suspended.hears(t, "nothing was held")
	})
}

// TestAdminMessageBetweenFragments: a message does not tear one of the
// application's that comes in several frames.
func TestAdminMessageBetweenFragments(t *testing.T) {
	t.Parallel()
	s := startPeerSite(t, siteOptions{proxy: withSession}, nil)
	c := s.open(t, h1, "/", s.of("alice"))
	p := s.socket(t)
	write := func(first byte, text string) {
		if _, err := p.NetConn().Write(append([]byte{first, byte(len(text))}, text...)); err != nil {
			t.Fatal(err)
		}
	}
	write(opText, "begun ")
	if f := c.mustRead(t); string(f.payload) != "begun " {
		t.Fatalf("got %q", f.payload)
	}
	s.asks(t, http.MethodPost, "message?subject=alice", "ours", `{"sockets":1}`)
	write(opContinuation, "going on ")
	write(0x80|opContinuation, "and ended")
	for _, want := range []string{"going on ", "and ended", "ours"} {
		if f := c.mustRead(t); string(f.payload) != want {
			t.Fatalf("got %q, want %q", f.payload, want)
		}
	}
}

// TestAdminMessageCompressed: where client and application compress, a message
// is not torn nor taken for compressed, and what they keep of one message for
// the next is as it was.
func TestAdminMessageCompressed(t *testing.T) {
	t.Parallel()
	s := startPeerSite(t, siteOptions{proxy: withSession}, nil)
	h := bearer("/", s.issuer.token(nil))
	h.compress = true
	c, answer := mustDial(t, s.site.site, h)
	if got := answer.Header.Get("Sec-Websocket-Extensions"); !strings.HasPrefix(got, "permessage-deflate") {
		t.Fatalf("nothing is compressed: %q", got)
	}
	p := s.socket(t)
	p.EnableWriteCompression(true)
	long := strings.Repeat("said again and again, ", 100)
	for range 3 {
		p.says(t, long)
		if _, text, err := c.ReadMessage(); err != nil || string(text) != long {
			t.Fatalf("%.100q, %v", text, err)
		}
		s.asks(t, http.MethodPost, "message?all=true", "it is late", `{"sockets":1}`)
		if _, text, err := c.ReadMessage(); err != nil || string(text) != "it is late" {
			t.Fatalf("%.100q, %v", text, err)
		}
		if err := c.WriteMessage(websocket.TextMessage, []byte(long)); err != nil {
			t.Fatal(err)
		}
		p.hears(t, long)
	}
	if got := s.counted(t, p.header.Get("X-Session"), 3); got.MessagesIn != 3 || got.MessagesOut != 3 || got.BytesOut > 2000 {
		t.Errorf("the session is %+v", got)
	}
}

// TestAdminCloseSuspended: a socket that waits for a new credential is ended
// like any other, and what is held goes nowhere.
func TestAdminCloseSuspended(t *testing.T) {
	t.Parallel()
	forEachPeerVersion(t, renewing("warn 0s"), nil, func(t *testing.T, s *peerSite, version string) {
		c, p := s.suspended(t, version)
		p.says(t, "held out")
		c.says(t, "held in")
		s.asks(t, http.MethodDelete, "sessions?all=true&code=4001&reason=go", "", `{"sockets":1}`)
		texts, end := c.last(t, patience)
		if end.code != 4001 || end.reason != "go" || strings.Contains(fmt.Sprint(texts), "held") {
			t.Errorf("closed with %+v after %q", end, texts)
		}
		p.ends(t, closeGoingAway)
	})
}

// TestAdminRenew: the expiry policy acts at once. Where a credential may be
// renewed, the same one does not do.
func TestAdminRenew(t *testing.T) {
	t.Parallel()
	forEachPeerVersion(t, renewing("warn 30s"), nil, func(t *testing.T, s *peerSite, version string) {
		exp := time.Now().Add(time.Hour).Truncate(time.Second)
		c := s.open(t, version, "/", s.bearer(exp))
		p := s.socket(t)
		id := p.header.Get("X-Session")
		s.asks(t, http.MethodPost, "renew?subject=alice", "", `{"sockets":1}`)
		f := c.mustRead(t)
		if strings.Contains(string(f.payload), "auth_required") { // unless the end came first
			f = c.mustRead(t)
		}
		if !strings.Contains(string(f.payload), "auth_expired") {
			t.Errorf("told %q", f.payload)
		}
		if got := s.session(t, id); got.State != "suspended" || got.ValidUntil.After(time.Now()) {
			t.Errorf("the session is %+v", got)
		}
		s.asks(t, http.MethodPost, "renew?subject=alice", "", `{"sockets":0}`)
		c.says(t, "held in")
		p.says(t, "held out")
		c.says(t, login(s.issuer.expiring(exp)))
		c.hearsWord(t, "auth_error")
		c.pings(t, "still suspended")
		p.nothing(t)
		newExp := exp.Add(time.Second)
		c.says(t, login(s.issuer.expiring(newExp)))
		c.accepted(t, newExp)
		c.hears(t, "held out")
		p.hears(t, "held in")
		if got := s.session(t, id); got.State != "open" || !got.ValidUntil.Equal(newExp) {
			t.Errorf("the session is %+v", got)
		}
		// It acts again, and its grace begins again.
		s.asks(t, http.MethodPost, "renew?id="+id, "", `{"sockets":1}`)
		c.hearsWord(t, "auth_required")
		c.hearsWord(t, "auth_expired")
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
			s := startPeerSite(t, siteOptions{directives: "on_expiry " + tt.policy, proxy: withSession}, nil)
			c := s.open(t, h1, "/", s.of("alice"))
			p := s.socket(t)
			if !tt.ends {
				s.asks(t, http.MethodPost, "renew?all=true", "", `{"sockets":0}`)
				c.says(t, "still here")
				p.hears(t, "still here")
				return
			}
			s.asks(t, http.MethodPost, "renew?all=true", "", `{"sockets":1}`)
			if _, end := c.last(t, patience); end.code != 3000 || end.reason != "token expired" {
				t.Errorf("closed with %+v", end)
			}
			p.ends(t, closeGoingAway)
		})
	}
}

// TestAdminSilentClients: clients that do not read hold up neither a message to
// all nor its answer.
func TestAdminSilentClients(t *testing.T) {
	t.Parallel()
	s := startPeerSite(t, siteOptions{proxy: withSession}, nil)
	var silent []*wsConn
	for range 20 {
		silent = append(silent, s.open(t, h1, "/", s.of("silent")))
		s.socket(t)
	}
	c := s.open(t, h1, "/", s.of("alice"))
	s.socket(t)
	text := strings.Repeat("x", 64<<10)
	lag, start := measureLag(t), time.Now()
	for range 100 {
		if status, body := s.ask(t, http.MethodPost, "message?subject=silent", text, nil); status != http.StatusOK {
			t.Fatalf("status %d: %s", status, body)
		}
	}
	s.asks(t, http.MethodPost, "message?subject=alice", "hello", `{"sockets":1}`)
	c.hears(t, "hello")
	lag.inTime(t, "the message", start, time.Now(), 20*time.Second)
	s.asks(t, http.MethodDelete, "sessions?subject=alice&code=4000", "", `{"sockets":1}`)
	c.closes(t, 4000)
	for _, c := range silent {
		c.vanish()
	}
}
