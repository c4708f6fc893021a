package integration

import (
	"math"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestMetricsAreWellFormed: no series is a number that is none, and all have
// help and type.
func TestMetricsAreWellFormed(t *testing.T) {
	t.Parallel()
	s := startSite(t, siteOptions{globals: "grace_period 5s"})
	s.open(t, h1, "/echo", s.bearer(time.Now().Add(time.Hour))).vanish()
	text := s.admin(t, "/metrics")
	for series, value := range parseMetrics(t, text) {
		if math.IsNaN(value) || value < 0 {
			t.Errorf("%s = %v", series, value)
		}
		name, _, _ := strings.Cut(series, "{")
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			name = strings.TrimSuffix(name, suffix)
		}
		for _, about := range []string{"# HELP ", "# TYPE "} {
			if !strings.Contains(text, about+ourMetrics+name+" ") {
				t.Errorf("%s has no %s", name, about)
			}
		}
	}
	docs, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	types := regexp.MustCompile(`# TYPE (`+ourMetrics+`[a-z_]+) ([a-z]+)`).FindAllStringSubmatch(text, -1)
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
	o := polled()
	o.first, o.globals = "log", "grace_period 5s"
	s := startSite(t, o)
	before := s.scrape(t)
	url := "http://" + s.caddyProc.site + "/socket.io/" + polling("words")
	for body, want := range map[string]int{
		loginPacket("garbage"): http.StatusUnauthorized, loginPacket(s.issuer.token()): http.StatusOK,
	} {
		if status := poll(t, http.MethodPost, url, body); status != want {
			t.Errorf("a login by polling was answered %d, want %d", status, want)
		}
	}
	c := s.open(t, h1, "/socket.io/?EIO=4&transport=websocket&sid=words", nil)
	s.awaitMetrics(t, before, metrics{
		`http_requests_total{reason="malformed_token",result="refused",source="polling"}`: 1,
		`http_requests_total{reason="",result="accepted",source="polling"}`:               1,
		`handshakes_total{reason="",result="accepted",source="polling"}`:                  1,
		`sessions_opened_total{dialect="socketio",source="polling",verifier="jwt"}`:       1,
	})
	if sessions := s.sessions(t, ""); len(sessions) != 1 || sessions[0].Source != "polling" {
		t.Errorf("the admin API shows %+v", sessions)
	}
	c.vanish()
	s.waitLog(t, `"websocket_source":"polling"`)
	for _, line := range []string{"request refused", "socket opened", "socket ended"} {
		if entries := s.logs.entries(line); len(entries) != 1 || entries[0]["source"] != "polling" {
			t.Errorf("the lines %q are %v", line, entries)
		}
	}
}
