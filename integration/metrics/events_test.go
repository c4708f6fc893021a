package metrics

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// TestEventsOfALife: what subscribers are told has the words of the log, and no
// credential.
func TestEventsOfALife(t *testing.T) {
	t.Parallel()
	s := rig.StartSite(t, rig.SiteOptions{
		Directives: "from header\non_expiry renew {\nwarn 100ms\ngrace 1m\n}", Globals: "debug\n\tgrace_period 5s",
	})
	exp := rig.Soon(2 * time.Second)
	first, second := s.Issuer.Expiring(exp), s.Issuer.Expiring(time.Now().Add(time.Hour))
	c := s.Open(t, rig.H1, "/echo", http.Header{"Authorization": {"Bearer " + first}})
	s.WaitLog(t, `"websocket_auth_suspended"`)
	c.Says(t, rig.Login(second))
	s.WaitLog(t, `"websocket_auth_resumed"`)
	if err := c.Leave(); err != nil {
		t.Fatal(err)
	}
	s.Handshake(t, rig.H1, "/echo", http.Header{"Authorization": {"Bearer " + first}})
	s.WaitLog(t, `"websocket_auth_ended"`)
	s.WaitLog(t, `"websocket_auth_refused"`)
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	lines := map[string]string{
		"websocket_auth_opened": "socket opened", "websocket_auth_renewed": "socket renewed",
		"websocket_auth_suspended": "socket suspended", "websocket_auth_resumed": "socket resumed",
		"websocket_auth_ended": "socket ended", "websocket_auth_refused": "request refused",
	}
	var order []string
	for _, event := range s.Logs.Entries("event") {
		name, _ := event["name"].(string)
		data, _ := event["data"].(map[string]any)
		line := lines[name]
		if line == "" {
			continue
		}
		order = append(order, strings.TrimPrefix(name, "websocket_auth_"))
		entry := s.Logs.Entries(line)[0]
		for _, key := range []string{"session", "site", "source", "subject", "issuer", "client_ip", "cause", "reason", "code", "messages_in"} {
			if fmt.Sprint(data[key]) != fmt.Sprint(entry[key]) {
				t.Errorf("event %s has %s %v, the line %v", name, key, data[key], entry[key])
			}
		}
		if data["error"] != nil {
			t.Errorf("event %s tells what is for the log alone: %v", name, data)
		}
		for _, token := range []string{first, second} {
			if strings.Contains(fmt.Sprint(data), token[len(token)/2:]) {
				t.Errorf("event %s has a token: %v", name, data)
			}
		}
	}
	want := []string{"opened", "suspended", "renewed", "resumed", "ended", "refused"}
	slices.Sort(order[min(4, len(order)):]) // the client's end and the next handshake overlap
	if !slices.Equal(order, want) {
		t.Errorf("events %v, want %v", order, want)
	}
}

// TestRevokedAndLockedOut: what an operator and the lockout do is counted,
// logged and emitted under the same words.
func TestRevokedAndLockedOut(t *testing.T) {
	t.Parallel()
	s := rig.StartSite(t, rig.SiteOptions{Globals: "debug\n\tgrace_period 5s\n\twebsocket_auth {\n\t\tlockout 3 10m 1m\n\t}"})
	before := s.Scrape(t)
	token := s.Issuer.Token()
	c := s.Open(t, rig.H1, "/echo", http.Header{"Authorization": {"Bearer " + token}})
	claims := s.Issuer.Claims()
	_, ended := s.Revoke(t, map[string]any{"issuer": claims["iss"], "subject": claims["sub"], "reason": "left"})
	if ended != 1 {
		t.Fatalf("%d sockets ended, want 1", ended)
	}
	c.Last(t, rig.Patience)
	s.AwaitMetrics(t, before, rig.Metrics{
		`revocations`: 1, `revocations_total`: 1, `sessions_ended_total{cause="revoked"}`: 1,
		`locked_out`: 0, `lockouts_total`: 0,
	})
	for range 4 {
		s.Handshake(t, rig.H1, "/echo", http.Header{"Authorization": {"Bearer garbage"}})
	}
	s.AwaitMetrics(t, before, rig.Metrics{
		`locked_out`: 1, `lockouts_total`: 1,
		`handshakes_total{reason="malformed_token",result="refused",source="header"}`: 3,
		`handshakes_total{reason="locked_out",result="refused",source="header"}`:      1,
	})
	s.WaitLog(t, `"websocket_auth_locked_out"`)
	for line, want := range map[string]map[string]any{
		"credentials revoked": {
			"issuer": claims["iss"], "subject": claims["sub"], "reason": "left", "ended": 1.0, "event": "websocket_auth_revoked",
		},
		"client address locked out": {"client_ip": "127.0.0.1", "duration": 60.0, "event": "websocket_auth_locked_out"},
	} {
		entries := s.Logs.Entries(line)
		if len(entries) != 1 {
			t.Errorf("%d lines %q, want 1", len(entries), line)
			continue
		}
		told := s.Logs.Entries("event")
		told = slices.DeleteFunc(told, func(e map[string]any) bool { return e["name"] != want["event"] })
		if len(told) != 1 {
			t.Errorf("%d events %v, want 1", len(told), want["event"])
			continue
		}
		data, _ := told[0]["data"].(map[string]any)
		for key, value := range want {
			if key != "event" && (entries[0][key] != value || data[key] != value) {
				t.Errorf("%s: %s is %v in the line and %v in the event, want %v", line, key, entries[0][key], data[key], value)
			}
		}
	}
}
