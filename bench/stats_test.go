package main

import (
	"math"
	"testing"
)

func TestMedian(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		values []float64
		want   float64
	}{
		{"one", []float64{7}, 7},
		{"odd and unsorted", []float64{9, 1, 5}, 5},
		{"even", []float64{4, 1, 3, 2}, 2.5},
		{"an outlier does not count", []float64{1, 1, 1000}, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			before := append([]float64(nil), tc.values...)
			if got := median(tc.values); got != tc.want {
				t.Errorf("median(%v) = %v, want %v", tc.values, got, tc.want)
			}
			for i := range before {
				if before[i] != tc.values[i] {
					t.Fatalf("median changed its argument to %v", tc.values)
				}
			}
		})
	}
}

// TestSummarise has rounds of a machine that gets slower: both sides double,
// and the ratio must not notice.
func TestSummarise(t *testing.T) {
	t.Parallel()
	got := summarise([]sample{{10, 11}, {20, 24}, {40, 42}})
	want := summary{alone: 20, guarded: 24, ratio: 1.1, low: 1.05, high: 1.2}
	near := func(a, b float64) bool { return math.Abs(a-b) < 1e-9 }
	if !near(got.alone, want.alone) || !near(got.guarded, want.guarded) ||
		!near(got.ratio, want.ratio) || !near(got.low, want.low) || !near(got.high, want.high) {
		t.Errorf("summarise = %+v, want %+v", got, want)
	}
}

func TestAccountEach(t *testing.T) {
	t.Parallel()
	sum := account{cpu: 3000, done: 6}
	if got := sum.each(); got != 500 {
		t.Errorf("each = %v ns, want 500", got)
	}
}
