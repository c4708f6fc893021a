package websocketauth

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/dialect"
)

func init() {
	caddy.RegisterModule(traitsDialect{})
	caddy.RegisterModule(noDialect{})
}

// traitsDialect is a dialect that can do what its configuration says.
type traitsDialect struct {
	spoken
	// What it can do.
	Able dialect.Traits
}

func (traitsDialect) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.websocket_auth.dialects.traits", New: func() caddy.Module { return new(traitsDialect) }}
}

func (d *traitsDialect) Provision(caddy.Context) error { return d.speak("traits", able{d.Able}, nil) }

// able is the dialect of a traitsDialect. It never speaks.
type able struct{ traits dialect.Traits }

func (a able) Traits() dialect.Traits { return a.traits }

func (able) Start(dialect.Opening) dialect.Speaker { return nil }

// noDialect is a module in the place of a dialect.
type noDialect struct{}

func (noDialect) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.websocket_auth.dialects.none", New: func() caddy.Module { return new(noDialect) }}
}

// handlerLoader loads handlers as a configuration does, one after another.
func handlerLoader(t *testing.T) func(config string) (*Handler, error) {
	t.Helper()
	base, err := caddy.ProvisionContext(&caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}})
	if err != nil {
		t.Fatal(err)
	}
	return func(config string) (*Handler, error) {
		t.Helper()
		ctx, cancel := caddy.NewContext(base)
		t.Cleanup(cancel)
		h := new(Handler)
		if err := caddy.StrictUnmarshalJSON([]byte(config), h); err != nil {
			t.Fatalf("%s: %v", config, err)
		}
		return h, h.Provision(ctx)
	}
}

// vouched is the JSON of a handler with a verifier and these members.
func vouched(members string) string {
	if members != "" {
		members = "," + members
	}
	return `{"verifiers":[{"verifier":"jwt","jwks_url":"https://id.example.com/jwks.json","audiences":["chat"]}]` + members + `}`
}

// TestMessagesConfigured: what the run-time finds in the handler.
func TestMessagesConfigured(t *testing.T) {
	load := handlerLoader(t)
	type got struct {
		First       *firstMessage
		Every       *everyMessage
		Renew       *renewal
		Dialect     string
		Max, PerOne int
		Sources     int
	}
	first := func(source string, within time.Duration, size int64, early bool) *firstMessage {
		f := &firstMessage{source: source, within: within, maxSize: size, early: early}
		if source == "every_message" {
			f.openSize = size
		}
		return f
	}
	// Before the login as much as of a first message, then more.
	every := first("every_message", 5*time.Second, 16384, false)
	every.openSize = 1 << 20
	usual := &renewal{warn: 30 * time.Second, grace: 30 * time.Second, holdMessages: 256, holdSize: 1 << 20}
	for name, tc := range map[string]struct {
		config string
		want   got
	}{
		"nothing": {``, got{nil, nil, nil, "", 1000, 200, 3}},
		"first message": {
			`"sources":[{"source":"first_message"}]`,
			got{first("first_message", 5*time.Second, 16384, false), nil, nil, "json", 1000, 200, 0},
		},
		"first message with all": {
			`"sources":[{"source":"query"},{"source":"first_message","within":"1m","max_size":16777216,"early":true}]`,
			got{first("first_message", time.Minute, 16<<20, true), nil, nil, "json", 1000, 200, 1},
		},
		"every message": {
			`"sources":[{"source":"every_message"}]`,
			got{every, &everyMessage{"close"}, nil, "json", 1000, 200, 0},
		},
		"every message with all": {
			`"sources":[{"source":"every_message","within":"3s","max_size":1024,"on_bad":"tell"},{"source":"cookie","names":["s"]}]`,
			got{first("every_message", 3*time.Second, 1024, false), &everyMessage{"tell"}, nil, "json", 1000, 200, 1},
		},
		"renewal": {`"on_expiry":{"policy":"renew"}`, got{nil, nil, usual, "json", 1000, 200, 3}},
		"renewal with all": {
			`"on_expiry":{"policy":"renew","warn":"1m","grace":"1h","hold_messages":1,"hold_size":2,"path":"/a/renew"}`,
			got{nil, nil, &renewal{time.Minute, time.Hour, 1, 2, "/a/renew"}, "json", 1000, 200, 3},
		},
		"renewal without asking and waiting": {
			`"on_expiry":{"policy":"renew","warn":0,"grace":0}`,
			got{nil, nil, &renewal{0, 0, 256, 1 << 20, ""}, "json", 1000, 200, 3},
		},
		"a dialect alone":        {`"dialect":{"dialect":"traits"}`, got{nil, nil, nil, "traits", 1000, 200, 3}},
		"pending":                {`"pending":{"max":500}`, got{nil, nil, nil, "", 500, 200, 3}},
		"pending, few":           {`"pending":{"max":50}`, got{nil, nil, nil, "", 50, 50, 3}},
		"pending of one address": {`"pending":{"per_address":7}`, got{nil, nil, nil, "", 1000, 7, 3}},
	} {
		h, err := load(vouched(tc.config))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		have := got{h.first, h.every, h.renew, h.dialectName, h.pendingMax, h.pendingPerAddress, len(h.sources)}
		if !reflect.DeepEqual(have, tc.want) {
			t.Errorf("%s: %+v, want %+v", name, have, tc.want)
		}
		if (h.dialect == nil) != (tc.want.Dialect == "") {
			t.Errorf("%s: the dialect is %v", name, h.dialect)
		}
		if _, wrapped := h.dialect.(caddy.Module); wrapped {
			t.Errorf("%s: the module hides what the dialect can do beside", name)
		}
	}
}

// TestMessagesRefused: what cannot work does not load, and the error says what
// would.
func TestMessagesRefused(t *testing.T) {
	load := handlerLoader(t)
	first := `"sources":[{"source":"first_message"}]`
	early := `"sources":[{"source":"first_message","early":true}]`
	every := `"sources":[{"source":"every_message"}]`
	renew := `"on_expiry":{"policy":"renew"}`
	speaks := func(traits string) string { return `,"dialect":{"dialect":"traits","Able":{` + traits + `}}` }
	for config, words := range map[string][]string{
		first + speaks(``):                                             {"dialect traits", "no message that logs in", "from query"},
		early + speaks(`"ServerFirst":true`):                           {"no message that logs in"},
		every + speaks(`"Login":true`):                                 {"dialect traits", "each message", "from first_message"},
		every + speaks(`"Every":true`):                                 {"no message that logs in"},
		first + speaks(`"Login":true,"ServerFirst":true`):              {"application to speak first", "add early"},
		every + speaks(`"Login":true,"Every":true,"ServerFirst":true`): {"application to speak first", "use from first_message with early"},
		renew + speaks(`"Login":true`):                                 {"dialect traits", "renews", "add path <path>", "on_expiry close"},
		`"jitter":0` + speaks(`"Once":true`):                           {"dialect traits", "add from first_message"},
		`"sources":[{"source":"query"},{"source":"first_message"}]` + speaks(`"Login":true,"Once":true`): {"beside a source of the request", "remove the other from"},
		`"jitter":0` + speaks(`"Fallback":true`):                                                         {"fall back to plain requests", "http authenticate", "http reject"},
		`"http":"authenticate",` + first:                                                                 {"plain requests", "needs a source of the request"},
		`"dialect":{"dialect":"none"}`:                                                                   {"noDialect", "is no dialect"},
		`"dialect":{"dialect":"xmpp"}`:                                                                   {"xmpp"},
		`"dialect":{"dialect":"traits","able":1}`:                                                        {"traits"},
		`"sources":[{"source":"first_message"},{"source":"first_message"}]`:                              {"from first_message is given twice", "remove one"},
		`"sources":[{"source":"first_message"},{"source":"every_message"}]`:                              {"takes the login too", "remove from first_message"},
		`"sources":[{"source":"every_message"},{"source":"first_message"}]`:                              {"takes the login too", "remove from first_message"},
		`"sources":[{"source":"first_message","names":["a"]}]`:                                           {"from first_message", "neither names nor forms"},
		`"sources":[{"source":"every_message","forms":["bare"]}]`:                                        {"from every_message", "neither names nor forms"},
		`"sources":[{"source":"query","within":"5s"}]`:                                                   {"from query takes no within"},
		`"sources":[{"source":"header","max_size":5}]`:                                                   {"from header takes no max_size"},
		`"sources":[{"source":"subprotocol","early":true}]`:                                              {"from subprotocol takes no early"},
		`"sources":[{"source":"cookie","names":["a"],"on_bad":"drop"}]`:                                  {"from cookie takes no on_bad"},
		`"sources":[{"source":"first_message","within":"-1s"}]`:                                          {"within -1s", "1m0s"},
		`"sources":[{"source":"first_message","within":"61s"}]`:                                          {"within 1m1s is not above 0", "1m0s"},
		`"sources":[{"source":"first_message","max_size":-1}]`:                                           {"max_size -1", "1KiB to 16MiB"},
		`"sources":[{"source":"first_message","max_size":1023}]`:                                         {"max_size 1023", "1KiB to 16MiB"},
		`"sources":[{"source":"every_message","max_size":16777217}]`:                                     {"max_size 16777217", "1KiB to 16MiB"},
		`"sources":[{"source":"first_message","on_bad":"drop"}]`:                                         {"from first_message takes no on_bad"},
		`"sources":[{"source":"every_message","early":true}]`:                                            {"from every_message takes no early"},
		`"sources":[{"source":"every_message","on_bad":"ignore"}]`:                                       {"on_bad 'ignore'", "drop, tell or close"},
		`"on_expiry":{"policy":"wait"}`:                                                                  {"on_expiry 'wait'", "close, ignore or renew"},
		`"on_expiry":{"policy":"close","warn":"5s"}`:                                                     {"warn is for renew"},
		`"on_expiry":{"grace":"5s"}`:                                                                     {"grace is for renew"},
		`"on_expiry":{"policy":"ignore","hold_size":5}`:                                                  {"hold is for renew"},
		`"on_expiry":{"policy":"ignore","path":"/a"}`:                                                    {"path is for renew"},
		`"on_expiry":{"policy":"renew","warn":"-1s"}`:                                                    {"warn is negative"},
		`"on_expiry":{"policy":"renew","grace":"-1s"}`:                                                   {"grace -1s", "1h0m0s"},
		`"on_expiry":{"policy":"renew","grace":"61m"}`:                                                   {"grace 1h1m0s", "1h0m0s"},
		`"on_expiry":{"policy":"renew","hold_messages":-1}`:                                              {"hold of -1 messages", "65536"},
		`"on_expiry":{"policy":"renew","hold_messages":65537}`:                                           {"hold of 65537 messages", "65536"},
		`"on_expiry":{"policy":"renew","hold_size":-1}`:                                                  {"hold of -1 bytes", "64MiB"},
		`"on_expiry":{"policy":"renew","hold_size":67108865}`:                                            {"hold of 67108865 bytes", "64MiB"},
		`"on_expiry":{"policy":"renew","path":"renew"}`:                                                  {"path 'renew'", "begin with /"},
		`"on_expiry":{"policy":"renew","path":"/{http.request.host}"}`:                                   {"path '/{http.request.host}'", "compared exactly"},
		`"pending":{"max":-1}`:                                                                           {"pending is negative"},
		`"pending":{"per_address":-1}`:                                                                   {"pending is negative"},
		`"pending":{"max":5,"per_address":6}`:                                                            {"pending 5 6", "smaller"},
	} {
		_, err := load(vouched(config))
		if err == nil {
			t.Errorf("%s: loaded", config)
			continue
		}
		for _, word := range words {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%s: %v, want %q in it", config, err, word)
			}
		}
	}
}

// TestMessagesTaken: what is near to the refused loads.
func TestMessagesTaken(t *testing.T) {
	load := handlerLoader(t)
	for _, config := range []string{
		`"sources":[{"source":"first_message","early":true}],"dialect":{"dialect":"traits","Able":{"Login":true,"ServerFirst":true}}`,
		`"sources":[{"source":"every_message"}],"dialect":{"dialect":"traits","Able":{"Login":true,"Every":true}}`,
		`"on_expiry":{"policy":"renew"},"dialect":{"dialect":"traits","Able":{"Renew":true}}`,
		`"on_expiry":{"policy":"renew","path":"/renew"},"dialect":{"dialect":"traits"}`,
		`"dialect":{"dialect":"traits","Able":{"Fallback":true,"ServerFirst":true}},"http":"pass"`,
		`"http":"authenticate","sources":[{"source":"first_message"}],"dialect":{"dialect":"traits","Able":{"Login":true,"Fallback":true}}`,
		`"http":"authenticate","sources":[{"source":"cookie","names":["s"]},{"source":"first_message"}]`,
		`"http":"reject","sources":[{"source":"first_message"}]`,
	} {
		if _, err := load(vouched(config)); err != nil {
			t.Errorf("%s: %v", config, err)
		}
	}
}

// TestMessagesOfNested: what only the outer handler decides is refused in one
// that has no verifier.
func TestMessagesOfNested(t *testing.T) {
	load := handlerLoader(t)
	for config, word := range map[string]string{
		`{"origins":["https://a.example.com"],"sources":[{"source":"first_message"}]}`: "'from'",
		`{"origins":["https://a.example.com"],"sources":[{"source":"every_message"}]}`: "'from'",
		`{"origins":["https://a.example.com"],"dialect":{"dialect":"json"}}`:           "'dialect'",
		`{"origins":["https://a.example.com"],"pending":{"max":5}}`:                    "'pending'",
		`{"origins":["https://a.example.com"],"on_expiry":{"policy":"renew"}}`:         "'on_expiry renew'",
	} {
		_, err := load(config)
		if err == nil || !strings.Contains(err.Error(), "no verifier") || !strings.Contains(err.Error(), "remove "+word) {
			t.Errorf("%s: %v, want %q in it", config, err, word)
		}
	}
}

// TestNestedNeedsARule: whoever has tried to tighten another one, and has
// written nothing that does, is told what would.
func TestNestedNeedsARule(t *testing.T) {
	load := handlerLoader(t)
	for _, config := range []string{`{}`, `{"reject":"close"}`, `{"name":"admin"}`} {
		_, err := load(config)
		if err == nil || !strings.Contains(err.Error(), "add one with verify") ||
			!strings.Contains(err.Error(), "origins, require, max_session or on_expiry close") {
			t.Errorf("%s: %v, want both ways out in it", config, err)
		}
	}
}

// TestEarlyWarns: whoever counts on claims in the handshake is told at load
// that they are not there.
func TestEarlyWarns(t *testing.T) {
	t.Parallel()
	for config, want := range map[*firstMessage]int{nil: 0, {}: 0, {early: true}: 1} {
		core, logs := observer.New(zapcore.WarnLevel)
		h := &Handler{first: config, logger: zap.New(core)}
		h.warnEarly()
		if got := logs.FilterMessageSnippet("claims are empty").Len(); got != want {
			t.Errorf("%+v: %d warnings, want %d", config, got, want)
		}
	}
}

// TestSpokenIsNoConfiguration: the dialect that a module becomes is neither
// read from its JSON nor written into it.
func TestSpokenIsNoConfiguration(t *testing.T) {
	t.Parallel()
	d := &traitsDialect{spoken: spoken{able{}}}
	text, err := json.Marshal(d)
	if err != nil || strings.Contains(string(text), "Dialect") {
		t.Errorf("%s, %v", text, err)
	}
	if err := caddy.StrictUnmarshalJSON([]byte(`{"Dialect":null}`), d); err == nil {
		t.Error("the JSON sets the dialect")
	}
}

// TestDialects: each module becomes the dialect that its words describe, and
// what that refuses is an error with the dialect's name.
func TestDialects(t *testing.T) {
	load := handlerLoader(t)
	login := `"sources":[{"source":"first_message"}],`
	early := `"sources":[{"source":"first_message","early":true}],`
	both := early + `"http":"authenticate",`
	for config, want := range map[string]string{ // an error, or empty
		login + `"dialect":{"dialect":"json"}`:                                                                                    "",
		login + `"dialect":{"dialect":"json","credential":"token"}`:                                                               "dialect json: ",
		login + `"dialect":{"dialect":"json","accepted":"{nonsense}"}`:                                                            "dialect json: accepted: ",
		login + `"dialect":{"dialect":"json","code":{"nonsense":4000}}`:                                                           "dialect json: code nonsense",
		login + `"dialect":{"dialect":"json","renew":{"credential":"token"}}`:                                                     "dialect json: renew: ",
		login + `"dialect":{"dialect":"json","renewal":{}}`:                                                                       "renewal",
		login + `"dialect":{"dialect":"raw","pass":"forward"}`:                                                                    "",
		login + `"dialect":{"dialect":"raw","pass":"strip"}`:                                                                      "dialect raw: pass",
		login + `"dialect":{"dialect":"raw"},"on_expiry":{"policy":"renew"}`:                                                      "dialect raw has no message that renews",
		login + `"dialect":{"dialect":"graphql","credential":["/payload/jwt"],"pass":"forward"}`:                                  "",
		login + `"dialect":{"dialect":"graphql","credential":["payload"]}`:                                                        "dialect graphql: ",
		login + `"dialect":{"dialect":"graphql","legacy":true}`:                                                                   "legacy",
		login + `"dialect":{"dialect":"graphql_legacy","pass":"strip"}`:                                                           "",
		login + `"dialect":{"dialect":"graphql_legacy","pass":"consume"}`:                                                         "dialect graphql_legacy: pass",
		both + `"dialect":{"dialect":"socketio","credential":["/jwt"]}`:                                                           "",
		both + `"dialect":{"dialect":"socketio","credential":["jwt"]}`:                                                            "dialect socketio: credential",
		login + `"http":"authenticate","dialect":{"dialect":"socketio"}`:                                                          "dialect socketio waits for the application to speak first: add early",
		early + `"dialect":{"dialect":"socketio"}`:                                                                                "dialect socketio has clients that fall back to plain requests",
		early + `"dialect":{"dialect":"actioncable","credential":["/identifier/token","/identifier/t"]}`:                          "",
		early + `"dialect":{"dialect":"actioncable"}`:                                                                             "dialect actioncable has no message that logs in",
		early + `"dialect":{"dialect":"actioncable","credential":["/identifier/t"],"pass":"strip"}`:                               "dialect actioncable: pass strip",
		login + `"http":"reject","dialect":{"dialect":"phoenix","pass":"strip"}`:                                                  "",
		login + `"http":"reject","dialect":{"dialect":"phoenix","pass":"consume"}`:                                                "dialect phoenix: pass",
		login + `"dialect":{"dialect":"mqtt","credential":"auth_data","auth_method":"OAUTH2-JWT"},"on_expiry":{"policy":"renew"}`: "",
		login + `"dialect":{"dialect":"mqtt","credential":"auth_data"},"on_expiry":{"policy":"renew"}`:                            "",
		login + `"dialect":{"dialect":"mqtt","auth_method":"` + strings.Repeat("a", 256) + `"}`:                                   "dialect mqtt: auth_method",

		login + `"dialect":{"dialect":"mqtt"},"on_expiry":{"policy":"renew"}`:                   "dialect mqtt has no message that renews",
		login + `"dialect":{"dialect":"stomp","credential":["X-Token"]}`:                        "",
		login + `"dialect":{"dialect":"stomp","credential":["host"]}`:                           "dialect stomp: credential",
		`"http":"authenticate","dialect":{"dialect":"signalr"}`:                                 "",
		`"dialect":{"dialect":"signalr"}`:                                                       "dialect signalr has clients that fall back to plain requests",
		login + `"http":"reject","dialect":{"dialect":"signalr"}`:                               "dialect signalr has no message that logs in",
		`"http":"pass","dialect":{"dialect":"signalr","pass":"strip"}`:                          "pass",
		login + `"dialect":{"dialect":"home_assistant","pass":"consume","version":"2026.11.0"}`: "",
		login + `"dialect":{"dialect":"home_assistant"}`:                                        "dialect home_assistant waits for the application to speak first: add early",
		early + `"dialect":{"dialect":"home_assistant","version":"\""}`:                         "dialect home_assistant: version",
	} {
		_, err := load(vouched(config))
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", config, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %q in it", config, err, want)
		}
	}
}

// TestGraphQLProtocols: the two dialects are not the same, though the
// subprotocol of one has the name of the other's library.
func TestGraphQLProtocols(t *testing.T) {
	load := handlerLoader(t)
	for name, want := range map[string]string{"graphql": "graphql-transport-ws", "graphql_legacy": "graphql-ws"} {
		h, err := load(vouched(`"dialect":{"dialect":"` + name + `"}`))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := h.dialect.Traits().Subprotocols; len(got) != 1 || got[0] != want {
			t.Errorf("%s: subprotocols %q, want %q", name, got, want)
		}
	}
}
