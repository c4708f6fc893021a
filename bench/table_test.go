package main

import (
	"strings"
	"testing"
	"time"
)

func TestWriteTable(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	writeTable(&out, []row{
		{"CPU per message", microseconds, 1.02, []sample{{10_000, 10_000}, {10_000, 12_000}, {10_000, 11_000}}, 0},
		{"memory per socket", kibibytes, 0.8, []sample{{100 << 10, 75 << 10}}, 0},
		{"CPU without a goal", microseconds, 0, []sample{{10_000, 15_000}}, 0},
	})
	want := `| | Caddy alone | with websocket_auth | ratio | lowest to highest round | goal |
|---|---:|---:|---:|---:|---:|
| CPU per message | 10.0 µs | 11.0 µs | **1.10** | 1.00 to 1.20 (3) | ≤ 1.02 |
| memory per socket | 100.0 KiB | 75.0 KiB | **0.75** | 0.75 to 0.75 (1) | ≤ 0.80 |
| CPU without a goal | 10.0 µs | 15.0 µs | **1.50** | 1.50 to 1.50 (1) | – |
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

func TestTally(t *testing.T) {
	t.Parallel()
	end := time.Unix(1_700_000_000, 0)
	at := func(ms int) time.Time { return end.Add(time.Duration(ms) * time.Millisecond) }
	got := tally([]outcome{
		{code: 0, at: at(5000)},
		{code: 3000, at: at(300), clean: true},
		{code: 3000, at: at(20), clean: true},
		{code: 3000, at: at(30), clean: false},
		{code: 1001, at: at(900), clean: true},
	}, end)
	want := ending{
		sockets: 5, closed: 2, reset: 2, other: 1,
		first: 20 * time.Millisecond, last: 900 * time.Millisecond,
	}
	if got != want {
		t.Errorf("tally = %+v, want %+v", got, want)
	}

	var out strings.Builder
	writeEnding(&out, got)
	if line := "| 5 | 2 | 2 | 1 | 20 ms | 900 ms |"; !strings.Contains(out.String(), line) {
		t.Errorf("got\n%s\nwithout the line %s", out.String(), line)
	}
}

func TestTallyEarly(t *testing.T) {
	t.Parallel()
	end := time.Unix(1_700_000_000, 0)
	got := tally([]outcome{{code: 3000, at: end.Add(-time.Second), clean: true}}, end)
	if got.first != -time.Second || got.last != -time.Second {
		t.Errorf("a socket that ended a second early is from %v to %v late", got.first, got.last)
	}
}
