package websocketauth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	_ "github.com/caddyserver/caddy/v2/modules/filestorage"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// loggedToken has the shape of a JWT.
const loggedToken = "eyJhbGciOiJub25lIn0.e30.c2ln"

// encodeField returns what a JSON log shows of field.
func encodeField(t *testing.T, field zapcore.Field) string {
	t.Helper()
	enc := zapcore.NewJSONEncoder(zapcore.EncoderConfig{SkipLineEnding: true})
	buf, err := enc.EncodeEntry(zapcore.Entry{}, []zapcore.Field{field})
	if err != nil {
		t.Fatal(err)
	}
	return buf.String()
}

type panickyText struct{}

func (panickyText) String() string { panic("broken") }

func (panickyText) MarshalLogArray(zapcore.ArrayEncoder) error { panic("broken") }

type refusingArray struct{}

func (refusingArray) MarshalLogArray(enc zapcore.ArrayEncoder) error {
	enc.AppendString("secret")
	return errors.New("broken")
}

func TestCredentialFilterFields(t *testing.T) {
	t.Parallel()
	lines := func(key string, values ...string) zapcore.Field {
		return zap.Array(key, caddyhttp.LoggableStringArray(values))
	}
	request := &http.Request{
		Method: "GET", RequestURI: "/ws?token=secret&a=1", Host: "h", URL: &url.URL{},
		Header: http.Header{"Sec-Websocket-Protocol": {"bearer, secret"}, "Accept": {"*/*"}},
	}
	tests := []struct {
		name  string
		field zapcore.Field
		want  string
	}{
		{"uri", zap.String("uri", "/ws?access_token=secret&a=1"), `{"uri":"/ws?access_token=REDACTED&a=1"}`},
		{"harmless uri", zap.String("uri", "/ws?room=%41+b&&x;y"), `{"uri":"/ws?room=%41+b&&x;y"}`},
		{"configured name", zap.String("uri", "/ws?Session-Key=secret"), `{"uri":"/ws?Session-Key=REDACTED"}`},
		{"text", zap.String("note", "a "+loggedToken), `{"note":"a REDACTED"}`},
		{"text with a telling name", zap.String("token", "secret"), `{"token":"REDACTED"}`},
		{"text after bearer", zap.String("note", "Bearer secret"), `{"note":"Bearer REDACTED"}`},
		{"bytes", zap.ByteString("uri", []byte("/?token=secret")), `{"uri":"/?token=REDACTED"}`},
		{"binary", zap.Binary("b", []byte("secret")), `{"b":"REDACTED"}`},
		{"subprotocols", lines("Sec-Websocket-Protocol", "chat, bearer", "secret"), `{"Sec-Websocket-Protocol":["chat, bearer","REDACTED"]}`},
		{"subprotocols, RFC 6455's spelling", lines("Sec-WebSocket-Protocol", "jwt, secret"), `{"Sec-WebSocket-Protocol":["jwt, REDACTED"]}`},
		{"subprotocols, configured prefix", lines("Sec-Websocket-Protocol", "chat, my.key.secret"), `{"Sec-Websocket-Protocol":["chat, my.key.REDACTED"]}`},
		{"subprotocols as text", zap.String("sec-websocket-protocol", "bearer, secret"), `{"sec-websocket-protocol":"bearer, REDACTED"}`},
		{"referer", lines("Referer", "https://h/x?jwt=secret&a=b"), `{"Referer":["https://h/x?jwt=REDACTED&a=b"]}`},
		{"a header of its own", lines("X-Token", "secret", "secret"), `{"X-Token":["REDACTED","REDACTED"]}`},
		{"no lines", lines("Referer"), `{"Referer":[]}`},
		{"another type of array", zap.Strings("Referer", []string{"/?token=secret"}), `{"Referer":["/?token=REDACTED"]}`},
		{"array of other things", zap.Ints("Referer", []int{1}), `{"Referer":"REDACTED"}`},
		{"array that fails", zap.Array("Referer", refusingArray{}), `{"Referer":"REDACTED"}`},
		{"array that panics", zap.Array("Referer", panickyText{}), `{"Referer":"REDACTED"}`},
		{"stringer", zap.Stringer("uri", &url.URL{Path: "/", RawQuery: "token=secret"}), `{"uri":"/?token=REDACTED"}`},
		{"stringer that panics", zap.Stringer("uri", panickyText{}), `{"uri":"REDACTED"}`},
		{"error", zap.NamedError("error", errors.New("get /?token=secret")), `{"error":"get /?token=REDACTED"}`},
		{"any value", zap.Reflect("x", map[string]string{"a": "secret"}), `{"x":"REDACTED"}`},
		{"any object", zap.Object("x", zapcore.ObjectMarshalerFunc(func(enc zapcore.ObjectEncoder) error {
			enc.AddString("a", "secret")
			return nil
		})), `{"x":"REDACTED"}`},
		{"unknown type", zapcore.Field{Key: "x", Type: zapcore.FieldType(250), String: "secret"}, `{"x":"REDACTED"}`},
		{"number", zap.Int("status", 101), `{"status":101}`},
		{"boolean", zap.Bool("ok", true), `{"ok":true}`},
		{"skipped", zap.Skip(), `{}`},
		{"headers", zap.Object("headers", caddyhttp.LoggableHTTPHeader{
			Header: http.Header{
				"Sec-Websocket-Protocol": {"bearer, secret"}, "Authorization": {"Basic secret"},
				"X-Api-Key": {"secret"}, "Accept": {"text/html"}, "X-Other": {"bearer secret"},
			}, ShouldLogCredentials: true,
		}), ""},
		{"request", zap.Object("request", caddyhttp.LoggableHTTPRequest{Request: request}), ""},
	}
	f := &CredentialFilter{Parameters: []string{"session_key", "my.key.*"}}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	if err := f.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Cleanup() }()
	for _, tt := range tests {
		got := encodeField(t, f.Filter(tt.field))
		if tt.want != "" && got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
		if strings.Contains(got, "secret") || !strings.Contains(got, "REDACTED") && tt.want == "" {
			t.Errorf("%s: %s", tt.name, got)
		}
	}
	if request.RequestURI != "/ws?token=secret&a=1" || request.Header.Get("Sec-Websocket-Protocol") != "bearer, secret" {
		t.Error("the request itself was changed")
	}
}

// TestCredentialFilterUnprovisioned: made in code, the filter knows all but
// further parameters.
func TestCredentialFilterUnprovisioned(t *testing.T) {
	t.Parallel()
	got := new(CredentialFilter).Filter(zap.String("uri", "/?token=secret"))
	if got.String != "/?token=REDACTED" {
		t.Errorf("uri is %q", got.String)
	}
}

func TestCredentialFilterCaddyfile(t *testing.T) {
	t.Parallel()
	tests := []struct {
		text, want, err string
	}{
		{"websocket_credential", `{}`, ""},
		{"websocket_credential session_key my.key.*", `{"parameters":["session_key","my.key.*"]}`, ""},
		{"websocket_credential {\n a b\n}", "", "takes no block"},
	}
	for _, tt := range tests {
		var f CredentialFilter
		err := f.UnmarshalCaddyfile(caddyfile.NewTestDispenser(tt.text))
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: %v, want %s", tt.text, err, tt.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
		}
		if got, err := json.Marshal(&f); err != nil || string(got) != tt.want {
			t.Errorf("%s: %s, %v; want %s", tt.text, got, err, tt.want)
		}
	}
}

// filterLines is what the README puts into every log.
const filterLines = `
	uri websocket_credential
	request>uri websocket_credential
	request>headers>Sec-Websocket-Protocol websocket_credential
	request>headers>Referer websocket_credential
	resp_headers>Sec-Websocket-Protocol websocket_credential
	resp_headers>Location websocket_credential
`

// adaptForTest turns a Caddyfile into JSON. Nothing it loads writes outside
// of dir or listens for administrators.
func adaptForTest(t *testing.T, dir, global, sites string) []byte {
	t.Helper()
	text := fmt.Sprintf("{\n admin off\n persist_config off\n auto_https off\n storage_check off\n"+
		" storage_clean_interval off\n storage file_system `%s`\n%s\n}\n%s\n", dir, global, sites)
	config, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), nil)
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	for _, warning := range warnings {
		if !strings.Contains(warning.Message, "not formatted") {
			t.Errorf("warning: %v", warning)
		}
	}
	return config
}

// TestCredentialFilterTakesEffect loads a real config and reads its logs: the
// access log and, for a request that fails, the default log have the request
// without its tokens, and the rest of it.
func TestCredentialFilterTakesEffect(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "s")
	accessLog, defaultLog := filepath.Join(dir, "access.log"), filepath.Join(dir, "default.log")
	config := adaptForTest(t, dir,
		fmt.Sprintf("log default {\n level DEBUG\n output file `%s`\n format filter {%s}\n}", defaultLog, filterLines),
		fmt.Sprintf("http://app.example.com {\n bind `unix/%s`\n log {\n output file `%s`\n format filter {%s}\n}\n"+
			"header Sec-WebSocket-Protocol %s\n error /fail 500\n redir /moved /fine?{query}\n rewrite /rewritten /fine?{query}\n"+
			"respond hello\n}", socket, accessLog, filterLines, loggedToken))
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = caddy.Stop() })
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	for _, path := range []string{"/fine", "/fail", "/moved", "/rewritten"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet,
			"http://app.example.com"+path+"?access_token=opaque1&room=17", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Referer", "http://app.example.com/page?TOKEN=opaque2&lang=en")
		req.Header.Set("Sec-Websocket-Protocol", "chat, bearer, opaque3")
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if answer := resp.Header.Get("Sec-Websocket-Protocol"); answer != loggedToken {
			t.Fatalf("the answer has the subprotocol %q", answer)
		}
	}
	client.CloseIdleConnections()
	if err := caddy.Stop(); err != nil { // after it, the logs are complete
		t.Fatal(err)
	}
	for _, log := range []struct{ file, path string }{
		{accessLog, "/fine"}, {accessLog, "/fail"}, {accessLog, "/moved"}, {defaultLog, "/fail"},
	} {
		text, err := os.ReadFile(log.file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "opaque") || strings.Contains(string(text), loggedToken) {
			t.Errorf("%s holds a token:\n%s", filepath.Base(log.file), text)
		}
		for _, want := range []string{
			log.path + `?access_token=REDACTED&room=17"`, `"Referer":["http://app.example.com/page?TOKEN=REDACTED&lang=en"]`,
			`"Sec-Websocket-Protocol":["chat, bearer, REDACTED"]`,
		} {
			if !strings.Contains(unescapeJSON(string(text)), want) {
				t.Errorf("%s lacks %s:\n%s", filepath.Base(log.file), want, text)
			}
		}
	}
	for file, want := range map[string]string{
		accessLog:  `"Location":["/fine?access_token=REDACTED&room=17"]`,
		defaultLog: `"uri":"/fine?access_token=REDACTED&room=17"`, // of the rewrite, at debug level
	} {
		text, err := os.ReadFile(file)
		if err != nil || !strings.Contains(unescapeJSON(string(text)), want) {
			t.Errorf("%s lacks %s: %v\n%s", filepath.Base(file), want, err, text)
		}
	}
}

// unescapeJSON undoes what the log's JSON does to ampersands.
func unescapeJSON(s string) string { return strings.ReplaceAll(s, `\u0026`, "&") }

// filterProbe is a handler that asks, as a handler does that wants to warn.
type filterProbe struct{}

// probed is what the last filterProbe has seen.
var probed struct{ asked, configured bool }

func (filterProbe) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.test_filter_probe", New: func() caddy.Module { return new(filterProbe) }}
}

func (*filterProbe) Provision(ctx caddy.Context) error {
	probed.asked, probed.configured = true, credentialFilterConfigured(ctx)
	return nil
}

func (*filterProbe) ServeHTTP(http.ResponseWriter, *http.Request, caddyhttp.Handler) error {
	return nil
}

func init() { caddy.RegisterModule(filterProbe{}) }

// TestCredentialFilterConfigured: a handler knows whether its own config has
// the filter, whatever ran before, and nothing is left of old configs.
func TestCredentialFilterConfigured(t *testing.T) {
	dir := t.TempDir()
	format := func(field string) string { return "format filter {\n" + field + " websocket_credential\n}" }
	siteLog := func(format string) string { return "log {\n output discard\n" + format + "\n}" }
	tests := []struct {
		name, global, site string
		want               bool
	}{
		{"no logs", "", "", false},
		{"in the default log", "log default {\n output discard\n" + format("request>uri") + "\n}", "", true},
		{"without the filter", "log default {\n output discard\n}", siteLog(""), false},
		{"in the site's log", "", siteLog(format("request>uri")), true},
		{"another filter", "", siteLog("format filter {\nrequest>uri delete\n}"), false},
		{"in the default log again", "log default {\n output discard\n" + format("request>uri") + "\n}", "", true},
	}
	before := configsWithFilter()
	for i, tt := range tests {
		config := adaptForTest(t, dir, tt.global, fmt.Sprintf(
			"http://app.example.com {\n bind `unix/%s`\n%s\n respond hello\n}", filepath.Join(dir, fmt.Sprint(i)), tt.site))
		config = bytes.Replace(config, []byte(`"handle":[`), []byte(`"handle":[{"handler":"test_filter_probe"},`), 1)
		for _, step := range []struct {
			name string
			do   func([]byte) error
		}{{"validate", validateConfig}, {"load", func(config []byte) error { return caddy.Load(config, true) }}} {
			probed.asked = false
			if err := step.do(config); err != nil {
				t.Fatalf("%s, %s: %v", tt.name, step.name, err)
			}
			if !probed.asked || probed.configured != tt.want {
				t.Errorf("%s, %s: %+v, want %v", tt.name, step.name, probed, tt.want)
			}
		}
		// The config stays loaded, as the one before it did: each step is
		// a reload.
		want := before
		if tt.want {
			want++
		}
		if got := configsWithFilter(); got != want {
			t.Errorf("%s: %d configs have a filter, want %d", tt.name, got, want)
		}
		rejected := bytes.Replace(config, []byte(`"test_filter_probe"`), []byte(`"test_filter_probe","x":1`), 1)
		if err := validateConfig(rejected); err == nil {
			t.Errorf("%s: a bad config is accepted", tt.name)
		}
		if got := configsWithFilter(); got != want {
			t.Errorf("%s: %d configs have a filter after one was rejected, want %d", tt.name, got, want)
		}
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	if after := configsWithFilter(); after != before {
		t.Errorf("%d configs have a filter when Caddy has stopped, want %d", after, before)
	}
}

func TestCredentialFilterBadParameter(t *testing.T) {
	dir := t.TempDir()
	before := configsWithFilter()
	config := adaptForTest(t, dir, "log default {\n output discard\n format filter {\n"+
		"request>uri websocket_credential session_key a=b\n}\n}", "http://localhost:8080")
	if err := validateConfig(config); err == nil || !strings.Contains(err.Error(), `"a=b"`) {
		t.Errorf("err = %v, want it to name the parameter", err)
	}
	if after := configsWithFilter(); after != before {
		t.Errorf("%d configs have a filter, want %d", after, before)
	}
}

// configsWithFilter returns how many configs have a filter.
func configsWithFilter() int {
	credentialFilters.mu.Lock()
	defer credentialFilters.mu.Unlock()
	return len(credentialFilters.n)
}

// validateConfig does what `caddy validate` does.
func validateConfig(config []byte) error {
	var c caddy.Config
	if err := json.Unmarshal(config, &c); err != nil {
		return err
	}
	return caddy.Validate(&c)
}
