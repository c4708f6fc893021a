package websocketauth

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/auth"
)

// Whatever a handler behind does to make a tunnel of an ordinary request, it
// gets none, and the operator is told.
func TestAttackServePlain(t *testing.T) {
	hijack := func(w http.ResponseWriter) { _, _, _ = http.NewResponseController(w).Hijack() }
	extend := func(r *http.Request) { caddyhttp.SetVar(r.Context(), extendedVar, r.Body) }
	tests := []struct {
		name   string
		next   caddyhttp.HandlerFunc
		status int  // of the error for Caddy; 0 for none
		logged bool // as what it is
	}{
		{"answer", func(w http.ResponseWriter, _ *http.Request) error { w.WriteHeader(200); return nil }, 0, false},
		{"nothing", func(http.ResponseWriter, *http.Request) error { return nil }, 0, false},
		{"error", func(http.ResponseWriter, *http.Request) error { return caddyhttp.Error(418, nil) }, 418, false},
		{"101", func(w http.ResponseWriter, _ *http.Request) error { w.WriteHeader(101); return nil }, 502, true},
		{"101 and an error", func(w http.ResponseWriter, _ *http.Request) error { w.WriteHeader(101); return errors.New("x") }, 502, true},
		{"101 and the panic of reverse_proxy", func(w http.ResponseWriter, _ *http.Request) error {
			w.WriteHeader(101)
			panic(http.ErrAbortHandler)
		}, 502, true},
		{"hijack", func(w http.ResponseWriter, _ *http.Request) error { hijack(w); return nil }, 502, true},
		{"hijack and an answer", func(w http.ResponseWriter, _ *http.Request) error { hijack(w); w.WriteHeader(501); return nil }, 0, true},
		{"extended CONNECT", func(w http.ResponseWriter, r *http.Request) error { extend(r); w.WriteHeader(200); return nil }, 502, true},
		{"extended CONNECT in a body", func(w http.ResponseWriter, r *http.Request) error {
			extend(r)
			if _, err := w.Write([]byte("frames")); err != nil {
				panic(http.ErrAbortHandler)
			}
			return nil
		}, 502, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			core, lines := observer.New(zapcore.InfoLevel)
			h := &Handler{Name: "chat", logger: zap.New(core), state: new(handlerState)}
			w, repl := httptest.NewRecorder(), caddy.NewReplacer()
			server := &caddyhttp.Server{Routes: caddyhttp.RouteList{at(&caddyhttp.Subroute{Routes: caddyhttp.RouteList{at(h)}}, "a.example.com")}}
			server.Routes[0].MatcherSets[0] = append(server.Routes[0].MatcherSets[0], caddyhttp.MatchPath{"/ws/*", "/live"})
			r := caddyhttp.PrepareRequest(httptest.NewRequest(http.MethodGet, "/secret", strings.NewReader("frames")), repl, w, server)
			err := h.servePlain(w, r, tt.next, &request{kind: kindPassed, repl: repl})
			status := 0
			if failed, ok := errors.AsType[caddyhttp.HandlerError](err); ok {
				status = failed.StatusCode
			} else if err != nil {
				t.Fatal(err)
			}
			if status != tt.status {
				t.Errorf("error %v, want status %d", err, tt.status)
			}
			if tt.status == 502 {
				if reasonOf(err) != reasonUpstream || w.Body.Len() > 0 || w.Header().Get("Connection") != "close" {
					t.Errorf("error %v, answered %q %v", err, w.Body, w.Header())
				}
				if _, refused := errors.AsType[*auth.RefusedError](err); !refused {
					t.Errorf("Caddy is told %v", err)
				}
			}
			if isExtended(r) {
				t.Error("an error page could go on with the extended CONNECT")
			}
			if (lines.Len() == 1) != tt.logged {
				t.Fatalf("%d lines in the log", lines.Len())
			}
			for _, line := range lines.All() {
				fields := line.ContextMap()
				if fields["site"] != "chat" || fields["route"] != "/ws/* /live" || line.Level != zapcore.ErrorLevel ||
					!strings.Contains(fields["error"].(string), "header_up") {
					t.Errorf("logged %v", fields)
				}
			}
		})
	}
}

// A panic that is none of reverse_proxy's goes on, and so does one of an answer
// that was taken.
func TestServePlainPanics(t *testing.T) {
	for name, tt := range map[string]struct {
		status int
		value  any
	}{
		"another":           {http.StatusSwitchingProtocols, "boom"},
		"of a good answer":  {http.StatusOK, http.ErrAbortHandler},
		"before any answer": {http.StatusEarlyHints, http.ErrAbortHandler},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if p := recover(); p != tt.value {
					t.Errorf("panicked with %v, want %v", p, tt.value)
				}
			}()
			h := &Handler{Name: "chat", logger: zap.NewNop(), state: new(handlerState)}
			w, repl := httptest.NewRecorder(), caddy.NewReplacer()
			r := caddyhttp.PrepareRequest(httptest.NewRequest(http.MethodGet, "/", nil), repl, w, nil)
			_ = h.servePlain(w, r, caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
				w.WriteHeader(tt.status)
				panic(tt.value)
			}), &request{kind: kindPassed, repl: repl})
		})
	}
}
