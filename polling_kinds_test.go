package websocketauth

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestAttackPolledKinds: a body that says of itself what makes servers read
// another text in it is none that polls.
func TestAttackPolledKinds(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, method, id string
		header           http.Header
		good             bool
	}{
		{"no type", http.MethodPost, "a", nil, true},
		{"as browsers write it", http.MethodPost, "a", http.Header{"Content-Type": {"text/plain;charset=UTF-8"}}, true},
		{"two types", http.MethodPost, "a", http.Header{"Content-Type": {"text/plain", "application/x-www-form-urlencoded"}}, false},
		{"a form", http.MethodPost, "a", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, false},
		{"another charset", http.MethodPost, "a", http.Header{"Content-Type": {"text/plain; charset=utf-7"}}, false},
		{"a parameter beside the charset", http.MethodPost, "a", http.Header{"Content-Type": {"text/plain; charset=utf-8; delsp=yes"}}, false},
		{"a parameter alone", http.MethodPost, "a", http.Header{"Content-Type": {"text/plain; format=flowed"}}, false},
		{"encoded", http.MethodPost, "a", http.Header{"Content-Encoding": {"gzip"}}, false},
		{"no connection", http.MethodPost, "", nil, false},
		{"another method", http.MethodPut, "a", nil, false},
		{"a GET with a body", http.MethodGet, "a", nil, false},
	} {
		r := httptest.NewRequest(tt.method, "/socket.io/", strings.NewReader("40{}"))
		if tt.header != nil {
			r.Header = tt.header
		}
		if err := checkPollingRequest(r, tt.id); (err == nil) != tt.good {
			t.Errorf("%s: %v, want it to be good: %v", tt.name, err, tt.good)
		}
	}
}
