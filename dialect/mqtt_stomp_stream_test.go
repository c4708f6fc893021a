package dialect

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

// streamRun is what a speaker has made of some messages.
type streamRun struct {
	// verdict is the first thing that decides whether anybody may log in:
	// login, data or error.
	verdict string
	// logins are the credentials in order. failed: one message was refused.
	logins []string
	failed bool
	// out is all that went on, and held what is still kept.
	out, held []byte
	phase     phase
}

// runStream gives a fresh speaker the chunks as messages of the client's.
func runStream(t *testing.T, d Dialect, st State, binary bool, chunks ...[]byte) streamRun {
	t.Helper()
	s := d.Start(Opening{})
	var run streamRun
	for _, chunk := range chunks {
		m := proxy.Message{Binary: binary, Data: bytes.Clone(chunk)}
		parts, err := s.Client(st, m)
		if err != nil {
			if !errors.Is(err, ErrProtocol) && !errors.Is(err, ErrAmbiguous) {
				t.Fatalf("Client: an error of another kind: %v", err)
			}
			run.failed = true
			run.decide("error")
			break
		}
		for _, p := range parts {
			switch p.Kind { //nolint:exhaustive // the others are whole
			case Login:
				run.logins = append(run.logins, p.Credential)
				run.decide("login")
			case Data:
				run.decide("data")
			}
			run.out = append(run.out, goesOn(t, p, m, len(parts))...)
		}
	}
	in := intakeOf(s)
	run.held, run.phase = in.held, in.phase
	return run
}

// intakeOf returns what a speaker remembers of its stream.
func intakeOf(s Speaker) *intake {
	if s, ok := s.(*mqttSpeaker); ok {
		return &s.intake
	}
	return &s.(*stompSpeaker).intake
}

func (r *streamRun) decide(verdict string) {
	if r.verdict == "" {
		r.verdict = verdict
	}
}

// credential returns that of the first login.
func (r *streamRun) credential() string {
	if len(r.logins) == 0 {
		return ""
	}
	return r.logins[0]
}

// goesOn returns what goes on of a part of m.
func goesOn(t *testing.T, p Part, m proxy.Message, parts int) []byte {
	t.Helper()
	if !p.Whole {
		return p.Message.Data
	}
	if parts != 1 {
		t.Fatalf("one of %d parts is the whole message", parts)
	}
	return m.Data
}

// checkStream checks that data comes out as it went in, and is judged alike
// wherever it is cut into messages. d must pass credentials on. Where a message
// begins counts for STOMP alone, and there it only makes for more refusals.
func checkStream(t *testing.T, d Dialect, binary bool, data []byte, cut int) {
	t.Helper()
	_, exact := d.(*mqtt)
	for _, st := range []State{Pending, Open, Suspended} {
		whole := runStream(t, d, st, binary, data)
		first := runStream(t, d, st, binary, data[:cut], data[cut:])
		for _, run := range []streamRun{whole, first} {
			if got := append(bytes.Clone(run.out), run.held...); !run.failed && !bytes.Equal(got, data) {
				t.Fatalf("state %d, cut at %d: %x came out as %x", st, cut, data, got)
			}
		}
		if whole.phase == foreign || first.phase == foreign {
			continue
		}
		if whole.failed && !first.failed || exact && whole.failed != first.failed {
			t.Fatalf("state %d: %x is refused: %v, but %v when cut at %d", st, data, whole.failed, first.failed, cut)
		}
		if !first.failed && !slices.Equal(whole.logins, first.logins) {
			t.Fatalf("state %d: %x has logins %q, but %q when cut at %d", st, data, whole.logins, first.logins, cut)
		}
	}
	checkFollow(t, d, binary, data, cut)
}

// checkFollow checks the application's direction.
func checkFollow(t *testing.T, d Dialect, binary bool, data []byte, cut int) {
	t.Helper()
	one, two := d.Start(Opening{}).(Skipper), d.Start(Opening{}).(Skipper)
	one.Follow(data)
	two.Follow(data[:cut])
	two.Follow(data[cut:])
	if one.AtBorder() != two.AtBorder() {
		t.Fatalf("%x: AtBorder is %v, but %v when cut at %d", data, one.AtBorder(), two.AtBorder(), cut)
	}
	s := d.Start(Opening{}).(Skipper)
	s.Follow(data[:cut])
	m := proxy.Message{Binary: binary, Data: data[cut:]}
	parts, err := s.App(Suspended, m)
	if err != nil {
		t.Fatal(err)
	}
	var out []byte
	for _, p := range parts {
		out = append(out, goesOn(t, p, m, len(parts))...)
	}
	if !bytes.Equal(out, m.Data) {
		t.Fatalf("the application's %x came out as %x", m.Data, out)
	}
}

// checkSplits runs checkStream for all places where data can be cut.
func checkSplits(t *testing.T, d Dialect, binary bool, data []byte) {
	t.Helper()
	for cut := range len(data) + 1 {
		checkStream(t, d, binary, data, cut)
	}
}

// checkByByte checks that a login is found when it comes byte by byte, in
// whatever state.
func checkByByte(t *testing.T, d Dialect, binary bool, data []byte, credential string) {
	t.Helper()
	var chunks [][]byte
	for i := range data {
		chunks = append(chunks, data[i:i+1])
	}
	for _, st := range []State{Pending, Open, Suspended} {
		run := runStream(t, d, st, binary, chunks...)
		if run.verdict != "login" || run.credential() != credential || !bytes.Equal(run.out, data) {
			t.Errorf("state %d, byte by byte: %s %q, %x", st, run.verdict, run.logins, run.out)
		}
	}
}

// newDialect returns what construct makes of c.
func newDialect[C any](t testing.TB, construct func(C) (Dialect, error), c C) Dialect {
	t.Helper()
	d, err := construct(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// streamEndless checks that a unit of a hundred megabytes passes a socket that
// is open without being kept.
func streamEndless(t *testing.T, s Skipper, binary bool, begin []byte) {
	t.Helper()
	body := bytes.Repeat([]byte{'x'}, 1<<20)
	for i := range 101 {
		data := body
		if i == 0 {
			data = begin
		}
		parts, err := s.Client(Open, proxy.Message{Binary: binary, Data: data})
		if err != nil || len(parts) != 1 || !parts[0].Whole {
			t.Fatalf("message %d: %d parts, error %v", i, len(parts), err)
		}
		s.Follow(data)
	}
	if s.AtBorder() {
		t.Error("it stands at a border inside of a unit")
	}
}
