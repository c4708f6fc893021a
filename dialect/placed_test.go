package dialect

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

func TestCheckPass(t *testing.T) {
	t.Parallel()
	if pass, err := checkPass("", passStrip, passForward, passStrip); pass != passStrip || err != nil {
		t.Errorf(`checkPass("") = %q, %v; want the preset`, pass, err)
	}
	if pass, err := checkPass(passForward, passStrip, passForward, passStrip); pass != passForward || err != nil {
		t.Errorf("checkPass(forward) = %q, %v", pass, err)
	}
	_, err := checkPass("drop", passStrip, passForward, passStrip)
	const want = `pass "drop" is not known here: write pass forward or pass strip`
	if err == nil || err.Error() != want {
		t.Errorf("checkPass(drop): %v, want %s", err, want)
	}
}

func TestMayHold(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		data string
		want bool
	}{
		{`{"type":"auth"}`, true},
		{`{"type":"\u0061uth"}`, true},
		{`{"type":"\nping"}`, false},
		{``, false},
	} {
		if got := mayHold(proxy.Text(row.data), "auth"); got != row.want {
			t.Errorf("mayHold(%s) = %v, want %v", row.data, got, row.want)
		}
	}
}

// configError is a configuration that is refused, and what its error says.
type configError struct {
	name string
	make func() (Dialect, error)
	want string
}

// checkConfigErrors checks that errors name the word, the value and the fix.
func checkConfigErrors(t *testing.T, rows []configError) {
	t.Helper()
	for _, row := range rows {
		d, err := row.make()
		if err == nil || d != nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, %v; want no dialect and the error %q", row.name, d, err, row.want)
		}
	}
}

// seedFuzz gives what real clients and applications say, and what attackers
// do, to the fuzz targets of the dialects of applications.
func seedFuzz(f *testing.F, messages ...string) {
	f.Helper()
	for _, m := range messages {
		for state := range byte(3) {
			f.Add(state, false, []byte(m))
		}
	}
	f.Add(byte(Pending), true, []byte{0})
	f.Add(byte(Suspended), true, []byte("\x02\x91\x06"))
}

// checkSpeakers has fresh speakers take m apart, from either side, and checks
// what holds for every message: parts reassemble to it if nothing is cut out;
// what was cut out is gone; nothing that is returned shares bytes with it; and
// answers are made without a panic.
func checkSpeakers(t *testing.T, state byte, m proxy.Message, d Dialect, o Opening) {
	t.Helper()
	s := State(state % 3)
	original := bytes.Clone(m.Data)
	speaker := d.Start(o)
	parts, err := speaker.Client(s, m)
	appParts, appErr := speaker.App(s, m)
	if !bytes.Equal(original, m.Data) {
		t.Fatal("the message was changed")
	}
	for i := range m.Data {
		m.Data[i] ^= 0xff
	}
	m.Data = original
	checkParts(t, m, appParts, appErr)
	checkParts(t, m, parts, err)
	for _, p := range parts {
		if p.Kind != Login {
			continue
		}
		for e := Opened; e <= Failed; e++ {
			speaker.Say(e, Facts{Context: p.Context})
		}
		if !p.Whole && !p.Nothing {
			checkCut(t, p.Message, d.Start(o))
		}
	}
	if slices.ContainsFunc(appParts, func(p Part) bool { return p.Kind == Login }) {
		t.Fatal("the application logs in")
	}
}

// checkParts checks that parts are the whole of m.
func checkParts(t *testing.T, m proxy.Message, parts []Part, err error) {
	t.Helper()
	if err != nil {
		if parts != nil || !errors.Is(err, ErrAmbiguous) && !errors.Is(err, ErrProtocol) {
			t.Fatalf("%v, %v", parts, err)
		}
		return
	}
	if len(parts) == 1 && (parts[0].Whole || parts[0].Kind == Login) {
		return
	}
	var all []byte
	for _, p := range parts {
		if p.Whole || p.Nothing || p.Kind == Login || p.Message.Binary != m.Binary {
			t.Fatalf("one of several parts: %s", describe(p))
		}
		all = append(all, p.Message.Data...)
	}
	if !bytes.Equal(all, m.Data) {
		t.Fatalf("the parts of %q are %q", m.Data, all)
	}
}

// checkCut checks that there is no credential left.
func checkCut(t *testing.T, m proxy.Message, speaker Speaker) {
	t.Helper()
	parts, err := speaker.Client(Open, m)
	if err != nil || len(parts) != 1 || parts[0].Kind == Login {
		t.Fatalf("after the credential was cut out, %q reads %v, %v", m.Data, parts, err)
	}
}
