package websocketauth

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestRecommendedFilterIsTheSame: wherever the filter is shown, to be copied,
// it is on all the fields that may hold a credential.
func TestRecommendedFilterIsTheSame(t *testing.T) {
	line := regexp.MustCompile(`(?m)^[\s/]*([\w>-]+) websocket_credential\b`)
	fields := func(text string) (found []string) {
		for _, match := range line.FindAllStringSubmatch(text, -1) {
			found = append(found, match[1])
		}
		return found
	}
	want := fields(filterLines)
	for file, times := range map[string]int{
		"README.md": 2, "docs/logs.md": 2, "demo/Caddyfile.tmpl": 2, "logfilter.go": 1, "bench/caddy.go": 1, "e2e/lib/caddy.js": 1,
	} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		blocks := strings.Split(string(text), "format filter {")[1:]
		if len(blocks) != times {
			t.Errorf("%s shows it %d times, want %d", file, len(blocks), times)
		}
		for _, block := range blocks {
			block, _, _ = strings.Cut(block, "}")
			if got := fields(block); !slices.Equal(got, want) {
				t.Errorf("%s has it on %q, want %q", file, got, want)
			}
		}
	}
}
