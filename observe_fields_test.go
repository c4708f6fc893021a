package websocketauth

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// TestFieldList: a list that is written as one field is what its fields are
// alone, also to a filter in front of the encoder.
func TestFieldList(t *testing.T) {
	t.Parallel()
	base, err := testCaddy()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := caddy.NewContext(base)
	t.Cleanup(cancel)
	filter, err := ctx.LoadModuleByID("caddy.logging.encoders.filter", json.RawMessage(`{"wrap": {"format": "json"},
		"fields": {"subject": {"filter": "delete"}, "uri": {"filter": "websocket_credential"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	encode := func(fields ...zap.Field) map[string]any {
		line, err := filter.(zapcore.Encoder).EncodeEntry(zapcore.Entry{}, fields)
		if err != nil {
			t.Fatal(err)
		}
		var read map[string]any
		if err := json.Unmarshal(line.Bytes(), &read); err != nil {
			t.Fatal(err)
		}
		return read
	}
	fields := []zap.Field{
		zap.String("subject", "s"), zap.Uint16("code", 3000), zap.Duration("duration", time.Second),
		zap.String("uri", "/?token=secret"), zap.Error(errors.New("why")),
	}
	got, want := encode(zap.Inline(fieldList(fields))), encode(fields...)
	if !reflect.DeepEqual(got, want) || got["uri"] != "/?token=REDACTED" || got["error"] != "why" || got["subject"] != nil {
		t.Errorf("as one field: %v, each alone: %v", got, want)
	}
}
