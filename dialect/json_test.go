package dialect

import (
	"strings"
	"testing"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

func TestJSONTranscript(t *testing.T)    { runTranscript(t, "json", fromConfig(NewJSON)) }
func TestRawTranscript(t *testing.T)     { runTranscript(t, "raw", fromConfig(NewRaw)) }
func TestGraphQLTranscript(t *testing.T) { runTranscript(t, "graphql", fromConfig(NewGraphQL)) }
func TestGraphQLLegacyTranscript(t *testing.T) {
	runTranscript(t, "graphql_legacy", fromConfig(NewGraphQL))
}

func TestTraits(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		dialect func() (Dialect, error)
		want    Traits
	}{
		"json":    {func() (Dialect, error) { return NewJSON(JSONConfig{}) }, Traits{Login: true, Every: true, Renew: true}},
		"raw":     {func() (Dialect, error) { return NewRaw(RawConfig{}) }, Traits{Login: true}},
		"graphql": {func() (Dialect, error) { return NewGraphQL(GraphQLConfig{}) }, Traits{Login: true, Subprotocols: []string{"graphql-transport-ws"}}},
		"legacy":  {func() (Dialect, error) { return NewGraphQL(GraphQLConfig{Legacy: true}) }, Traits{Login: true, Subprotocols: []string{"graphql-ws"}}},
	} {
		d, err := tc.dialect()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got := d.Traits()
		if strings.Join(got.Subprotocols, " ") != strings.Join(tc.want.Subprotocols, " ") ||
			got.Login != tc.want.Login || got.Every != tc.want.Every || got.Renew != tc.want.Renew ||
			got.ServerFirst || got.Fallback {
			t.Errorf("%s has the traits %+v, want %+v", name, got, tc.want)
		}
	}
}

func TestJSONErrors(t *testing.T) {
	t.Parallel()
	text := func(s string) *string { return &s }
	at := func(p string, values ...string) []Condition { return []Condition{{Pointer: p, Values: values}} }
	for _, tc := range []struct {
		config JSONConfig
		want   string
	}{
		{JSONConfig{Match: at("type")}, `match: JSON pointer "type" does not begin with /: write "/type"`},
		{JSONConfig{Match: at("")}, `match: JSON pointer "" is the whole message`},
		{JSONConfig{Match: at("/a", "[1]")}, `match /a: value [1] is no scalar`},
		{JSONConfig{Credential: "token"}, `credential: JSON pointer "token" does not begin with /`},
		{JSONConfig{Allow: at("a")}, `allow: JSON pointer`},
		{JSONConfig{AllowOut: at("a")}, `allow_out: JSON pointer`},
		{JSONConfig{Pass: "drop"}, `pass "drop" is not known here: write pass consume or pass forward or pass strip`},
		{JSONConfig{Renew: &JSONRenewal{Pass: "drop"}}, `renew: pass "drop"`},
		{JSONConfig{Renew: &JSONRenewal{Accepted: text("{x}")}}, `renew: accepted: unknown placeholder {x}`},
		{JSONConfig{Prefix: `\q`}, `prefix "\\q": after a backslash`},
		{JSONConfig{Prefix: `\x1`}, `prefix "\\x1": after a backslash`},
		{JSONConfig{Prefix: `\x`}, `prefix "\\x": after a backslash`},
		{JSONConfig{Prefix: `\xzz`}, `prefix "\\xzz": after a backslash`},
		{JSONConfig{Separator: `a\`}, `separator "a\\": a backslash is written \\`},
		{JSONConfig{Separator: `|`}, `separator "|" can stand inside of JSON: use one with a control character, such as \n or \x1e`},
		{JSONConfig{Greeting: text("{x}")}, `greeting: unknown placeholder {x}`},
		{JSONConfig{Accepted: text("{x}")}, `accepted: unknown placeholder {x}`},
		{JSONConfig{Refused: text("{message.token}")}, `refused: {message.…} would repeat the credential`},
		{JSONConfig{Prompt: text("{x}")}, `prompt: unknown placeholder {x}`},
		{JSONConfig{Expired: text("{x}")}, `expired: unknown placeholder {x}`},
		{JSONConfig{Code: map[string]int{"opened": 4000}}, `code opened: there is no such event, but refused,`},
		{JSONConfig{Code: map[string]int{"refused": 1005}}, `code refused 1005: no server may send that`},
		{JSONConfig{Code: map[string]int{"refused": 1014}}, `code refused 1014: it is not sent, because gorilla/websocket and tungstenite call it a protocol error: use 1013`},
		{JSONConfig{Code: map[string]int{"refused": 5000}}, `code refused 5000: no server may send that`},
		{JSONConfig{
			Renew: &JSONRenewal{Credential: "/p/t"}, Refused: text("{message.p}"),
		}, `refused: {message.…} would repeat the credential`},
	} {
		if _, err := NewJSON(tc.config); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("NewJSON: %v, want %q", err, tc.want)
		}
	}
}

func TestUnescape(t *testing.T) {
	t.Parallel()
	got, err := unescape(`a\n\r\t\0\x1e\x41\\x` + "\x1e")
	if want := "a\n\r\t\x00\x1eA\\x\x1e"; err != nil || got != want {
		t.Errorf("unescape: %q, %v, want %q", got, err, want)
	}
}

func TestRawAndGraphQLErrors(t *testing.T) {
	t.Parallel()
	_, raw := NewRaw(RawConfig{Pass: "strip"})
	_, pass := NewGraphQL(GraphQLConfig{Pass: "consume"})
	_, place := NewGraphQL(GraphQLConfig{Credential: []string{"payload"}})
	for want, err := range map[string]error{
		`pass "strip" is not known here: write pass consume or pass forward`:   raw,
		`pass "consume" is not known here: write pass forward or pass strip`:   pass,
		`credential: JSON pointer "payload" does not begin with /: write "/pa`: place,
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestJSONQuickly shows that what is told without reading the JSON is told as
// by reading it.
func TestJSONQuickly(t *testing.T) {
	t.Parallel()
	d := newJSON(t, JSONConfig{Match: []Condition{{Pointer: "/a/type", Values: []string{"auth"}}, {Pointer: "/n", Values: []string{"1"}}}})
	for data, login := range map[string]bool{
		`{"a":{"type":"auth"},"n":1}`:                      true,
		`{"a":{"type":"auth"},"n":1.0}`:                    true,
		`{"a":{"t\u0079pe":"auth"},"n":1}`:                 true,
		`{"a":{"type":"\u0061uth"},"\u006e":1}`:            true,
		`{"a":{"type":"auth"},"m":1}`:                      false,
		`{"a":{"typ":"auth"},"n":1}`:                       false,
		`{"a":{"type":"chat"},"n":1,"text":"type auth n"}`: false,
	} {
		parts, err := d.Start(Opening{}).Client(Open, proxy.Text(data))
		if err != nil || len(parts) != 1 || (parts[0].Kind == Login) != login {
			t.Errorf("%s: %+v, %v, want login %v", data, parts, err, login)
		}
	}
	// Names that can be written in several ways without \u are read.
	slash := newJSON(t, JSONConfig{Match: []Condition{{Pointer: "/a~1b"}}})
	parts, err := slash.Start(Opening{}).Client(Open, proxy.Text(`{"a\/b":1,"token":"x"}`))
	if err != nil || parts[0].Credential != "x" {
		t.Errorf("%+v, %v", parts, err)
	}
}

// newJSON returns a configured dialect.
func newJSON(t testing.TB, c JSONConfig) Dialect {
	t.Helper()
	d, err := NewJSON(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// BenchmarkJSONEvery is what the dialect costs a message of 1.2 KB that
// carries its credential.
func BenchmarkJSONEvery(b *testing.B) {
	s := newJSON(b, JSONConfig{}).Start(Opening{Every: true})
	m := proxy.Message{Data: everyMessage}
	b.ReportAllocs()
	for b.Loop() {
		if parts, err := s.Client(Open, m); err != nil || parts[0].Credential == "" {
			b.Fatal(err)
		}
	}
}

// BenchmarkJSONData is what it costs one that does not, while renewals are
// looked for.
func BenchmarkJSONData(b *testing.B) {
	s := newJSON(b, JSONConfig{}).Start(Opening{})
	m := proxy.Message{Data: everyMessage}
	b.ReportAllocs()
	for b.Loop() {
		if parts, err := s.Client(Open, m); err != nil || parts[0].Kind != Data {
			b.Fatal(err)
		}
	}
}
