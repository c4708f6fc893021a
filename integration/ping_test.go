package integration

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/internal/pace"
)

// TestPingFindsTheDead: a client that is gone without a word is found within
// the interval and the time-out, whatever state its socket is in, and nothing
// of it is left.
func TestPingFindsTheDead(t *testing.T) {
	t.Parallel()
	o := siteOptions{directives: "from header\nfrom first_message {\nwithin 1m\n}\nping 1s 1s", globals: "grace_period 2s"}
	tryEachVersion(t, allVersions, o, func(t testing.TB, s *site, version string) {
		lag, start := measureLag(t), time.Now()
		s.open(t, version, "/sink", s.of("alice")) // reads nothing, says nothing
		s.open(t, version, "/sink", noHeader)      // and has not logged in
		end := s.app.end(t, patience)
		if end.code != closeGoingAway {
			t.Errorf("the application's socket ended with %d (%v), want 1001", end.code, end.err)
		}
		lag.inTime(t, "end at the application", start.Add(1900*time.Millisecond), end.at, 6*time.Second)
		s.noSocketLeft(t) // long before the time for a login is over
		// The log comes through a pipe.
		eventually(t, patience, func() string {
			if ends := s.logs.entries("socket ended"); len(ends) != 1 || ends[0]["cause"] != "client_silent" {
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
	s := startSite(t, siteOptions{directives: "ping 1s 1s"})
	c := s.open(t, h1, "/sink", s.of("alice"))
	if f := c.mustRead(t); f.opcode != opPing {
		t.Fatalf("opcode %#x, want a ping", f.opcode)
	}
	c.closes(t, closeTimeout)
}

// TestPingLeavesTheQuiet: a client that only answers pings lives on. Its
// application gets no ping and no message more than without, and answers to
// its own pings as ever.
func TestPingLeavesTheQuiet(t *testing.T) {
	t.Parallel()
	forEachPeerVersion(t, siteOptions{directives: "ping 1s 30s"}, nil, func(t *testing.T, s *peerSite, version string) {
		c := s.open(t, version, "/", s.of("alice"))
		p := s.socket(t)
		for range 4 {
			c.answersPing(t)
		}
		c.says(t, "still here")
		p.hears(t, "still here")
		if err := p.WriteControl(websocket.PingMessage, []byte("own"), time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		for text := ""; text != "own"; { // the answers to the gate's pass, too
			f := c.mustRead(t)
			if f.opcode != opPing {
				t.Fatalf("the client got opcode %#x with %q, want a ping", f.opcode, f.payload)
			}
			if err := c.write(opPong, f.payload); err != nil {
				t.Fatal(err)
			}
			text = string(f.payload)
		}
		for receive(t, "pong at the application", p.pongs, patience) != "own" {
		}
	})
}

// TestPingIsNotForTalkers: who sends anything is not pinged.
func TestPingIsNotForTalkers(t *testing.T) {
	t.Parallel()
	pace.Try(t, talkerIsNotPinged)
}

func talkerIsNotPinged(t testing.TB) {
	s := startSite(t, siteOptions{directives: "ping 1s 1s"})
	c := s.open(t, h1, "/echo", s.of("alice"))
	every := time.NewTicker(200 * time.Millisecond)
	defer every.Stop()
	for n := range 20 {
		<-every.C
		text := fmt.Sprint("message ", n)
		c.says(t, text)
		if f := c.mustRead(t); string(f.payload) != text {
			t.Fatalf("opcode %#x with %q, want %q", f.opcode, f.payload, text)
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
	s := startSite(t, siteOptions{directives: "ping 1s 6s", globals: "grace_period 2s"})
	c := s.open(t, h1, "/flood", s.of("alice"))
	pause := time.NewTimer(3 * time.Second) // with the ping behind much else
	defer pause.Stop()
	<-pause.C
	stop := time.Now().Add(patience)
	every := time.NewTicker(10 * time.Millisecond)
	defer every.Stop()
	pings := 0
	// On a busy machine it may take a while until all before the ping is read.
	for n := uint64(0); pings < 2 && time.Now().Before(stop); {
		f, err := c.read()
		switch end := (*closed)(nil); {
		case errors.As(err, &end):
			t.Fatalf("after %d messages and %d pings: %v", n, pings, end)
		case err != nil:
			t.Fatalf("after %d messages: %v", n, err)
		case f.opcode == opPing:
			pings++
			if err := c.write(opPong, f.payload); err != nil {
				t.Fatal(err)
			}
			continue
		case string(f.payload) != string(numbered(n)):
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
