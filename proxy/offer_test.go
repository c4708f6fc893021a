package proxy

import (
	"maps"
	"net/http"
	"slices"
	"testing"
)

// What offers other protocols alone is a plain request. What lists websocket,
// or cannot be read, is not.
func TestClassifyOffers(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		r    *http.Request
		want Kind
	}{
		{"others in a list", upgrade(set("Upgrade", "h2c, TLS/1.0,, foo")), KindPlain},
		{"others on two lines", upgrade(set("Upgrade", "h2c", "TLS/1.0")), KindPlain},
		{"others with a body", upgrade(func(r *http.Request) { set("Upgrade", "h2c")(r); r.Method = http.MethodPost; r.ContentLength = 5 }), KindPlain},
		{"a longer name", upgrade(set("Upgrade", "websocket2")), KindPlain},
		{"websocket as a version", upgrade(set("Upgrade", "foo/websocket")), KindPlain},
		{"other upgrade on HTTP/2", upgrade(func(r *http.Request) { set("Upgrade", "h2c")(r); r.ProtoMajor = 2 }), KindPlain},
		{"on the second of two lines", upgrade(set("Upgrade", "foo", "bar, WebSocket")), KindTunnel},
		{"with a version in a list", upgrade(set("Upgrade", "h2c, WEBSOCKET/13")), KindTunnel},
		{"in quotes", upgrade(set("Upgrade", `"websocket"`)), KindTunnel},
		{"with a parameter", upgrade(set("Upgrade", "websocket;a=b")), KindTunnel},
		{"behind a space", upgrade(set("Upgrade", "foo websocket")), KindTunnel},
		{"no name", upgrade(set("Upgrade", "/websocket")), KindTunnel},
		{"no version", upgrade(set("Upgrade", "websocket/")), KindTunnel},
	}
	for _, tt := range tests {
		if got := Classify(tt.r); got != tt.want {
			t.Errorf("%s: Classify = %v, want %v", tt.name, got, tt.want)
		}
	}
}

// An offer of another protocol is taken out, and nothing else.
func TestIgnoreOffer(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		h    http.Header
		want http.Header
	}{
		{
			"of Java's HttpClient",
			http.Header{"Connection": {"Upgrade, HTTP2-Settings"}, "Upgrade": {"h2c"}, "Http2-Settings": {"AAEAAEAA"}},
			http.Header{},
		},
		{
			"beside close",
			http.Header{"Connection": {"upgrade, close , http2-settings"}, "Upgrade": {"h2c"}, "Http2-Settings": {"AAEAAEAA"}},
			http.Header{"Connection": {"close"}},
		},
		{
			"on several lines",
			http.Header{"Connection": {"keep-alive", "UPGRADE", "X-Hop, Upgrade"}, "Upgrade": {"h2c", "TLS/1.0"}, "X-Hop": {"1"}},
			http.Header{"Connection": {"keep-alive, X-Hop"}, "X-Hop": {"1"}},
		},
		{"without Connection", http.Header{"Upgrade": {"h2c"}, "Accept": {"*/*"}}, http.Header{"Accept": {"*/*"}}},
		{"with another Connection", http.Header{"Upgrade": {"h2c"}, "Connection": {"close"}}, http.Header{"Connection": {"close"}}},
		{"empty", http.Header{"Upgrade": {""}, "Connection": {"Upgrade"}}, http.Header{}},
		{"a longer word", http.Header{"Upgrade": {"h2c"}, "Connection": {"upgrades"}}, http.Header{"Connection": {"upgrades"}}},
		{
			"in another spelling",
			http.Header{"upgrade": {"h2c"}, "Upgrade": {"h2c"}, "connection": {"Upgrade"}, "HTTP2-Settings": {"AAEAAEAA"}},
			http.Header{},
		},
		{
			"none",
			http.Header{"Connection": {"Upgrade, keep-alive"}, "Http2-Settings": {"AAEAAEAA"}},
			http.Header{"Connection": {"Upgrade, keep-alive"}, "Http2-Settings": {"AAEAAEAA"}},
		},
	}
	for _, tt := range tests {
		IgnoreOffer(&http.Request{Header: tt.h})
		if !maps.EqualFunc(tt.h, tt.want, slices.Equal) {
			t.Errorf("%s: left %v, want %v", tt.name, tt.h, tt.want)
		}
	}
}
