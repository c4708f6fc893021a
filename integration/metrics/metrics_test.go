package metrics

import (
	"maps"
	"net/http"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// TestMetricsOfALife: what happens to sockets shows in the metrics, each under
// its own name, and nothing else does.
func TestMetricsOfALife(t *testing.T) {
	t.Parallel()
	s := rig.StartSite(t, rig.SiteOptions{
		Directives: "from header\nfrom first_message\nhttp authenticate\non_expiry renew {\nwarn 100ms\ngrace 1m\n}",
		Globals:    "grace_period 5s",
	})
	before := s.Scrape(t)
	before.Balanced(t)
	// What has not happened yet is there nonetheless, where it can be.
	for _, series := range []string{
		`sessions{state="suspended"}`, `messages_total{direction="in"}`, `bytes_total{direction="out"}`,
		`key_sets{state="missing"}`, `revocations`, `locked_out`, `lockouts_total`, `events_dropped_total`,
	} {
		if value, ok := before[series]; !ok || value != 0 {
			t.Errorf("%s = %v, %v, want 0", series, value, ok)
		}
	}
	for series, want := range map[string]float64{"store_up": 1, "store_complete": 1, "revocations_saved": 1} {
		if before[series] != want {
			t.Errorf("%s = %v, want %v", series, before[series], want)
		}
	}

	// With a token in the handshake, three messages, and a close frame.
	c := s.Open(t, rig.H1, "/echo", s.Bearer(time.Now().Add(time.Hour)))
	s.AwaitMetrics(t, before, rig.Metrics{
		`handshakes_total{reason="",result="accepted",source="header"}`:                    1,
		`sessions_opened_total{dialect="json",source="header",verifier="jwt"}`:             1,
		`verification_duration_seconds_count{result="accepted",verifier="jwt"}`:            1,
		`verification_duration_seconds_bucket{result="accepted",verifier="jwt",le="+Inf"}`: 1,
		`key_sets{state="fresh"}`:   1 - before[`key_sets{state="fresh"}`],
		`sessions{state="open"}`:    1,
		`sessions{state="pending"}`: 0,
	})
	for _, text := range []string{"a", "bb", "ccc"} {
		c.Says(t, text)
		c.Hears(t, text)
	}
	s.AwaitMetrics(t, before, rig.Metrics{ // while it is open
		`messages_total{direction="in"}`: 3, `messages_total{direction="out"}`: 3,
		`bytes_total{direction="in"}`: 3*6 + 6, `bytes_total{direction="out"}`: 3*2 + 6,
	})
	if err := c.Leave(); err != nil {
		t.Fatal(err)
	}
	s.AwaitMetrics(t, before, rig.Metrics{
		`sessions_ended_total{cause="client_closed"}`: 1, `sessions{state="open"}`: 0,
		`session_duration_seconds_count`: 1, `session_duration_seconds_bucket{le="+Inf"}`: 1,
	})

	// Refused: the handshake, the request, the login.
	if _, answer := s.Handshake(t, rig.H1, "/refused", http.Header{"Authorization": {"Bearer x"}}); answer.StatusCode != http.StatusUnauthorized {
		t.Fatalf("a bad token was answered %s", answer.Status)
	}
	if answer, _ := rig.Request(t, http.MethodGet, "http://"+s.Addr+"/plain", nil); answer.StatusCode != http.StatusUnauthorized {
		t.Fatalf("a request without a token was answered %s", answer.Status)
	}
	rig.Request(t, http.MethodGet, "http://"+s.Addr+"/plain", s.Bearer(time.Now().Add(time.Hour)))
	c = s.Open(t, rig.H1, "/login", nil)
	s.AwaitMetrics(t, before, rig.Metrics{`sessions{state="pending"}`: 1})
	c.Says(t, rig.Login("x"))
	s.AwaitMetrics(t, before, rig.Metrics{
		`handshakes_total{reason="malformed_token",result="refused",source="header"}`:    1,
		`handshakes_total{reason="",result="accepted",source=""}`:                        1,
		`http_requests_total{reason="missing_credential",result="refused",source=""}`:    1,
		`http_requests_total{reason="",result="accepted",source="header"}`:               1,
		`logins_total{reason="malformed_token",result="refused",source="first_message"}`: 1,
		`sessions_ended_total{cause="malformed_token"}`:                                  1,
		`verification_duration_seconds_count{result="refused",verifier="jwt"}`:           2,
		`sessions{state="pending"}`:                                                      0,
	})

	// Pending, open, suspended, open again, and cut.
	exp := rig.Soon(2 * time.Second)
	c = s.Open(t, rig.H1, "/renewing", nil)
	c.Says(t, rig.Login(s.Issuer.Expiring(exp)))
	c.Accepted(t, exp)
	s.AwaitMetrics(t, before, rig.Metrics{`sessions_suspended_total`: 1, `sessions{state="suspended"}`: 1, `sessions{state="open"}`: 0})
	c.Says(t, rig.Login("y"))
	s.AwaitMetrics(t, before, rig.Metrics{`renewals_total{reason="malformed_token",result="refused"}`: 1})
	c.Says(t, rig.Login(s.Issuer.Expiring(time.Now().Add(time.Hour))))
	s.AwaitMetrics(t, before, rig.Metrics{
		`logins_total{reason="",result="accepted",source="first_message"}`:            1,
		`sessions_opened_total{dialect="json",source="first_message",verifier="jwt"}`: 1,
		`renewals_total{reason="",result="accepted"}`:                                 1,
		`sessions_resumed_total`: 1, `sessions{state="open"}`: 1, `sessions{state="suspended"}`: 0,
	})
	c.Vanish()
	s.AwaitMetrics(t, before, rig.Metrics{`sessions_ended_total{cause="client_gone"}`: 1, `sessions{state="open"}`: 0})
	s.Scrape(t).Balanced(t)
	linesAgree(t, s)
}

// TestMetricsOfFailures: a handshake that is let on and comes to nothing is
// neither accepted nor refused.
func TestMetricsOfFailures(t *testing.T) {
	t.Parallel()
	s := rig.StartSite(t, rig.SiteOptions{Globals: "grace_period 5s"})
	start := s.Scrape(t)
	s.Open(t, rig.H1, "/echo", s.Bearer(time.Now().Add(time.Hour))).Vanish()
	s.AwaitMetrics(t, start, rig.Metrics{`session_duration_seconds_count`: 1})
	before := s.Scrape(t)
	s.App.Close()
	if _, answer := s.Handshake(t, rig.H1, "/echo", s.Bearer(time.Now().Add(time.Hour))); answer.StatusCode != http.StatusBadGateway {
		t.Fatalf("without an application the handshake was answered %s", answer.Status)
	}
	s.AwaitMetrics(t, before, rig.Metrics{
		`handshakes_total{reason="",result="failed",source="header"}`:   1,
		`handshakes_total{reason="",result="accepted",source="header"}`: 0,
	})
	s.Scrape(t).Balanced(t)
}

// linesAgree checks that the log has as many lines of each kind as the metrics
// count, and that every one of a socket has what it is to be found by.
func linesAgree(t testing.TB, s *rig.Site) {
	t.Helper()
	m := s.Scrape(t)
	for line, want := range map[string]float64{
		"socket opened":    m.Sum("sessions_opened_total"),
		"socket renewed":   m[`renewals_total{reason="",result="accepted"}`],
		"socket suspended": m["sessions_suspended_total"],
		"socket resumed":   m["sessions_resumed_total"],
	} {
		entries := s.Logs.Entries(line)
		if float64(len(entries)) != want || want == 0 {
			t.Errorf("%d lines %q, and the metrics say %v", len(entries), line, want)
		}
		for _, entry := range entries {
			hasKeys(t, entry, "session", "site", "source", "dialect", "verifier", "user", "subject", "issuer", "client_ip", "valid_until")
		}
	}
	ended := s.Logs.Entries("socket ended")
	if len(ended) != 2 { // of those that had logged in
		t.Errorf("%d lines of ends, want 2: %v", len(ended), ended)
	}
	for _, entry := range ended {
		hasKeys(t, entry, "session", "site", "source", "dialect", "verifier", "user", "subject", "issuer", "client_ip",
			"valid_until", "cause", "code", "duration", "bytes_in", "bytes_out", "messages_in", "messages_out")
	}
	if first := ended[0]; first["messages_in"] != 3.0 || first["bytes_in"] != 32.0 || first["bytes_out"] != 16.0 { // with close frames
		t.Errorf("a socket with three messages ended with %v", first)
	}
	for _, entry := range s.Logs.Entries("request refused") {
		hasKeys(t, entry, "site", "client_ip", "reason", "dialect", "error")
	}
}

func hasKeys(t testing.TB, entry map[string]any, keys ...string) {
	t.Helper()
	for _, key := range keys {
		if _, ok := entry[key]; !ok {
			t.Errorf("the line %q has no %s: %v", entry["msg"], key, entry)
		}
	}
}

// TestMetricsAtReload: a reload, also one that is rejected, changes no counter
// and no gauge, and old sockets count on.
func TestMetricsAtReload(t *testing.T) {
	t.Parallel()
	o := rig.SiteOptions{Globals: "grace_period 5s"}
	s := rig.StartSite(t, o)
	start := s.Scrape(t)
	c := s.Open(t, rig.H1, "/echo", s.Bearer(time.Now().Add(time.Hour)))
	c.Says(t, "one")
	c.Hears(t, "one")
	s.Handshake(t, rig.H1, "/echo", nil)
	s.AwaitMetrics(t, start, rig.Metrics{`messages_total{direction="in"}`: 1})
	before := s.Scrape(t)
	ageing := func(series string, _ float64) bool {
		return series == "key_sets_oldest_age_seconds"
	}
	maps.DeleteFunc(before, ageing)
	for i := range 5 {
		if err := s.Reload(t, o.Caddyfile()); err != nil {
			t.Fatal(err)
		}
		if err := s.Reload(t, "http://{$SITE} {\n\twebsocket_auth {\n\t\tnonsense\n\t}\n}\n"); err == nil {
			t.Fatal("nonsense was loaded")
		}
		after := s.Scrape(t)
		maps.DeleteFunc(after, ageing)
		for series, value := range before {
			if now, ok := after[series]; !ok || now != value {
				t.Errorf("reload %d: %s was %v and is %v, %v", i+1, series, value, now, ok)
			}
		}
		if len(after.Since(before)) > 0 {
			t.Errorf("reload %d: new are %v", i+1, after.Since(before))
		}
	}
	c.Says(t, "two")
	c.Hears(t, "two")
	c.Vanish()
	s.AwaitMetrics(t, before, rig.Metrics{
		`messages_total{direction="in"}`: 1, `sessions{state="open"}`: -1, `sessions_ended_total{cause="client_gone"}`: 1,
	})
}
