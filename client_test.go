package websocketauth

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func requestFrom(remote string, vars map[string]any, header http.Header) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.RemoteAddr = remote
	if header != nil {
		r.Header = header
	}
	return r.WithContext(context.WithValue(r.Context(), caddyhttp.VarsCtxKey, vars))
}

func TestIsPrivate(t *testing.T) {
	trusted := func(ip string) map[string]any {
		return map[string]any{caddyhttp.TrustedProxyVarKey: true, caddyhttp.ClientIPVarKey: ip}
	}
	says := func(values ...string) http.Header { return http.Header{"X-Forwarded-Proto": values} }
	tests := []struct {
		name       string
		r          *http.Request
		tls        bool
		want       bool
		wantScheme string
	}{
		{"TLS", requestFrom("192.0.2.1:1", nil, nil), true, true, "https"},
		{"remote", requestFrom("192.0.2.1:1", nil, nil), false, false, "http"},
		{"remote IPv6", requestFrom("[2001:db8::1]:1", nil, nil), false, false, "http"},
		{"this machine", requestFrom("127.0.0.1:1", nil, nil), false, true, "http"},
		{"this machine, IPv6", requestFrom("[::1]:1", nil, nil), false, true, "http"},
		{"this machine, mapped", requestFrom("[::ffff:127.0.0.1]:1", nil, nil), false, true, "http"},
		{"Unix socket", requestFrom("@", nil, nil), false, true, "http"},
		{"garbage", requestFrom("somewhere", nil, nil), false, false, "http"},
		{"untrusted says https", requestFrom("192.0.2.1:1", nil, says("https")), false, false, "http"},
		{"proxy says https", requestFrom("192.0.2.1:1", trusted("198.51.100.1"), says("https")), false, true, "https"},
		{"proxy says HTTPS", requestFrom("192.0.2.1:1", trusted("198.51.100.1"), says("HTTPS")), false, true, "https"},
		{"proxy says http", requestFrom("192.0.2.1:1", trusted("198.51.100.1"), says("http")), false, false, "http"},
		{"proxy says nothing", requestFrom("127.0.0.1:1", trusted("198.51.100.1"), nil), false, false, "http"},
		{"proxy says both", requestFrom("127.0.0.1:1", trusted("198.51.100.1"), says("https", "http")), false, false, "http"},
		{"proxy's client claims to be here", requestFrom("127.0.0.1:1", trusted("127.0.0.1"), says("http")), false, false, "http"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.tls {
				tt.r.TLS = &tls.ConnectionState{HandshakeComplete: true}
			}
			if got := isPrivate(tt.r); got != tt.want {
				t.Errorf("isPrivate = %v, want %v", got, tt.want)
			}
			if got := scheme(tt.r); got != tt.wantScheme {
				t.Errorf("scheme = %q, want %q", got, tt.wantScheme)
			}
		})
	}
}

func TestLogLimit(t *testing.T) {
	var l logLimit
	now := time.Unix(1000, 0)
	written := 0
	for range 35 {
		if _, ok := l.allow("192.0.2.1", now); ok {
			written++
		}
	}
	if written != logsPerSecond {
		t.Errorf("%d lines in a second, want %d", written, logsPerSecond)
	}
	if _, ok := l.allow(otherBucket(&l, "192.0.2.1"), now); !ok {
		t.Error("one client's flood silences another")
	}
	suppressed, ok := l.allow("192.0.2.1", now.Add(time.Second))
	if !ok || suppressed != 25 {
		t.Errorf("a second later: %v with %d suppressed, want true with 25", ok, suppressed)
	}
	if suppressed, ok = l.allow("192.0.2.1", now.Add(time.Second)); !ok || suppressed != 0 {
		t.Errorf("the line after: %v with %d suppressed, want true with 0", ok, suppressed)
	}
}

// otherBucket returns a client that does not share a bucket with client.
func otherBucket(l *logLimit, client string) string {
	for i := byte('a'); ; i++ {
		if other := client + string(i); l.bucket(other) != l.bucket(client) {
			return other
		}
	}
}
