package integration

import (
	"strings"
	"testing"
	"time"
)

// stages brings sockets to each of the states they can be in, and returns them
// by its name.
func (s *peerSite) stages(t testing.TB, version string) map[string]*wsConn {
	t.Helper()
	suspended, p := s.suspended(t, version)
	suspended.says(t, "held in")
	p.says(t, "held out")
	suspended.pings(t, "so that it is held")
	open := s.open(t, version, "/", noHeader)
	s.logsIn(t, open)
	s.socket(t)
	begun := s.open(t, version, "/", noHeader)
	if err := begun.writeRaw(clientFrame(opText, []byte(`{"type":"auth",`))); err != nil {
		t.Fatal(err)
	}
	begun.pings(t, "so that it has been read")
	return map[string]*wsConn{
		"suspended": suspended, "open": open, "login begun": begun,
		"pending": s.open(t, version, "/", noHeader),
	}
}

// TestMessageStop: when Caddy stops, every client gets a close frame, in
// whatever state its socket is, and the process is gone soon.
func TestMessageStop(t *testing.T) {
	t.Parallel()
	tryEachPeerVersion(t, renewing("warn 0s"), nil, func(t testing.TB, s *peerSite, version string) {
		lag := measureLag(t)
		conns := s.stages(t, version)
		start := time.Now()
		if err := s.terminate(); err != nil {
			t.Fatal(err)
		}
		for name, c := range conns {
			texts, end := c.last(t, patience)
			if end.code != closeGoingAway || len(texts) != 0 {
				t.Errorf("%s: %v after %q, want 1001 alone", name, end, texts)
			}
			lag.inTime(t, "close frame", start, time.Now(), 5*time.Second)
		}
		s.closeAll()
		receive(t, "end of the process", s.done, patience)
	})
}

// TestMessageReload: sockets in any state live through a reload, and go on
// under the rules that they were opened under.
func TestMessageReload(t *testing.T) {
	t.Parallel()
	o := renewing("warn 0s")
	forEachPeerVersion(t, o, nil, func(t *testing.T, s *peerSite, version string) {
		conns := s.stages(t, version)
		stricter := o
		stricter.directives = strings.Replace(o.directives, "from first_message", "require claim role admin", 1)
		s.mustReload(t, stricter)
		s.logsIn(t, conns["pending"])
		s.socket(t)
		token := s.issuer.token()
		if err := conns["login begun"].writeRaw(clientFrame(0x80|opContinuation, []byte(`"token":"`+token+`"}`))); err != nil {
			t.Fatal(err)
		}
		conns["login begun"].accepted(t, time.Now().Add(time.Hour))
		s.socket(t).says(t, "hello")
		conns["login begun"].hears(t, "hello")
		s.logsIn(t, conns["suspended"])
		conns["suspended"].hears(t, "held out")
		conns["open"].pings(t, "alive")
	})
}

// TestMessageReloadNoDelay: without stream_close_delay Caddy closes the sockets
// that have an application at a reload; those that wait for a login have none.
func TestMessageReloadNoDelay(t *testing.T) {
	t.Parallel()
	o := renewing("warn 0s")
	o.proxy = "stream_close_delay 0\nheader_up X-Session {http.websocket_auth.session}"
	forEachPeerVersion(t, o, nil, func(t *testing.T, s *peerSite, version string) {
		conns := s.stages(t, version)
		again := o
		again.directives += "\npending 500"
		s.mustReload(t, again)
		for _, name := range []string{"suspended", "open"} {
			if texts, end := conns[name].last(t, patience); end.code != closeGoingAway || len(texts) != 0 {
				t.Errorf("%s: %v after %q, want 1001 alone", name, end, texts)
			}
		}
		s.logsIn(t, conns["pending"])
		s.socket(t)
	})
}

// TestMessagesLeaveNothing: however a socket ends whose messages are read,
// nothing of it is left.
func TestMessagesLeaveNothing(t *testing.T) {
	t.Parallel()
	o := renewing("warn 0s\ngrace 10s\nhold 10 64KiB")
	for _, version := range allVersions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			s := startSite(t, o)
			before := s.footprint(t, version)
			short := s.bearer(soon(6 * time.Second))
			const n = 20
			pending := openMany(t, s, version, "/echo", noHeader, n, 1)
			suspended := openMany(t, s, version, "/echo", short, 3*n, 1)
			for i, c := range pending {
				switch i % 4 {
				case 0:
					c.vanish()
				case 1:
					c.says(t, "no login")
				case 2:
					c.says(t, login(s.issuer.token()))
					c.accepted(t, time.Now().Add(time.Hour))
					// Go keeps a connection to the application for others whose
					// request ends while it is being made.
					c.says(t, "hello")
					c.hears(t, "hello")
					c.vanish()
				}
			}
			for i, c := range suspended {
				c.hearsWord(t, "auth_expired")
				switch i % 3 {
				case 0:
					_ = c.write(opText, []byte("held"))
					c.vanish()
				case 1:
					for range 20 { // more than are held
						_ = c.write(opText, []byte("held"))
					}
				}
			}
			for i, c := range suspended {
				if i%3 == 2 {
					c.isRefused(t, closeTimeout)
				}
			}
			s.closeAll()
			s.nothingLeft(t, before)
		})
	}
}
