package main

import (
	"slices"
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, events, output string
		skipped              []string
	}{
		{
			"a test that passes is silent",
			`{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN TestA\n"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Output":"PASS\n"}
{"Action":"output","Package":"p","Output":"ok  \tp\t0.1s\n"}
{"Action":"pass","Package":"p"}`,
			"ok  \tp\t0.1s\n", nil,
		},
		{
			"a test that fails is shown",
			`{"Action":"output","Package":"p","Test":"TestA","Output":"a_test.go:1: wrong\n"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Output":"FAIL\tp\n"}
{"Action":"fail","Package":"p"}`,
			"a_test.go:1: wrong\nFAIL\tp\n", nil,
		},
		{
			"skipped tests and subtests are named",
			`{"Action":"output","Package":"p","Test":"TestA/b","Output":"a_test.go:1: no server\n"}
{"Action":"skip","Package":"p","Test":"TestA/b"}
{"Action":"skip","Package":"q","Test":"TestC"}`,
			"a_test.go:1: no server\n",
			[]string{"p.TestA/b", "q.TestC"},
		},
		{
			"a package without tests is not a skipped test",
			`{"Action":"output","Package":"p","Output":"?   \tp\t[no test files]\n"}
{"Action":"skip","Package":"p"}`,
			"?   \tp\t[no test files]\n", nil,
		},
		{
			"a test that never ended is shown with its package",
			`{"Action":"output","Package":"p","Test":"TestA","Output":"panic: boom\n"}
{"Action":"output","Package":"p","Output":"FAIL\tp\n"}
{"Action":"fail","Package":"p"}`,
			"panic: boom\nFAIL\tp\n", nil,
		},
		{
			"a build that fails is shown",
			`{"ImportPath":"p","Action":"build-output","Output":"a.go:1: undefined: x\n"}
{"ImportPath":"p","Action":"build-fail"}`,
			"a.go:1: undefined: x\n", nil,
		},
		{"what is no event is shown", "go: no such tool\n", "go: no such tool\n", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			skipped, err := report(strings.NewReader(tc.events), &out)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(skipped, tc.skipped) {
				t.Errorf("skipped = %q, want %q", skipped, tc.skipped)
			}
			if out.String() != tc.output {
				t.Errorf("output = %q, want %q", out.String(), tc.output)
			}
		})
	}
}
