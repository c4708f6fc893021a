package messages

import (
	"net/http"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// earlyLines are of a site whose application speaks first.
const earlyLines = `from header
	from first_message {
		early
		within 10s
	}
	dialect json {
		allow /type pong
		allow_out /type greeting
	}`

// TestEarlyLogin: the application is connected to at once and may greet.
// Whatever else either side says before the login waits for it, and no data
// of the client's gets to the application, but for what the dialect allows.
func TestEarlyLogin(t *testing.T) {
	t.Parallel()
	const greeting = `{"type":"greeting","n":1}`
	o := rig.SiteOptions{Directives: earlyLines}
	rig.ForEachPeerVersion(t, o, func(a *rig.PeerApp) { a.Greeting = greeting }, func(t *testing.T, s *rig.PeerSite, version string) {
		c := s.Open(t, version, "/", rig.NoHeader)
		p := s.Socket(t)
		if user := p.Header.Values("X-User"); len(user) != 0 && user[0] != "" {
			t.Errorf("the application was told %q before the login", user)
		}
		c.Hears(t, greeting)
		p.Says(t, `{"type":"secret"}`, `{"type":"greeting","n":2}`, "not JSON")
		c.Hears(t, `{"type":"greeting","n":2}`)
		c.Pings(t, "client's")
		p.Pings(t, "application's", nil)
		c.Says(t, `{"type":"pong"}`)
		p.Hears(t, `{"type":"pong"}`)

		c.Says(t, rig.Login(s.Issuer.Token()), "one", "two")
		c.Accepted(t, time.Now().Add(time.Hour))
		c.Hears(t, `{"type":"secret"}`, "not JSON")
		p.Hears(t, "one", "two")
		p.Says(t, "three")
		c.Hears(t, "three")
		p.Pings(t, "through", c.AnswersPing)
	})
}

// TestEarlyRefused: a bad login, none in time, or a message before it: the
// client gets nothing of what the application has said, and the application
// nothing of the client's.
func TestEarlyRefused(t *testing.T) {
	t.Parallel()
	rig.ForEachPeerVersion(t, rig.SiteOptions{Directives: earlyLines}, nil, func(t *testing.T, s *rig.PeerSite, version string) {
		for name, tt := range map[string]struct {
			message string
			code    uint16
		}{
			"bad token":      {rig.Login(s.Issuer.Token(map[string]any{"exp": 1})), rig.CloseUnauthorized},
			"something else": {`{"type":"order","n":1}`, rig.CloseUnauthorized},
			"nothing":        {"", rig.CloseTimeout},
		} {
			c := s.Open(t, version, "/"+name[:3], rig.NoHeader)
			p := s.Socket(t)
			p.Says(t, `{"type":"secret"}`)
			c.Pings(t, "so that it has been read")
			if tt.message != "" {
				c.Says(t, tt.message, `{"type":"pong"}`)
			}
			c.IsRefused(t, tt.code)
			p.Ends(t, rig.CloseGoingAway)
		}
	})
}

// TestEarlyHandshakeCredential: who has logged in by the request needs no
// message.
func TestEarlyHandshakeCredential(t *testing.T) {
	t.Parallel()
	rig.ForEachPeerVersion(t, rig.SiteOptions{Directives: earlyLines}, nil, func(t *testing.T, s *rig.PeerSite, version string) {
		c := s.Open(t, version, "/", s.Bearer(time.Now().Add(time.Hour)))
		p := s.Socket(t)
		if user := p.Header.Get("X-User"); user != "alice" {
			t.Errorf("the application was told %q", user)
		}
		p.Says(t, "hello")
		c.Hears(t, "hello")
		c.Says(t, "hello")
		p.Hears(t, "hello")
	})
}

// TestEarlyUpstreamRefuses: the client has its answer from the application
// then, as without a login by message.
func TestEarlyUpstreamRefuses(t *testing.T) {
	t.Parallel()
	o := rig.SiteOptions{Directives: earlyLines}
	rig.ForEachPeerVersion(t, o, func(a *rig.PeerApp) { a.Refuse = http.StatusForbidden },
		func(t *testing.T, s *rig.PeerSite, version string) {
			if _, answer := s.Handshake(t, version, "/", rig.NoHeader); answer.StatusCode != http.StatusForbidden {
				t.Errorf("answered %s, want 403", answer.Status)
			}
		})
}

// TestEarlyHoldFull: an application that says more before the login than is
// held ends the socket; it does not fill memory.
func TestEarlyHoldFull(t *testing.T) {
	t.Parallel()
	s := rig.StartPeerSite(t, rig.SiteOptions{Directives: earlyLines}, nil)
	c := s.Open(t, rig.H1, "/", rig.NoHeader)
	p := s.Socket(t)
	go func() {
		for range 100 {
			_ = p.Send(`{"type":"secret"}`)
		}
	}()
	if heard := beforeClose(t, c, rig.CloseTimeout); len(heard) > 1 {
		t.Errorf("the client was told %q", heard)
	}
	s.LogsReason(t, "hold_full")
}
