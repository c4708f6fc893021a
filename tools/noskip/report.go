package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// event is one line of go test -json, see "go doc test2json".
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
}

// report reads the events, prints to w what a person wants to see, and
// returns the names of the tests that were skipped. Lines that are no events
// are printed as they are.
func report(events io.Reader, w io.Writer) (skipped []string, err error) {
	kept := make(map[event]*strings.Builder) // output by package and test
	lines := bufio.NewReader(events)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil {
				e = event{Action: "build-output", Output: string(line)}
			}
			if e.Action == "skip" && e.Test != "" {
				skipped = append(skipped, e.Package+"."+e.Test)
			}
			handle(e, kept, w)
		}
		if err == io.EOF {
			return skipped, nil
		}
		if err != nil {
			return skipped, fmt.Errorf("reading the output of go test: %w", err)
		}
	}
}

// handle prints or keeps an event's output. What a test prints is shown only
// if it fails or is skipped, and what is left of a package when that fails.
func handle(e event, kept map[event]*strings.Builder, w io.Writer) {
	key := event{Package: e.Package, Test: e.Test}
	switch e.Action {
	case "build-output":
		fmt.Fprint(w, e.Output)
	case "output":
		if kept[key] == nil {
			kept[key] = new(strings.Builder)
		}
		kept[key].WriteString(e.Output)
	case "fail":
		if e.Test == "" { // a test that never ended, as after a panic
			for other := range kept {
				if other.Package == e.Package && other.Test != "" {
					flush(other, kept, w)
				}
			}
		}
		flush(key, kept, w)
	case "skip":
		flush(key, kept, w)
	case "pass":
		if e.Test == "" {
			flush(key, kept, w)
		}
		delete(kept, key)
	}
}

func flush(key event, kept map[event]*strings.Builder, w io.Writer) {
	if out := kept[key]; out != nil {
		text := out.String()
		if key.Test == "" {
			text = strings.ReplaceAll(text, "PASS\n", "")
		}
		fmt.Fprint(w, text)
		delete(kept, key)
	}
}
