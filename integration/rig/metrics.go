package rig

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// OurMetrics is in front of the names of all metrics of the plugin.
const OurMetrics = "caddy_websocket_auth_"

// Metrics are the plugin's, as the admin API gives them: value by name and
// labels, without the prefix.
type Metrics map[string]float64

// Scrape returns the metrics of now.
func (s *Site) Scrape(t testing.TB) Metrics {
	t.Helper()
	return ParseMetrics(t, s.Admin(t, "/metrics"))
}

// ParseMetrics reads the plugin's metrics from what the admin API answers.
func ParseMetrics(t testing.TB, text string) Metrics {
	t.Helper()
	m := make(Metrics)
	for line := range strings.Lines(text) {
		line, ours := strings.CutPrefix(strings.TrimSuffix(line, "\n"), OurMetrics)
		space := strings.LastIndexByte(line, ' ')
		if !ours || space < 0 {
			continue
		}
		value, err := strconv.ParseFloat(line[space+1:], 64)
		if err != nil {
			t.Fatalf("metric %q: %v", line, err)
		}
		m[line[:space]] = value
	}
	return m
}

// Sum returns the sum of all series of a name.
func (m Metrics) Sum(name string) (sum float64) {
	for series, value := range m {
		if series == name || strings.HasPrefix(series, name+"{") {
			sum += value
		}
	}
	return sum
}

// Since returns what has been added to each series since before, where it is
// not nothing.
func (m Metrics) Since(before Metrics) Metrics {
	added := make(Metrics)
	for series, value := range m {
		if value != before[series] {
			added[series] = value - before[series]
		}
	}
	return added
}

// AwaitMetrics waits until the series of want have grown by exactly that since
// before.
func (s *Site) AwaitMetrics(t testing.TB, before, want Metrics) {
	t.Helper()
	Eventually(t, Patience, func() string {
		added := s.Scrape(t).Since(before)
		for series, value := range want {
			if added[series] != value {
				return fmt.Sprintf("%s has grown by %v, want %v; all: %v", series, added[series], value, added)
			}
		}
		return ""
	})
}

// OpenSockets are the gauges of live sockets by state.
func OpenSockets(pending, open, suspended float64) Metrics {
	return Metrics{
		`sessions{state="pending"}`: pending, `sessions{state="open"}`: open, `sessions{state="suspended"}`: suspended,
	}
}

// Balanced checks that as many sockets are there as were opened and have not
// ended.
func (m Metrics) Balanced(t testing.TB) {
	t.Helper()
	accepted := 0.0
	for series, value := range m {
		if strings.HasPrefix(series, `handshakes_total{`) && strings.Contains(series, `result="accepted"`) {
			accepted += value
		}
	}
	if there := m.Sum("sessions"); accepted-m.Sum("sessions_ended_total") != there {
		t.Errorf("%v sockets were opened and %v have ended, but %v are there",
			accepted, m.Sum("sessions_ended_total"), there)
	}
	if m["session_duration_seconds_count"] != m.Sum("sessions_ended_total") {
		t.Errorf("%v durations of %v sockets", m["session_duration_seconds_count"], m.Sum("sessions_ended_total"))
	}
}
