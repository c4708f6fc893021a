package dialect

import (
	"testing"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

// Whatever the first message is, it is the token and nothing else; after the
// login all is the application's.
func FuzzRaw(f *testing.F) {
	seedFuzz(f, "t1", " Bearer t1\r\n", "", "bearer ", "\x00", "two words")
	d, err := NewRaw(RawConfig{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, state byte, binary bool, data []byte) {
		checkSpeakers(t, state, proxy.Message{Binary: binary, Data: data}, d, Opening{})
	})
}
