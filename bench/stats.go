package main

import "slices"

// median returns the middle of the values; of an even number the mean of the
// middle two. There must be at least one.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// sample is what one round has measured, in the metric's unit.
type sample struct{ alone, guarded float64 }

// summary is what all rounds together say of a metric.
type summary struct {
	// alone and guarded are the medians of each side.
	alone, guarded float64
	// ratio is the median of the rounds' ratios, which is steadier than
	// the ratio of the medians: a round's two sides meet the same weather.
	ratio float64
	// low and high are the smallest and the largest ratio of a round.
	low, high float64
}

// summarise puts the rounds of one metric together; there must be at least
// one, and nothing may cost Caddy alone nothing.
func summarise(samples []sample) summary {
	alone := make([]float64, len(samples))
	guarded := make([]float64, len(samples))
	ratios := make([]float64, len(samples))
	for i, s := range samples {
		alone[i], guarded[i], ratios[i] = s.alone, s.guarded, s.guarded/s.alone
	}
	return summary{
		alone:   median(alone),
		guarded: median(guarded),
		ratio:   median(ratios),
		low:     slices.Min(ratios),
		high:    slices.Max(ratios),
	}
}
