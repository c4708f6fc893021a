package dialect

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

const (
	// stompHello logs in without a credential.
	stompHello = "CONNECT\naccept-version:1.2\n\n\x00"
	// stompForged logs in with a credential that nobody has verified.
	stompForged = "CONNECT\npasscode:forged\n\n\x00"
)

// stompRow is what follows the login on a socket that the request has logged
// in.
type stompRow struct {
	name, stream string
	passes       bool
}

// stompRows are what servers read alike, and what they do not.
var stompRows = []stompRow{
	{"SEND", "SEND\ndestination:/q\n\nhi\x00", true},
	{"SEND with a length", "SEND\ncontent-length:3\n\na\x00b\x00", true},
	{"SEND with a colon in a value", "SEND\na:b:c\n\n\x00", true},
	{"SEND with CRLF", "SEND\r\na:b\r\n\r\nhi\x00\r\n", true},
	{"SEND with names that are not ASCII", "SEND\na\u00e9a:b\n\n\x00", true},
	{"SEND with headers like a credential", "SEND\npasscode:x\n\n\x00", true},
	{"SUBSCRIBE", "SUBSCRIBE\nid:0\ndestination:/q\n\n\x00", true},
	{"UNSUBSCRIBE", "UNSUBSCRIBE\nid:0\n\n\x00", true},
	{"a transaction", "BEGIN\ntransaction:a\n\n\x00COMMIT\ntransaction:a\n\n\x00ABORT\ntransaction:a\n\n\x00", true},
	{"ACK and NACK", "ACK\nid:0\n\n\x00\nNACK\nid:0\ncontent-length:0\n\n\x00", true},
	{"DISCONNECT", "DISCONNECT\nreceipt:1\n\n\x00", true},
	{"heart-beats", "\n\r\n\n", true},
	{"a word in a body", "SEND\n\nCONNECT or STOMP\x00", true},

	{"CONNECT again", stompForged, false},
	{"STOMP", "STOMP\n\n\x00", false},
	{"CONNECT in small letters", "connect\npasscode:forged\n\n\x00", false},
	{"CONNECT behind a space", " CONNECT\npasscode:forged\n\n\x00", false},
	{"CONNECT behind a byte order mark", "\ufeffCONNECT\npasscode:forged\n\n\x00", false},
	{"CONNECT behind NUL", "\x00CONNECT\npasscode:forged\n\n\x00", false},
	{"CONNECT with a space behind", "CONNECT \npasscode:forged\n\n\x00", false},
	{"CONNECT with a carriage return inside", "CON\rNECT\npasscode:forged\n\n\x00", false},
	{"CONNECT that goes on", "CONNECTX\npasscode:forged\n\n\x00", false},
	{"some letters of CONNECT", "CxxxxxT\npasscode:forged\n\n\x00", false},
	{"a command that goes on", "SENDX\n\n\x00", false},
	{"a command in small letters", "send\n\n\x00", false},
	{"an unknown command", "PING\n\n\x00", false},
	{"a command of the server's", "CONNECTED\n\n\x00", false},
	{"MESSAGE", "MESSAGE\n\nhi\x00", false},
	{"RECEIPT", "RECEIPT\n\n\x00", false},
	{"ERROR", "ERROR\n\n\x00", false},
	{"no STOMP", "hello", false},
	{"SockJS", `["CONNECT\npasscode:forged\n\n\u0000"]`, false},
	{"a header without a colon", "SEND\nforged\ncontent-length:99\n\n\x00", false},
	{"a header without a name", "SEND\n:\ncontent-length:99\n\n\x00", false},
	{"a header of white space", "SEND\n \ncontent-length:99\n\n\x00", false},
	{"a name behind a space", "SEND\n a:b\n\n\x00", false},
	{"a name before a space", "SEND\na :b\n\n\x00", false},
	{"a name before a space that is not ASCII", "SEND\ncontent-length\u2003:9\n\n\x00", false},
	{"a carriage return in a name", "SEND\ncontent-\rlength:9\n\n\x00", false},
	{"a carriage return in a value", "SEND\na:\r9\n\n\x00", false},
	{"line ends of two kinds", "SEND\na:b\n\r\ncontent-length:99\n\n\x00", false},
	{"the same the other way round", "SEND\r\na:b\n\r\n\x00", false},
	{"NUL in a header", "SEND\na:\x00\n\n\x00", false},
	{"NUL in a command", "SE\x00ND\n\n\x00", false},
	{"a length twice", "SEND\ncontent-length:1\ncontent-length:9\n\na\x00", false},
	{"a length in other letters", "SEND\nContent-Length:1\n\na\x00", false},
	{"a length behind a space", "SEND\ncontent-length: 1\n\na\x00", false},
	{"a length before a space", "SEND\ncontent-length:1 \n\na\x00", false},
	{"a length with a sign", "SEND\ncontent-length:+1\n\na\x00", false},
	{"a negative length", "SEND\ncontent-length:-1\n\na\x00", false},
	{"a length with a zero in front", "SEND\ncontent-length:01\n\na\x00", false},
	{"a length in other digits", "SEND\ncontent-length:\u0661\n\na\x00", false},
	{"a length that is no int32", "SEND\ncontent-length:4294967297\n\na\x00", false},
	{"a length that is none", "SEND\ncontent-length:\n\na\x00", false},
	{"a length that is escaped", `SEND` + "\n" + `content-length:\c1` + "\n\na\x00", false},
	{"a length in a long line", "SEND\ncontent-length:1" + strings.Repeat(" ", 100) + "\n\na\x00", false},
	{"a length that is not the body's", "SEND\ncontent-length:1\n\nabc\x00", false},
	{"a body of another command", "SUBSCRIBE\n\nhi\x00", false},
	{"the same with a length", "SUBSCRIBE\ncontent-length:2\n\nhi\x00", false},
	{"a login behind NUL in a body", "SEND\ncontent-length:26\n\n\x00" + stompForged + "\x00", false},
	{"the same in small letters", "SEND\ncontent-length:26\n\n\x00" + strings.ToLower(stompForged) + "\x00", false},
	{"the same behind heart-beats", "SEND\ncontent-length:28\n\n\x00\r\n" + stompForged + "\x00", false},
}

// stompAttacks returns the streams of them that are refused, with a login in
// front.
func stompAttacks() []string {
	var streams []string
	for _, tt := range stompRows {
		if !tt.passes {
			streams = append(streams, stompHello+tt.stream)
		}
	}
	return streams
}

// What servers read in two ways behind the login is refused: a frame could end
// elsewhere for them, and a login that is hidden in it begin.
func TestSTOMPFramesAllowed(t *testing.T) {
	t.Parallel()
	d := newDialect(t, NewSTOMP, STOMPConfig{Pass: "forward"})
	for _, tt := range stompRows {
		frame := []byte(tt.stream)
		for how, chunks := range map[string][][]byte{
			"whole":          {[]byte(stompHello), frame},
			"with the login": {append([]byte(stompHello), frame...)},
			"behind SEND":    {[]byte(stompHello), append([]byte("SEND\n\nhi\x00"), frame...)},
			"in pieces":      append([][]byte{[]byte(stompHello)}, slices.Collect(slices.Chunk(frame, 2))...),
		} {
			for _, st := range []State{Open, Suspended} {
				for _, binary := range []bool{false, true} {
					if run := runStream(t, d, st, binary, chunks...); run.failed == tt.passes {
						t.Errorf("%s, %s, in state %d: refused is %v", tt.name, how, st, run.failed)
					}
				}
			}
		}
		s := loggedInSTOMP(t)
		if err := s.SkipClient(Open, frame); (err == nil) != tt.passes {
			t.Errorf("%s, too long to be read: %v", tt.name, err)
		}
	}
}

// A server that could not read the beginning of a frame goes on with the next
// message: no message within a frame may begin with a login, and none may be of
// another kind than the frame's first.
func TestSTOMPLoginWithinFrame(t *testing.T) {
	t.Parallel()
	begin := "SEND\na:\\t\ncontent-length:100000\n\n"
	for _, message := range []string{stompForged, "\n\n" + stompForged, "SEND\n\n\x00" + stompForged, "connect\npasscode:forged\n\n\x00", "STOMP\r\n\r\n\x00"} {
		for cut := range len(message) - 1 {
			s := loggedInSTOMP(t)
			passed, _ := converse(t, s, []proxy.Message{proxy.Text(begin), proxy.Text(message[:cut]), proxy.Text(message[cut:])})
			if len(passed) == 3 {
				t.Errorf("%q within a frame, cut at %d, passes", message, cut)
			}
			s = loggedInSTOMP(t)
			if _, err := s.Client(Open, proxy.Text(begin)); err != nil {
				t.Fatal(err)
			}
			err := s.SkipClient(Open, []byte(message[:cut]))
			if again := s.SkipClient(Open, []byte(message[cut:])); err == nil && again == nil {
				t.Errorf("%q within a frame, too long to be read, cut at %d, passes", message, cut)
			}
		}
	}
	passed, _ := converse(t, loggedInSTOMP(t), []proxy.Message{proxy.Text("DIS"), proxy.Text(stompForged)})
	if len(passed) != 1 {
		t.Error("a login in the middle of a command passes")
	}
	s := loggedInSTOMP(t)
	passed, _ = converse(t, s, []proxy.Message{proxy.Text(begin), {Binary: true, Data: []byte("x")}})
	if len(passed) != 1 {
		t.Errorf("a binary message within a frame of a text passes")
	}
}

// On a socket that the request has logged in, a login must be readable and its
// credential good.
func TestSTOMPLoginWhenOpen(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, frame, wants string // error, data, or login with the credential
	}{
		{"passcode", stompForged, "login forged"},
		{"STOMP", "STOMP\npasscode:forged\n\n\x00", "login forged"},
		{"CRLF", "CONNECT\r\npasscode:forged\r\n\r\n\x00", "login forged"},
		{"a name in other letters", "CONNECT\nAUTHORIZATION:Bearer forged\n\n\x00", "login forged"},
		{"a name with white space", "CONNECT\n passcode :forged\n\n\x00", "error"},
		{"an empty one beside it", "CONNECT\npasscode:\ntoken:forged\n\n\x00", "login forged"},
		{"none", stompHello, "data"},
		{"an empty one", "CONNECT\npasscode:\n\n\x00", "data"},
		{"white space", "CONNECT\npasscode: \n\n\x00", "data"},
		{"a user name alone", "CONNECT\nlogin:admin\n\n\x00", "data"},
		{"a scheme alone", "CONNECT\npasscode:Bearer \n\n\x00", "login Bearer"},
		{"two", "CONNECT\npasscode:a\ntoken:b\n\n\x00", "error"},
		{"the same twice", "CONNECT\npasscode:a\npasscode:a\n\n\x00", "error"},
		{"a scheme alone beside one", "CONNECT\npasscode:Bearer\ntoken:b\n\n\x00", "error"},
		{"an escape", "CONNECT\npasscode:a\\cb\n\n\x00", "error"},
		{"a name with an escape", "CONNECT\npasscode\\r:a\n\n\x00", "error"},
		{"a name that folds", "CONNECT\nto\u212aen:a\n\n\x00", "error"},
		{"a name with a control character", "CONNECT\n\x01passcode:a\n\n\x00", "error"},
		{"no colon", "CONNECT\npasscode\n\n\x00", "error"},
		{"line ends of two kinds", "CONNECT\n\r\npasscode:a\n\n\x00", "error"},
		{"a body", "CONNECT\n\npasscode:a\n\n\x00", "error"},
		{"a length", "CONNECT\ncontent-length:9\n\n\x00", "error"},
		{"small letters", "connect\npasscode:a\n\n\x00", "error"},
		{"a space in front", " CONNECT\npasscode:a\n\n\x00", "error"},
		{"a byte order mark", "\ufeffCONNECT\npasscode:a\n\n\x00", "error"},
		{"NUL in front", "\x00CONNECT\npasscode:a\n\n\x00", "error"},
		{"a command that goes on", "CONNECTX\npasscode:a\n\n\x00", "error"},
		{"another frame", "SEND\n\nhi\x00", "error"},
		{"a command of the server's", "ERROR\n\nhi\x00", "error"},
		{"SockJS", `["CONNECT\n\u0070asscode:a\n\n\u0000"]`, "error"},
		{"SockJS of one", ` "CONNECT\n\u0070asscode:a\n\n\u0000"`, "error"},
	} {
		d := newDialect(t, NewSTOMP, STOMPConfig{Pass: "forward"})
		for _, st := range []State{Open, Suspended} {
			for _, binary := range []bool{false, true} {
				run := runStream(t, d, st, binary, []byte(tt.frame))
				got := run.verdict
				if got == "login" {
					got += " " + run.credential()
				}
				if got != tt.wants {
					t.Errorf("%s in state %d: %s, want %s", tt.name, st, got, tt.wants)
				}
			}
		}
		if err := d.Start(Opening{}).(Skipper).SkipClient(Open, []byte(tt.frame)); !errors.Is(err, ErrProtocol) {
			t.Errorf("%s: too long to be read: %v", tt.name, err)
		}
	}
}

// What is no STOMP passes once somebody has logged in, but for the name of a
// header that may carry a credential.
func TestSTOMPForeign(t *testing.T) {
	t.Parallel()
	d := newDialect(t, NewSTOMP, STOMPConfig{})
	foreign := []string{"PING", "ping\n", "C", "Curious", "\x00\x01\x02", "{\"type\":\"ping\"}", "\xfc\x7f\x00\n", "ls -l\r\n\x1b[A"}
	for _, first := range foreign {
		var chunks [][]byte
		for _, other := range foreign {
			chunks = append(chunks, []byte(other))
		}
		chunks = append([][]byte{[]byte(first)}, append(chunks, nil, []byte("\n"))...)
		if first == "C" {
			chunks[1] = []byte("\n")
		}
		if run := runStream(t, d, Open, true, chunks...); run.failed {
			t.Errorf("%q is refused", first)
		}
		if run := runStream(t, d, Pending, true, []byte(first), []byte("x")); run.verdict != "data" {
			t.Errorf("%q before the login is %q, not data", first, run.verdict)
		}
	}
	for cut := range stompForged {
		for _, forged := range []string{stompForged, "CxxxxxxxPASSCODE\t:forged\n\n\x00", "x\rpass\rcode:forged"} {
			forged += strings.Repeat(" ", len(stompForged))
			messages := []proxy.Message{proxy.Text("PING"), proxy.Text(forged[:cut]), {Binary: true, Data: []byte("x")}, proxy.Text(forged[cut:])}
			if passed, _ := converse(t, d.Start(Opening{}), messages); len(passed) == len(messages) {
				t.Errorf("%q behind PING, cut at %d, passes", forged, cut)
			}
		}
	}
}

// The brokers of the fuzz test must believe what they are there to believe, or
// it could not fail.
func TestSTOMPBrokers(t *testing.T) {
	t.Parallel()
	for name, read := range stompBrokers([]string{"passcode"}) {
		stream := map[string]string{
			"one that begins anew with the next message": "SEND\na:\\t\n\n",
			"one that leaves carriage returns out":       "SEND\nx\n\x00\x00CON\rNECT\npass\rcode:forged\n\n\x00",
			"one that takes each message for a frame":    "SEND\n\n",
			"one that looks at some letters only":        "SEND\n \ncontent-length:9\n\n\x00CxxxxxT\npasscode:forged\n\n\x00",
			"one that splits at NUL":                     "SEND\n\n\x00 connect\nPassCode : forged\n\n\x00",
		}[name]
		found := read([]proxy.Message{proxy.Text(stompHello), proxy.Text(stream), proxy.Text(stompForged)})
		if !slices.Contains(found, "forged") {
			t.Errorf("%s finds %q", name, found)
		}
	}
}
