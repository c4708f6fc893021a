package dialect

import (
	"testing"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

func TestHomeAssistantTranscript(t *testing.T) {
	t.Parallel()
	runTranscript(t, "home_assistant", fromConfig(NewHomeAssistant))
}

func TestHomeAssistantConfig(t *testing.T) {
	t.Parallel()
	checkConfigErrors(t, []configError{
		{"pass", func() (Dialect, error) { return NewHomeAssistant(HomeAssistantConfig{Pass: "drop"}) }, `pass "drop" is not known here: write pass forward or pass strip or pass consume`},
		{"version", func() (Dialect, error) { return NewHomeAssistant(HomeAssistantConfig{Version: `1","x":"`}) }, "is none: write one such as 2022.1.0"},
	})
	for pass, serverFirst := range map[string]bool{"": true, "forward": true, "strip": true, "consume": false} {
		d, err := NewHomeAssistant(HomeAssistantConfig{Pass: pass})
		if err != nil || !sameTraits(d.Traits(), Traits{Login: true, Renew: true, ServerFirst: serverFirst}) {
			t.Errorf("pass %q: %v, %v", pass, d, err)
		}
	}
}

func FuzzHomeAssistant(f *testing.F) {
	seedFuzz(f, `{"type":"auth_required","ha_version":"2026.1.0"}`, `{"type":"auth","access_token":"t1"}`,
		`{"type":"auth","x":1,"access_token":"t1"}`, `{"type":"auth","access_token":7}`, `{"id":19,"type":"ping"}`, `{"id":19,"type":"pong"}`,
		`{"type":"auth","access_token":"a","access_token":"b"}`, `{"type":"ping","type":"auth"}`, `[{"type":"auth"}]`)
	var dialects []Dialect
	for _, pass := range []string{"forward", "consume"} {
		d, err := NewHomeAssistant(HomeAssistantConfig{Pass: pass})
		if err != nil {
			f.Fatal(err)
		}
		dialects = append(dialects, d)
	}
	f.Fuzz(func(t *testing.T, state byte, binary bool, data []byte) {
		for _, d := range dialects {
			checkSpeakers(t, state, proxy.Message{Binary: binary, Data: data}, d, Opening{Early: true})
		}
	})
}
