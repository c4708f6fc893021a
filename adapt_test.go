package websocketauth_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
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
				roundTrip(t, handler, new(websocketauth.Handler))
			}
			if app := appIn(t, adapted); app != nil {
				roundTrip(t, app, new(websocketauth.App))
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

// appIn returns the JSON of our app, or nil.
func appIn(t *testing.T, text []byte) json.RawMessage {
	t.Helper()
	var config caddy.Config
	if err := json.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	return config.AppsRaw["websocket_auth"]
}

// roundTrip checks that module, which is new, knows every member of its JSON,
// and makes the same JSON again.
func roundTrip(t *testing.T, text json.RawMessage, module any) {
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
	if err := caddy.StrictUnmarshalJSON(plain, module); err != nil {
		t.Fatalf("%v in %s", err, plain)
	}
	again, err := json.Marshal(module)
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
		t.Errorf("%T makes of %s\n%s", module, plain, sorted)
	}
}

// TestAdaptKnowsEveryWord checks that each subdirective is in a Caddyfile that
// is good, and in one that is not; for a dialect's, in one with that dialect.
func TestAdaptKnowsEveryWord(t *testing.T) {
	t.Parallel()
	words := 0
	for _, file := range caddyfileParsers(t) {
		good, bad := caddyfilesFor(t, file)
		for _, name := range wordsOf(t, file) {
			words++
			word := regexp.MustCompile(`\s` + name + `\s`)
			if !word.MatchString(good) {
				t.Errorf("no good Caddyfile in testdata/adapt has %s of %s", name, file)
			}
			if !word.MatchString(bad) {
				t.Errorf("no bad Caddyfile in testdata/adapt has %s of %s", name, file)
			}
		}
	}
	if words < 60 {
		t.Errorf("found only %d words in the source", words)
	}
}

// caddyfileParsers are the files that read subdirectives.
func caddyfileParsers(t *testing.T) []string {
	t.Helper()
	var files []string
	for _, pattern := range []string{"caddyfile.go", "*_caddyfile.go", "dialect_*.go", "redisstore/caddyfile.go"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	slices.Sort(files)
	return slices.Compact(files)
}

// wordsOf returns the subdirectives that the file has a case for, or, because
// some dialects share theirs, says that it reads.
func wordsOf(t *testing.T, file string) []string {
	t.Helper()
	source := read(t, file)
	var words []string
	for _, match := range regexp.MustCompile(`\n\tcase "([a-z_]+)":`).FindAllStringSubmatch(source, -1) {
		words = append(words, match[1])
	}
	if strings.HasPrefix(file, "dialect_") && strings.Contains(source, "UnmarshalCaddyfile sets up") {
		for _, match := range regexp.MustCompile(`(?m)^ +([a-z_]+)`).FindAllStringSubmatch(syntaxOf(t, file), -1) {
			words = append(words, match[1])
		}
	}
	slices.Sort(words)
	return slices.Compact(words)
}

// caddyfilesFor returns the text of all good Caddyfiles in testdata/adapt, and
// of all others. If file reads a dialect, only those with it count.
func caddyfilesFor(t *testing.T, file string) (good, bad string) {
	t.Helper()
	dialect := strings.TrimSuffix(strings.TrimSuffix(file, ".go"), "_caddyfile")
	name, ofDialect := strings.CutPrefix(dialect, "dialect_")
	for _, tc := range adaptCases(t) {
		switch {
		case ofDialect && !regexp.MustCompile(`\sdialect `+name+`\s`).MatchString(tc.caddyfile):
		case tc.isError():
			bad += tc.caddyfile
		default:
			good += tc.caddyfile
		}
	}
	return good, bad
}
