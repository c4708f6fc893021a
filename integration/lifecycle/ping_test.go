package lifecycle

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/internal/pace"
)

// TestPingFindsTheDead: a client that is gone without a word is found within
// the interval and the time-out, whatever state its socket is in, and nothing
// of it is left.
func TestPingFindsTheDead(t *testing.T) {
	t.Parallel()
	o := rig.SiteOptions{Directives: "from header\nfrom first_message {\nwithin 1m\n}\nping 1s 1s", Globals: "grace_period 2s"}
	rig.TryEachVersion(t, rig.AllVersions, o, func(t testing.TB, s *rig.Site, version string) {
		lag, start := rig.MeasureLag(t), time.Now()
		s.Open(t, version, "/sink", s.Of("alice")) // reads nothing, says nothing
		s.Open(t, version, "/sink", rig.NoHeader)  // and has not logged in
		end := s.App.End(t, rig.Patience)
		if end.Code != rig.CloseGoingAway {
			t.Errorf("the application's socket ended with %d (%v), want 1001", end.Code, end.Err)
		}
		lag.InTime(t, "end at the application", start.Add(1900*time.Millisecond), end.At, 6*time.Second)
		s.NoSocketLeft(t) // long before the time for a login is over
		// The log comes through a pipe.
		rig.Eventually(t, rig.Patience, func() string {
			if ends := s.Logs.Entries("socket ended"); len(ends) != 1 || ends[0]["cause"] != "client_silent" {
				return fmt.Sprintf("in the log: %v", ends)
			}
			return ""
		})
	})
}

// TestPingCloses: a client that is there after all, but does not answer pings,
// is told.
func TestPingCloses(t *testing.T) {
	t.Parallel()
	s := rig.StartSite(t, rig.SiteOptions{Directives: "ping 1s 1s"})
	c := s.Open(t, rig.H1, "/sink", s.Of("alice"))
	if f := c.MustRead(t); f.Opcode != rig.OpPing {
		t.Fatalf("opcode %#x, want a ping", f.Opcode)
	}
	c.Closes(t, rig.CloseTimeout)
}

// TestPingLeavesTheQuiet: a client that only answers pings lives on. Its
// application gets no ping and no message more than without, and answers to
// its own pings as ever.
func TestPingLeavesTheQuiet(t *testing.T) {
	t.Parallel()
	rig.ForEachPeerVersion(t, rig.SiteOptions{Directives: "ping 1s 30s"}, nil, func(t *testing.T, s *rig.PeerSite, version string) {
		c := s.Open(t, version, "/", s.Of("alice"))
		p := s.Socket(t)
		for range 4 {
			c.AnswersPing(t)
		}
		c.Says(t, "still here")
		p.Hears(t, "still here")
		if err := p.WriteControl(websocket.PingMessage, []byte("own"), time.Now().Add(rig.Patience)); err != nil {
			t.Fatal(err)
		}
		for text := ""; text != "own"; { // the answers to the gate's pass, too
			f := c.MustRead(t)
			if f.Opcode != rig.OpPing {
				t.Fatalf("the client got opcode %#x with %q, want a ping", f.Opcode, f.Payload)
			}
			if err := c.Write(rig.OpPong, f.Payload); err != nil {
				t.Fatal(err)
			}
			text = string(f.Payload)
		}
		for rig.Receive(t, "pong at the application", p.Pongs, rig.Patience) != "own" {
		}
	})
}

// TestPingIsNotForTalkers: who sends anything is not pinged.
func TestPingIsNotForTalkers(t *testing.T) {
	t.Parallel()
	pace.Try(t, talkerIsNotPinged)
}

func talkerIsNotPinged(t testing.TB) {
	s := rig.StartSite(t, rig.SiteOptions{Directives: "ping 1s 1s"})
	c := s.Open(t, rig.H1, "/echo", s.Of("alice"))
	every := time.NewTicker(200 * time.Millisecond)
	defer every.Stop()
	for n := range 20 {
		<-every.C
		text := fmt.Sprint("message ", n)
		c.Says(t, text)
		if f := c.MustRead(t); string(f.Payload) != text {
			t.Fatalf("opcode %#x with %q, want %q", f.Opcode, f.Payload, text)
		}
	}
}

// TestPingLeavesSlowReaders: a client that has a flood to read before it comes
// to a ping, and stops reading now and then, is not taken for dead, and misses
// nothing.
func TestPingLeavesSlowReaders(t *testing.T) {
	t.Parallel()
	pace.Try(t, slowReaderLives)
}

func slowReaderLives(t testing.TB) {
	s := rig.StartSite(t, rig.SiteOptions{Directives: "ping 1s 6s", Globals: "grace_period 2s"})
	c := s.Open(t, rig.H1, "/flood", s.Of("alice"))
	pause := time.NewTimer(3 * time.Second) // with the ping behind much else
	defer pause.Stop()
	<-pause.C
	stop := time.Now().Add(rig.Patience)
	every := time.NewTicker(10 * time.Millisecond)
	defer every.Stop()
	pings := 0
	// On a busy machine it may take a while until all before the ping is read.
	for n := uint64(0); pings < 2 && time.Now().Before(stop); {
		f, err := c.Read()
		switch end := (*rig.ClosedError)(nil); {
		case errors.As(err, &end):
			t.Fatalf("after %d messages and %d pings: %v", n, pings, end)
		case err != nil:
			t.Fatalf("after %d messages: %v", n, err)
		case f.Opcode == rig.OpPing:
			pings++
			if err := c.Write(rig.OpPong, f.Payload); err != nil {
				t.Fatal(err)
			}
			continue
		case string(f.Payload) != string(rig.Numbered(n)):
			t.Fatalf("message %d is another", n)
		}
		if n++; n%50 == 0 {
			<-every.C
		}
	}
	if pings == 0 {
		t.Error("never pinged: the test shows nothing")
	}
}
