package dialect

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

// Transcripts lie in testdata/wire, one file for each dialect. A line is an
// instruction, a message, or what is expected of the line above it; white
// space in front of it is free. Empty lines and lines that begin with # are
// comments. <hh> stands for the byte with these two hexadecimal digits.
//
//	== <name>              a case: a fresh speaker in state pending
//	config <JSON>          configuration from here on in this case; default {}
//	opening [early] [every] [subprotocol=<text>] [query=<text>]
//	state pending|open|suspended
//
//	C> <text>              a text message of the client's; C# <hex> a binary one
//	S> <text>              a text message of the application's; S# <hex> a binary one
//	= <kind> [credential <text>] whole|nothing
//	= <kind> [credential <text>] goes <text>      goes# <hex> for a binary one
//	                       what it is taken apart into, one line for each part, in order.
//	                       <kind>: data, harmless, keepalive (which may end the line), login.
//	                       Without credential it is empty; a credential has no spaces
//	client> <text>         what the part above has the gate say; client#, app>, app#
//	! ambiguous|protocol   instead of parts: the error
//
//	say <event> [in=<seconds>] [reason=<word>] [subject=<text>] [session=<text>]
//	                       what the gate says unasked. in is until the credential ends
//	answer <event> ...     the same in answer to the last login
//	client> <text>         each message of it, in order; none is silence
//	code <number>          its close code; none is the gate's own
//
//	idle yes|no            what Idle tells
//	F> <text>              bytes that went to the client, for a Follower; F# <hex>
//	border yes|no          what AtBorder tells
type transcript struct {
	make    func(t *testing.T, config string) Dialect
	config  string
	opening Opening
	state   State

	speaker Speaker
	context any // of the last login
	// What the lines below are compared with.
	parts    []Part
	part     int // lines of parts seen
	err      error
	toClient []proxy.Message
	toApp    []proxy.Message
	code     proxy.CloseCode
	pending  string // the line whose outcome has not been compared to the end
}

// fromConfig makes a dialect from a configuration in JSON, whose members are
// the fields of C.
func fromConfig[C any](construct func(C) (Dialect, error)) func(*testing.T, string) Dialect {
	return func(t *testing.T, config string) Dialect {
		t.Helper()
		dec := json.NewDecoder(strings.NewReader(config))
		dec.DisallowUnknownFields()
		var c C
		if err := dec.Decode(&c); err != nil {
			t.Fatalf("config: %v", err)
		}
		d, err := construct(c)
		if err != nil {
			t.Fatalf("config: %v", err)
		}
		return d
	}
}

// runTranscript runs the cases of testdata/wire/<name>.txt, each as a test of
// its own.
func runTranscript(t *testing.T, name string, construct func(t *testing.T, config string) Dialect) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "testdata", "wire", name+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	_, cases, ok := strings.Cut("\n"+string(data), "\n== ")
	if !ok {
		t.Fatal("no case")
	}
	line := 1 + strings.Count(string(data[:len(data)-len(cases)]), "\n")
	for text := range strings.SplitSeq(cases, "\n== ") {
		title, lines, _ := strings.Cut(text, "\n")
		first := line + 1
		t.Run(strings.TrimSpace(title), func(t *testing.T) {
			tr := &transcript{make: construct, config: "{}"}
			for i, l := range strings.Split(lines, "\n") {
				if err := tr.line(t, strings.TrimSpace(l)); err != nil {
					t.Fatalf("%s.txt:%d: %s: %v", name, first+i, l, err)
				}
			}
			if err := tr.settled(); err != nil {
				t.Fatalf("%s.txt: at the end: %v", name, err)
			}
		})
		line += 1 + strings.Count(text, "\n")
	}
}

// line runs one line.
func (tr *transcript) line(t *testing.T, line string) error {
	t.Helper()
	word, rest, _ := strings.Cut(line, " ")
	switch word {
	case "", "#":
		return nil
	case "=", "!", "client>", "client#", "app>", "app#", "code":
		return tr.expect(word, rest)
	}
	if strings.HasPrefix(word, "#") {
		return nil
	}
	if err := tr.settled(); err != nil {
		return err
	}
	return tr.act(t, word, rest)
}

// act runs an instruction or message.
func (tr *transcript) act(t *testing.T, word, rest string) error {
	t.Helper()
	switch word {
	case "config":
		tr.config, tr.speaker = rest, nil
		return nil
	case "opening":
		tr.speaker = nil
		return tr.open(rest)
	case "state":
		s, ok := map[string]State{"pending": Pending, "open": Open, "suspended": Suspended}[rest]
		if !ok {
			return errors.New("unknown state")
		}
		tr.state = s
		return nil
	}
	if tr.speaker == nil {
		tr.speaker = tr.make(t, tr.config).Start(tr.opening)
	}
	switch word {
	case "C>", "C#", "S>", "S#":
		return tr.take(word, rest)
	case "say", "answer":
		return tr.say(word, rest)
	case "idle":
		return yesNo(rest, tr.speaker.Idle())
	case "F>", "F#", "border":
		return tr.follow(word, rest)
	}
	return errors.New("unknown word")
}

// open reads the words of the handshake.
func (tr *transcript) open(rest string) error {
	tr.opening = Opening{}
	for word := range strings.FieldsSeq(rest) {
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "early":
			tr.opening.Early = true
		case "every":
			tr.opening.Every = true
		case "subprotocol":
			tr.opening.Subprotocol = value
		case "query":
			tr.opening.Query = value
		default:
			return fmt.Errorf("unknown word %q", word)
		}
	}
	return nil
}

// take has the speaker take a message apart. The message's bytes are
// overwritten afterwards: what was returned may not share them.
func (tr *transcript) take(word, rest string) error {
	m, err := message(word, rest)
	if err != nil {
		return err
	}
	given := proxy.Message{Binary: m.Binary, Data: bytes.Clone(m.Data)}
	if word[0] == 'C' {
		tr.parts, tr.err = tr.speaker.Client(tr.state, given)
	} else {
		tr.parts, tr.err = tr.speaker.App(tr.state, given)
	}
	if !bytes.Equal(given.Data, m.Data) {
		return errors.New("the speaker has changed the message")
	}
	for i := range given.Data {
		given.Data[i] = '!'
	}
	for _, p := range tr.parts {
		if p.Whole && len(tr.parts) > 1 {
			return errors.New("one of several parts is the whole message")
		}
		if p.Kind == Login {
			tr.context = p.Context
		}
	}
	tr.part, tr.pending = 0, word+" "+rest
	return nil
}

// events by their names in transcripts.
var events = map[string]Event{
	"opened": Opened, "accepted": Accepted, "renewed": Renewed, "prompt": Prompt, "suspend": Suspend,
	"not_renewed": NotRenewed, "refused": Refused, "forbidden": Forbidden, "expired": Expired,
	"revoked": Revoked, "timeout": Timeout, "unavailable": Unavailable, "stop": Stop, "failed": Failed,
}

// say has the speaker say something.
func (tr *transcript) say(word, rest string) error {
	name, rest, _ := strings.Cut(rest, " ")
	e, ok := events[name]
	if !ok {
		return errors.New("unknown event")
	}
	f := Facts{Now: time.Unix(1_700_000_000, 0)}
	if word == "answer" {
		f.Context = tr.context
	}
	for field := range strings.FieldsSeq(rest) {
		name, value, _ := strings.Cut(field, "=")
		switch name {
		case "in":
			seconds, err := strconv.Atoi(value)
			if err != nil {
				return err
			}
			f.ExpiresAt = f.Now.Add(time.Duration(seconds) * time.Second)
		case "reason":
			f.Reason = value
		case "subject":
			f.Subject = value
		case "session":
			f.Session = value
		default:
			return fmt.Errorf("unknown fact %q", field)
		}
	}
	words := tr.speaker.Say(e, f)
	tr.toClient, tr.toApp, tr.code, tr.pending = words.Messages, nil, words.Code, word+" "+name
	return nil
}

// follow gives a Follower bytes, or asks it.
func (tr *transcript) follow(word, rest string) error {
	f, ok := tr.speaker.(Follower)
	if !ok {
		return errors.New("the speaker is no Follower")
	}
	if word == "border" {
		return yesNo(rest, f.AtBorder())
	}
	m, err := message(word, rest)
	f.Follow(m.Data)
	return err
}
