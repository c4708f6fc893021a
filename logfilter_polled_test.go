package websocketauth

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// TestFilterEngineID: the id of a connection of Socket.IO is taken out wherever a
// log shows a URL with one.
func TestFilterEngineID(t *testing.T) {
	t.Parallel()
	const url = "https://chat.example.com/socket.io/?EIO=4&transport=polling&SID=secret-id&t=1"
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.RequestURI = r.URL.RequestURI()
	r.Header.Set("Referer", url)
	for _, field := range []zapcore.Field{
		zap.String("uri", r.RequestURI), zap.Stringer("url", r.URL),
		zap.Array("Referer", caddyhttp.LoggableStringArray{url}), zap.Array("Location", caddyhttp.LoggableStringArray{"x", url}),
		zap.Object("resp_headers", caddyhttp.LoggableHTTPHeader{Header: http.Header{"Location": {url}}}),
		zap.Object("request", caddyhttp.LoggableHTTPRequest{Request: r}),
	} {
		enc := zapcore.NewJSONEncoder(zapcore.EncoderConfig{})
		buf, err := enc.EncodeEntry(zapcore.Entry{}, []zapcore.Field{new(CredentialFilter).Filter(field)})
		if err != nil {
			t.Fatal(err)
		}
		if text := buf.String(); strings.Contains(text, "secret-id") || !strings.Contains(text, "EIO=4") {
			t.Errorf("%s: %s", field.Key, text)
		}
	}
}
