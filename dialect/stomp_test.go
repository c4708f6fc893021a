package dialect

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

const stompLoginFrame = "CONNECT\naccept-version:1.2\nAuthorization:Bearer e30.e30.sig\n\n\x00"

// loggedInSTOMP returns a speaker whose client has logged in.
func loggedInSTOMP(t *testing.T) Skipper {
	t.Helper()
	s := newDialect(t, NewSTOMP, STOMPConfig{}).Start(Opening{}).(Skipper)
	if _, err := s.Client(Pending, proxy.Text(stompLoginFrame)); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSTOMPTranscript(t *testing.T) {
	t.Parallel()
	runTranscript(t, "stomp", fromConfig(NewSTOMP))
}

func TestSTOMPConfig(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		config STOMPConfig
		wants  string // in the error
	}{
		{"default", STOMPConfig{}, ""},
		{"forward", STOMPConfig{Credential: []string{"X-Token", "passcode"}, Pass: "forward"}, ""},
		{"unknown pass", STOMPConfig{Pass: "consume"}, `pass "consume"`},
		{"empty name", STOMPConfig{Credential: []string{" "}}, "empty"},
		{"colon", STOMPConfig{Credential: []string{"Authorization:"}}, `"Authorization:"`},
		{"twice", STOMPConfig{Credential: []string{"token", "Token"}}, "twice"},
		{"no ASCII", STOMPConfig{Credential: []string{"to\u212aen"}}, "ASCII"},
		{"of the protocol", STOMPConfig{Credential: []string{"Host"}}, `"Host"`},
	} {
		d, err := NewSTOMP(tt.config)
		switch {
		case tt.wants != "":
			if err == nil || !strings.Contains(err.Error(), tt.wants) {
				t.Errorf("%s: NewSTOMP = %v, want an error with %q", tt.name, err, tt.wants)
			}
		case err != nil:
			t.Errorf("%s: NewSTOMP = %v", tt.name, err)
		default:
			if got := d.Traits(); !got.Login || got.Renew || got.Every || got.ServerFirst {
				t.Errorf("%s: Traits = %+v", tt.name, got)
			}
		}
	}
}

func TestSTOMPBorders(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, stream string
		wants        bool
	}{
		{"nothing", "", true},
		{"beats", "\n\r\n", true},
		{"frame", "MESSAGE\n\nhi\x00", true},
		{"frame with end of line", "MESSAGE\r\na:b\r\n\r\nhi\x00\r\n", true},
		{"begun", "MESSAGE\n", false},
		{"body begun", "MESSAGE\n\nhi\n", false},
		{"length with NUL in the body", "MESSAGE\ncontent-length:3\n\na\x00b\x00", true},
		{"the same, cut", "MESSAGE\ncontent-length:3\n\na\x00", false},
		{"the NUL is missing yet", "MESSAGE\ncontent-length:3\n\nabc", false},
		{"length with spaces", "MESSAGE\ncontent-length: 3 \r\n\na\x00b\x00", true},
		{"the first length counts", "MESSAGE\ncontent-length:1\ncontent-length:9\n\na\x00", true},
		{"length zero", "MESSAGE\ncontent-length:0\n\n\x00", true},
		{"long header", "MESSAGE\na:" + strings.Repeat("b", 1000) + "\n\n\x00", true},
		{"length of another name", "MESSAGE\nx-content-length:9\n\n\x00", true},
		// What cannot be followed must not be taken for a border.
		{"wrong length", "MESSAGE\ncontent-length:1\n\nabc\x00MESSAGE\n\n\x00", false},
		{"negative length", "MESSAGE\ncontent-length:-1\n\n\x00MESSAGE\n\n\x00", false},
		{"huge length", "MESSAGE\ncontent-length:99999999999999999999\n\n\x00", false},
		{"length in a long line", "MESSAGE\ncontent-length:3" + strings.Repeat(" ", 100) + "3\n\nabc\x00", false},
		{"NUL in a header", "MESSAGE\na:\x00\n\n\x00", false},
		{"NUL in the command", "MESS\x00AGE\n\n\x00", false},
	} {
		s := newDialect(t, NewSTOMP, STOMPConfig{}).Start(Opening{}).(Skipper)
		s.Follow([]byte(tt.stream))
		if got := s.AtBorder(); got != tt.wants {
			t.Errorf("%s: AtBorder = %v, want %v", tt.name, got, tt.wants)
		}
	}
}

func TestSTOMPSplits(t *testing.T) {
	t.Parallel()
	d := newDialect(t, NewSTOMP, STOMPConfig{Pass: "forward"})
	for _, binary := range []bool{false, true} {
		checkByByte(t, d, binary, []byte(stompLoginFrame), "e30.e30.sig")
		for _, stream := range stompStreams {
			checkSplits(t, d, binary, []byte(stream))
		}
	}
}

// stompStreams are streams of a client's.
var stompStreams = []string{
	"\n\r\n" + stompLoginFrame + "\nSEND\ncontent-length:3\n\na\x00b\x00\n\nSEND\n\nx\x00",
	"STOMP\r\ntoken:t\r\n\r\n\x00",
	"CONNECTED\n\n\x00", "CONN\x00", "CONNECT\x00", "CONNECT\ntoken\n\n\x00", "SEND\n\n\x00",
	"CONNECT\ntoken:a\ntoken:b\n\n\x00", "\x00\n", "\r",
}

func TestSTOMPLoginTooLong(t *testing.T) {
	t.Parallel()
	s := newDialect(t, NewSTOMP, STOMPConfig{}).Start(Opening{})
	m := proxy.Text("CONNECT\n")
	for sent := 0; ; sent += len(m.Data) {
		_, err := s.Client(Pending, m)
		if errors.Is(err, ErrProtocol) && sent > 0 {
			return
		}
		if err != nil || sent > 2*maxHeldUnit {
			t.Fatalf("after %d bytes: %v", sent, err)
		}
		m = proxy.Text("a:" + strings.Repeat("b", 4<<10) + "\n")
	}
}

func TestSTOMPLongSend(t *testing.T) {
	t.Parallel()
	s := loggedInSTOMP(t)
	streamEndless(t, s, false, []byte("SEND\ncontent-length:999999999\n\n"))
}

// No heart-beat of the gate's own may stand inside a frame, where it would be
// a part of the body.
func TestSTOMPBeats(t *testing.T) {
	t.Parallel()
	beat := proxy.Text("\n")
	for _, tt := range []struct {
		name, before, held string
		toApp              int
	}{
		{"between frames", "SEND\n\nx\x00", "", 1},
		{"a frame is held", "SEND\n\nx\x00", "SEND\n\ny\x00", 1},
		{"a frame that is held has begun only", "SEND\n\nx\x00", "SEND\ncontent-length:2\n\n\n", 0},
		{"the application has the beginning of a frame", "SEND\n\nx", "y\x00", 0},
	} {
		s := loggedInSTOMP(t)
		if _, err := s.Client(Open, proxy.Text(tt.before)); err != nil {
			t.Fatal(err)
		}
		s.Say(Suspend, Facts{})
		if _, err := s.Client(Suspended, proxy.Text(tt.held)); err != nil {
			t.Fatal(err)
		}
		parts, err := s.Client(Suspended, beat)
		if err != nil || len(parts) != 1 || len(parts[0].ToApp) != tt.toApp {
			t.Errorf("%s: Client = %+v, %v, want %d heart-beats for the application", tt.name, parts, err, tt.toApp)
		}
		parts, err = s.App(Suspended, beat)
		if err != nil || len(parts) != 1 || parts[0].Kind != KeepAlive || len(parts[0].ToClient) != 1 {
			t.Errorf("%s: App = %+v, %v", tt.name, parts, err)
		}
	}
}

// A frame that was torn once is whole after the gate has been open again.
func TestSTOMPBeatsAgain(t *testing.T) {
	t.Parallel()
	s := loggedInSTOMP(t)
	if _, err := s.Client(Open, proxy.Text("SEND\n\nx")); err != nil {
		t.Fatal(err)
	}
	s.Say(Suspend, Facts{})
	parts, err := s.Client(Suspended, proxy.Text("y\x00\n"))
	if err != nil || len(parts) != 2 || len(parts[1].ToApp) != 0 {
		t.Fatalf("Client = %+v, %v, want no heart-beat for the application", parts, err)
	}
	s.Say(Renewed, Facts{})
	s.Say(Suspend, Facts{})
	parts, err = s.Client(Suspended, proxy.Text("\n"))
	if err != nil || len(parts) != 1 || len(parts[0].ToApp) != 1 {
		t.Errorf("Client = %+v, %v, want a heart-beat for the application", parts, err)
	}
}

func TestSTOMPSkip(t *testing.T) {
	t.Parallel()
	s := newDialect(t, NewSTOMP, STOMPConfig{}).Start(Opening{}).(Skipper)
	if _, err := s.Client(Pending, proxy.Text("CONNECT\nto")); err != nil {
		t.Fatal(err)
	}
	if err := s.SkipClient(Open, []byte("ken:t\n\n\x00")); !errors.Is(err, ErrProtocol) {
		t.Errorf("SkipClient inside a login: %v, want ErrProtocol", err)
	}
	s = loggedInSTOMP(t)
	if err := s.SkipClient(Open, []byte("SEND\n\nbegun")); err != nil {
		t.Fatal(err)
	}
	parts, err := s.Client(Suspended, proxy.Text("\n\x00\n"))
	if err != nil || len(parts) != 2 || parts[0].Kind != Data || parts[1].Kind != KeepAlive {
		t.Errorf("Client after SkipClient = %+v, %v", parts, err)
	}
}

func FuzzSTOMP(f *testing.F) {
	for _, stream := range stompStreams {
		f.Add([]byte(stream), 3, false)
	}
	forward := newDialect(f, NewSTOMP, STOMPConfig{Pass: "forward"})
	strip := newDialect(f, NewSTOMP, STOMPConfig{})
	f.Fuzz(func(t *testing.T, data []byte, cut int, binary bool) {
		cut = int(uint(cut) % uint(len(data)+1))
		checkStream(t, forward, binary, data, cut)
		run := runStream(t, strip, Pending, binary, data)
		if run.verdict != "login" {
			return
		}
		again := runStream(t, forward, Pending, binary, bytes.TrimLeft(run.out, "\r\n"))
		if again.verdict != "login" || again.credential() != "" {
			t.Fatalf("%q without credential is %s %q: %q", data, again.verdict, again.logins, run.out)
		}
	})
}
