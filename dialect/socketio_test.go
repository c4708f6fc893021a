package dialect

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

func TestSocketIOTranscript(t *testing.T) {
	t.Parallel()
	runTranscript(t, "socketio", fromConfig(NewSocketIO))
}

func TestSocketIOConfig(t *testing.T) {
	t.Parallel()
	checkConfigErrors(t, []configError{
		{"pass", func() (Dialect, error) { return NewSocketIO(SocketIOConfig{Pass: "consume"}) }, `pass "consume" is not known here: write pass forward or pass strip`},
		{"pointer", func() (Dialect, error) { return NewSocketIO(SocketIOConfig{Credential: []string{"token"}}) }, `credential: JSON pointer "token" does not begin with /`},
		{"element", func() (Dialect, error) { return NewSocketIO(SocketIOConfig{Credential: []string{"/list/0"}}) }, `"/list/0" ends in a number`},
	})
	want := Traits{Login: true, Renew: true, ServerFirst: true, Fallback: true}
	if d, err := NewSocketIO(SocketIOConfig{}); err != nil || d.Traits().Subprotocols != nil || !sameTraits(d.Traits(), want) {
		t.Errorf("NewSocketIO: %v, %v, want %v", d, err, want)
	}
}

// sameTraits compares all but the subprotocols.
func sameTraits(a, b Traits) bool {
	return a.Login == b.Login && a.Every == b.Every && a.Renew == b.Renew &&
		a.ServerFirst == b.ServerFirst && a.Fallback == b.Fallback
}

func TestSocketIOPolling(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name, pass, body   string
		credential, onward string
		found              bool
		err                error
	}{
		{"the login of a client that polls", "", `40{"token":"t1"}`, "t1", `40{}`, true, nil},
		{"forwarded", "forward", `40{"token":"t1"}`, "t1", `40{"token":"t1"}`, true, nil},
		{"with what follows", "", "40{\"token\":\"t1\"}\x1e42[\"a\",{\"token\":\"x\"}]\x1ebAQID", "t1", "40{}\x1e42[\"a\",{\"token\":\"x\"}]\x1ebAQID", true, nil},
		{"two namespaces", "", "40{\"token\":\"t1\"}\x1e40/admin,{\"token\":\"t1\",\"x\":1}", "t1", "40{}\x1e40/admin,{\"x\":1}", true, nil},
		{"two namespaces, one without", "", "40\x1e40/admin,{\"token\":\"t1\"}", "t1", "40\x1e40/admin,{}", true, nil},
		{"two credentials", "", "40{\"token\":\"t1\"}\x1e40/admin,{\"token\":\"t2\"}", "", "", false, ErrAmbiguous},
		{"a member twice", "", `40{"token":"t1","token":"t2"}`, "", "", false, ErrAmbiguous},
		{"no object", "", `40["t1"]`, "", "", false, ErrProtocol},
		{"the second is none", "", "40{\"token\":\"t1\"}\x1e401{}", "", "", false, ErrProtocol},
		{"white space is type 0", "", "4 {\"token\":\"t1\"}", "", "", false, ErrProtocol},
		{"no credential", "", `40{"x":1}`, "", `40{"x":1}`, false, nil},
		{"a pong", "", "3", "", "3", false, nil},
		{"empty", "", "", "", "", false, nil},
		{"JSONP", "", `d=40%7B%22token%22%3A%22t1%22%7D`, "", "", false, ErrProtocol},
		{"Engine.IO 3", "", `16:40{"token":"t1"}`, "", "", false, ErrProtocol},
		{"a digit of another script", "", "\u0664\u0660{\"token\":\"t1\"}", "", "", false, ErrProtocol},
		{"no type of Socket.IO's", "", "4", "", "", false, ErrProtocol},
		{"a type out of those of Socket.IO", "", `47{"token":"t1"}`, "", "", false, ErrProtocol},
		{"a type out of those of Engine.IO", "", "7", "", "", false, ErrProtocol},
		{"an empty packet", "", "\x1e3", "", "", false, ErrProtocol},
		{"another case of letters", "", `40{"token":"t1","Token":"t2"}`, "", "", false, ErrAmbiguous},
		{"binary is no login", "", "bNDB7InRva2VuIjoidDEifQ==", "", "bNDB7InRva2VuIjoidDEifQ==", false, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			d, err := NewSocketIO(SocketIOConfig{Pass: row.pass})
			if err != nil {
				t.Fatal(err)
			}
			credential, onward, found, err := d.(Poller).PollingLogin([]byte(row.body))
			if credential != row.credential || string(onward) != row.onward || found != row.found || !errors.Is(err, row.err) {
				t.Errorf("PollingLogin = %q, %q, %v, %v", credential, onward, found, err)
			}
		})
	}
}

// A namespace is the client's text and is said again in an answer: it must not
// be able to end there and begin something else.
func TestSocketIONamespaceStaysInItsPlace(t *testing.T) {
	t.Parallel()
	d, err := NewSocketIO(SocketIOConfig{})
	if err != nil {
		t.Fatal(err)
	}
	s := d.Start(Opening{Query: "EIO=4", Early: true})
	parts, err := s.Client(Pending, proxy.Text(`40/a"}{,{"token":"bad"}`))
	if err != nil || len(parts) != 1 || parts[0].Credential != "bad" {
		t.Fatalf("Client = %v, %v", parts, err)
	}
	words := s.Say(Refused, Facts{Context: parts[0].Context})
	const want = `44/a"}{,{"message":"unauthorized"}`
	if len(words.Messages) != 1 || string(words.Messages[0].Data) != want {
		t.Errorf("Say = %v, want %s", words.Messages, want)
	}
}

func FuzzSocketIO(f *testing.F) {
	seedFuzz(f, `0{"sid":"a"}`, "2probe", "3probe", "5", "6", "2", "3", "41", "1",
		`40`, `40/admin`, `40/admin,`, `40{"token":"t1"}`, `40/a,{ "x":1, "token":"t1" , "access_token":"t1"}`,
		`40{"token":null}`, `40{"token":{"token":1}}`, `40{"token":"a","token":"b"}`, `401{}`, `42["x",{"token":"y"}]`, `4 {"token":"t1"}`,
		"40{}\x1e40{\"token\":\"t1\"}")
	d, err := NewSocketIO(SocketIOConfig{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, state byte, binary bool, data []byte) {
		for _, query := range []string{"EIO=4", "EIO=3"} {
			checkSpeakers(t, state, proxy.Message{Binary: binary, Data: data}, d, Opening{Query: query, Early: true})
		}
		_, onward, found, err := d.(Poller).PollingLogin(data)
		switch {
		case err != nil:
		case !found && string(onward) != string(data):
			t.Fatalf("PollingLogin changes %q to %q", data, onward)
		case found:
			if _, _, again, err := d.(Poller).PollingLogin(onward); again || err != nil {
				t.Fatalf("a credential is left in %q: %v", onward, err)
			}
		}
	})
}

// TestSocketIOAttachments: what is attached to an event may be any bytes, and
// comes many times a second. None is taken for a login by chance.
func TestSocketIOAttachments(t *testing.T) {
	t.Parallel()
	d, err := NewSocketIO(SocketIOConfig{})
	if err != nil {
		t.Fatal(err)
	}
	s, random := d.Start(Opening{}), rand.New(rand.NewPCG(1, 2))
	for _, begin := range []string{"", "40", "40{", "40/", "40/a,{", "\x1e40{"} {
		taken := 0
		for range 1 << 18 {
			data := []byte(begin)
			for range 16 {
				data = binary.LittleEndian.AppendUint64(data, random.Uint64())
			}
			if _, err := s.Client(Open, proxy.Message{Binary: true, Data: data}); err != nil {
				taken++
			}
		}
		if limit := map[bool]int{true: 1, false: 1 << 13}[begin == ""]; taken > limit {
			t.Errorf("%d of %d attachments that begin with %q are taken for a login, want %d at most", taken, 1<<18, begin, limit)
		}
	}
}

// TestSocketIOManyPackets: what a message has many borders in is looked at once,
// or it would take minutes.
func TestSocketIOManyPackets(t *testing.T) {
	t.Parallel()
	d, err := NewSocketIO(SocketIOConfig{})
	if err != nil {
		t.Fatal(err)
	}
	for _, piece := range []string{"\x1e", "\x1e ", "\x1e40{\"a"} {
		data := bytes.Repeat([]byte(piece), 1<<20/len(piece))
		for _, binary := range []bool{false, true} {
			_, _ = d.Start(Opening{}).Client(Open, proxy.Message{Binary: binary, Data: data})
		}
	}
}
