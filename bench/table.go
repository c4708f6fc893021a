package main

import (
	"fmt"
	"io"
	"time"
)

// unit is how a metric's values are written.
type unit int

const (
	// microseconds: values are nanoseconds of CPU time.
	microseconds unit = iota
	// kibibytes: values are bytes.
	kibibytes
)

func (u unit) format(v float64) string {
	if u == kibibytes {
		return fmt.Sprintf("%.1f KiB", v/(1<<10))
	}
	return fmt.Sprintf("%.1f µs", v/1e3)
}

// row is one line of the table of ratios.
type row struct {
	name string
	unit unit
	// goal is the largest ratio that is aimed at or, where it is set, extra
	// the largest difference. Where neither is, there is none.
	goal    float64
	samples []sample
	extra   float64
}

// writeTable writes the rows as a Markdown table.
func writeTable(w io.Writer, rows []row) {
	fmt.Fprintln(w, "| | Caddy alone | with websocket_auth | ratio | lowest to highest round | goal |")
	fmt.Fprintln(w, "|---|---:|---:|---:|---:|---:|")
	for _, r := range rows {
		s := summarise(r.samples)
		if r.extra > 0 {
			fmt.Fprintf(w, "| %s | %s | %s | **%.2f** | %.2f to %.2f (%d) | ≤ %s more; it is %s |\n",
				r.name, r.unit.format(s.alone), r.unit.format(s.guarded), s.ratio, s.low, s.high, len(r.samples),
				r.unit.format(r.extra), r.unit.format(s.guarded-s.alone))
			continue
		}
		goal := "–"
		if r.goal > 0 {
			goal = fmt.Sprintf("≤ %.2f", r.goal)
		}
		fmt.Fprintf(w, "| %s | %s | %s | **%.2f** | %.2f to %.2f (%d) | %s |\n",
			r.name, r.unit.format(s.alone), r.unit.format(s.guarded),
			s.ratio, s.low, s.high, len(r.samples), goal)
	}
}

// ending is how many sockets ended at one moment, and how.
type ending struct {
	sockets int
	// closed had a close frame of code 3000 and then a clean end, reset had
	// an end without a close frame, other had another code.
	closed, reset, other int
	// first and last are when close frames came, counted from the token's
	// end.
	first, last time.Duration
}

// writeEnding writes what happened as a Markdown table of one line.
func writeEnding(w io.Writer, e ending) {
	fmt.Fprintln(w, "| sockets that end at the same moment | closed with 3000 | reset | other code | first close frame | last close frame | goal |")
	fmt.Fprintln(w, "|---:|---:|---:|---:|---:|---:|---|")
	fmt.Fprintf(w, "| %d | %d | %d | %d | %d ms | %d ms | all within 1000 ms, none reset |\n",
		e.sockets, e.closed, e.reset, e.other, e.first.Milliseconds(), e.last.Milliseconds())
}
