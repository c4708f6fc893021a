package websocketauth

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
	"github.com/caddy-websocket-auth/caddy-websocket-auth/proxy"
)

// Each reason that package auth gives has its line in the table: one without
// would be an internal error to its client.
func TestEveryReasonHasARefusal(t *testing.T) {
	source, err := os.ReadFile("auth/refusal.go")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`Reason = "([a-z_]+)"`).FindAllStringSubmatch(string(source), -1)
	if len(found) < 10 {
		t.Fatalf("%d reasons found in auth/refusal.go, too few", len(found))
	}
	for _, match := range found {
		if _, ok := refusals[auth.Reason(match[1])]; !ok {
			t.Errorf("reason %s is not in the table", match[1])
		}
	}
}

// The table in the docs is the table in the code.
func TestRefusalsInDocs(t *testing.T) {
	text, err := os.ReadFile("docs/refusals.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := make(map[string]string)
	for line := range strings.SplitSeq(string(text), "\n") {
		cells := strings.Split(line, "|")
		if len(cells) != 5 {
			continue
		}
		for _, match := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(cells[1], -1) {
			rows[match[1]] = strings.TrimSpace(cells[2]) + "/" + strings.TrimSpace(cells[3])
		}
	}
	for reason, as := range refusals {
		row, ok := rows[string(reason)]
		if !ok {
			t.Errorf("docs/refusals.md lacks %s", reason)
			continue
		}
		status, code, _ := strings.Cut(row, "/")
		wantCode := ""
		if as.code != proxy.CloseNone {
			wantCode = fmt.Sprint(as.code)
		}
		if !strings.HasPrefix(status, fmt.Sprint(as.status)) || code != wantCode {
			t.Errorf("docs/refusals.md has %s as %q, want status %d and code %q", reason, row, as.status, wantCode)
		}
		delete(rows, string(reason))
	}
	for reason := range rows {
		t.Errorf("docs/refusals.md has %s, which the code does not know", reason)
	}
}

func TestRefuseStatus(t *testing.T) {
	tests := []struct {
		name       string
		err        error
		protoMajor int
		status     int
		header     string
		want       string
	}{
		{"missing", auth.Refuse(auth.ReasonMissing, "x"), 1, 401, "WWW-Authenticate", `Bearer realm="websocket"`},
		{"bad", auth.Refuse(auth.ReasonSignature, "x"), 1, 401, "WWW-Authenticate", `Bearer realm="websocket", error="invalid_token"`},
		{"expired looks like bad", auth.Refuse(auth.ReasonExpired, "x"), 1, 401, "WWW-Authenticate", `Bearer realm="websocket", error="invalid_token"`},
		{"two", auth.Refuse(auth.ReasonAmbiguous, "x"), 1, 400, "WWW-Authenticate", `Bearer realm="websocket", error="invalid_request"`},
		{"scope", auth.Refuse(auth.ReasonScope, "x"), 1, 403, "WWW-Authenticate", `Bearer realm="websocket", error="insufficient_scope"`},
		{"origin", auth.Refuse(auth.ReasonOrigin, "x"), 1, 403, "WWW-Authenticate", ""},
		{"outage", &auth.OutageError{Err: errors.New("x")}, 1, 503, "Retry-After", "5"},
		{"outage until", &auth.OutageError{Err: errors.New("x"), RetryAfter: 29 * time.Second}, 1, 503, "Retry-After", "29"},
		{"outage until in between", &auth.OutageError{Err: errors.New("x"), RetryAfter: 2100 * time.Millisecond}, 1, 503, "Retry-After", "3"},
		{"outage of a moment", &auth.OutageError{Err: errors.New("x"), RetryAfter: time.Millisecond}, 1, 503, "Retry-After", "1"},
		{"version", &proxy.HandshakeError{Status: 426}, 1, 426, "Sec-WebSocket-Version", "13"},
		{"handshake", &proxy.HandshakeError{Status: 400}, 1, 400, "Connection", "close"},
		{"handshake on a stream", &proxy.HandshakeError{Status: 400}, 2, 400, "Connection", ""},
		{"no websocket", auth.Refuse(reasonUpgrade, "x"), 1, 426, "Upgrade", "websocket"},
		{"no websocket on a stream", auth.Refuse(reasonUpgrade, "x"), 2, 426, "Upgrade", ""},
		{"upstream", &proxy.UpstreamError{Err: errors.New("x")}, 1, 502, "Cache-Control", "no-store"},
		{"what follows the upstream's", &proxy.UpstreamError{Err: errors.New("x")}, 1, 502, "Connection", "close"},
		{"the upstream's on a stream", &proxy.UpstreamError{Err: errors.New("x")}, 2, 502, "Connection", ""},
		{"bug", errors.New("x"), 1, 500, "Cache-Control", "no-store"},
		{"unknown reason", auth.Refuse("made_up", "x"), 1, 500, "Cache-Control", "no-store"},
		{"wrapped", fmt.Errorf("while verifying: %w", auth.Refuse(auth.ReasonExpired, "x")), 1, 401, "Cache-Control", "no-store"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := make(http.Header)
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.ProtoMajor = tt.protoMajor
			reason := reasonOf(tt.err)
			err := refuseStatus(h, r, reason, tt.err)
			var handlerError caddyhttp.HandlerError
			if !errors.As(err, &handlerError) || handlerError.StatusCode != tt.status {
				t.Errorf("status of %v, want %d", err, tt.status)
			}
			if got := h.Get(tt.header); got != tt.want {
				t.Errorf("%s: %q, want %q", tt.header, got, tt.want)
			}
			// An error page may print it.
			if got := handlerError.Err.Error(); got != string(reason) {
				t.Errorf("Caddy is told %q, want the reason %q only", got, reason)
			}
		})
	}
}
