package dialect

import (
	"strings"
	"testing"
)

// TestTranscriptFails has the driver see what a dialect does differently from
// the transcript.
func TestTranscriptFails(t *testing.T) {
	t.Parallel()
	const login = "C> {\"type\":\"auth\",\"token\":\"t1\"}\n"
	for _, tc := range []struct{ lines, want string }{
		{login, "there is one more part"},
		{login + "= data whole", "the part is"},
		{login + "= login credential t1 whole", "the part is"},
		{login + "= login credential t1 goes {}", "the part is"},
		{login + "= login credential t2 nothing", "the part is"},
		{login + "= login nothing", "the part is"},
		{login + "= login credential t1 nothing\n= data whole", "there is no such part"},
		{login + "= login credential t1 nothing\nclient> x", "nothing is said"},
		{login + "! ambiguous", "the error is <nil>"},
		{"C> {\"type\":\"auth\",\"a\":1,\"a\":2}\n= data whole", "the error is"},
		{"C> {\"type\":\"auth\",\"a\":1,\"a\":2}\n", "the error is"},
		{"C> {\"type\":\"auth\",\"a\":1,\"a\":2}\n! protocol", "the error is"},
		{"C> x\n= data goes x", "the part is"},
		{"say prompt in=5\nclient> x", `binary false, "{`},
		{"say prompt in=5", "more is said"},
		{"say stop\nclient> x", "nothing is said"},
		{"say stop\ncode 1001", "the code is 0"},
		{"say refused\nclient> {\"type\":\"auth_error\",\"reason\":\"\"}", "the code is 4001"},
		{"say nothing", "unknown event"},
		{"say stop why=x", "unknown fact"},
		{"idle yes", "it is false"},
		{"border yes", "no Follower"},
		{"state closed", "unknown state"},
		{"opening late", "unknown word"},
		{"D> x", "unknown word"},
		{"C# x", "invalid byte"},
	} {
		if err := runLines(t, tc.lines); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.lines, err, tc.want)
		}
	}
}

// runLines runs the lines of one case and returns the first error.
func runLines(t *testing.T, lines string) error {
	t.Helper()
	tr := &transcript{make: fromConfig(NewJSON), config: `{"code":{"refused":4001}}`}
	for line := range strings.SplitSeq(lines, "\n") {
		if err := tr.line(t, line); err != nil {
			return err
		}
	}
	return tr.settled()
}
