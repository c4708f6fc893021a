package messages

import (
	"strings"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// stages brings sockets to each of the states they can be in, and returns them
// by its name.
func stages(t testing.TB, s *rig.PeerSite, version string) map[string]*rig.Conn {
	t.Helper()
	suspended, p := s.Suspended(t, version)
	suspended.Says(t, "held in")
	p.Says(t, "held out")
	suspended.Pings(t, "so that it is held")
	open := s.Open(t, version, "/", rig.NoHeader)
	s.LogsIn(t, open)
	s.Socket(t)
	begun := s.Open(t, version, "/", rig.NoHeader)
	if err := begun.WriteRaw(rig.ClientFrame(rig.OpText, []byte(`{"type":"auth",`))); err != nil {
		t.Fatal(err)
	}
	begun.Pings(t, "so that it has been read")
	return map[string]*rig.Conn{
		"suspended": suspended, "open": open, "login begun": begun,
		"pending": s.Open(t, version, "/", rig.NoHeader),
	}
}

// TestMessageStop: when Caddy stops, every client gets a close frame, in
// whatever state its socket is, and the process is gone soon.
func TestMessageStop(t *testing.T) {
	t.Parallel()
	rig.TryEachPeerVersion(t, rig.Renewing("warn 0s"), nil, func(t testing.TB, s *rig.PeerSite, version string) {
		lag := rig.MeasureLag(t)
		conns := stages(t, s, version)
		start := time.Now()
		if err := s.Terminate(); err != nil {
			t.Fatal(err)
		}
		for name, c := range conns {
			texts, end := c.Last(t, rig.Patience)
			if end.Code != rig.CloseGoingAway || len(texts) != 0 {
				t.Errorf("%s: %v after %q, want 1001 alone", name, end, texts)
			}
			lag.InTime(t, "close frame", start, time.Now(), 5*time.Second)
		}
		s.CloseAll()
		rig.Receive(t, "end of the process", s.Done, rig.Patience)
	})
}

// TestMessageReload: sockets in any state live through a reload, and go on
// under the rules that they were opened under.
func TestMessageReload(t *testing.T) {
	t.Parallel()
	o := rig.Renewing("warn 0s")
	rig.ForEachPeerVersion(t, o, nil, func(t *testing.T, s *rig.PeerSite, version string) {
		conns := stages(t, s, version)
		stricter := o
		stricter.Directives = strings.Replace(o.Directives, "from first_message", "require claim role admin", 1)
		s.MustReload(t, stricter)
		s.LogsIn(t, conns["pending"])
		s.Socket(t)
		token := s.Issuer.Token()
		if err := conns["login begun"].WriteRaw(rig.ClientFrame(0x80|rig.OpContinuation, []byte(`"token":"`+token+`"}`))); err != nil {
			t.Fatal(err)
		}
		conns["login begun"].Accepted(t, time.Now().Add(time.Hour))
		s.Socket(t).Says(t, "hello")
		conns["login begun"].Hears(t, "hello")
		s.LogsIn(t, conns["suspended"])
		conns["suspended"].Hears(t, "held out")
		conns["open"].Pings(t, "alive")
	})
}

// TestMessageReloadNoDelay: without stream_close_delay Caddy closes the sockets
// that have an application at a reload; those that wait for a login have none.
func TestMessageReloadNoDelay(t *testing.T) {
	t.Parallel()
	o := rig.Renewing("warn 0s")
	o.Proxy = "stream_close_delay 0\nheader_up X-Session {http.websocket_auth.session}"
	rig.ForEachPeerVersion(t, o, nil, func(t *testing.T, s *rig.PeerSite, version string) {
		conns := stages(t, s, version)
		again := o
		again.Directives += "\npending 500"
		s.MustReload(t, again)
		for _, name := range []string{"suspended", "open"} {
			if texts, end := conns[name].Last(t, rig.Patience); end.Code != rig.CloseGoingAway || len(texts) != 0 {
				t.Errorf("%s: %v after %q, want 1001 alone", name, end, texts)
			}
		}
		s.LogsIn(t, conns["pending"])
		s.Socket(t)
	})
}

// TestMessagesLeaveNothing: however a socket ends whose messages are read,
// nothing of it is left.
func TestMessagesLeaveNothing(t *testing.T) {
	t.Parallel()
	o := rig.Renewing("warn 0s\ngrace 10s\nhold 10 64KiB")
	for _, version := range rig.AllVersions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			s := rig.StartSite(t, o)
			before := s.Footprint(t, version)
			short := s.Bearer(rig.Soon(6 * time.Second))
			const n = 20
			pending := rig.OpenMany(t, s, version, "/echo", rig.NoHeader, n, 1)
			suspended := rig.OpenMany(t, s, version, "/echo", short, 3*n, 1)
			for i, c := range pending {
				switch i % 4 {
				case 0:
					c.Vanish()
				case 1:
					c.Says(t, "no login")
				case 2:
					c.Says(t, rig.Login(s.Issuer.Token()))
					c.Accepted(t, time.Now().Add(time.Hour))
					// Go keeps a connection to the application for others whose
					// request ends while it is being made.
					c.Says(t, "hello")
					c.Hears(t, "hello")
					c.Vanish()
				}
			}
			for i, c := range suspended {
				c.HearsWord(t, "auth_expired")
				switch i % 3 {
				case 0:
					_ = c.Write(rig.OpText, []byte("held"))
					c.Vanish()
				case 1:
					for range 20 { // more than are held
						_ = c.Write(rig.OpText, []byte("held"))
					}
				}
			}
			for i, c := range suspended {
				if i%3 == 2 {
					c.IsRefused(t, rig.CloseTimeout)
				}
			}
			s.CloseAll()
			s.NothingLeft(t, before)
		})
	}
}
