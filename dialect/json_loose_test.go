package dialect

import (
	"errors"
	"testing"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

// TestJSONLoosely: an application that compares without types may take a
// message for a login that is none to the gate. It is refused if it carries a
// credential.
func TestJSONLoosely(t *testing.T) {
	t.Parallel()
	d, err := NewJSON(JSONConfig{Match: []Condition{{Pointer: "/op", Values: []string{"2", "auth", `"7"`}}}})
	if err != nil {
		t.Fatal(err)
	}
	for message, ambiguous := range map[string]bool{
		`{"op":"2","token":"t"}`:               true,
		`{"op":"2.0","token":"t"}`:             true,
		`{"op":[2],"token":"t"}`:               true,
		`{"op":["auth"],"token":"t"}`:          true,
		`{"op":7,"token":"t"}`:                 true,
		`{"op":"auth\u0000x","token":"t"}`:     true,
		`{"op":"2"}`:                           false,
		`{"op":3,"token":"t"}`:                 false,
		`{"op":"author","token":"t"}`:          false,
		`{"op":{"auth":"auth"},"token":"t"}`:   false,
		`{"type":["2","auth"],"token":"auth"}`: false,
	} {
		_, err := d.Start(Opening{}).Client(Open, proxy.Text(message))
		if errors.Is(err, ErrAmbiguous) != ambiguous {
			t.Errorf("%s: %v, want ambiguous: %v", message, err, ambiguous)
		}
	}
}
