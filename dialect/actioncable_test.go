package dialect

import (
	"testing"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

func TestActionCableTranscript(t *testing.T) {
	t.Parallel()
	runTranscript(t, "actioncable", fromConfig(NewActionCable))
}

func TestActionCableConfig(t *testing.T) {
	t.Parallel()
	with := func(pass string, pointers ...string) func() (Dialect, error) {
		return func() (Dialect, error) {
			return NewActionCable(ActionCableConfig{Credential: pointers, Pass: pass})
		}
	}
	checkConfigErrors(t, []configError{
		{"pass", with("consume"), `pass "consume" is not known here`},
		{"pointer", with("", "token"), `credential: JSON pointer "token" does not begin with /`},
		{"the identifier is not to be changed", with("strip", "/identifier/token"), `/identifier/token stands in the identifier`},
		{"beside the identifier", with("", "/token", "/identifier/token"), `repeated in every command`},
	})
	for _, row := range []struct {
		name string
		make func() (Dialect, error)
		want Traits
	}{
		{"none", with(""), Traits{ServerFirst: true}},
		{"in subscribe", with("", "/identifier/token"), Traits{Login: true, Renew: true, ServerFirst: true}},
		{"in an action only", with("", "/data/token"), Traits{Renew: true, ServerFirst: true}},
	} {
		d, err := row.make()
		if err != nil || !sameTraits(d.Traits(), row.want) {
			t.Errorf("%s: %v, %v; want %v", row.name, d, err, row.want)
		}
	}
}

func FuzzActionCable(f *testing.F) {
	seedFuzz(f, `{"type":"welcome"}`, `{"type":"ping","message":1700000000}`, `{"command":"pong"}`,
		`{"command":"subscribe","token":"t1","identifier":"{\"channel\":\"a\"}"}`,
		`{"command":"subscribe","identifier":"{\"channel\":\"a\",\"token\":\"t1\"}"}`,
		`{"command":"message","identifier":"x","data":"{\"token\":\"t1\",\"a\":\"\\u00e9\"}"}`,
		`{"command":"subscribe","token":"a","token":"b"}`, `{"command":"message","data":"{\"token\":1,\"token\":2}"}`)
	strip, err := NewActionCable(ActionCableConfig{Credential: []string{"/token", "/data/token"}, Pass: "strip"})
	if err != nil {
		f.Fatal(err)
	}
	forward, err := NewActionCable(ActionCableConfig{Credential: []string{"/identifier/token", "/identifier/jwt"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, state byte, binary bool, data []byte) {
		for _, d := range []Dialect{strip, forward} {
			checkSpeakers(t, state, proxy.Message{Binary: binary, Data: data}, d, Opening{Early: true})
		}
	})
}
