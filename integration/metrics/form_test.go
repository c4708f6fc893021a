package metrics

import (
	"math"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddy-websocket-auth/caddy-websocket-auth/integration/rig"
)

// TestMetricsAreWellFormed: no series is a number that is none, and all have
// help and type.
func TestMetricsAreWellFormed(t *testing.T) {
	t.Parallel()
	s := rig.StartSite(t, rig.SiteOptions{Globals: "grace_period 5s"})
	s.Open(t, rig.H1, "/echo", s.Bearer(time.Now().Add(time.Hour))).Vanish()
	text := s.Admin(t, "/metrics")
	for series, value := range rig.ParseMetrics(t, text) {
		if math.IsNaN(value) || value < 0 {
			t.Errorf("%s = %v", series, value)
		}
		name, _, _ := strings.Cut(series, "{")
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			name = strings.TrimSuffix(name, suffix)
		}
		for _, about := range []string{"# HELP ", "# TYPE "} {
			if !strings.Contains(text, about+rig.OurMetrics+name+" ") {
				t.Errorf("%s has no %s", name, about)
			}
		}
	}
	docs, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	types := regexp.MustCompile(`# TYPE (`+rig.OurMetrics+`[a-z_]+) ([a-z]+)`).FindAllStringSubmatch(text, -1)
	if len(types) < 20 {
		t.Errorf("%d metrics are shown, too few", len(types))
	}
	for _, match := range types {
		if !strings.Contains(string(docs), "| `"+match[1]+"` | "+match[2]+" |") {
			t.Errorf("%s is a %s, and docs/metrics.md says something else", match[1], match[2])
		}
	}
}

// TestPollingInAllWords: who has logged in by the body of a plain request has
// done so in all places under the same word.
func TestPollingInAllWords(t *testing.T) {
	t.Parallel()
	o := rig.Polled()
	o.First, o.Globals = "log", "grace_period 5s"
	s := rig.StartSite(t, o)
	before := s.Scrape(t)
	url := "http://" + s.Addr + "/socket.io/" + rig.Polling("words")
	for body, want := range map[string]int{
		rig.LoginPacket("garbage"): http.StatusUnauthorized, rig.LoginPacket(s.Issuer.Token()): http.StatusOK,
	} {
		if status := rig.Poll(t, http.MethodPost, url, body); status != want {
			t.Errorf("a login by polling was answered %d, want %d", status, want)
		}
	}
	c := s.Open(t, rig.H1, "/socket.io/?EIO=4&transport=websocket&sid=words", nil)
	s.AwaitMetrics(t, before, rig.Metrics{
		`http_requests_total{reason="malformed_token",result="refused",source="polling"}`: 1,
		`http_requests_total{reason="",result="accepted",source="polling"}`:               1,
		`handshakes_total{reason="",result="accepted",source="polling"}`:                  1,
		`sessions_opened_total{dialect="socketio",source="polling",verifier="jwt"}`:       1,
	})
	if sessions := s.Sessions(t, ""); len(sessions) != 1 || sessions[0].Source != "polling" {
		t.Errorf("the admin API shows %+v", sessions)
	}
	c.Vanish()
	s.WaitLog(t, `"websocket_source":"polling"`)
	for _, line := range []string{"request refused", "socket opened", "socket ended"} {
		if entries := s.Logs.Entries(line); len(entries) != 1 || entries[0]["source"] != "polling" {
			t.Errorf("the lines %q are %v", line, entries)
		}
	}
}
