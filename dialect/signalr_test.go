package dialect

import (
	"testing"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

func TestSignalRTranscript(t *testing.T) {
	t.Parallel()
	runTranscript(t, "signalr", fromConfig(NewSignalR))
}

func TestSignalRTraits(t *testing.T) {
	t.Parallel()
	d, err := NewSignalR(SignalRConfig{})
	if err != nil || !sameTraits(d.Traits(), Traits{Fallback: true}) {
		t.Errorf("NewSignalR: %v, %v", d, err)
	}
}

func FuzzSignalR(f *testing.F) {
	seedFuzz(f, "{\"protocol\":\"json\",\"version\":1}\x1e", "{\"protocol\":\"messagepack\",\"version\":1}\x1e",
		"{\"type\":6}\x1e", "{\"type\":1}\x1e{ \"type\" : 6 }\x1e{\"type\":7}\x1e", "\x1e\x1e", "\x03\x92\x06\xc0\x02\x91\x06", "\xff\xff\xff\xff\x0f")
	d, err := NewSignalR(SignalRConfig{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, state byte, binary bool, data []byte) {
		checkSpeakers(t, state, proxy.Message{Binary: binary, Data: data}, d, Opening{})
	})
}
