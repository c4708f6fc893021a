package metrics

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// eventNames are the events of docs/metrics.md, without what is in front.
var eventNames = []string{
	"opened", "refused", "renewed", "suspended", "resumed", "ended", "revoked", "locked_out",
}

// recording returns the options of a Caddy whose events a module writes to a
// file, and what it does then.
func recording(t testing.TB, file, then, directives string) rig.SiteOptions {
	t.Helper()
	binary, err := rig.BuildTestCaddy()
	if err != nil {
		t.Fatal(err)
	}
	var on strings.Builder
	for _, name := range eventNames {
		fmt.Fprintf(&on, "on websocket_auth_%s record %s %s\n", name, file, then)
	}
	return rig.SiteOptions{
		Globals:    "grace_period 5s\nevents {\n" + on.String() + "}\nwebsocket_auth {\nlockout 3 10m 1m\n}",
		Directives: directives, Env: []rig.StartOption{rig.WithBinary(binary)},
	}
}

// recorded is an event as the module has written it down.
type recorded struct {
	Name string
	Data map[string]any
}

// eventsIn returns what is in such a file.
func eventsIn(t testing.TB, file string) (all []recorded, text string) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(content)) {
		var e recorded
		if !strings.HasSuffix(line, "\n") {
			break // it is being written
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		all = append(all, e)
	}
	return all, string(content)
}

// TestEventsReachModules: a module that subscribes is told of everything that
// docs/metrics.md lists, with data that are documented, and of no credential.
func TestEventsReachModules(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "events")
	s := rig.StartSite(t, recording(t, file, "", "from header\non_expiry renew {\nwarn 100ms\ngrace 1m\n}"))
	first := s.Issuer.Expiring(rig.Soon(2 * time.Second))
	second, third := s.Issuer.Expiring(time.Now().Add(time.Hour)), s.Issuer.Token(map[string]any{"sub": "bob"})
	c := s.Open(t, rig.H1, "/echo", http.Header{"Authorization": {"Bearer " + first}})
	s.WaitLog(t, `"socket suspended"`)
	c.Says(t, rig.Login(second))
	s.WaitLog(t, `"socket resumed"`)
	if err := c.Leave(); err != nil {
		t.Fatal(err)
	}
	s.Open(t, rig.H1, "/echo", http.Header{"Authorization": {"Bearer " + third}})
	s.Revoke(t, map[string]any{"issuer": s.Issuer.URL, "subject": "bob"})
	s.WaitLog(t, `"cause":"revoked"`)
	for range 4 { // the last one is refused because of the others
		s.Handshake(t, rig.H1, "/echo", http.Header{"Authorization": {"Bearer garbage-secret"}})
	}
	var all []recorded
	var text string
	rig.Eventually(t, rig.Patience, func() string {
		all, text = eventsIn(t, file)
		told := make(map[string]int)
		for _, e := range all {
			told[strings.TrimPrefix(e.Name, "websocket_auth_")]++
		}
		for name, want := range map[string]int{
			"opened": 2, "ended": 2, "renewed": 1, "suspended": 1, "resumed": 1, "revoked": 1, "refused": 4, "locked_out": 1,
		} {
			if told[name] != want {
				return fmt.Sprintf("told of %d %s, want %d", told[name], name, want)
			}
		}
		return ""
	})
	ofSockets := []string{"session", "site", "client_ip", "source", "dialect", "verifier", "user", "subject", "issuer", "valid_until"}
	want := map[string][]string{
		"opened": ofSockets, "suspended": append(ofSockets, "until"), "resumed": ofSockets, "renewed": append(ofSockets, "suspended"),
		"ended":   append(ofSockets, "cause", "code", "duration", "bytes_in", "bytes_out", "messages_in", "messages_out"),
		"refused": {"site", "client_ip", "reason"}, "revoked": {"issuer", "subject", "until", "ended"},
		"locked_out": {"client_ip", "duration"},
	}
	for _, e := range all {
		e.Data["msg"] = e.Name
		hasKeys(t, e.Data, want[strings.TrimPrefix(e.Name, "websocket_auth_")]...)
	}
	rig.Search(t, "what the module was told", text, map[string]string{
		"first": first, "second": second, "third": third, "bad": "garbage-secret",
	})
}

// TestEventModulesAtFault: what a module does with an event, and how long it
// takes, is nothing to sockets. One that hangs is rid of by a reload.
func TestEventModulesAtFault(t *testing.T) {
	t.Parallel()
	for _, then := range []string{"abort", "panic", "hang"} {
		t.Run(then, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "events")
			s := rig.StartSite(t, recording(t, file, then, "from header"))
			before := s.Scrape(t)
			const n = 20
			for range n {
				c := s.Open(t, rig.H1, "/echo", s.Bearer(time.Now().Add(time.Hour)))
				c.Says(t, "hello")
				c.Hears(t, "hello")
				if err := c.Leave(); err != nil {
					t.Fatal(err)
				}
			}
			s.AwaitMetrics(t, before, rig.Metrics{`sessions_ended_total{cause="client_closed"}`: n, `events_dropped_total`: 0})
			told := func(want int) {
				rig.Eventually(t, rig.Patience, func() string {
					if all, _ := eventsIn(t, file); len(all) < want {
						return fmt.Sprintf("%d events were told, want %d", len(all), want)
					}
					return ""
				})
			}
			switch then {
			case "hang":
				told(1)
				if all, _ := eventsIn(t, file); len(all) != 1 {
					t.Errorf("%d events were told while the module hung", len(all))
				}
				if err := s.Reload(t, recording(t, file, "", "from header").Caddyfile()); err != nil {
					t.Fatal(err)
				}
			case "panic":
				s.WaitLog(t, "panic in a handler of an event")
			}
			told(2 * n)
		})
	}
}
