package websocketauth

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
)

// A refused handshake is given to Caddy's error handling only if what Caddy
// will restore asks for no tunnel any more.
func TestDisarm(t *testing.T) {
	refusal := caddyhttp.Error(http.StatusUnauthorized, auth.Refuse(auth.ReasonMissing, "x"))
	tests := []struct {
		name string
		copy func(*http.Request) *http.Request
		page bool // an error page gets it
	}{
		{"Caddy's own request", func(r *http.Request) *http.Request { return r }, true},
		{"a copy that shares the header", func(r *http.Request) *http.Request { return r.WithContext(r.Context()) }, true},
		{"a deep copy", func(r *http.Request) *http.Request { return r.Clone(r.Context()) }, false},
	}
	for _, tt := range tests {
		for name, header := range map[string]string{"handshake": "Upgrade", "plain request": "Sec-Websocket-Key"} {
			t.Run(tt.name+", "+name, func(t *testing.T) {
				own := httptest.NewRequest(http.MethodGet, "/", nil)
				own.Header.Set(header, "websocket")
				w := httptest.NewRecorder()
				repl := caddy.NewReplacer()
				own = caddyhttp.PrepareRequest(own, repl, w, nil)
				h := &Handler{logger: zap.NewNop()}
				kind := kindUpgrade
				if header != "Upgrade" {
					kind = kindPassed
				}
				err := h.disarm(w, tt.copy(own), &request{kind: kind, repl: repl}, refusal)
				if (err != nil) != tt.page {
					t.Errorf("disarm = %v, want an error: %v", err, tt.page)
				}
				if err == nil && w.Code != http.StatusUnauthorized {
					t.Errorf("answered %d", w.Code)
				}
				if tt.page && own.Header.Get(header) != "" {
					t.Error("Caddy's request can still open a tunnel")
				}
			})
		}
	}
}

func TestIsSameOriginFetch(t *testing.T) {
	tests := []struct {
		name   string
		header http.Header
		want   bool
	}{
		{"of the site's own page", http.Header{"Sec-Fetch-Site": {"same-origin"}}, true},
		{"of a page beside it", http.Header{"Sec-Fetch-Site": {"same-site"}}, false},
		{"of another page", http.Header{"Sec-Fetch-Site": {"cross-site"}}, false},
		{"of no page", http.Header{"Sec-Fetch-Site": {"none"}}, false},
		{"of an old browser", http.Header{}, false},
		{"twice", http.Header{"Sec-Fetch-Site": {"same-origin", "cross-site"}}, false},
		{"with an origin to judge", http.Header{"Sec-Fetch-Site": {"same-origin"}, "Origin": {"https://evil.example"}}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := isSameOriginFetch(&http.Request{Header: tt.header}); got != tt.want {
				t.Errorf("isSameOriginFetch = %v, want %v", got, tt.want)
			}
		})
	}
}
