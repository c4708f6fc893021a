package dialect

import (
	"bytes"
	"errors"
	"testing"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

// FuzzJSON has no message panic, or be taken apart into something else, under
// several configurations. A credential that is taken out is not there any more
// when what is left is read again.
func FuzzJSON(f *testing.F) {
	for _, seed := range []string{
		`{"type":"auth","token":"x"}`, "40{\"type\":\"auth\",\"token\":\"x\"}\x1ex\x1e", "\x1e\x1e", "", `[{"token":"x"}]`,
		`{"type":"auth","token":"x","token":"y"}`, `{"type":"\u0061uth","a":[{}],"token":"\ud800"}`, nest(40),
	} {
		f.Add([]byte(seed), uint8(0))
		f.Add([]byte(seed), uint8(7))
	}
	configs := []JSONConfig{
		{Pass: "forward"},
		{Pass: "strip"},
		{Pass: "forward", Separator: "\x1e", Allow: []Condition{{Pointer: "/type"}}},
		{Pass: "strip", Separator: "\x1e", Prefix: "40", Match: []Condition{{Pointer: "/0"}}, Credential: "/0/token"},
	}
	var dialects []Dialect
	for _, c := range configs {
		dialects = append(dialects, newJSON(f, c))
	}
	f.Fuzz(func(t *testing.T, data []byte, how uint8) {
		i := int(how) % len(configs)
		every, state := how&4 != 0, State(how>>3%3)
		s := dialects[i].Start(Opening{Every: every})
		m := proxy.Message{Binary: how&128 != 0, Data: data}
		parts, err := s.Client(state, m)
		if err != nil {
			if !errors.Is(err, ErrAmbiguous) && !errors.Is(err, ErrProtocol) || parts != nil {
				t.Fatalf("%q: %v, %v", data, parts, err)
			}
			return
		}
		if !every && configs[i].Pass == "forward" {
			checkWhole(t, m, parts)
		}
		for _, p := range parts {
			if p.Kind != Login || p.Whole || p.Nothing || !every && configs[i].Pass == "forward" {
				continue
			}
			again, err := s.Client(state, p.Message)
			if err != nil || len(again) != 1 || again[0].Credential != "" {
				t.Fatalf("%q is left in %q: %+v, %v", p.Credential, p.Message.Data, again, err)
			}
		}
		if app, err := s.App(state, m); err != nil {
			t.Fatalf("%q: %v", data, err)
		} else {
			checkWhole(t, m, app)
		}
	})
}

// checkWhole has the parts be the message.
func checkWhole(t *testing.T, m proxy.Message, parts []Part) {
	t.Helper()
	var joined []byte
	for _, p := range parts {
		switch {
		case p.Whole && len(parts) == 1:
			return
		case p.Whole, p.Nothing, p.Message.Binary != m.Binary:
			t.Fatalf("%q is taken apart into %+v", m.Data, parts)
		}
		joined = append(joined, p.Message.Data...)
	}
	if !bytes.Equal(joined, m.Data) {
		t.Fatalf("%q is taken apart into %q", m.Data, joined)
	}
}

// FuzzGraphQL does the same for both GraphQL protocols.
func FuzzGraphQL(f *testing.F) {
	for _, seed := range []string{
		`{"type":"connection_init","payload":{"token":"x","headers":{"Authorization":"Bearer x"}}}`,
		`{"type":"ping","payload":{}}`, `{"type":"pong"}`, `{"type":"ka"}`, `{"type":"ka","type":"ping"}`, `x`, `"`, `{"type":"connection_init`,
	} {
		f.Add([]byte(seed), uint8(0))
	}
	var dialects []Dialect
	for _, c := range []GraphQLConfig{{}, {Pass: "forward"}, {Legacy: true}, {Legacy: true, Pass: "forward"}} {
		d, err := NewGraphQL(c)
		if err != nil {
			f.Fatal(err)
		}
		dialects = append(dialects, d)
	}
	f.Fuzz(func(t *testing.T, data []byte, how uint8) {
		s := dialects[how%4].Start(Opening{})
		m := proxy.Message{Data: data}
		parts, err := s.Client(State(how>>2%3), m)
		if err != nil && !errors.Is(err, ErrAmbiguous) && !errors.Is(err, ErrProtocol) {
			t.Fatalf("%q: %v", data, err)
		}
		if err == nil && parts[0].Kind == Login && !parts[0].Whole {
			again, err := s.Client(Pending, parts[0].Message)
			if err != nil || again[0].Kind != Login || again[0].Credential != "" {
				t.Fatalf("%q is left in %q: %+v, %v", parts[0].Credential, parts[0].Message.Data, again, err)
			}
		} else if err == nil {
			checkWhole(t, m, parts)
		}
		if app, err := s.App(State(how>>2%3), m); err != nil {
			t.Fatalf("%q: %v", data, err)
		} else {
			checkWhole(t, m, app)
		}
	})
}
