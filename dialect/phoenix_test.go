package dialect

import (
	"testing"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

func TestPhoenixTranscript(t *testing.T) {
	t.Parallel()
	runTranscript(t, "phoenix", fromConfig(NewPhoenix))
}

func TestPhoenixConfig(t *testing.T) {
	t.Parallel()
	checkConfigErrors(t, []configError{
		{"pass", func() (Dialect, error) { return NewPhoenix(PhoenixConfig{Pass: "consume"}) }, `pass "consume" is not known here`},
		{"pointer", func() (Dialect, error) { return NewPhoenix(PhoenixConfig{Credential: []string{""}}) }, "credential: "},
	})
	d, err := NewPhoenix(PhoenixConfig{})
	if err != nil || !sameTraits(d.Traits(), Traits{Login: true, Renew: true, Fallback: true}) {
		t.Errorf("NewPhoenix: %v, %v", d, err)
	}
}

func FuzzPhoenix(f *testing.F) {
	seedFuzz(f, `["1","1","room:42","phx_join",{"token":"t1","x":1}]`, `[null,"2","phoenix","heartbeat",{}]`,
		`{"topic":"a","event":"phx_join","payload":{"access_token":"t1"},"ref":"1","join_ref":"1"}`,
		`["1","8","realtime:room","access_token",{"access_token":"t3"}]`, `[null,"3","phoenix","phx_reply",{}]`,
		`["1","1","a","phx_join",{"token":"t1","user_token":"t1"}]`, `["1","1","a","phx_join",{"token":1,"token":2}]`,
		`["1","1","a","phx_join",["token"]]`, `[[],{},"a","phx_join",{"token":"t"}]`, ` [1`)
	strip, err := NewPhoenix(PhoenixConfig{Pass: "strip"})
	if err != nil {
		f.Fatal(err)
	}
	forward, err := NewPhoenix(PhoenixConfig{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, state byte, binary bool, data []byte) {
		for _, d := range []Dialect{strip, forward} {
			checkSpeakers(t, state, proxy.Message{Binary: binary, Data: data}, d, Opening{})
		}
	})
}
