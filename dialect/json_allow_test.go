package dialect

import (
	"testing"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

// TestJSONAllowIsPlain: what may come before the login is the same for
// applications that take a member's name in any case.
func TestJSONAllowIsPlain(t *testing.T) {
	t.Parallel()
	d, err := NewJSON(JSONConfig{Allow: []Condition{
		{Pointer: "/type", Values: []string{"ping"}},
		{Pointer: "/0/op", Values: []string{"beat"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	const refused Kind = -1
	for message, want := range map[string]Kind{
		`{"type":"ping"}`:                        Harmless,
		`{"type":"ping","Payload":{"Type":"x"}}`: Harmless,
		`[{"op":"beat"},{"Op":"x"}]`:             Harmless,
		`{"type":"ping","Type":"delete"}`:        refused,
		`{"TYPE":"delete","type":"ping"}`:        refused,
		`{"type":"ping","t\u0059pe":"delete"}`:   refused,
		`[{"op":"beat","oP":"delete"}]`:          Data,
		"\ufeff" + `{"type":"ping"}`:             refused,
		`{"type":"ping"}{"type":"delete"}`:       refused,
		`{"type":"ping"} ` + "\x00":              refused,
		`{"type":"ping",}`:                       refused,
		`{"type":"ping"/**/}`:                    refused,
		`{'type':"delete","type":"ping"}`:        refused,
		`{"type":["ping"]}`:                      Data,
		"{\"type\":\"ping\",\"\xff\":1}":         Data,
	} {
		parts, err := d.Start(Opening{Early: true}).Client(Pending, proxy.Text(message))
		if want == refused && err != nil {
			continue
		}
		if err != nil || len(parts) != 1 || parts[0].Kind != want {
			t.Errorf("%s: %+v, %v, want the kind %v", message, parts, err, want)
		}
	}
}
