package integration

import (
	"net/http"
	"testing"
	"time"
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
	o := siteOptions{directives: earlyLines}
	forEachPeerVersion(t, o, func(a *peerApp) { a.greeting = greeting }, func(t *testing.T, s *peerSite, version string) {
		c := s.open(t, version, "/", noHeader)
		p := s.socket(t)
		if user := p.header.Values("X-User"); len(user) != 0 && user[0] != "" {
			t.Errorf("the application was told %q before the login", user)
		}
		c.hears(t, greeting)
		p.says(t, `{"type":"secret"}`, `{"type":"greeting","n":2}`, "not JSON")
		c.hears(t, `{"type":"greeting","n":2}`)
		c.pings(t, "client's")
		p.pings(t, "application's", nil)
		c.says(t, `{"type":"pong"}`)
		p.hears(t, `{"type":"pong"}`)

		c.says(t, login(s.issuer.token()), "one", "two")
		c.accepted(t, time.Now().Add(time.Hour))
		c.hears(t, `{"type":"secret"}`, "not JSON")
		p.hears(t, "one", "two")
		p.says(t, "three")
		c.hears(t, "three")
		p.pings(t, "through", c.answersPing)
	})
}

// TestEarlyRefused: a bad login, none in time, or a message before it: the
// client gets nothing of what the application has said, and the application
// nothing of the client's.
func TestEarlyRefused(t *testing.T) {
	t.Parallel()
	forEachPeerVersion(t, siteOptions{directives: earlyLines}, nil, func(t *testing.T, s *peerSite, version string) {
		for name, tt := range map[string]struct {
			message string
			code    uint16
		}{
			"bad token":      {login(s.issuer.token(map[string]any{"exp": 1})), closeUnauthorized},
			"something else": {`{"type":"order","n":1}`, closeUnauthorized},
			"nothing":        {"", closeTimeout},
		} {
			c := s.open(t, version, "/"+name[:3], noHeader)
			p := s.socket(t)
			p.says(t, `{"type":"secret"}`)
			c.pings(t, "so that it has been read")
			if tt.message != "" {
				c.says(t, tt.message, `{"type":"pong"}`)
			}
			c.isRefused(t, tt.code)
			p.ends(t, closeGoingAway)
		}
	})
}

// TestEarlyHandshakeCredential: who has logged in by the request needs no
// message.
func TestEarlyHandshakeCredential(t *testing.T) {
	t.Parallel()
	forEachPeerVersion(t, siteOptions{directives: earlyLines}, nil, func(t *testing.T, s *peerSite, version string) {
		c := s.open(t, version, "/", s.bearer(time.Now().Add(time.Hour)))
		p := s.socket(t)
		if user := p.header.Get("X-User"); user != "alice" {
			t.Errorf("the application was told %q", user)
		}
		p.says(t, "hello")
		c.hears(t, "hello")
		c.says(t, "hello")
		p.hears(t, "hello")
	})
}

// TestEarlyUpstreamRefuses: the client has its answer from the application
// then, as without a login by message.
func TestEarlyUpstreamRefuses(t *testing.T) {
	t.Parallel()
	o := siteOptions{directives: earlyLines}
	forEachPeerVersion(t, o, func(a *peerApp) { a.refuse = http.StatusForbidden },
		func(t *testing.T, s *peerSite, version string) {
			if _, answer := s.handshake(t, version, "/", noHeader); answer.StatusCode != http.StatusForbidden {
				t.Errorf("answered %s, want 403", answer.Status)
			}
		})
}

// TestEarlyHoldFull: an application that says more before the login than is
// held ends the socket; it does not fill memory.
func TestEarlyHoldFull(t *testing.T) {
	t.Parallel()
	s := startPeerSite(t, siteOptions{directives: earlyLines}, nil)
	c := s.open(t, h1, "/", noHeader)
	p := s.socket(t)
	go func() {
		for range 100 {
			_ = p.send(`{"type":"secret"}`)
		}
	}()
	if heard := c.beforeClose(t, closeTimeout); len(heard) > 1 {
		t.Errorf("the client was told %q", heard)
	}
	s.logsReason(t, "hold_full")
}
