package dialect

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

// The targets compare what the gate has verified with what decoders of
// applications find: for each dialect that reads JSON, in every state, with
// every pass. Decoders of other languages read the corpus in e2e.

func FuzzBelieveJSON(f *testing.F) {
	fuzzBelieved(f, "json", "json deep", "json with a renewal", "json with records")
}
func FuzzBelieveGraphQL(f *testing.F)       { fuzzBelieved(f, "graphql") }
func FuzzBelieveGraphQLLegacy(f *testing.F) { fuzzBelieved(f, "graphql_legacy") }
func FuzzBelievePhoenix(f *testing.F) {
	fuzzBelieved(f, "phoenix arrays", "phoenix objects", "phoenix renewal")
}

func FuzzBelieveActionCable(f *testing.F) {
	fuzzBelieved(f, "actioncable", "actioncable identifier", "actioncable data")
}
func FuzzBelieveHomeAssistant(f *testing.F) { fuzzBelieved(f, "home_assistant") }
func FuzzBelieveSocketIO(f *testing.F)      { fuzzBelieved(f, "socketio") }

// spokenBy is one dialect as configured, for the targets.
type spokenBy struct {
	believed
	pass     string
	dialect  Dialect
	protocol readProtocol
}

// believedConfig returns a configuration that reads what the seeds of all its
// kind hold: actioncable looks into the data, too.
func believedConfig(b believed) believed {
	if b.name == "actioncable" || b.name == "actioncable data" {
		b.dialect = func(pass string) (Dialect, error) {
			return NewActionCable(ActionCableConfig{Pass: pass, Credential: []string{"/token", "/data/token"}})
		}
	}
	return b
}

// protocolName is the name in protocols.json.
func (b believed) protocolName() string {
	switch name, _, _ := strings.Cut(b.name, " "); {
	case b.name == "actioncable identifier", name == "json":
		return b.name
	case name == "graphql_legacy":
		return "graphql"
	default:
		return name
	}
}

// believedSpeakers returns the dialects of the table with these names.
func believedSpeakers(t testing.TB, names ...string) (all []spokenBy) {
	t.Helper()
	protocols, err := readProtocols()
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range believedMessages {
		if !slices.Contains(names, b.name) {
			continue
		}
		b = believedConfig(b)
		for _, pass := range b.passes {
			d, err := b.dialect(pass)
			if err != nil {
				t.Fatal(err)
			}
			p, ok := protocols[b.protocolName()]
			if !ok {
				t.Fatalf("protocols.json has no %s", b.protocolName())
			}
			all = append(all, spokenBy{b, pass, d, p})
		}
	}
	return all
}

// seeds are the messages of the table in all disguises, and each beside a
// good credential.
func (b believed) seeds() (all []string) {
	message := fmt.Sprintf(b.message, forged)
	for _, as := range disguises {
		for _, text := range as.as(b, message) {
			if len(text) < 4<<10 && !slices.Contains(all, text) {
				all = append(all, text)
			}
		}
	}
	return all
}

// fuzzBelieved fuzzes the dialects of the table with these names.
func fuzzBelieved(f *testing.F, names ...string) {
	f.Helper()
	all := believedSpeakers(f, names...)
	for i, s := range all {
		for _, text := range s.seeds() {
			f.Add([]byte(text), uint8(i), uint8(Open))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, which, how uint8) {
		s := all[int(which)%len(all)]
		m := proxy.Message{Binary: how&4 != 0, Data: data}
		st := State(how % 3)
		before := bytes.Clone(data)
		parts, err := s.dialect.Start(s.opening).Client(st, m)
		if err != nil {
			return
		}
		if !bytes.Equal(before, data) {
			t.Fatalf("%s changed its message", s.name)
		}
		for _, one := range passages(st, parts, data) {
			if err := s.protocol.unverified(one); err != nil {
				t.Errorf("%s, pass %s, state %d, binary %v: %v", s.name, s.pass, st, m.Binary, err)
			}
		}
	})
}
