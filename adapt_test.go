package websocketauth_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	websocketauth "github.com/caddy-websocket-auth/caddy-websocket-auth"
)

// adaptCase is one file of testdata/adapt: a Caddyfile, a line of dashes, and
// the JSON that becomes of it, or the text of the error.
type adaptCase struct{ name, caddyfile, want string }

// isError tells whether the Caddyfile must be refused.
func (c adaptCase) isError() bool { return !strings.HasPrefix(c.want, "{") }

func adaptCases(t *testing.T) []adaptCase {
	t.Helper()
	files, err := filepath.Glob("testdata/adapt/*.caddyfiletest")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in testdata/adapt: %v", err)
	}
	var cases []adaptCase
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		source := strings.ReplaceAll(string(text), "\r\n", "\n")
		source, want, found := strings.Cut(source, "\n----------\n")
		if !found {
			t.Fatalf("%s has no line of dashes", file)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".caddyfiletest")
		cases = append(cases, adaptCase{name, source + "\n", strings.TrimSpace(want)})
	}
	return cases
}

// TestAdapt compares what becomes of each Caddyfile, to the letter: the words
// of the errors are the interface.
func TestAdapt(t *testing.T) {
	t.Parallel()
	for _, tc := range adaptCases(t) {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			adapted, err := adapt(tc.caddyfile)
			if tc.isError() {
				if err == nil {
					t.Fatalf("adapted to\n%s\nwant the error\n%s", adapted, tc.want)
				}
				if err.Error() != tc.want {
					t.Errorf("error\n%v\nwant\n%s", err, tc.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got, want := indented(t, adapted), indented(t, []byte(tc.want)); got != want {
				t.Errorf("adapted to\n%s\nwant\n%s", got, want)
			}
			for _, handler := range handlersIn(t, adapted) {
				roundTrip(t, handler)
			}
		})
	}
}

func adapt(caddyfile string) ([]byte, error) {
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), map[string]any{"filename": "Caddyfile"})
	return adapted, err
}

func indented(t *testing.T, text []byte) string {
	t.Helper()
	var out bytes.Buffer
	if err := json.Indent(&out, text, "", "\t"); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return out.String()
}

// handlersIn returns the JSON of all handlers of ours, wherever they are.
func handlersIn(t *testing.T, text []byte) []json.RawMessage {
	t.Helper()
	var members map[string]json.RawMessage
	var elements []json.RawMessage
	var found []json.RawMessage
	switch {
	case json.Unmarshal(text, &members) == nil:
		if string(members["handler"]) == `"websocket_auth"` {
			return []json.RawMessage{text}
		}
		for _, member := range members {
			found = append(found, handlersIn(t, member)...)
		}
	case json.Unmarshal(text, &elements) == nil:
		for _, element := range elements {
			found = append(found, handlersIn(t, element)...)
		}
	}
	return found
}

// roundTrip checks that the handler knows every member of its JSON, and makes
// the same JSON again.
func roundTrip(t *testing.T, text json.RawMessage) {
	t.Helper()
	var members map[string]any
	if err := json.Unmarshal(text, &members); err != nil {
		t.Fatal(err)
	}
	delete(members, "handler")
	plain, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	var handler websocketauth.Handler
	if err := caddy.StrictUnmarshalJSON(plain, &handler); err != nil {
		t.Fatalf("%v in %s", err, plain)
	}
	again, err := json.Marshal(&handler)
	if err != nil {
		t.Fatal(err)
	}
	var back map[string]any
	if err := json.Unmarshal(again, &back); err != nil {
		t.Fatal(err)
	}
	sorted, err := json.Marshal(back)
	if err != nil {
		t.Fatal(err)
	}
	if string(sorted) != string(plain) {
		t.Errorf("the handler makes of %s\n%s", plain, sorted)
	}
}

// TestAdaptKnowsEveryWord checks that each subdirective is in a Caddyfile that
// is good, and in one that is not.
func TestAdaptKnowsEveryWord(t *testing.T) {
	t.Parallel()
	var good, bad strings.Builder
	for _, tc := range adaptCases(t) {
		if tc.isError() {
			bad.WriteString(tc.caddyfile)
		} else {
			good.WriteString(tc.caddyfile)
		}
	}
	words := 0
	for _, file := range []string{"caddyfile.go", "verifier_jwt_caddyfile.go"} {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range regexp.MustCompile(`\n\tcase "([a-z_]+)":`).FindAllSubmatch(source, -1) {
			words++
			word := regexp.MustCompile(`\s` + string(match[1]) + `\s`)
			if !word.MatchString(good.String()) {
				t.Errorf("no good Caddyfile in testdata/adapt has %s", match[1])
			}
			if !word.MatchString(bad.String()) {
				t.Errorf("no bad Caddyfile in testdata/adapt has %s", match[1])
			}
		}
	}
	if words < 20 {
		t.Errorf("found only %d words in the source", words)
	}
}
